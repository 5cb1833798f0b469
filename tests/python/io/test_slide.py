"""Regions of slides equal openslide-python's; what OpenSlide would crash on or misread is refused before it sees it."""

import subprocess
import sys
import threading
import warnings

import numpy as np
import pytest
import torch
from slide_files import APERIO, LONG, SHORT, Level, halved, pyramid, scene, write_slide

import sslmed as sm
from sslmed._core import C

openslide = pytest.importorskip("openslide")
pytestmark = [pytest.mark.oracle, pytest.mark.skipif(not sm._C.have_images(), reason="built without libjpeg-turbo")]


def reference(slide, x, y, level, width, height):
    """openslide-python's region on white, and where it is partly transparent."""
    rgba = np.asarray(slide.read_region((x, y), level, (width, height))).astype(int)
    alpha = rgba[..., 3:]
    return np.round((rgba[..., :3] * alpha + 255 * (255 - alpha)) / 255).astype(int), (alpha[..., 0] > 0) & (alpha[..., 0] < 255)


def draw(rng, slide):
    level = int(rng.integers(slide.level_count))
    width, height = slide.dimensions
    step = slide.level_downsamples[level]
    x, y = int(rng.integers(-60, width + 20)), int(rng.integers(-60, height + 20))
    if rng.random() < 0.7:
        x, y = int(x // step * step), int(y // step * step)
    return x, y, level, *rng.integers(1, 300, 2).tolist()


def assert_equal(path, rng, regions):
    theirs = openslide.OpenSlide(str(path))
    ours = [sm.io.open_slide(path, fast=fast, cached=cached) for fast, cached in ((True, False), (True, True), (False, True))]
    assert ours[0].level_dimensions == list(theirs.level_dimensions)
    assert ours[0].level_downsamples == list(theirs.level_downsamples)
    for _ in range(regions):
        region = draw(rng, ours[0])
        want, partly = reference(theirs, *region)
        for slide in ours:
            off = np.abs(slide.read(*region).numpy().astype(int) - want).max(-1)
            assert off[~partly].max(initial=0) == 0, (slide, region)
            assert off[partly].max(initial=0) <= 1, (slide, region)
    return ours[0]


KINDS = {
    "4:2:0": {}, "4:2:2": {"subsampling": 1}, "4:4:4": {"subsampling": 0}, "RGB": {"rgb": True}, "own tables": {"tables": False},
    "progressive": {"progressive": True}, "wide tiles": {"tile": (240, 80)}, "narrow tiles": {"tile": (16, 48)},
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_regions_are_openslides(kind, tmp_path, rng):
    path = write_slide(tmp_path / "s.tiff", pyramid(**KINDS[kind]))
    assert assert_equal(path, rng, 100).fast_levels == [True] * 3


@pytest.mark.parametrize("order", [{"big": True}, {"big": True, "big_endian": True}])
def test_big_files_of_either_byte_order(order, tmp_path, rng):
    assert assert_equal(write_slide(tmp_path / "s.tiff", pyramid(), **order), rng, 60).fast_levels == [True] * 3


def test_levels_whose_sides_are_no_whole_fraction(tmp_path, rng):
    full = scene(701, 503)
    slide = assert_equal(write_slide(tmp_path / "s.tiff", [Level(full), Level(halved(full)), Level(halved(halved(full))[:123])]), rng, 100)
    assert slide.level_downsamples[2] % 1 != 0


def test_aperio_with_missing_tiles(tmp_path, rng):
    levels = pyramid()
    levels[0].description, levels[0].missing = APERIO, (3, 9)
    slide = assert_equal(write_slide(tmp_path / "s.svs", levels), rng, 100)
    # OpenSlide makes coarser levels anew where finer ones have holes.
    assert slide.fast_levels == [True, False, False]
    assert slide.mpp == (0.5, 0.5)
    assert slide.properties["openslide.vendor"] == "aperio"


@pytest.mark.data
def test_a_real_slide(data_root, rng):
    slide = assert_equal(data_root / "pathology/wsi/CMU-1-Small-Region.svs", rng, 300)
    assert slide.dimensions == (2220, 2967)
    assert slide.mpp == (0.499, 0.499)
    assert slide.fast_levels == [True]
    assert "2220 x 2967" in repr(slide)


def test_sixteen_threads_share_a_slide(tmp_path, rng):
    path = write_slide(tmp_path / "s.tiff", pyramid())
    theirs = openslide.OpenSlide(str(path))
    slides = [sm.io.open_slide(path), sm.io.open_slide(path, fast=False)]
    jobs = [(*draw(rng, slides[0]), k % 2) for k in range(320)]
    found: list = [None] * len(jobs)

    def work(k):
        for i in range(k, len(jobs), 16):
            found[i] = slides[jobs[i][-1]].read(*jobs[i][:-1]).numpy()

    threads = [threading.Thread(target=work, args=(k,)) for k in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for job, got in zip(jobs, found, strict=True):
        want, partly = reference(theirs, *job[:-1])
        assert np.abs(got.astype(int) - want)[~partly].max(initial=0) == 0


def test_scales(tmp_path):
    levels = pyramid()
    for level in levels:
        level.resolution = (40000, 1, 3)  # a centimetre
    path = write_slide(tmp_path / "s.tiff", levels)
    assert sm.io.open_slide(path).mpp == (0.25, 0.25)
    assert sm.io.open_slide(path, mpp=0.5).mpp == (0.5, 0.5)
    assert sm.io.open_slide(path, mpp=(0.5, 0.4)).mpp == (0.5, 0.4)
    with pytest.raises(ValueError, match="mpp must be within"):
        sm.io.open_slide(path, mpp=-1.0)
    for level in levels:
        level.resolution = (72, 1, 2)  # somebody's default
    path = write_slide(tmp_path / "t.tiff", levels)
    with pytest.warns(sm.FormatWarning, match="cannot be a slide's"):
        slide = sm.io.open_slide(path)
    assert slide.mpp is None
    with pytest.raises(ValueError, match=r"t\.tiff: its scale is not known"):
        slide.read_mpp(0, 0, 0.5, 10, 10)
    assert sm.io.open_slide(path, mpp=0.5).read_mpp(0, 0, 1.0, 10, 10).shape == (10, 10, 3)


def area_mean(image, x, y, step, width, height):
    """The definition: the integral of a picture of squares, from its summed-area table."""
    table = np.zeros((image.shape[0] + 1, image.shape[1] + 1, 3))
    table[1:, 1:] = image.astype(float).cumsum(0).cumsum(1)

    def at(ys, xs):
        y0, x0 = np.minimum(ys.astype(int), image.shape[0] - 1), np.minimum(xs.astype(int), image.shape[1] - 1)
        fy, fx = (ys - y0)[:, None, None], (xs - x0)[None, :, None]
        a, b, c, d = table[y0][:, x0], table[y0][:, x0 + 1], table[y0 + 1][:, x0], table[y0 + 1][:, x0 + 1]
        return (1 - fy) * ((1 - fx) * a + fx * b) + fy * ((1 - fx) * c + fx * d)

    ys, xs = y + step * np.arange(height + 1), x + step * np.arange(width + 1)
    whole = at(ys, xs)
    return (whole[1:, 1:] - whole[:-1, 1:] - whole[1:, :-1] + whole[:-1, :-1]) / step**2


def test_any_scale_is_the_mean_over_area(tmp_path, rng):
    levels = pyramid(count=1)
    levels[0].resolution = (40000, 1, 3)
    slide = sm.io.open_slide(write_slide(tmp_path / "s.tiff", levels))
    full = slide.read(0, 0, 0, 700, 500).numpy()
    for _ in range(30):
        mpp = float(rng.uniform(0.2, 1.5))
        width, height = rng.integers(5, 60, 2).tolist()
        step = mpp / 0.25
        x, y = (float(rng.uniform(0, side - n * step)) for side, n in ((700, width), (500, height)))
        got = slide.read_mpp(x, y, mpp, width, height).numpy()
        assert np.abs(got - area_mean(full, x, y, step, width, height)).max() < 0.5 + 1e-3
    assert np.array_equal(slide.read_mpp(40, 30, 0.25, 60, 50).numpy(), full[30:80, 40:100])
    with pytest.raises(ValueError, match="no such detail"):
        slide.read_mpp(0, 0, 0.1, 10, 10)


def test_a_coarser_scale_comes_from_the_best_level(tmp_path):
    # Levels of different colours tell which one was read.
    levels = [Level(np.full((512 >> i, 512 >> i, 3), 50 * (i + 1), np.uint8), resolution=(40000, 1, 3)) for i in range(3)]
    slide = sm.io.open_slide(write_slide(tmp_path / "s.tiff", levels))
    for mpp, grey in ((0.25, 50), (0.4, 50), (0.5, 100), (0.99, 100), (1.0, 150), (3.0, 150)):
        assert abs(slide.read_mpp(8, 8, mpp, 20, 20).float().mean() - grey) < 3, mpp


def test_one_scene_stored_at_two_scales_has_features_of_one_size(tmp_path):
    """A disc of 40 µm, scanned at .25 and at .2425 µm per pixel, read at .5: the same area and place in µm."""
    areas = []
    for mpp, denominator in ((0.25, 40000), (0.2425, 41237)):
        side = round(120 / mpp)
        y, x = (np.mgrid[:side, :side] + 0.5) * mpp
        image = np.where(((x - 60) ** 2 + (y - 60) ** 2 < 20**2)[..., None], 60, 240).astype(np.uint8).repeat(3, -1)
        levels = [Level(image, subsampling=0, quality=95, resolution=(denominator, 1, 3))]
        levels.append(Level(halved(image), subsampling=0, quality=95))
        slide = sm.io.open_slide(write_slide(tmp_path / f"{denominator}.tiff", levels))
        assert abs(slide.mpp[0] - mpp) < 1e-5
        got = slide.read_mpp(0, 0, 0.5, 238, 238).float().mean(-1)
        dark = ((240 - got) / 180).clamp(0, 1)
        row = torch.arange(238) + 0.5
        areas.append((float(dark.sum()) * 0.25, float((dark.sum(0) * row).sum() / dark.sum()) * 0.5))
    for area, centre in areas:
        assert abs(area - np.pi * 400) < 4  # µm²
        assert abs(centre - 60) < 0.1


def test_thumbnails(tmp_path):
    path = write_slide(tmp_path / "s.tiff", pyramid(subsampling=0, quality=95))
    slide = sm.io.open_slide(path)
    full = slide.read(0, 0, 0, 700, 500).numpy().astype(int)
    for size, shape in ((350, (250, 350)), ((100, 1000), (71, 100)), (5000, (500, 700)), (1, (1, 1))):
        assert slide.thumbnail(size).shape == (*shape, 3)
    want = full.reshape(50, 10, 70, 10, 3).mean((1, 3))
    assert np.abs(slide.thumbnail(70).numpy() - want).mean() < 5  # made of a coarser level, which JPEG has changed
    single = sm.io.open_slide(write_slide(tmp_path / "t.tiff", pyramid(count=1, subsampling=0, quality=95)))
    assert np.abs(single.thumbnail(70).numpy() - want).max() < 0.5 + 1e-3
    with pytest.raises(ValueError, match="at least one pixel"):
        slide.thumbnail(0)


def test_coarse_pixels_of_a_wide_slide_are_read_piece_by_piece(tmp_path):
    """One output row that needs more source rows than are held at a time."""
    rng = np.random.default_rng(5)
    image = rng.integers(0, 256, (40, 1, 1), dtype=np.uint8).repeat(1100, 0).repeat(500, 1).repeat(3, 2)  # 22 million pixels
    slide = sm.io.open_slide(write_slide(tmp_path / "s.tiff", [Level(image, tile=(512, 512), subsampling=0, quality=95)]))
    assert slide.dimensions == (500, 44000)
    assert np.abs(slide.thumbnail(1).numpy() - image.mean((0, 1))).max() < 1
    assert np.abs(slide.thumbnail((100, 40)).numpy().mean() - image.mean()) < 1


def test_regions_that_cannot_be(tmp_path):
    slide = sm.io.open_slide(write_slide(tmp_path / "s.tiff", pyramid(count=1)))
    for region in ((0, 0, 1, 8, 8), (0, 0, -1, 8, 8), (0, 0, 0, 0, 8), (0, 0, 0, 8, -1), (0, 0, 0, 1 << 40, 1 << 40)):
        with pytest.raises(ValueError, match=r"s\.tiff"):
            slide.read(*region)
    for far in (1 << 62, -(1 << 62)):
        with pytest.raises(ValueError, match=r"s\.tiff: a corner within"):
            slide.read(far, 0, 0, 8, 8)
    scaled = sm.io.open_slide(slide.path, mpp=0.5)
    for x, y, mpp in ((float("nan"), 0, 1.0), (0, float("inf"), 1.0), (-1e12, 0, 1.0), (0, 0, 1e12)):
        with pytest.raises(ValueError, match=r"s\.tiff: a region within"):
            scaled.read_mpp(x, y, mpp, 8, 8)
    assert (slide.read(-500, -500, 0, 100, 100) == 255).all()
    assert (slide.read(10_000, 10_000, 0, 9, 9) == 255).all()


def test_a_tile_that_is_damaged_is_named_and_the_others_are_read(tmp_path):
    def damage(i, stored):
        return {0: stored, 1: stored[: len(stored) // 2], 2: b"\0" * len(stored)}.get(i, stored)

    for fast in (True, False):
        path = write_slide(tmp_path / f"{fast}.tiff", [Level(scene(500, 200), damage=damage)])
        slide = sm.io.open_slide(path, fast=fast)
        assert slide.fast_levels == [fast]
        sound = slide.read(0, 0, 0, 128, 128)
        for x in (128, 256):
            with pytest.raises(sm.FormatError, match=path.name):
                slide.read(x, 0, 0, 128, 128)
        assert torch.equal(slide.read(0, 0, 0, 128, 128), sound)  # one error does not spoil the slide


def test_a_slide_that_shrinks_while_it_is_open(tmp_path):
    path = write_slide(tmp_path / "s.tiff", pyramid(count=1))
    slide = sm.io.open_slide(path, cached=False)
    slide.read(0, 0, 0, 700, 500)
    with open(path, "r+b") as file:
        file.truncate(path.stat().st_size // 4)
    with pytest.raises((sm.ReadError, sm.FormatError), match=r"s\.tiff"):
        slide.read(0, 0, 0, 700, 500)


WRONG = {
    "tile of 2^30 columns": ({322: (LONG, [1 << 30])}, "tag 322 of at most"),
    "tile without height": ({323: (LONG, [0])}, "tiles with two sides"),
    "large tiles": ({322: (LONG, [65536]), 323: (LONG, [65536])}, "tiles of at most"),
    "no width": ({256: (LONG, [0])}, "an image with pixels"),
    "wider than its tiles": ({256: (LONG, [70000])}, "a place and a size for each"),
    "tiles beyond the end": ({324: (LONG, [1 << 30] * 24)}, "within"),
    "sizes beyond the end": ({325: (LONG, [1 << 30] * 24)}, "within"),
    "short raw tiles": ({259: (SHORT, [1]), 262: (SHORT, [2])}, "bytes in tile 0"),
    "a width in letters": ({256: (2, [65, 0])}, "whole numbers"),
}


@pytest.mark.parametrize("what", WRONG)
def test_directories_that_cannot_be_are_refused_before_openslide_sees_them(what, tmp_path):
    change, message = WRONG[what]
    path = write_slide(tmp_path / "s.tiff", [Level(scene(700, 500), change=change)])
    with pytest.raises(sm.FormatError, match=rf"s\.tiff: .*{message}"):
        sm.io.open_slide(path)


def test_files_that_are_no_slides(tmp_path):
    classic = write_slide(tmp_path / "big.tiff", pyramid(count=1), big_endian=True)
    with pytest.raises(sm.FormatError, match="classic big-endian"):
        sm.io.open_slide(classic)
    whole = write_slide(tmp_path / "s.tiff", pyramid(count=1)).read_bytes()
    for cut in (0, 4, 8, 100, len(whole) // 2, len(whole) - 5):
        (tmp_path / "cut.tiff").write_bytes(whole[:cut])
        with pytest.raises(sm.FormatError, match=r"cut\.tiff"):
            sm.io.open_slide(tmp_path / "cut.tiff")
    loop = bytearray(whole)
    loop[-4:] = loop[4:8]  # the chain's end is its beginning
    (tmp_path / "loop.tiff").write_bytes(loop)
    with pytest.raises(sm.FormatError, match="comes back"):
        sm.io.open_slide(tmp_path / "loop.tiff")
    for path, error in ((tmp_path / "absent.svs", sm.ReadError), (tmp_path, sm.ReadError)):
        with pytest.raises(error, match=str(path)):
            sm.io.open_slide(path)


@pytest.mark.data
def test_odd_slides(data_root):
    odd = data_root / "pathology/odd"
    with pytest.raises(sm.FormatError, match=r"broken\.svs"):
        sm.io.open_slide(odd / "broken.svs")
    for fast in (True, False):
        slide = sm.io.open_slide(odd / "unreadable.svs", fast=fast)
        with pytest.raises(sm.FormatError, match=r"unreadable\.svs"):
            slide.read(0, 0, 0, 16, 16)
    small = sm.io.open_slide(odd / "openslide_small_synthetic.svs")
    want, _ = reference(openslide.OpenSlide(str(odd / "openslide_small_synthetic.svs")), 0, 0, 0, 16, 16)
    assert np.array_equal(small.read(0, 0, 0, 16, 16).numpy(), want)
    with warnings.catch_warnings():
        warnings.simplefilter("error", sm.FormatWarning)
        with pytest.raises(sm.FormatWarning, match=r"generic_pyramid_4level\.tiff.*352"):
            sm.io.open_slide(odd / "generic_pyramid_4level.tiff")


def test_the_cache_is_the_fast_paths_alone_until_openslide_reads(tmp_path):
    path = write_slide(tmp_path / "s.tiff", pyramid())
    code = """
import sys
import sslmed as sm
from sslmed._core import C
for fast in (True, False):
    sm.io.open_slide(sys.argv[1], fast=fast).read(0, 0, 0, 64, 64)
    print(C.tile_cache()[1])
"""
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(128 << 20), str(64 << 20)]


def test_the_cache_is_bounded_and_shared(tmp_path, rng):
    path = write_slide(tmp_path / "s.tiff", pyramid())
    try:
        for size in (0, 60_000, 1 << 20):
            sm.io.set_slide_cache(size)
            assert_equal(path, rng, 30)
            held, allowed = C.tile_cache()
            assert held <= allowed == size // 2  # the other half is OpenSlide's, through which slides were read
            assert (held > 0) == (size == 1 << 20)
    finally:
        sm.io.set_slide_cache(128 << 20)
