"""Reconstruction errors are those of hidden patches, at the places where they lie."""

import numpy as np
import pandas as pd
import pytest
import torch
from noise_images import images

import sslmed as sm
from sslmed.anomaly import Reconstruction, load_objective
from sslmed.anomaly.reconstruction import _cut, _pasted, partitions
from sslmed.anomaly.scans import scans_of


def test_masks_hide_every_token(rng):
    for n, ratio, passes in ((10, 0.75, 1), (37, 0.4, 3), (2, 0.9, 2), (64, 0.5, 1)):
        masks = partitions(n, ratio, passes, rng)
        times = np.bincount(torch.cat(masks), minlength=n)
        assert times.min() >= passes
        assert times.max() <= 2 * passes
        assert all(len(set(mask.tolist())) == len(mask) == min(max(1, round(ratio * n)), n - 1) for mask in masks)


def test_patches_are_put_back_where_they_were_cut(rng):
    values = torch.from_numpy(rng.normal(size=(3, 8, 12)))
    assert torch.equal(_pasted(_cut(values, [4, 2]), values.shape, [4, 2]), values)


def scan(cohort, method, row=0):
    return scans_of(cohort, None, method.objective.preprocessing, patches=False)[row]


def test_masked_error_of_images_equals_the_plain_way(tmp_path, rng):
    how = sm.ImagePreprocessing(size=40, patch=8)
    encoder = sm.Encoder("vit_tiny", how, depth=1, dim=48, heads=3)
    objective = sm.methods.Mae(norm_target=False).objective(encoder, 0)
    method = Reconstruction(objective, encoder, ratio=0.5, passes=1, smooth=0.0, top=1.0)
    one = scan(images(tmp_path, rng), method)
    found = method.detect({}, one, 5)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (how.mean, how.std))
    target = (one.maps.read(0) / 255 - mean) / std
    total, count = torch.zeros(40, 48), torch.zeros(40, 48)
    for left in (0, 8):  # two windows of 40 x 40 cover 40 x 48
        picture = one.maps.read(0)[None, :, :, left : left + 40]
        for masked in partitions(25, 0.5, 1, np.random.Generator(np.random.Philox(key=[5, 4]))):
            visible = torch.tensor([i for i in range(25) if i not in masked.tolist()])
            with torch.no_grad():
                _, restored, _ = objective(picture, visible[None], masked[None])
            for patch, number in zip(restored, masked.tolist(), strict=True):
                top, side = number // 5 * 8, left + number % 5 * 8
                box = (slice(top, top + 8), slice(side, side + 8))
                total[box] += (patch.reshape(8, 8, 3).permute(2, 0, 1) - target[:, box[0], box[1]]).square().mean(0)
                count[box] += 1
    # The 26th place of the last mask takes a patch again: its errors are averaged within a window first.
    expected = total / count
    assert torch.allclose(found.cells[:, :8], expected[:, :8], atol=1e-5)
    assert found.cells.shape == (40, 48)
    assert found.score == pytest.approx(float(found.cells.mean()), rel=1e-4)


def test_masked_error_equals_the_loss_on_standardized_patches(tmp_path, rng):
    """Of one mask the mean error of the hidden patches is the loss that was trained."""
    encoder = sm.Encoder("vit_tiny", sm.ImagePreprocessing(size=32, patch=8), depth=1, dim=48, heads=3)
    objective = sm.methods.Mae().objective(encoder, 0)
    method = Reconstruction(objective, encoder, ratio=0.5, passes=1, smooth=0.0)
    one = scan(images(tmp_path, rng, [(32, 32)]), method)
    cells = method.detect({}, one, 0).cells
    losses = []
    for masked in partitions(16, 0.5, 1, np.random.Generator(np.random.Philox(key=[0, 4]))):
        visible = torch.tensor([i for i in range(16) if i not in masked.tolist()])
        with torch.no_grad():
            losses.append(float(objective(one.maps.read(0)[None], visible[None], masked[None])[0]))
    assert float(cells.mean()) == pytest.approx(np.mean(losses), rel=1e-4)


def test_masked_error_of_volumes_lies_in_the_right_place(healthy):
    """A decoder that restores 0 leaves the square of the volume itself."""
    encoder = sm.Encoder("vit_tiny", sm.VolumePreprocessing(spacing=4.0, patch=4), depth=1, dim=48, heads=3)
    objective = sm.methods.Mae(norm_target=False).objective(encoder, 0)
    with torch.no_grad():
        for name, value in objective.named_parameters():
            if ".pred." in name:
                value.zero_()
    method = Reconstruction(objective, encoder, smooth=0.0)
    for row in (0, 3):
        one = scan(healthy, method, row)
        found = method.detect({}, one, 0)
        expected = torch.where(one.inside(), one.array()[0].square(), 0)
        same = ((found.cells - expected).abs() < 1e-4)[one.inside()]
        assert same.float().mean() > 0.98  # the rest: patches without anatomy


def test_error_of_an_autoencoder(healthy):
    how = sm.VolumePreprocessing(spacing=4.0, patch=None, size=32)
    encoder = sm.DenseEncoder("resnet10", how)
    objective = sm.methods.Autoencoder().objective(encoder, 0).eval()
    method = Reconstruction(objective, encoder, distance="l1", smooth=0.0)
    one = scan(healthy, method)
    spare = [n for side in reversed(one.array().shape[1:]) for n in (0, -side % 32)]
    dense = torch.nn.functional.pad(one.array()[None], spare, mode="replicate")
    with torch.no_grad():
        error = (objective.reconstruct(dense) - dense).abs()[0, 0][tuple(slice(side) for side in one.inside().shape)]
    assert torch.allclose(method.detect({}, one, 0).cells[one.inside()], error[one.inside()], atol=1e-5)


def test_recordings_have_errors_of_tokens():
    x = np.random.default_rng(0).normal(size=(2, 3, 800))
    cohort = sm.Cohort.from_arrays(x, 100.0, ["Cz", "Pz", "Oz"], pd.DataFrame({"subject": ["a", "b"]}))
    encoder = sm.Encoder("vit_tiny", depth=1)
    method = Reconstruction(sm.methods.Mae().objective(encoder, 0), encoder)
    found = method.detect({}, scan(cohort, method), 0)
    assert found.cells is None
    assert len(found.patches) == 2 * 3 * 4  # windows, channels, seconds
    assert found.score >= float(found.patches.mean())


def test_a_run_gives_its_objective(healthy, tmp_path):
    encoder = sm.Encoder("vit_tiny", sm.VolumePreprocessing(spacing=4.0, patch=8), depth=1, dim=48, heads=3)
    run = sm.pretrain(
        healthy.subset(range(8)), "mae", encoder, tmp_path / "run", epochs=1, batch_size=4, progress=False,
        tensorboard=False, norm_target=False,
    )  # fmt: skip
    by_run, by_folder = Reconstruction.of(run), Reconstruction.of(tmp_path / "run")
    assert by_run.objective.options.norm_target is False
    one = scan(healthy, by_run, 20)
    assert by_run.detect({}, one, 0).score == by_folder.detect({}, one, 0).score
    trained = run.encoder.state_dict()
    for name, value in load_objective(run).state_dict().items():
        if name.startswith("encoder."):
            assert torch.equal(value, trained[name.removeprefix("encoder.")])
    with pytest.raises(sm.FormatError, match="found none"):
        load_objective(tmp_path)


def test_other_objectives_are_refused(encoder):
    with pytest.raises(TypeError, match="objective must be one of"):
        Reconstruction(object(), encoder)
    eeg = sm.Encoder("vit_tiny", depth=1)
    with pytest.raises(ValueError, match="spectrum"):
        Reconstruction(sm.methods.Mae(reconstruct="spectrum").objective(eeg, 0), eeg)
    objective = sm.methods.Mae().objective(eeg, 0)
    for options, message in (
        ({"ratio": 0.0}, "ratio=0.0"),
        ({"passes": 0}, "passes=0"),
        ({"distance": "cos"}, "distance='cos'"),
    ):
        with pytest.raises(ValueError, match=message):
            Reconstruction(objective, eeg, **options)
