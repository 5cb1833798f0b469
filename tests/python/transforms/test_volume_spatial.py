"""Spatial transforms of volumes: inverses, composition, errors, and TorchIO and SciPy as references."""

import re

import numpy as np
import pytest
import torch

import sslmed as sm
from sslmed import volume

SHAPE, SPACING = (30, 34, 26), (1.2, 1.0, 1.7)
IDENTITY = (1.0, 1.0, 1.0)


def blobs(rng, shape=SHAPE):
    """A smooth volume with a background of zero."""
    ndimage = pytest.importorskip("scipy.ndimage")
    values = ndimage.gaussian_filter(rng.normal(size=shape), 2)
    return torch.from_numpy((values / values.std()).astype(np.float32))


def balls(shape):
    """Four balls, labels 1 to 4."""
    grid = np.stack(np.meshgrid(*(np.arange(n) + 0.5 for n in shape), indexing="ij"), -1)
    out = np.zeros(shape, np.int32)
    for i in range(4):
        center = np.array(shape) * (0.38 + 0.24 * (i & 1), 0.38 + 0.12 * (i & 2), 0.5)
        out[((grid - center) ** 2).sum(-1) < (0.16 * min(shape)) ** 2] = i + 1
    return torch.from_numpy(out)


def dice(a, b, label):
    a, b = a == label, b == label
    return 2 * (a & b).sum().item() / (a.sum() + b.sum()).item()


def options(**changes):
    given = {"p_flip": (0.5, 0.5, 0.5), "p_affine": 1.0, "p_elastic": 1.0, "p_anisotropy": 0.0, "translation": 3.0}
    return volume.SpatialOptions(**(given | changes))


# ---- references ----


def subject(values, spacing=SPACING, label=False):
    tio = pytest.importorskip("torchio")
    image = (tio.LabelMap if label else tio.ScalarImage)(tensor=values[None], affine=np.diag([*spacing, 1.0]))
    return tio.Subject(image=image)


def middles(shape):
    """[X, Y, Z, 3] middles of cells."""
    return torch.stack(torch.meshgrid(*(torch.arange(n, dtype=torch.float64) + 0.5 for n in shape), indexing="ij"), -1)


def off_edges(transform):
    """Cells of the result whose place is not on an edge between two cells, where rounding decides which is nearest."""
    places = transform.inverse.points(middles(transform.result_shape).reshape(-1, 3))
    return ((places - places.round()).abs() > 1e-4).all(1).reshape(transform.result_shape)


def torchio_of(transform, values, **how):
    return transform(subject(values, **how)).image.data[0]


def close_inside(got, want, *, share=0.002, atol=2e-4):
    """Equal but for cells whose place is a rounding error from the volume's edge."""
    apart = (got - want).abs() > atol
    assert apart.float().mean() <= share, apart.float().mean()


@pytest.mark.oracle
def test_affine_is_torchios(rng):
    tio = pytest.importorskip("torchio")
    values = blobs(rng)
    for _ in range(8):
        how = {
            "scales": tuple(rng.uniform(0.8, 1.2, 3)),
            "degrees": tuple(rng.uniform(-40, 40, 3)),
            "translation": tuple(rng.uniform(-5, 5, 3)),
        }
        ours = volume.affine(SHAPE, SPACING, **how)
        close_inside(ours(values), torchio_of(tio.Affine(**how), values))
        labels = balls(SHAPE)
        want, sure = torchio_of(tio.Affine(**how), labels, label=True), off_edges(ours)
        assert torch.equal(ours(labels, "nearest")[sure], want[sure].int())
        assert sure.float().mean() > 0.95


@pytest.mark.oracle
def test_elastic_is_torchios(rng):
    tio = pytest.importorskip("torchio")
    values = blobs(rng)
    for points in [(7, 7, 7), (5, 6, 8), (4, 4, 4)]:
        mm = rng.uniform(-2, 2, (*points, 3)).astype(np.float32)
        # TorchIO's field is in LPS+: both first axes run the other way.
        theirs = (mm[::-1, ::-1] * np.array([-1, -1, 1])).copy()
        want = torchio_of(tio.ElasticDeformation(theirs, max_displacement=(2, 2, 2)), values)
        close_inside(volume.elastic(SHAPE, SPACING, mm)(values), want)


@pytest.mark.oracle
@pytest.mark.parametrize("axes", [(0,), (1,), (2,), (0, 2), (0, 1, 2)])
def test_flip_is_torchios(axes, rng):
    tio = pytest.importorskip("torchio")
    values = blobs(rng)
    assert torch.equal(volume.flip(SHAPE, SPACING, axes)(values), torchio_of(tio.Flip(axes), values))


@pytest.mark.oracle
def test_crop_or_pad_is_torchios(rng):
    tio = pytest.importorskip("torchio")
    values = blobs(rng)
    for _ in range(20):
        to = tuple(rng.integers(1, 50, 3).tolist())
        got = volume.crop_or_pad(SHAPE, SPACING, to, fill=0)(values)
        assert torch.equal(got, torchio_of(tio.CropOrPad(to), values))


@pytest.mark.oracle
def test_resample_is_torchios(rng):
    tio = pytest.importorskip("torchio")
    values = blobs(rng)
    for _ in range(10):
        to = tuple(rng.uniform(0.6, 3.5, 3).round(2).tolist())
        if np.any(np.abs(np.multiply(SHAPE, SPACING) / to % 1 - 0.5) > 0.4999):
            continue  # rounding costs TorchIO a cell
        ours = volume.resample(SHAPE, SPACING, to)
        want = torchio_of(tio.Resample(to), values)
        assert ours.result_shape == want.shape
        torch.testing.assert_close(ours(values), want, atol=1e-5, rtol=0)
        got = volume.resample_volume(values, SPACING, to, antialias=False)
        torch.testing.assert_close(got, want, atol=1e-5, rtol=0)
        labels = balls(SHAPE)
        want, sure = torchio_of(tio.Resample(to), labels, label=True), off_edges(ours)
        assert torch.equal(ours(labels, "nearest")[sure], want[sure])
        assert sure.float().mean() > 0.5


def test_an_axis_whose_spacing_stays_keeps_its_cells():
    """Rounded down without slack, 26 cells of 1.7 mm are 25 (TorchIO's count)."""
    assert volume.resample(SHAPE, SPACING, (2.4, 1.0, 1.7)).result_shape == (15, 34, 26)
    single = float(np.float32(0.9))  # as a header of 32 bits says it
    assert volume.resample((256, 256, 256), (single,) * 3, 0.9).result_shape == (256, 256, 256)


@pytest.mark.oracle
def test_lost_resolution_is_torchios_resampled_twice(rng):
    tio = pytest.importorskip("torchio")
    values = blobs(rng)
    for axis, factor in [(0, 1.7), (1, 3.3), (2, 4.0)]:
        coarse = [1.0, 1.0, 1.0]
        coarse[axis] = factor
        down = tio.Resample(tuple(coarse))(subject(values, spacing=IDENTITY))
        up = tio.Resample((SHAPE, np.eye(4)))(down).image.data[0]
        got = volume.lose_resolution(values, axis, factor)
        inner = [slice(None)] * 3
        inner[axis] = slice(4, -4)  # TorchIO fills the outermost cells with 0
        torch.testing.assert_close(got[tuple(inner)], up[tuple(inner)], atol=1e-5, rtol=0)


@pytest.mark.oracle
def test_composed_transforms_are_scipys_along_the_same_places(rng):
    ndimage = pytest.importorskip("scipy.ndimage")
    values = blobs(rng)
    bend = volume.elastic(SHAPE, SPACING, rng.uniform(-2, 2, (7, 7, 7, 3)))
    turn = volume.affine(SHAPE, SPACING, degrees=(5, -8, 12), scales=0.9)
    change = volume.crop_or_pad(SHAPE, SPACING, (24, 30, 28), fill=-5) @ bend @ turn
    places = change.inverse.points(middles(change.result_shape).reshape(-1, 3)).numpy()
    inside = ((places >= 0) & (places < SHAPE)).all(1)
    want = ndimage.map_coordinates(values.numpy(), places.T - 0.5, order=1, mode="nearest")
    close_inside(change(values).reshape(-1), torch.from_numpy(np.where(inside, want, -5)), atol=1e-4)
    labels = balls(SHAPE)
    one_hot = [(labels == c).double().numpy() for c in range(5)]
    votes = np.stack([ndimage.map_coordinates(c, places.T - 0.5, order=1, mode="nearest") for c in one_hot])
    voted = np.where(inside, votes.argmax(0), 0)  # -5 is the fill of float volumes
    sure = np.sort(votes, 0)[-1] - np.sort(votes, 0)[-2] > 1e-4
    got = change(labels, "label", fill=0).reshape(-1).numpy()
    assert (got != voted)[sure].mean() < 1e-3


@pytest.mark.oracle
def test_antialiased_shrinking_is_torchs_away_from_edges(rng):
    values = torch.from_numpy(rng.normal(size=(1, 1, 40, 36)).astype(np.float32))
    got = volume.resample_volume(values, IDENTITY, (1.0, 2.0, 3.0))
    want = torch.nn.functional.interpolate(values, size=(20, 12), mode="bilinear", antialias=True, align_corners=False)
    torch.testing.assert_close(got[..., 2:-2, 2:-2], want[..., 2:-2, 2:-2], atol=1e-5, rtol=0)


# ---- inverses and composition ----


def test_label_maps_come_back(rng):
    shape, spacing = (96, 90, 84), (1.1, 1.0, 1.2)
    labels = balls(shape)
    for index in range(4):
        change = volume.random_spatial(shape, spacing, options(), seed=3, index=index)
        there = change(labels, "label")
        back = change.inverse(there, "label")
        assert min(dice(labels, back, c) for c in range(1, 5)) >= 0.99, index
        assert min(dice(labels, there, c) for c in range(1, 5)) < 0.95


def test_points_go_forth_and_back(rng):
    change = volume.random_spatial(SHAPE, SPACING, options(max_displacement=2.0, window=(20, 40, 26)), seed=5)
    points = torch.from_numpy(rng.uniform(-10, 45, (500, 3)))
    moved = change.points(points)
    assert (change.inverse.points(moved) - points).abs().max() < 1e-3
    assert (moved - points).abs().max() > 2


def test_points_follow_values():
    """A bright cell is found where its middle goes."""
    values = torch.zeros(SHAPE)
    values[12:15, 16:19, 11:14] = 1
    change = volume.random_spatial(SHAPE, SPACING, options(max_displacement=2.0), seed=8)
    found = change(values, fill=0)
    center = (found[..., None] * middles(SHAPE)).sum((0, 1, 2)) / found.sum()
    assert (change.points(torch.tensor([[13.5, 17.5, 12.5]]))[0] - center).abs().max() < 0.3


def test_composition_is_one_interpolation(rng):
    values = blobs(rng)
    turn = volume.affine(SHAPE, SPACING, degrees=(0, 0, 30))
    back_and_forth = turn.inverse @ turn
    inner = (slice(8, -8),) * 3
    torch.testing.assert_close(back_and_forth(values)[inner], values[inner], atol=1e-4, rtol=0)
    assert (turn.inverse(turn(values))[inner] - values[inner]).abs().max() > 0.01  # two interpolations blur
    flip, crop = volume.flip(SHAPE, SPACING, 2), volume.window(SHAPE, SPACING, (3, -2, 5), (20, 20, 20), fill=7)
    assert torch.equal((crop @ flip)(values), crop(flip(values)))


def test_draws_are_reproducible(rng):
    values = blobs(rng)
    how, names = options(p_anisotropy=1.0), [(2, 3), (2, 3), (2, 4), (3, 3)]
    draws = [volume.random_spatial(SHAPE, SPACING, how, seed=1, epoch=epoch, index=index) for epoch, index in names]
    a, b, c, d = (draw(values) for draw in draws)
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    assert not torch.equal(a, d)
    assert draws[0].anisotropy is not None


def test_threads_do_not_change_a_bit(rng):
    values = torch.stack([blobs(rng), blobs(rng), blobs(rng)])
    change = volume.random_spatial(SHAPE, SPACING, options(max_displacement=2.0), seed=4)
    threads = torch.get_num_threads()
    results = []
    try:
        for n in (1, 2, 3):
            torch.set_num_threads(n)
            results.append((change(values), change.inverse(values)))
    finally:
        torch.set_num_threads(threads)
    for forth, back in results[1:]:
        assert torch.equal(forth, results[0][0])
        assert torch.equal(back, results[0][1])


def test_each_volume_of_a_batch_has_its_own_minimum(rng):
    values = torch.stack([blobs(rng), blobs(rng) + 5])[None]
    out = volume.crop_or_pad(SHAPE, SPACING, 40)(values)
    assert out.shape == (1, 2, 40, 40, 40)
    assert out[0, 0, 0, 0, 0] == values[0, 0].min()
    assert out[0, 1, 0, 0, 0] == values[0, 1].min()


def test_the_fill_is_of_float_volumes(rng):
    pad = volume.crop_or_pad(SHAPE, SPACING, 40, fill=-1000)
    assert pad(blobs(rng))[0, 0, 0] == -1000
    for dtype in (torch.uint8, torch.int32):
        labels = torch.full(SHAPE, 3, dtype=dtype)
        assert pad(labels, "label")[0, 0, 0] == 0
        assert pad(labels, "label", fill=7)[0, 0, 0] == 7


def test_anisotropy_is_of_linear_interpolation_alone_and_comes_last(rng):
    values = blobs(rng)
    how = options(p_affine=0.0, p_elastic=0.0, p_flip=(0.0, 0.0, 0.0), p_anisotropy=1.0)
    change = volume.random_spatial(SHAPE, SPACING, how, seed=1)
    axis, factor = change.anisotropy
    assert torch.equal(change(values), volume.lose_resolution(values, axis, factor))
    assert torch.equal(change(values, "nearest"), values)
    assert torch.equal(change.inverse(values), values)
    turn = volume.affine(SHAPE, SPACING, degrees=5)
    assert (change @ turn).anisotropy == (axis, factor)
    with pytest.raises(ValueError, match="must be lost at the end"):
        turn @ change


def test_arrays_of_numpy_in_any_order(rng):
    values = blobs(rng)
    turn = volume.affine(SHAPE, SPACING, degrees=20)
    assert torch.equal(turn(np.asfortranarray(values.numpy())), turn(values))
    assert torch.equal(turn(values.permute(2, 1, 0).contiguous().permute(2, 1, 0)), turn(values))
    assert turn(balls(SHAPE).to(torch.uint8), "label").dtype == torch.uint8


# ---- errors ----


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: volume.affine((3, 4), SPACING), "affine: shape=(3, 4) must be three numbers of cells"),
        (lambda: volume.affine((3, 0, 4), SPACING), "affine: shape=0 must be a whole number of at least 1"),
        (lambda: volume.affine(SHAPE, (1, 0, 1)), "volume: spacing[1]=0 mm must be positive"),
        (lambda: volume.affine(SHAPE, SPACING, scales=(1, 1)), "affine: scales=(1, 1) must be one number or three"),
        (lambda: volume.affine(SHAPE, SPACING, scales=0), "affine: scales[0]=0 must be positive"),
        (lambda: volume.affine(SHAPE, SPACING, degrees=float("nan")), "affine: degrees=nan must be a number"),
        (lambda: volume.affine(SHAPE, SPACING, fill="mean"), "fill='mean' must be one of 'minimum'"),
        (
            lambda: volume.elastic(SHAPE, SPACING, np.zeros((3, 7, 7, 3))),
            "elastic: control_points[0]=3 must be 4 to 1024",
        ),
        (lambda: volume.elastic(SHAPE, SPACING, np.zeros((7, 7, 7))), "must be [cx, cy, cz, 3]"),
        (lambda: volume.flip(SHAPE, SPACING, 3), "flip: axis=3 must be 0, 1 or 2"),
        (lambda: volume.crop_or_pad(SHAPE, SPACING, (3, 4, -1)), "crop_or_pad: to=-1 must be a whole number"),
        (lambda: volume.resample(SHAPE, SPACING, 100.0), "mm must be at most the volume's"),
        (
            lambda: volume.lose_resolution(torch.zeros(3, 3, 3), 0, 0.5),
            "anisotropy: factor=0.5 must be finite and at least 1",
        ),
        (
            lambda: volume.random_spatial(SHAPE, SPACING, volume.SpatialOptions(p_affine=2.0)),
            "p_affine=2 must be a probability",
        ),
        (lambda: volume.random_spatial(SHAPE, SPACING, seed=-1), "random_spatial: seed=-1 must be a whole number"),
        (lambda: volume.flip(SHAPE, SPACING, 0)(torch.zeros(3, 4, 5)), "must be the transform's [30, 34, 26]"),
        (lambda: volume.flip(SHAPE, SPACING, 0)(torch.zeros(4, 5)), "must be [..., X, Y, Z]"),
        (
            lambda: volume.flip(SHAPE, SPACING, 0)(torch.zeros(SHAPE, dtype=torch.uint8)),
            "interpolation='linear' needs float32 values",
        ),
        (
            lambda: volume.flip(SHAPE, SPACING, 0)(torch.zeros(SHAPE), "cubic"),
            "interpolation must be one of 'linear', 'nearest', 'label', got 'cubic'",
        ),
        (
            lambda: volume.flip(SHAPE, SPACING, 0)(torch.zeros(SHAPE, dtype=torch.uint8), "label", fill=-1),
            "fill=-1 must be a whole number that Byte holds",
        ),
        (lambda: volume.flip(SHAPE, SPACING, 0).points(torch.zeros(3)), "points: shape=[3] must be [N, 3]"),
        (
            lambda: volume.flip(SHAPE, SPACING, 0).points(torch.full((1, 3), torch.nan)),
            "points: coordinate=nan must be finite",
        ),
        (
            lambda: volume.flip((3, 4, 5), SPACING, 0) @ volume.flip(SHAPE, SPACING, 0),
            "shape[0]=3 must be the 30 cells",
        ),
        (lambda: volume.flip(SHAPE, IDENTITY, 0) @ volume.flip(SHAPE, SPACING, 0), "spacing[0]=1 mm must be the 1.2"),
    ],
)
def test_errors_name_the_parameter(call, text):
    with pytest.raises(ValueError, match=re.escape(text)):
        call()


def test_other_dtypes_and_options_are_refused():
    flip = volume.flip(SHAPE, SPACING, 0)
    for dtype in (torch.float64, torch.int64, torch.bool):
        with pytest.raises(TypeError, match="must be float32, int32 or uint8"):
            flip(torch.zeros(SHAPE, dtype=dtype), "nearest")
    with pytest.raises(TypeError, match="has no option 'p_flips'"):
        volume.SpatialOptions(p_flips=1)
    with pytest.raises(TypeError):
        flip @ 3


def test_a_displacement_that_folds_space_has_no_inverse(rng):
    folded = volume.elastic((16, 16, 16), IDENTITY, rng.uniform(-30, 30, (8, 8, 8, 3)))
    assert folded(torch.rand(16, 16, 16)).shape == (16, 16, 16)
    with pytest.raises(ValueError, match="folds space, so it has no inverse"):
        folded.inverse(torch.rand(16, 16, 16))


def test_it_prints_what_it_does():
    text = repr(sm.volume.crop_or_pad((3, 4, 5), IDENTITY, 2))
    assert text == "SpatialTransform((3, 4, 5) at (1.0, 1.0, 1.0) mm to (2, 2, 2) at (1.0, 1.0, 1.0) mm)"
