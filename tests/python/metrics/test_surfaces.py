"""Surface distances against MONAI, DeepMind's surface-distance, medpy, and MetricsReloaded's formulas."""

import math
import types
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from masks import KINDS, pair
from scipy import ndimage

from sslmed import metrics
from sslmed._core import C

SHAPES = [(21, 34), (11, 14, 20)]
SPACINGS = {2: [1.0, (0.5, 0.5), (0.7, 2.3)], 3: [1.0, (3.0, 0.9, 0.9), (0.7, 1.4, 2.1)]}
CASES = [(shape, spacing, kind) for shape in SHAPES for spacing in SPACINGS[len(shape)] for kind in KINDS]
EMPTY = [(False, False), (True, False), (False, True)]


def sizes(spacing, shape):
    return [spacing] * len(shape) if np.ndim(spacing) == 0 else list(spacing)


def channel(mask):
    return torch.from_numpy(mask)[None, None].float()


@pytest.fixture
def monai():
    module = pytest.importorskip("monai.metrics")

    def compute(name, one, two, **kwargs):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return float(getattr(module, name)(channel(one), channel(two), include_background=True, **kwargs))

    return compute


@pytest.fixture
def deepmind(monkeypatch):
    """surface-distance 0.1 under today's NumPy and SciPy, which lost names that it uses."""
    monkeypatch.setattr(np, "Inf", np.inf, raising=False)
    monkeypatch.setattr(np, "NaN", np.nan, raising=False)
    old = types.SimpleNamespace(correlate=ndimage.correlate, distance_transform_edt=ndimage.distance_transform_edt)
    for name in ("filters", "morphology"):
        monkeypatch.setattr(ndimage, name, old, raising=False)
    return pytest.importorskip("surface_distance.metrics")


def cells_of(mask):
    return mask & ~ndimage.binary_erosion(mask)


def cell_distances(one, two, spacing):
    """MetricsReloaded's and medpy's: distances of the cells of either surface to the other one."""
    a, b = cells_of(one), cells_of(two)
    return (
        ndimage.distance_transform_edt(~b, sampling=spacing)[a],
        ndimage.distance_transform_edt(~a, sampling=spacing)[b],
    )


def near(ours, theirs, tolerance=1e-6):
    assert ours == pytest.approx(theirs, rel=tolerance, abs=tolerance, nan_ok=True)


@pytest.mark.parametrize(("shape", "spacing", "kind"), CASES)
def test_cells_equal_scipy(rng, shape, spacing, kind):
    one, two = pair(rng, shape, kind)
    there, back = cell_distances(one, two, sizes(spacing, shape))
    size = [1.0] * (3 - len(shape)) + sizes(spacing, shape)
    found = C.surface_distances(torch.from_numpy(one), torch.from_numpy(two), None, False, size, 2)
    near(found[0].numpy(), there, 1e-12)
    near(found[2].numpy(), back, 1e-12)


@pytest.mark.parametrize(("shape", "spacing", "kind"), CASES)
def test_equal_monai(rng, monai, shape, spacing, kind):
    one, two = pair(rng, shape, kind)
    size = sizes(spacing, shape)
    for percentile in (100, 95, 50.5):
        theirs = monai("compute_hausdorff_distance", one, two, spacing=size, percentile=percentile)
        # MONAI's place between two distances is in single precision.
        near(metrics.hausdorff(one, two, spacing, percentile=percentile), theirs, 1e-6 if percentile == 100 else 2e-4)
    for symmetric in (True, False):
        theirs = monai("compute_average_surface_distance", one, two, spacing=size, symmetric=symmetric)
        near(metrics.average_surface_distance(one, two, spacing, symmetric=symmetric), theirs, 1e-5)
    for tolerance in (0.7, 1.0, 1.4, 2.1):
        kwargs = {"spacing": size, "class_thresholds": [tolerance]}
        near(metrics.surface_dice(one, two, spacing, tolerance=tolerance), monai("compute_surface_dice", one, two, **kwargs))
        theirs = monai("compute_surface_dice", one, two, use_subvoxels=True, **kwargs)
        near(metrics.surface_dice(one, two, spacing, "monai_subvoxel", tolerance=tolerance), theirs, 1e-5)


@pytest.mark.parametrize(("shape", "spacing", "kind"), CASES)
def test_equal_deepmind(rng, deepmind, shape, spacing, kind):
    one, two = pair(rng, shape, kind)
    found = deepmind.compute_surface_distances(two, one, sizes(spacing, shape))
    for percentile in (100, 95, 50.5):
        near(metrics.hausdorff(one, two, spacing, "deepmind", percentile=percentile), deepmind.compute_robust_hausdorff(found, percentile))
    back, there = deepmind.compute_average_surface_distance(found)
    ours = metrics.average_surface_distance(one, two, spacing, "deepmind")
    near([ours, ours.prediction_to_reference, ours.reference_to_prediction], [(there + back) / 2, there, back])
    for tolerance in (0.7, 1.0, 2.1):
        theirs = deepmind.compute_surface_dice_at_tolerance(found, tolerance)
        for how in ("deepmind", "fomo26"):
            near(metrics.surface_dice(one, two, spacing, how, tolerance=tolerance), theirs)


@pytest.mark.parametrize(("shape", "spacing", "kind"), CASES)
def test_equal_medpy(rng, shape, spacing, kind):
    binary = pytest.importorskip("medpy.metric.binary")
    one, two = pair(rng, shape, kind)
    size = sizes(spacing, shape)
    near(metrics.hausdorff(one, two, spacing, "medpy"), binary.hd95(one, two, size), 1e-10)
    near(metrics.hausdorff(one, two, spacing, "medpy", percentile=100), binary.hd(one, two, size), 1e-10)
    near(metrics.average_surface_distance(one, two, spacing, "medpy"), binary.assd(one, two, size), 1e-10)


@pytest.mark.parametrize(("shape", "spacing", "kind"), CASES)
def test_equal_the_formulas_of_metrics_reloaded(rng, shape, spacing, kind):
    one, two = pair(rng, shape, kind)
    there, back = cell_distances(one, two, sizes(spacing, shape))
    how = "metricsreloaded"
    near(metrics.hausdorff(one, two, spacing, how), max(np.percentile(there, 95), np.percentile(back, 95)), 1e-10)
    near(metrics.hausdorff(one, two, spacing, how, percentile=100), max(there.max(), back.max()), 1e-10)
    ours = metrics.average_surface_distance(one, two, spacing, how)
    near(ours, (there.sum() + back.sum()) / (there.size + back.size), 1e-10)
    near((ours.prediction_to_reference + ours.reference_to_prediction) / 2, (there.mean() + back.mean()) / 2, 1e-10)
    within = (there <= 1).sum() + (back <= 1).sum()
    near(metrics.surface_dice(one, two, spacing, how), within / (there.size + back.size), 1e-10)


def test_areas_equal_those_of_deepmind(rng):
    tables = pytest.importorskip("surface_distance.lookup_tables")
    flat, deep = rng.uniform(0.3, 3, 2).tolist(), rng.uniform(0.3, 3, 3).tolist()
    near(C.surface_areas([1.0, *flat], 2).numpy(), tables.create_table_neighbour_code_to_contour_length(flat), 1e-12)
    near(C.surface_areas(deep, 3).numpy(), tables.create_table_neighbour_code_to_surface_area(deep), 1e-12)


def test_areas_of_a_box_and_a_ball():
    box = np.zeros((30, 30, 30), bool)
    box[3:27, 3:27, 3:27] = True
    areas = C.surface_distances(torch.from_numpy(box), torch.from_numpy(box), None, True, [1.0, 1.0, 2.0], 1)[1]
    assert areas.sum() == pytest.approx(2 * 24 * 24 + 4 * 24 * 48, rel=0.03)  # edges are cut
    grid = np.indices((64, 64, 64)) - 31.5
    ball = torch.from_numpy((grid**2).sum(0) <= 28**2)
    areas = C.surface_distances(ball, ball, None, True, [1.0, 1.0, 1.0], 1)[1]
    assert areas.sum() == pytest.approx(4 * math.pi * 28**2, rel=0.12)


def masks_of(present):
    one, two = np.zeros((2, 6, 7, 8), bool)
    one[2:4, 2:5, 3:6], two[2:4, 2:5, 3] = present
    return one, two


@pytest.mark.parametrize("present", EMPTY)
def test_empty_cases_of_monai(monai, present):
    one, two = masks_of(present)
    near(metrics.hausdorff(one, two), monai("compute_hausdorff_distance", one, two, percentile=95))
    near(metrics.hausdorff(one, two, percentile=100), monai("compute_hausdorff_distance", one, two))
    near(metrics.average_surface_distance(one, two), monai("compute_average_surface_distance", one, two, symmetric=True))
    near(metrics.surface_dice(one, two), monai("compute_surface_dice", one, two, class_thresholds=[1.0]))
    kwargs = {"class_thresholds": [1.0], "use_subvoxels": True}
    near(metrics.surface_dice(one, two, convention="monai_subvoxel"), monai("compute_surface_dice", one, two, **kwargs))


@pytest.mark.parametrize("present", EMPTY)
def test_empty_cases_of_deepmind(deepmind, present):
    one, two = masks_of(present)
    found = deepmind.compute_surface_distances(two, one, [1, 1, 1])
    near(metrics.hausdorff(one, two, convention="deepmind"), deepmind.compute_robust_hausdorff(found, 95))
    with np.errstate(invalid="ignore"):
        theirs = deepmind.compute_surface_dice_at_tolerance(found, 1)
        back, there = deepmind.compute_average_surface_distance(found)
    near(metrics.surface_dice(one, two, convention="deepmind"), theirs)
    ours = metrics.average_surface_distance(one, two, convention="deepmind")
    near([ours, ours.prediction_to_reference, ours.reference_to_prediction], [(there + back) / 2, there, back])


@pytest.mark.parametrize("present", EMPTY)
def test_empty_cases_that_the_libraries_document(present):
    one, two = masks_of(present)
    assert metrics.surface_dice(one, two, convention="fomo26") == 0
    assert metrics.surface_dice(one, two, convention="metricsreloaded") == pytest.approx(0 if any(present) else math.nan, nan_ok=True)
    assert math.isinf(metrics.hausdorff(one, two, convention="deepmind"))
    for function in (metrics.hausdorff, metrics.average_surface_distance):
        with pytest.raises(ValueError, match="is empty, for which convention='medpy' has no value"):
            function(one, two, convention="medpy")
        value = function(one, two, convention="metricsreloaded")
        assert math.isnan(value) if any(present) else value == 0


def test_conventions_differ_by_more_than_ten_mm():
    # A small object predicted as well as a large one: the percentile of one direction, or of both together.
    true, found = np.zeros((2, 80, 80), bool)
    true[5:45, 5:45], found[5:45, 5:45], found[60:64, 60:64] = True, True, True
    values = {how: metrics.hausdorff(found, true, convention=how) for how in metrics.CONVENTIONS["hausdorff"]}
    assert max(values.values()) - min(values.values()) > 10, values


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_threads_change_nothing(rng, threads):
    one, two = (torch.from_numpy(each) for each in pair(rng, (60, 60, 60), "blobs"))
    first = C.surface_distances(one, two, None, False, [1.0, 2.0, 0.5], 1)
    other = C.surface_distances(one, two, None, False, [1.0, 2.0, 0.5], threads)
    assert all(torch.equal(a, b) for a, b in zip(first, other, strict=True))


def test_labels_of_a_map(rng):
    one, two = rng.integers(0, 4, (2, 15, 16, 17)).astype(np.int32)
    for function in (metrics.hausdorff, metrics.surface_dice, metrics.average_surface_distance):
        found = function(one, two, (1.0, 2.0, 3.0))
        assert found == {name: function(one == name, two == name, (1.0, 2.0, 3.0)) for name in (1, 2, 3)}


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([(7, 9), (4, 5, 6), (1, 30)]), st.floats(0.02, 0.9), st.floats(0.1, 10))
def test_symmetry_identity_and_scale(seed, shape, share, scale):
    rng = np.random.default_rng(seed)
    one, two = rng.random((2, *shape)) < share
    one.flat[0] = two.flat[-1] = True
    for how in metrics.CONVENTIONS["hausdorff"]:
        forth, back = metrics.hausdorff(one, two, convention=how), metrics.hausdorff(two, one, convention=how)
        near(forth, back, 1e-12)
        near(metrics.hausdorff(one, two, scale, how, percentile=100), scale * metrics.hausdorff(one, two, convention=how, percentile=100), 1e-9)
        assert metrics.hausdorff(one, one, convention=how) == 0
    for how in metrics.CONVENTIONS["surface_dice"]:
        near(metrics.surface_dice(one, two, convention=how), metrics.surface_dice(two, one, convention=how), 1e-12)
        assert metrics.surface_dice(one, one, convention=how) == 1
    assert metrics.average_surface_distance(one, one) == 0


@pytest.mark.parametrize(
    ("function", "kwargs"),
    [
        ("hausdorff", {"percentile": 101}),
        ("hausdorff", {"convention": "coco"}),
        ("hausdorff", {"spacing": (1, 1)}),
        ("surface_dice", {"tolerance": -1}),
        ("surface_dice", {"convention": "medpy"}),
        ("average_surface_distance", {"spacing": -1.0}),
    ],
)
def test_bad_options(function, kwargs):
    mask = np.ones((3, 3, 3), bool)
    with pytest.raises(ValueError, match=f"{function}: {next(iter(kwargs))}="):
        getattr(metrics, function)(mask, mask, **kwargs)
