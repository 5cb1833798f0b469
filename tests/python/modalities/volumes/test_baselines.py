import doctest

import numpy as np
import pandas as pd
import pytest
from scipy.ndimage import gaussian_filter, map_coordinates
from sklearn.mixture import GaussianMixture

import sslmed as sm
from sslmed.modalities.volumes import baselines
from sslmed.modalities.volumes.baselines import QUANTILES, Scan, histogram, mixture, regions, smoothed, volume


def head(rng, shape=(24, 30, 22), spacing=(3.0, 3.0, 3.0), size=1.0, labeled=False):
    """An ellipsoid of three shells, z-scored."""
    axes = [np.linspace(-1, 1, n) for n in shape]
    r = np.sqrt(sum(grid**2 for grid in np.meshgrid(*axes, indexing="ij"))) / size
    mask = r < 0.85
    tissue = np.digitize(r, [0.25, 0.6])  # fluid inside, white matter, gray matter
    values = np.array([-2.0, 1.0, 0.0])[tissue] + 0.15 * rng.normal(size=shape)
    z = np.where(mask, (values - values[mask].mean()) / values[mask].std(), 0).astype(np.float32)
    return Scan(z, mask, spacing, np.where(mask, tissue + 1, 0) if labeled else None)


def test_volume_and_histogram(rng):
    scans = [head(rng, spacing=(2.0, 1.0, 0.5)), head(rng, size=0.8)]
    expected = [scans[0].mask.sum() / 1000, scans[1].mask.sum() * 27 / 1000]
    np.testing.assert_allclose(volume(scans)[:, 0], expected)
    found = histogram(scans)
    assert found.shape == (2, len(QUANTILES) + 1)
    np.testing.assert_allclose(found[:, -1], expected)
    for scan, row in zip(scans, found, strict=True):
        below = [(scan.values[scan.mask] <= value).mean() for value in row[:-1]]
        np.testing.assert_allclose(below, QUANTILES, atol=2 / scan.mask.sum())


def test_regions_of_labels(rng):
    scans = [head(rng, labeled=True), head(rng, labeled=True, size=0.9)]
    found = regions(scans)
    for scan, row in zip(scans, found, strict=True):
        counts = np.bincount(scan.labels.ravel(), minlength=4)[1:]
        np.testing.assert_allclose(row, np.concatenate([counts * 0.027, counts / scan.mask.sum()]))
    np.testing.assert_array_equal(regions(scans[:1], labels=[2, 9])[0, :2], [found[0, 1], 0])
    empty = scans[0]._replace(labels=np.zeros_like(scans[0].labels))
    with pytest.raises(ValueError, match="regions: labels: there is no region"):
        regions([empty])


def test_regions_without_labels_are_a_mixture(rng):
    scan = head(rng, labeled=True)
    truth = [np.count_nonzero(scan.labels == label) for label in (1, 3, 2)]  # from dark to bright
    np.testing.assert_allclose(mixture(scan), truth, rtol=0.03)
    # Where one scan lacks labels, all rows are of the mixture.
    found = regions([scan, head(rng)])
    np.testing.assert_allclose(found[0], np.concatenate([mixture(scan) * 0.027, mixture(scan) / scan.mask.sum()]))
    np.testing.assert_allclose(found[:, 3:].sum(axis=1), 1)


def test_the_mixture_is_the_one_of_scikit_learn(rng):
    x = np.concatenate([rng.normal(-2, 0.5, 3000), rng.normal(0, 0.4, 6000), rng.normal(1.5, 0.3, 5000)])
    reference = GaussianMixture(3, means_init=[[-2], [0], [1.5]]).fit(x[:, None])
    found = mixture(Scan(x.reshape(-1, 10, 10), np.ones((140, 10, 10), bool), (1.0, 1.0, 1.0)))
    np.testing.assert_allclose(found / len(x), reference.weights_[np.argsort(reference.means_[:, 0])], atol=0.01)


def test_a_mixture_of_one_intensity():
    assert mixture(Scan(np.ones((4, 4, 4)), np.ones((4, 4, 4), bool), (1.0, 1.0, 1.0))).tolist() == [0, 64, 0]


def test_smoothed_volumes_are_samples_of_the_filtered_box(rng):
    scan = head(rng, spacing=(3.0, 2.0, 3.0))
    found = smoothed([scan], side=8, fwhm=6.0)
    filled = np.where(scan.mask, scan.values, -2.5).astype(np.float32)
    sigma = [6.0 / np.sqrt(8 * np.log(2)) / size for size in scan.spacing]
    blurred = gaussian_filter(filled, sigma, mode="constant", cval=-2.5)
    inside = np.argwhere(scan.mask)
    first, last = inside.min(axis=0), inside.max(axis=0) + 1
    at = [first[a] + (np.arange(8) + 0.5) * (last - first)[a] / 8 - 0.5 for a in range(3)]
    grid = np.stack(np.meshgrid(*at, indexing="ij"))
    expected = map_coordinates(blurred, grid, order=1)
    weight = map_coordinates(scan.mask.astype(float), grid, order=1)
    np.testing.assert_allclose(found.reshape(8, 8, 8), np.where(weight > 0.5, expected, -2.5), atol=1e-4)
    assert 0.3 < (weight > 0.5).mean() < 0.9


def test_the_edge_of_one_brain_does_not_outweigh_all_others(rng):
    # One person has a mask where nobody else has: columns that hardly vary among the others must not vary at all.
    scans = [head(rng) for _ in range(11)]
    wide = np.ones_like(scans[0].mask)
    features = smoothed([*scans, Scan(rng.normal(size=wide.shape).astype(np.float32), wide, (3.0, 3.0, 3.0))])
    spread = features[:-1].std(axis=0)
    assert ((spread == 0) | (spread > 1e-3)).all()
    table = pd.DataFrame({"subject": np.arange(12), "age": rng.uniform(20, 80, 12)})
    scores = sm.evaluate(features, table, "age", repeats=2, permutations=0).table.set_index(["row", "metric"])["value"]
    assert scores["features", "mae"] < 3 * scores["dummy", "mae"]


def test_cubes_one_voxel_thin(rng):
    thin = Scan(rng.normal(size=(5, 5, 1)).astype(np.float32), np.ones((5, 5, 1), bool), (1.0, 1.0, 5.0))
    assert smoothed([thin], side=3, fwhm=0.0).shape == (1, 27)
    assert np.isfinite(smoothed([thin], side=3, fwhm=4.0)).all()


def test_sizes_are_predicted_across_people(rng):
    sizes = rng.uniform(0.7, 1.0, 40)
    scans = [head(rng, size=size) for size in sizes]
    table = pd.DataFrame({"subject": np.arange(40), "size": sizes})
    for name, features in baselines.FEATURES.items():
        if name != "smoothed":  # the box takes the size away
            scores = sm.evaluate(features(scans), table, "size", repeats=1, permutations=0).table
            assert scores.set_index(["row", "metric"]).loc[("features", "r2"), "value"] > 0.9, name


def test_what_is_refused(rng):
    scan = head(rng)
    for name, features in baselines.FEATURES.items():
        with pytest.raises(ValueError, match=rf"{name}: scans=\[\] must hold at least one"):
            features([])
        with pytest.raises(ValueError, match=rf"{name}: scans\[1\].mask is empty"):
            features([scan, scan._replace(mask=np.zeros_like(scan.mask))])
        with pytest.raises(ValueError, match=rf"{name}: scans\[0\].mask is \[2, 2\], expected \[24, 30, 22\]"):
            features([scan._replace(mask=np.ones((2, 2), bool))])
        with pytest.raises(ValueError, match=rf"{name}: scans\[0\].labels is \[3\]"):
            features([scan._replace(labels=np.ones(3))])
        with pytest.raises(ValueError, match=rf"{name}: scans\[0\].values is \[2, 2\], expected \[X, Y, Z\]"):
            features([Scan(np.ones((2, 2)), np.ones((2, 2), bool), (1.0, 1.0, 1.0))])
    with pytest.raises(ValueError, match="smoothed: side=1 must be a whole number of at least 2"):
        smoothed([scan], side=1)
    with pytest.raises(ValueError, match="smoothed: fwhm=-1 must be a number at least 0"):
        smoothed([scan], fwhm=-1)


def test_examples_run():
    assert doctest.testmod(baselines).failed == 0
