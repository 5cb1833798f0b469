"""Patches lie where their values come from, and maps are on the cells of a scan."""

import numpy as np
import pandas as pd
import pytest
import torch
from noise_images import images
from scipy.ndimage import gaussian_filter

import sslmed as sm
from sslmed.anomaly import Patches, paint, patch_features
from sslmed.anomaly.scans import smoothed
from sslmed.modalities import registry


class Echo(sm.Encoder):
    """Gives the values of each patch as its features."""

    def forward_views(self, views):
        values, lengths = views[0].values, views[0].lengths
        parts = [torch.cat([torch.zeros(self.prefix, values.shape[1]), part]) for part in torch.split(values, lengths)]
        return sm.nn.Features(torch.cat(parts), values, [len(part) for part in parts])


def test_tokens_of_volumes_lie_where_they_were_cut(healthy):
    cohort = healthy.subset([0, 5, 3])  # of different shapes, so that a batch has them in another order
    how = sm.VolumePreprocessing(spacing=4.0, patch=(4, 3, 4))
    maps = registry.get("volumes").label_maps(cohort, how)
    echo = Echo("vit_tiny", how, depth=1, dim=48, heads=3)
    for row, patches in enumerate(patch_features(echo, cohort, batch_size=3)):
        array = maps.read(row)[0]
        assert patches.shape == tuple(array.shape)
        assert patches.size == (4, 3, 4)
        for corner, features in zip(patches.corners.tolist(), patches.features, strict=True):
            low = [max(0, at) for at in corner]
            high = [min(side, at + step) for at, step, side in zip(corner, patches.size, array.shape, strict=True)]
            ours = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
            theirs = tuple(slice(a - at, b - at) for a, b, at in zip(low, high, corner, strict=True))
            assert torch.equal(features.reshape(4, 3, 4)[theirs], array[ours])
        apart = patches.places[:, :3] - patches.places[0, :3]
        assert torch.allclose(apart, (patches.corners - patches.corners[0]).double() * 4.0, atol=1e-3)
        assert patches.unit == pytest.approx(16.0)


def test_windows_of_recordings_come_in_order_and_have_places():
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"subject": ["a", "b"]})
    cohort = sm.Cohort.from_arrays(rng.normal(size=(2, 3, 1200)), 100.0, ["Cz", "Pz", "Oz"], table)
    encoder = sm.Encoder("vit_tiny", depth=1)
    found = patch_features(encoder, cohort, batch_size=5)
    tokens = sm.encode(encoder, cohort)[0]
    for row in range(2):
        assert sorted(set(found[row].sample.tolist())) == [0, 1, 2]
        assert found[row].corners is None
        places = {tuple(place) for place in found[row].places.tolist()}
        assert len(places) == 3  # an electrode a place, whatever the time
        for number in range(3):
            mean = found[row].features[found[row].sample == number].mean(0)
            assert torch.allclose(mean, tokens[3 * row + number], atol=1e-4)


def test_maps_of_a_pyramid_equal_the_plain_way(tmp_path, rng):
    cohort = images(tmp_path, rng, [(64, 64)])
    how = sm.ImagePreprocessing(size=64, patch=None)
    encoder = sm.DenseEncoder("resnet18", how)
    patches = patch_features(encoder, cohort)[0]
    picture = registry.get("images").label_maps(cohort, how).read(0)
    with torch.no_grad():
        pyramid = encoder.eval().features(picture[None]).pyramid
    pooled = [torch.nn.functional.avg_pool2d(pyramid[level], 3, 1, 1) for level in (1, 2)]
    expected = torch.cat([pooled[0], torch.nn.functional.interpolate(pooled[1], scale_factor=2, mode="bilinear")], 1)[0]
    assert torch.allclose(patches.features, expected.flatten(1).T, atol=1e-5)
    assert patches.size == (4, 4)
    assert patches.corners[17].tolist() == [4, 4]
    one = patch_features(encoder, cohort, levels=[3], neighborhood=1)[0]
    assert torch.allclose(one.features, pyramid[3][0].flatten(1).T, atol=1e-5)


def test_images_of_any_shape_are_taken_whole(tmp_path, rng):
    cohort = images(tmp_path, rng)
    for how, model in (
        (sm.ImagePreprocessing(size=40, patch=8), sm.Encoder),
        (sm.ImagePreprocessing(size=40, patch=None), sm.DenseEncoder),
    ):
        encoder = model("vit_tiny" if how.patch else "resnet18", how)
        for patches, shape in zip(patch_features(encoder, cohort), [(40, 48), (48, 40)], strict=True):
            assert patches.shape == shape
            assert paint(patches, torch.ones(len(patches)))[1].all()


def test_patches_without_anatomy_are_left_out(healthy):
    how = sm.VolumePreprocessing(spacing=4.0, patch=None, size=32)
    maps = registry.get("volumes").label_maps(healthy, how)
    patches = patch_features(sm.DenseEncoder("resnet10", how), healthy.subset([0]), levels=[1])[0]
    inside = maps.inside(0)
    share = [inside[tuple(slice(int(a), int(a) + 4) for a in corner)].float().mean() for corner in patches.corners]
    assert len(patches) < inside.numel() / 64
    assert min(share) > 0


def test_encoders_without_patches_are_refused(healthy, tmp_path, rng):
    class Own(sm.PythonEncoder):
        def encode_dense(self, values):
            return values.float().mean((2, 3))

    cohort = images(tmp_path, rng)
    how = sm.ImagePreprocessing(size=40, patch=None)
    with pytest.raises(TypeError, match="gives no features of patches"):
        patch_features(Own(3, how), cohort)
    with pytest.raises(ValueError, match="encoder is for 'images', the cohort for 'volumes'"):
        patch_features(sm.DenseEncoder("resnet18", how), healthy)
    with pytest.raises(ValueError, match="levels="):
        patch_features(sm.DenseEncoder("resnet18", how), cohort, levels=[9])
    with pytest.raises(ValueError, match="neighborhood=2"):
        patch_features(sm.DenseEncoder("resnet18", how), cohort, neighborhood=2)


def test_maps_of_other_libraries(tmp_path, rng):
    cohort = images(tmp_path, rng, [(64, 64)])
    net = torch.nn.Conv2d(3, 6, 8, stride=8)
    how = sm.ImagePreprocessing(size=64, patch=None)
    patches = patch_features(sm.FrozenEncoder(net, how), cohort, neighborhood=1)[0]
    assert patches.features.shape == (64, 6)
    with pytest.raises(TypeError, match="expected a map"):
        patch_features(sm.FrozenEncoder(net, how, features=lambda m, x: m(x).mean((2, 3))), cohort)


def test_paint_is_linear_between_middles_and_averages_what_is_twice_there(rng):
    corners = torch.cartesian_prod(torch.arange(0, 12, 4), torch.arange(0, 8, 4)) - 1
    patches = Patches(torch.zeros(6, 1), corners.double(), 1.0, torch.zeros(6), corners, (4, 4), (10, 7))
    scores = torch.rand(6)
    cells, covered = paint(patches, scores)
    whole = torch.nn.functional.interpolate(scores.reshape(1, 1, 3, 2), scale_factor=4, mode="bilinear")[0, 0]
    assert torch.allclose(cells, whole[1:11, 1:8], atol=1e-6)
    assert covered.all()
    twice = Patches(torch.zeros(12, 1), patches.places, 1.0, torch.zeros(12), corners.repeat(2, 1), (4, 4), (10, 7))
    assert torch.allclose(paint(twice, torch.cat([scores - 0.2, scores + 0.2]))[0], cells, atol=1e-6)


def test_patches_that_are_missing_take_no_part():
    corners = torch.tensor([[0, 0], [0, 4], [4, 4]])  # one of four is left out
    patches = Patches(torch.zeros(3, 1), corners.double(), 1.0, torch.zeros(3), corners, (4, 4), (8, 8))
    cells, covered = paint(patches, torch.full((3,), 2.0))
    assert not covered[4:, :4].any()
    assert (cells[4:, :4] == 0).all()
    assert torch.allclose(cells[covered], torch.tensor(2.0))


def test_smoothing_takes_nothing_from_outside(rng):
    values, inside = torch.rand(12, 12), torch.zeros(12, 12, dtype=torch.bool)
    inside[2:9, 3:11] = True
    found = smoothed(values, inside, 1.5)
    expected = gaussian_filter(np.where(inside, values, 0), 1.5) / np.maximum(
        gaussian_filter(inside.numpy().astype(np.float32), 1.5),
        1e-6,
    )
    assert np.allclose(found[inside], expected[inside], atol=1e-5)
    assert (found[~inside] == 0).all()
    assert torch.allclose(smoothed(torch.ones(12, 12), inside, 2.0)[inside], torch.tensor(1.0), atol=1e-5)
