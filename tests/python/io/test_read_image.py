"""PNG and JPEG equal Pillow's; damaged ones are refused by name."""

import io
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image
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
    saved(tmp_path / "cmyk.jpg", Image.fromarray(scene(40, 30)).convert("CMYK"))
    with pytest.raises(sm.FormatError, match="4 components"):
        sm.io.read_image(tmp_path / "cmyk.jpg")
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
