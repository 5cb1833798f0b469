"""What pretext tasks show to an encoder, and what they ask of it."""

import itertools
import math
from dataclasses import dataclass, replace

import pytest
import torch
from cohorts import PRE as EEG
from cohorts import cohort
from pretext_tasks import DENSE, NAMES, SIZES, SMALL, WHOLE, samples, task
from ramps import RampPreprocessing

import sslmed as sm
from sslmed import methods
from sslmed._core import C


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("name", NAMES)
def test_an_exercise_depends_on_sample_and_step_alone(name, rank):
    found = task(name, rank)
    dense = samples(rank, sizes=WHOLE.get(name, {}).get(rank))
    shown, answer = found.exercise(dense, [5, 2, 9, 11], 3)
    copies = len(shown) // len(dense)
    alone, its = found.exercise(dense[2:3], [9], 3)
    torch.testing.assert_close(alone, shown[2 * copies : 3 * copies], rtol=1e-12, atol=1e-12)
    if answer is not None:
        assert torch.equal(its, answer[2 * (len(answer) // 4) : 3 * (len(answer) // 4)])


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_tiles_in_the_order_of_their_class_are_the_sample(rank):
    grid = {1: 4, 2: (2, 3), 3: 2}[rank]
    found = task("jigsaw", rank, grid=grid, gap=0.0, norm_tiles=False)
    extents = [grid] * rank if isinstance(grid, int) else list(grid)
    sizes = [5 * extent for extent in extents]
    dense = samples(rank, 6, sizes=sizes)
    shown, classes = found.exercise(dense, range(6), 0)
    assert len(set(classes.tolist())) > 1
    for b in range(6):
        order = found._handle.permutations[int(classes[b])]
        tiles = shown.view(6, -1, *shown.shape[1:])[b]
        whole = torch.empty_like(dense[b])
        for place, number in enumerate(order):
            at = [int(i) for i in torch.unravel_index(torch.tensor(number), extents)]
            whole[(slice(None), *(slice(5 * i, 5 * i + 5) for i in at))] = tiles[place]
        assert torch.equal(whole, dense[b])


def test_tiles_are_drawn_within_their_cells_in_validation_too():
    found = task("jigsaw", 2, channels=1, grid=2, gap=0.3, norm_tiles=False)
    dense = torch.arange(20.0 * 20, dtype=torch.float64).view(1, 1, 20, 20)
    found.eval()
    places = set()
    for step in range(40):
        shown, classes = found.exercise(dense, [0], step)
        assert shown.shape == (4, 1, 7, 7)
        for place, number in enumerate(found._handle.permutations[int(classes[0])]):
            row, column = divmod(int(shown[place, 0, 0, 0]), 20)
            assert torch.equal(shown[place, 0], dense[0, 0, row : row + 7, column : column + 7])
            assert (row // 10, column // 10) == divmod(number, 2)
            assert row % 10 <= 3
            assert column % 10 <= 3
            places.add((row % 10, column % 10))
    assert len(places) == 16


def test_tiles_are_normalized_one_by_one():
    shown, _ = task("jigsaw", 2).exercise(5 + 3 * samples(2), range(4), 0)
    torch.testing.assert_close(shown.mean((2, 3)), torch.zeros(16, 2, dtype=torch.float64), rtol=0, atol=1e-12)
    torch.testing.assert_close(shown.var((2, 3), unbiased=False), torch.ones(16, 2, dtype=torch.float64), rtol=0, atol=1e-4)


def test_permutations_differ_most_from_those_before():
    for tiles, count in ((3, 6), (4, 12)):
        chosen = C.distant_permutations(tiles, count, 3)
        for i in range(1, count):
            left = [order for order in itertools.permutations(range(tiles)) if list(order) not in chosen[:i]]
            distances = [sum(a != b for before in chosen[:i] for a, b in zip(order, before, strict=True)) for order in left]
            assert chosen[i] == list(left[distances.index(max(distances))])


@pytest.mark.parametrize("all_turns", [False, True])
def test_turns_are_those_of_their_classes(all_turns):
    for rank, count in ((1, 2), (2, 4), (3, 10)):
        found = task("rotation", rank, all_turns=all_turns)
        dense = samples(rank, 30)
        shown, classes = found.exercise(dense, range(30), 0)
        assert sorted(set(classes.tolist())) == list(range(count))
        side = min(SIZES[rank])
        for a, size in enumerate(SIZES[rank]):
            dense = dense.narrow(a + 2, (size - side) // 2, side)
        copies = count if all_turns else 1
        assert len(shown) == 30 * copies
        for i, turn in enumerate(classes.tolist()):
            sample = dense[i // copies]
            if rank == 1:
                expected = sample.flip(1) if turn else sample
            elif rank == 2:
                expected = torch.rot90(sample, turn, (1, 2))
            else:
                plane = [axis for axis in (1, 2, 3) if axis != 1 + (turn - 1) // 3] if turn else [1, 2]
                expected = torch.rot90(sample, (turn - 1) % 3 + 1 if turn else 0, plane)
            assert torch.equal(shown[i], expected)


def test_ten_turns_of_a_volume_differ():
    cube = torch.arange(27.0).view(1, 1, 3, 3, 3)
    shown, _ = task("rotation", 3, channels=1, all_turns=True).exercise(cube, [0], 0)
    assert len({tuple(one.flatten().tolist()) for one in shown}) == 10


@pytest.mark.parametrize("p_outer", [0.0, 1.0])
@pytest.mark.parametrize("fill", ["zeros", "mean", "noise"])
def test_hidden_cells_are_filled_and_the_others_stay(fill, p_outer):
    for rank in (1, 2, 3):
        found = task("inpainting", rank, fill=fill, p_outer=p_outer, boxes=1, size=(0.25, 0.5), outer_size=(0.25, 0.5))
        dense = 2 + samples(rank)
        shown, hidden = found.exercise(dense, range(4), 0)
        assert hidden.shape == (4, 1, *SIZES[rank])
        where = hidden.expand_as(dense)
        assert torch.equal(shown[~where], dense[~where])
        for b in range(4):
            box = (~hidden[b, 0] if p_outer else hidden[b, 0]).nonzero()
            sides = (box.amax(0) - box.amin(0) + 1).tolist()
            assert len(box) == math.prod(sides)
            assert all(math.floor(0.25 * size) <= side <= math.ceil(0.5 * size) for side, size in zip(sides, SIZES[rank], strict=True))
            for c in range(2):
                values = shown[b, c][hidden[b, 0]]
                if fill == "zeros":
                    assert not values.any()
                elif fill == "mean":
                    torch.testing.assert_close(values, dense[b, c].mean().expand_as(values))
                else:
                    assert len(values.unique()) == len(values)
                    assert abs(float(values.mean()) - 2) < 5 * 1.2 / math.sqrt(len(values)) + 0.5


def test_noise_of_a_denoising_autoencoder_is_normal():
    found = task("autoencoder", 3, noise=0.5)
    dense = samples(3)
    shown, answer = found.exercise(dense, range(4), 0)
    assert answer is None
    noise = (shown - dense).flatten() / 0.5
    assert abs(float(noise.mean())) < 5 / math.sqrt(len(noise))
    assert abs(float(noise.std()) - 1) < 5 / math.sqrt(2 * len(noise))
    assert torch.equal(task("autoencoder", 3, noise=0.0).exercise(dense, range(4), 0)[0], dense)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_an_exact_number_of_cells_is_masked(rank):
    found = task("simmim", rank, mask_cell=5, ratio=0.6)
    with torch.no_grad():
        found.mask_value.copy_(torch.tensor([7.0, 8.0]))
    dense = samples(rank)
    shown, hidden = found.exercise(dense, range(4), 0)
    count = math.prod(-(-size // 5) for size in SIZES[rank])
    coarse = hidden[(slice(None), 0, *(slice(None, None, 5) for _ in range(rank)))].flatten(1)
    assert coarse.sum(1).tolist() == [count - int(count * 0.4)] * 4
    grown = coarse.view(4, 1, *(-(-size // 5) for size in SIZES[rank]))
    for a, size in enumerate(SIZES[rank]):
        grown = grown.repeat_interleave(5, a + 2).narrow(a + 2, 0, size)
    assert torch.equal(grown, hidden)
    expected = torch.where(hidden, torch.tensor([7.0, 8.0], dtype=torch.float64).view(1, 2, *[1] * rank), dense)
    assert torch.equal(shown, expected)


def test_the_answers_of_voco_are_shares_of_cells():
    for rank, sizes in ((1, (13,)), (2, (12, 9)), (3, (6, 8, 7))):
        found = task("voco", rank, channels=1, grid=2, crops=5)
        dense = torch.arange(float(math.prod(sizes)), dtype=torch.float64).view(1, 1, *sizes)
        shown, answer = found.exercise(dense, [3], 1)
        bases = 2**rank
        assert shown.shape == (bases + 5, 1, *(size // 2 for size in sizes))
        seen = [set(crop.flatten().tolist()) for crop in shown]
        expected = [[len(seen[bases + i] & seen[k]) / len(seen[0]) for k in range(bases)] for i in range(5)]
        torch.testing.assert_close(answer, torch.tensor([expected], dtype=torch.float64))
        assert not set.intersection(*seen[:bases])


def test_hidden_sequences_are_empty_and_equally_often_each():
    found = task("cross_sequence", 3, channels=3, hidden=2)
    dense = samples(3, 60, 3, sizes=(4, 4, 4))
    shown, hidden = found.exercise(dense, range(60), 0)
    assert hidden.shape == (60, 3, 1, 1, 1)
    assert hidden.flatten(1).sum(1).tolist() == [2] * 60
    assert torch.equal(shown, dense.masked_fill(hidden, 0))
    assert all(25 < int(n) < 55 for n in hidden.flatten(1).sum(0))  # 40 on average, six standard deviations of 3.7 at most


def test_bytes_are_restored_as_the_encoder_sees_them():
    encoder = sm.nn.DenseNet("resnet10", in_chans=3, pixel_mean=(0.5, 0.4, 0.3), pixel_std=(0.2, 0.3, 0.4))
    found = methods.Autoencoder().objective(encoder, seed=0)
    pixels = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    shown, _ = found.exercise(pixels, [0, 1])
    mean, std = (torch.tensor(numbers).view(1, 3, 1, 1) for numbers in ((0.5, 0.4, 0.3), (0.2, 0.3, 0.4)))
    torch.testing.assert_close(shown, (pixels / 255 - mean) / std)


def test_tiles_of_a_vision_transformer_are_whole_patches():
    found = methods.Jigsaw(grid=2, permutations=10).objective(sm.Encoder("vit_tiny", RampPreprocessing(), depth=1, dim=24, heads=2), seed=0)
    assert found.exercise(torch.zeros(1, 1, 12, 12, 12), [0])[0].shape == (8, 1, 4, 4, 4)
    with pytest.raises(ValueError, match=r"too few for grid=2 tiles with gap=0\.15 of an encoder that needs multiples of 4"):
        found.exercise(torch.zeros(1, 1, 8, 8, 8), [0])


@dataclass(frozen=True)
class Thick(RampPreprocessing):
    """Patches of unequal sides."""

    def _patch(self):
        return [2, 4, 4]


def test_what_is_turned_is_whole_patches_along_every_axis():
    found = methods.Rotation().objective(sm.Encoder("vit_tiny", Thick(), depth=1, dim=24, heads=2), seed=0)
    dense = torch.randn(2, 1, 6, 12, 12)
    assert found.exercise(dense, [0, 1])[0].shape == (2, 1, 4, 4, 4)
    assert found(dense, [0, 1])[0].isfinite()


@pytest.mark.parametrize("name", ["jigsaw", "rotation", "voco"])
def test_encoders_by_name_know_their_axes(name):
    found = methods.get(name)(**SMALL[name]).objective(sm.DenseEncoder("resnet10", DENSE), seed=0)
    assert found(torch.randn(2, 1, 12, 12, 12), [0, 1])[0].isfinite()


@pytest.mark.parametrize("name", [name for name in SMALL if name != "spark"])
def test_patches_of_signals_are_no_dense_view(name):
    found = methods.get(name)(**(SMALL[name] | ({"grid": 4} if name == "jigsaw" else {}))).objective(sm.Encoder("vit_tiny", EEG, depth=1), seed=0)
    batch = next(iter(sm.Loader(cohort(4), EEG, batch_size=4)))
    with pytest.raises(ValueError, match=f"{name}: needs dense views, got patches of 1 axes on a grid of 2"):
        found.loss(batch)


def test_the_loss_is_in_full_precision_under_autocast():
    found = task("simmim", 2).float()
    with torch.autocast("cpu", torch.bfloat16):
        loss, parts = found(samples(2).float(), range(4))
    assert loss.dtype == parts["visible"].dtype == torch.float32


def test_equal_crops_have_an_overlap_loss_in_half_precision():
    for seed in range(20):
        found = task("voco", 2, seed=seed, out_dim=100).float()
        with torch.no_grad():
            weights = dict(found.named_parameters())
            weights["encoder.stages.1.norm.weight"].zero_()  # all crops have the same features
            weights["encoder.stages.1.norm.bias"].fill_(1.0)
        with torch.autocast("cpu", torch.bfloat16):
            loss, _ = found(samples(2).float(), range(4))
        assert loss.isfinite()


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("jigsaw", {"grid": 2.5}, "jigsaw: grid=2.5 must be a whole number, or one for each axis"),
        ("voco", {"grid": None}, "voco: grid=None must be a whole number, or one for each axis"),
        ("voco", {"hidden": -1}, "voco: hidden=-1 must be a whole number of at least 1"),
        ("simmim", {"mask_cell": "4"}, "simmim: mask_cell='4' must be a whole number, or one for each axis"),
        ("inpainting", {"size": 0.3}, "inpainting: size=0.3 must be a lower and an upper bound"),
        ("inpainting", {"outer_size": (0.3,)}, r"inpainting: outer_size=\(0.3,\) must be a lower and an upper bound"),
    ],
)
def test_options_of_the_wrong_kind_are_named(name, options, message):
    with pytest.raises(ValueError, match=message):
        task(name, 2, **options)


def test_inputs_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="jigsaw: axis 0 of the views has 2 cells, too few for grid=3 tiles"):
        task("jigsaw", 2, grid=3).exercise(samples(2, sizes=(2, 9)), range(4))
    with pytest.raises(ValueError, match="rotation: the views have 1 axes, expected 2"):
        task("rotation", 2).exercise(samples(1), range(4))
    with pytest.raises(ValueError, match=r"autoencoder: expected views \[B, 2, 2 spatial axes\]"):
        task("autoencoder", 2)(samples(2, channels=3), range(4))
    with pytest.raises(ValueError, match="cross_sequence: needs samples of at least 2 channels, the encoder takes 1"):
        task("cross_sequence", 2, channels=1)
    with pytest.raises(ValueError, match="simmim: norm_target=True needs views that cells of 5 divide, axis 0 has 24 cells"):
        task("simmim", 2, mask_cell=5, norm_target=True)(samples(2), range(4))
    with pytest.raises(ValueError, match=r"simmim: ratio=0.6 leaves 0 of 1 cells visible in views of \[24, 20\]; views must be larger"):
        task("simmim", 2, mask_cell=24)(samples(2), range(4))
    with pytest.raises(ValueError, match="sample_ids has 2 numbers, expected 4"):
        task("voco", 2).exercise(samples(2), range(2))


def test_samples_are_not_turned_before_their_turn_is_asked_for():
    slides = sm.SlidePreprocessing(size=32, patch=None)
    assert slides.augmentation.p_turn > 0
    found = methods.Rotation().objective(sm.DenseEncoder("resnet10", slides), seed=0)
    assert found.options.augmentation == replace(slides.augmentation, p_turn=0.0)
    with pytest.raises(ValueError, match=r"rotation: augmentation has p_turn=0.75, after which no turn can be told"):
        methods.Rotation(augmentation=slides.augmentation).objective(sm.DenseEncoder("resnet10", slides), seed=0)
    volumes, flips = sm.VolumePreprocessing(spacing=4.0, patch=None, size=32), sm.VolumeAugmentation(p_flip=(0.5, 0.5, 0.0))
    with pytest.raises(ValueError, match="flips of two axes are half a turn"):
        methods.Rotation(augmentation=flips).objective(sm.DenseEncoder("resnet10", volumes), seed=0)
