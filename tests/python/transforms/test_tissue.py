"""Tissue masks keep every stain and drop glass, pen and blur; outlines survive GeoJSON."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from slide_files import Level, write_slide

import sslmed as sm

pytestmark = pytest.mark.skipif(not sm._C.have_images(), reason="built without libpng and libjpeg-turbo")


def grained(colour, shape, rng, spread=12):
    return np.clip(np.array(colour) + rng.normal(0, spread, (*shape, 1)), 0, 255)


def picture(rng, colour, background=(244, 243, 245)):
    """A disc of a colour, grained, on glass: [256, 256, 3] and where it is."""
    y, x = np.mgrid[:256, :256]
    disc = (x - 120) ** 2 + (y - 130) ** 2 < 70**2
    image = np.where(disc[..., None], grained(colour, (256, 256), rng), grained(background, (256, 256), rng, 1))
    return torch.from_numpy(image.round().astype(np.uint8)), disc


STAINS = {"eosin": (220, 150, 190), "haematoxylin": (120, 90, 170), "DAB": (150, 100, 60), "counterstain": (150, 160, 205)}


@pytest.mark.parametrize("method", ["otsu", "clam", "luminance"])
@pytest.mark.parametrize("stain", STAINS)
def test_every_stain_is_tissue(stain, method, rng):
    image, disc = picture(rng, STAINS[stain])
    found = sm.transforms.tissue.mask(image, method).numpy()
    assert (found & disc).sum() / (found | disc).sum() > 0.9


@pytest.mark.parametrize("glass", [(240, 232, 205), (222, 230, 243), (225, 243, 232), (243, 243, 243), (244, 238, 228)])
@pytest.mark.parametrize("stain", STAINS)
def test_tinted_glass_is_not(stain, glass, rng):
    image, disc = picture(rng, STAINS[stain], glass)
    dust = np.asarray(Image.fromarray((rng.random((64, 64)) * 30).astype(np.uint8)).resize((256, 256), Image.Resampling.BICUBIC))
    dusty = torch.from_numpy(np.clip(image.numpy() - np.where(disc, 0, dust)[..., None], 0, 255).astype(np.uint8))
    for one in (image, dusty):
        found = sm.transforms.tissue.mask(one).numpy()
        assert (found & disc).sum() / (found | disc).sum() > 0.85


def test_pale_tissue_without_glass_keeps_its_color(rng):
    pale = torch.from_numpy(grained((238, 205, 228), (256, 256), rng).round().astype(np.uint8))
    assert sm.transforms.tissue.mask(pale).float().mean() > 0.9


@pytest.mark.parametrize("ink", [(30, 170, 130), (40, 90, 220), (210, 20, 40), (20, 20, 25)])
def test_ink_is_not(ink, rng):
    image, _ = picture(rng, ink)
    assert sm.transforms.tissue.mask(image).float().mean() < 0.01
    assert sm.transforms.tissue.mask(image, pen=False).float().mean() > 0.2


def test_what_is_out_of_focus_is_not(rng):
    y, x = np.mgrid[:256, :256]
    soft = 1 / (1 + np.exp((np.hypot(x - 128, y - 128) - 70) / 6))
    image = torch.from_numpy((244 - soft[..., None] * np.array([20, 90, 50])).round().astype(np.uint8))
    assert sm.transforms.tissue.mask(image).float().mean() < 0.01
    assert sm.transforms.tissue.mask(image, sharpness=0).float().mean() > 0.2


def test_pieces_and_holes(rng):
    image = grained((244, 243, 245), (200, 200), rng, 1)
    tissue = grained((200, 120, 170), (200, 200), rng)
    image[20:120, 20:120] = tissue[20:120, 20:120]
    image[60:64, 60:64] = 244  # a small hole
    image[80:110, 80:110] = 244  # a large one
    image[180:184, 180:184] = tissue[180:184, 180:184]  # a crumb
    options = {"median": 1, "close": 1, "sharpness": 0.0}
    rgb = torch.from_numpy(image.round().astype(np.uint8))
    found = sm.transforms.tissue.mask(rgb, **options).numpy()
    assert found[60:64, 60:64].all()
    assert not found[82:108, 82:108].any()
    assert not found[180:184, 180:184].any()
    raw = sm.transforms.tissue.mask(rgb, least=1, hole=1, **options).numpy()
    assert raw[180:184, 180:184].all()
    assert not raw[61:63, 61:63].any()


def test_blank_glass_has_none(rng):
    for spread in (0, 1, 3):
        image = torch.from_numpy(grained((243, 242, 243), (100, 130), rng, spread).round().astype(np.uint8))
        for method in ("otsu", "clam", "luminance"):
            assert not sm.transforms.tissue.mask(image, method).any()


def test_parts_equal_their_definitions(rng):
    """Median, threshold and closing against SciPy, on noise."""
    from scipy import ndimage

    rgb = rng.integers(0, 256, (61, 83, 3), dtype=np.uint8)
    most, least = rgb.max(-1).astype(int), rgb.min(-1).astype(int)
    saturation = np.where(most == 0, 0, (255 * (most - least) + most // 2) // np.maximum(most, 1)).astype(np.uint8)
    plain = {"least": 1, "hole": 1, "pen": False, "sharpness": 0.0}
    for side in (1, 3, 7):
        values = ndimage.median_filter(saturation, side, mode="reflect")
        histogram = np.bincount(values.ravel(), minlength=256)
        best = max(range(255), key=lambda t: _between(histogram, t))
        want = values > np.clip(best, 8, 20)
        got = sm.transforms.tissue.mask(torch.from_numpy(rgb), median=side, close=1, **plain).numpy()
        assert np.array_equal(got, want)
    for close in (2, 3, 4, 5):
        values = ndimage.median_filter(saturation, 3, mode="reflect") > 8
        wide = np.pad(values, 10)
        want = ndimage.binary_closing(wide, np.ones((close, close)))[10:-10, 10:-10]
        got = sm.transforms.tissue.mask(torch.from_numpy(rgb), "clam", median=3, close=close, **plain).numpy()
        assert np.array_equal(got[5:-5, 5:-5], want[5:-5, 5:-5])


def _between(histogram, t):
    levels = np.arange(256)
    low, high = histogram[: t + 1].sum(), histogram[t + 1 :].sum()
    if low == 0 or high == 0:
        return -1.0
    return low * high * ((levels[: t + 1] * histogram[: t + 1]).sum() / low - (levels[t + 1 :] * histogram[t + 1 :]).sum() / high) ** 2


@pytest.mark.data
def test_real_pictures(data_root):
    folder = data_root / "pathology"
    share = {}
    for path in [*(folder / "histolab_tiles").glob("*.png"), folder / "ihc_colon.png", *(folder / "tcga_lgg_patches").glob("*.png")]:
        share[path.name] = float(sm.transforms.tissue.mask(sm.io.read_image(path)[..., :3]).float().mean())
    for name in ("almost-white-1", "almost-white-ihc", "no-tissue", "no-tissue2", "no-tissue-green-pen", "no-tissue-red-pen"):
        assert share[f"{name}.png"] < 0.01, name
    assert 0.6 < share["ihc_colon.png"] < 0.8
    assert 0.3 < share["medium-nuclei-score-green-pen-level1.png"] < 0.6  # the half that no ink covers
    for name, low in {"tissue-level0-4302-10273-4814-10785": 0.5, "tissue-level2-1784-6289-5880-10386": 0.5, "medium-nuclei-score-level2": 0.7}.items():
        assert share[f"{name}.png"] > low, name
    assert min(value for name, value in share.items() if name.startswith("TCGA")) > 0.95
    slide = sm.io.open_slide(folder / "wsi/CMU-1-Small-Region.svs")
    found = sm.transforms.tissue.find(slide, 4.0)
    assert found.mask.shape == (370, 277)
    assert 0.1 < found.area < 1.6  # of 1.64 mm²


@pytest.fixture
def slide(tmp_path):
    image = np.full((480, 640, 3), 244, np.uint8)
    return sm.io.open_slide(write_slide(tmp_path / "s.tiff", [Level(image, resolution=(20000, 1, 3))]))


def test_outlines_survive_geojson_exactly(slide, tmp_path, rng):
    for density in (0.02, 0.3, 0.5, 0.7, 0.98):
        inside = torch.from_numpy(rng.random((30, 40)) < density)
        tissue = sm.transforms.tissue.Tissue(inside, (16.0, 16.0), slide.mpp)
        path = tmp_path / "t.geojson"
        collection = tissue.to_geojson(path)
        again = sm.transforms.tissue.Tissue.from_geojson(path, slide, 8.0)
        assert again.pixel == (16.0, 16.0)
        assert torch.equal(again.mask, inside)
        assert torch.equal(sm.transforms.tissue.Tissue.from_geojson(collection, slide, 8.0).mask, inside)
        area = 0.0
        for feature in collection["features"]:
            for k, ring in enumerate(feature["geometry"]["coordinates"]):
                x, y = np.array(ring).T
                area += (-1) ** (k > 0) * abs((x[:-1] * y[1:] - x[1:] * y[:-1]).sum() / 2)
        assert area == pytest.approx(float(inside.sum()) * 256)
        assert tissue.area == pytest.approx(float(inside.sum()) * 64e-6)


def test_polygons_of_others(slide, tmp_path):
    triangle = [[0, 0], [640, 0], [0, 480], [0, 0]]
    square = [[[100, 100], [200, 100], [200, 200], [100, 200], [100, 100]]]
    multi = {"type": "MultiPolygon", "coordinates": [[triangle], square]}
    found = sm.transforms.tissue.Tissue.from_geojson({"type": "Feature", "geometry": multi, "properties": {}}, slide, 1.0)
    assert float(found.mask.float().mean()) == pytest.approx(0.5, abs=0.01)
    for content, message in (
        ("{", "expected JSON"),
        ("3", "GeoJSON object"),
        ("[]", "found none"),
        ('{"type": "Point", "coordinates": [1, 2]}', "expected polygons"),
        (json.dumps({"type": "Polygon", "coordinates": [triangle[:3]]}), "expected rings"),
    ):
        (tmp_path / "bad.json").write_text(content)
        with pytest.raises(sm.FormatError, match=rf"bad\.json: .*{message}"):
            sm.transforms.tissue.Tissue.from_geojson(tmp_path / "bad.json", slide)


def test_what_is_refused(tmp_path, rng):
    image, _ = picture(rng, STAINS["eosin"])
    for wrong, options in ((image.float(), {}), (image[..., 0], {}), (image, {"method": "sobel"}), (image, {"median": 0}), (image, {"sharpness": -1.0})):
        with pytest.raises(ValueError):
            sm.transforms.tissue.mask(wrong, **options)
    unknown = sm.io.open_slide(write_slide(tmp_path / "u.tiff", [Level(image.numpy())]))
    with pytest.raises(ValueError, match=r"u\.tiff: its scale is not known"):
        sm.transforms.tissue.find(unknown)
