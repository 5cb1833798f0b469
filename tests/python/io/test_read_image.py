"""PNG, JPEG, TIFF and BMP equal Pillow's; damaged ones are refused by name."""

import io
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from slide_files import scene

import sslmed as sm

pytestmark = [pytest.mark.oracle, pytest.mark.skipif(not sm._C.have_images(), reason="built without libpng and libjpeg-turbo")]


def saved(path, image, **options):
    image.save(path, **options)
    return path


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width, height, depth, colour, rows, *extra):
    """A PNG of given header and raw rows."""
    body = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)) + b"".join(extra)
    return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows))) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("LA", 2), ("RGB", 3), ("RGBA", 4), ("P", 3), ("1", 1)])
def test_png_of_every_kind(mode, channels, tmp_path):
    rgb = Image.fromarray(scene(97, 61)).convert("RGBA" if mode in ("RGBA", "LA") else "RGB")
    if mode in ("RGBA", "LA"):
        rgb.putalpha(Image.fromarray(scene(97, 61, 1)[..., 0]))
    image = rgb.convert(mode)
    path = saved(tmp_path / "x.png", image)
    got = sm.io.read_image(path)
    assert got.dtype == torch.uint8
    want = np.asarray(image.convert({"P": "RGB", "1": "L"}.get(mode, mode))).reshape(61, 97, -1)
    assert want.shape[2] == channels
    assert np.array_equal(got.numpy(), want)
    deep = sm.io.read_image(path, torch.uint16)
    assert np.array_equal(deep.numpy(), want.astype(np.uint16) * 257)


def test_a_palette_with_transparent_entries_has_alpha(tmp_path):
    image = Image.fromarray(scene(40, 30)).convert("P")
    path = saved(tmp_path / "x.png", image, transparency=bytes(range(256)))
    want = np.asarray(Image.open(path).convert("RGBA"))
    assert np.array_equal(sm.io.read_image(path).numpy(), want)


def test_sixteen_bits(tmp_path, rng):
    values = rng.integers(0, 65536, (13, 17), dtype=np.uint16)
    (tmp_path / "x.png").write_bytes(png(17, 13, 16, 0, [row.astype(">u2").tobytes() for row in values]))
    assert np.array_equal(sm.io.read_image(tmp_path / "x.png", torch.uint16).numpy()[..., 0], values)
    assert np.array_equal(sm.io.read_image(tmp_path / "x.png").numpy()[..., 0], np.round(values / 257).astype(np.uint8))
    assert np.array_equal(np.asarray(Image.open(tmp_path / "x.png")), values)
    rgb = rng.integers(0, 65536, (5, 7, 3), dtype=np.uint16)
    (tmp_path / "y.png").write_bytes(png(7, 5, 16, 2, [row.astype(">u2").tobytes() for row in rgb]))
    assert np.array_equal(sm.io.read_image(tmp_path / "y.png", torch.uint16).numpy(), rgb)


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_few_bits(depth, tmp_path, rng):
    width = 16
    values = rng.integers(0, 1 << depth, (9, width))
    bits = ((values[..., None] >> np.arange(depth - 1, -1, -1)) & 1).astype(np.uint8).reshape(9, -1)
    (tmp_path / "x.png").write_bytes(png(width, 9, depth, 0, [row.tobytes() for row in np.packbits(bits, axis=1)]))
    assert np.array_equal(sm.io.read_image(tmp_path / "x.png").numpy()[..., 0], values * 255 // ((1 << depth) - 1))


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"subsampling": 1}, {"keep_rgb": True}, {"restart_marker_rows": 1}])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_jpeg(options, mode, tmp_path):
    if mode == "L" and "keep_rgb" in options:
        pytest.skip("grey has no RGB")
    path = saved(tmp_path / "x.jpg", Image.fromarray(scene(131, 77)).convert(mode), quality=85, **options)
    assert np.array_equal(sm.io.read_image(path).numpy(), np.asarray(Image.open(path)).reshape(77, 131, -1))


def test_names_do_not_matter_and_bytes_do(tmp_path):
    path = saved(tmp_path / "x.jpg", Image.fromarray(scene(40, 30)), format="PNG")
    assert np.array_equal(sm.io.read_image(path).numpy(), scene(40, 30))


def test_cut_and_changed_files_are_refused_by_name(tmp_path):
    for kind in ("PNG", "JPEG"):
        out = io.BytesIO()
        Image.fromarray(scene(64, 48)).save(out, kind)
        whole = out.getvalue()
        path = tmp_path / f"x.{kind.lower()}"
        for cut in (0, 1, 3, 9, 30, len(whole) // 2, len(whole) - 20):
            path.write_bytes(whole[:cut])
            with pytest.raises(sm.FormatError, match=path.name):
                sm.io.read_image(path)
    out = io.BytesIO()
    Image.fromarray(scene(64, 48)).save(out, "PNG")
    for at in range(16, len(out.getvalue()) - 12, 97):
        changed = bytearray(out.getvalue())
        changed[at] ^= 0x55
        path = tmp_path / "changed.png"
        path.write_bytes(changed)
        with pytest.raises(sm.FormatError, match=r"changed\.png"):
            sm.io.read_image(path)
    # More pixels than the bytes can hold.
    (tmp_path / "bomb.png").write_bytes(png(16000, 16000, 8, 0, [b"\0" * 10]))
    with pytest.raises(sm.FormatError, match="can hold"):
        sm.io.read_image(tmp_path / "bomb.png")
    (tmp_path / "text.png").write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(sm.FormatError, match="Git LFS"):
        sm.io.read_image(tmp_path / "text.png")
    with pytest.raises(sm.ReadError, match=r"absent\.png"):
        sm.io.read_image(tmp_path / "absent.png")
    with pytest.raises(TypeError, match="uint8 or uint16"):
        sm.io.read_image(tmp_path / "bomb.png", torch.float32)


@pytest.mark.data
def test_real_images(data_root):
    paths = sorted([*(data_root / "2d").rglob("*.png"), *(data_root / "2d").rglob("*.jpg"), *(data_root / "pathology").rglob("*.png")])
    assert len(paths) > 800
    for path in paths:
        if "odd" in path.parts:
            with pytest.raises(sm.FormatError, match="Git LFS"):
                sm.io.read_image(path)
            continue
        got = sm.io.read_image(path).numpy()
        with Image.open(path) as image:
            want = np.asarray(image.convert("RGBA" if "transparency" in image.info else "RGB") if image.mode == "P" else image)
        assert np.array_equal(got, want.reshape(got.shape)), path


# Files as hospitals have them.


def turned(path, orientation):
    with Image.open(path) as image:
        return np.asarray(ImageOps.exif_transpose(image))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["jpg", "png", "tif"])
def test_pictures_are_upright(kind, orientation, tmp_path):
    exif = Image.Exif()
    exif[274] = orientation
    options = {"tiffinfo": {274: orientation}} if kind == "tif" else {"exif": exif}
    path = saved(tmp_path / f"x.{kind}", Image.fromarray(scene(40, 24)), **options)
    got = sm.io.read_image(path).numpy()
    assert got.shape[:2] == ((24, 40) if orientation < 5 else (40, 24))
    assert np.array_equal(got, turned(path, orientation))


def test_a_turn_that_makes_no_sense_is_none(tmp_path):
    path = saved(tmp_path / "x.jpg", Image.fromarray(scene(40, 24)))
    whole = path.read_bytes()
    for block in (
        b"Exif\0\0",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x63\0\0",
        b"Exif\0\0II*\0\x08\0\0\0\xff\xff",
    ):
        path.write_bytes(whole[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + whole[2:])
        assert sm.io.read_image(path).shape == (24, 40, 3)


@pytest.mark.parametrize(("most", "bits"), [(200, 8), (1000, 10), (4032, 12), (2100, 12), (16000, 14), (30000, 15)])
@pytest.mark.parametrize("kind", ["png", "tif"])
def test_few_bits_in_sixteen_fill_a_byte_and_are_told(kind, most, bits, tmp_path):
    values = np.linspace(0, most, 64 * 8).astype(np.uint16).reshape(8, 64)
    path = saved(tmp_path / f"x.{kind}", Image.fromarray(values))
    with pytest.warns(sm.FormatWarning, match=rf"x\.{kind}: 16-bit values that end at {most} are taken for {bits} bits"):
        got = sm.io.read_image(path).numpy()[..., 0]
    assert np.array_equal(got, np.round(values * (255 / (2**bits - 1))).astype(np.uint8))
    assert np.array_equal(sm.io.read_image(path, torch.uint16).numpy()[..., 0], values)  # as stored


def test_all_sixteen_bits_and_transparency_stay(tmp_path, recwarn):
    values = np.linspace(0, 65535, 512).astype(np.uint16).reshape(8, 64)
    assert np.array_equal(sm.io.read_image(saved(tmp_path / "x.png", Image.fromarray(values))).numpy()[..., 0], np.round(values / 257).astype(np.uint8))
    assert not recwarn
    both = np.stack([np.linspace(0, 4095, 12), np.full(12, 65535)], -1).astype(">u2").reshape(3, 4, 2)
    (tmp_path / "y.png").write_bytes(png(4, 3, 16, 4, [row.tobytes() for row in both]))
    with pytest.warns(sm.FormatWarning, match="12 bits"):
        got = sm.io.read_image(tmp_path / "y.png").numpy()
    assert (got[..., 1] == 255).all()
    assert got[..., 0].max() == 255


TIFFS = {
    "no compression": {},
    "LZW": {"compression": "tiff_lzw"},
    "Deflate": {"compression": "tiff_adobe_deflate"},
    "PackBits": {"compression": "packbits"},
    "LZW and differences": {"compression": "tiff_lzw", "tiffinfo": {317: 2}},
    "strips of few rows": {"compression": "tiff_lzw", "tiffinfo": {278: 7}},
}


@pytest.mark.parametrize("how", TIFFS)
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "I;16"])
def test_tiff(how, mode, tmp_path):
    rgb = Image.fromarray(scene(131, 77))
    image = Image.fromarray(scene(131, 77)[..., 0].astype(np.uint16) * 251) if mode == "I;16" else rgb.convert(mode)
    if mode == "I;16" and "differences" in how:
        pytest.skip("Pillow writes no differences of 16 bits")
    path = saved(tmp_path / "x.tif", image, **TIFFS[how])
    want = np.asarray(image.convert("RGB") if mode == "P" else image).reshape(77, 131, -1)
    got = sm.io.read_image(path, torch.uint16 if mode == "I;16" else torch.uint8).numpy()
    assert np.array_equal(got, want)


@pytest.mark.parametrize(("name", "options"), [("x.bmp", {}), ("x.jfif", {"format": "JPEG"}), ("x", {"format": "PNG"}), ("x.jpe", {"format": "JPEG"})])
@pytest.mark.parametrize("mode", ["L", "RGB", "P"])
def test_other_names_and_bitmaps(name, options, mode, tmp_path):
    if mode == "P" and options.get("format") == "JPEG":
        pytest.skip("JPEG has no palettes")
    image = Image.fromarray(scene(45, 31)).convert(mode)
    path = saved(tmp_path / name, image, **options)
    with Image.open(path) as again:
        want = np.asarray(again.convert("RGB") if again.mode == "P" else again)
    assert np.array_equal(sm.io.read_image(path).numpy(), want.reshape(31, 45, -1))


def test_a_bitmap_from_the_top_and_one_of_32_bits(tmp_path):
    rgb = scene(6, 4)
    for bits, height in ((24, -4), (32, 4), (32, -4)):
        rows = rgb[..., ::-1] if height < 0 else rgb[::-1, :, ::-1]
        body = (
            b"".join(row.tobytes() + b"\0" * (-18 % 4) for row in np.ascontiguousarray(rows))
            if bits == 24
            else np.dstack([rows, np.zeros((4, 6, 1), np.uint8)]).tobytes()
        )
        head = b"BM" + struct.pack("<IHHI", 54 + len(body), 0, 0, 54) + struct.pack("<IiiHHIIiiII", 40, 6, height, 1, bits, 0, len(body), 0, 0, 0, 0)
        (tmp_path / "x.bmp").write_bytes(head + body)
        assert np.array_equal(sm.io.read_image(tmp_path / "x.bmp").numpy(), rgb), (bits, height)
        (tmp_path / "cut.bmp").write_bytes((head + body)[:-5])
        with pytest.raises(sm.FormatError, match=r"cut\.bmp: expected a whole BMP"):
            sm.io.read_image(tmp_path / "cut.bmp")


def test_jpeg_in_four_inks_is_pillows(tmp_path):
    image = Image.fromarray(scene(64, 40)).convert("CMYK")
    path = saved(tmp_path / "cmyk.jpg", image, quality=95)
    with Image.open(path) as again:
        want = np.asarray(again.convert("RGB"))
    got = sm.io.read_image(path).numpy()
    assert got.shape == (40, 64, 3)
    assert np.abs(got.astype(int) - want).max() <= 1


def test_what_is_not_read_says_what_to_do(tmp_path):
    floats = saved(tmp_path / "f.tif", Image.fromarray(np.zeros((4, 4), np.float32)))
    with pytest.raises(sm.FormatError, match=r"f\.tif: .*convert it to PNG.*32 bits"):
        sm.io.read_image(floats)
    several = tmp_path / "s.tif"
    Image.fromarray(scene(8, 8)).save(several, save_all=True, append_images=[Image.fromarray(scene(8, 8, 1))])
    with pytest.warns(sm.FormatWarning, match=r"s\.tif: a TIFF file of several pages"):
        assert np.array_equal(sm.io.read_image(several).numpy(), scene(8, 8))


def test_tiff_that_is_damaged_is_refused(tmp_path, rng):
    for options in TIFFS.values():
        whole = saved(tmp_path / "x.tif", Image.fromarray(scene(64, 48)), **options).read_bytes()
        for cut in (*range(0, 16), len(whole) // 2, len(whole) - 1):
            (tmp_path / "cut.tif").write_bytes(whole[:cut])
            with pytest.raises(sm.FormatError, match=r"cut\.tif"):
                sm.io.read_image(tmp_path / "cut.tif")
        for _ in range(200):  # never a crash: another picture, or an error that names the file
            changed = bytearray(whole)
            for at in rng.integers(0, len(whole), 4):
                changed[at] = rng.integers(0, 256)
            (tmp_path / "changed.tif").write_bytes(changed)
            try:
                sm.io.read_image(tmp_path / "changed.tif")
            except sm.FormatError as error:
                assert "changed.tif" in str(error)


ODDITIES = {
    "bytes before the end": lambda base, other: base[:-2] + b"\0\0\0" + base[-2:],
    "bytes after the end": lambda base, other: base + b"junk" * 10,
    "a second picture (MPO)": lambda base, other: base + other,
    "filling before a marker": lambda base, other: base[:2] + b"\xff\xff\xff" + base[2:],
    "a version that is none": lambda base, other: base[:11] + b"\x09\x09" + base[13:],
    "no JFIF": lambda base, other: base[:2] + base[20:],
    "Adobe's marker": lambda base, other: base[:2] + b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0\x01" + base[2:],
    "EXIF of garbage": lambda base, other: base[:2] + b"\xff\xe1\0\x10Exif\0\0garbagee" + base[2:],
}


@pytest.mark.filterwarnings("ignore::sslmed.FormatWarning")
@pytest.mark.parametrize("what", ODDITIES)
@pytest.mark.parametrize("progressive", [False, True])
def test_odd_jpeg_that_leaves_the_pixels_alone(what, progressive, tmp_path):
    encoded = []
    for seed in (0, 1):
        out = io.BytesIO()
        Image.fromarray(scene(64, 48, seed)).save(out, "JPEG", quality=90, progressive=progressive)
        encoded.append(out.getvalue())
    (tmp_path / "x.jpg").write_bytes(ODDITIES[what](*encoded))
    with Image.open(tmp_path / "x.jpg") as image:
        want = np.asarray(image)
    assert np.array_equal(sm.io.read_image(tmp_path / "x.jpg").numpy(), want)
