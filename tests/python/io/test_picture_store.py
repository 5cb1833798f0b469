"""Pictures that Pillow reads for us, by copies; what of them is told, and what is refused."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image, ImageOps, features
from slide_files import scene

import sslmed as sm
from sslmed import _C
from sslmed.io import picture_store

PREPROCESSING = sm.ImagePreprocessing(size=32, patch=16)


@pytest.fixture(autouse=True)
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    sm.io.set_picture_store(folder)
    return folder


def cohort_of(paths: list[Path]) -> sm.Cohort:
    return sm.Cohort.from_table(pd.DataFrame({"path": [str(path) for path in paths], "subject": [f"p{i}" for i in range(len(paths))]}))


def one_batch(cohort: sm.Cohort) -> torch.Tensor:
    (batch,) = sm.Loader(cohort, PREPROCESSING, batch_size=len(cohort), order="sequential", threads=1)
    return batch.views[0].values


@pytest.mark.parametrize("lossless", [True, False])
def test_webp_is_read_as_pillow_reads_it(lossless: bool, tmp_path: Path) -> None:
    path = tmp_path / "a.webp"
    Image.fromarray(scene(63, 41)).save(path, lossless=lossless)
    want = np.asarray(Image.open(path))
    assert np.array_equal(sm.io.read_image(path).numpy(), want)
    assert np.array_equal(sm.io.read_image(path, torch.uint16).numpy(), want.astype(np.uint16) * 257)


def test_webp_reaches_an_encoder_as_its_png_does(tmp_path: Path) -> None:
    pairs: list[tuple[Path, Path]] = []
    for i in range(3):
        pairs.append((tmp_path / f"a{i}.webp", tmp_path / f"a{i}.png"))
        Image.fromarray(scene(60, 48, i)).save(pairs[-1][0], lossless=True)
        Image.fromarray(scene(60, 48, i)).save(pairs[-1][1])
    assert cohort_of([a for a, _ in pairs]).modality == "images"
    assert torch.equal(one_batch(cohort_of([a for a, _ in pairs])), one_batch(cohort_of([b for _, b in pairs])))
    folder = sm.Cohort.from_folder(tmp_path)
    assert len(folder) == 6
    assert folder.modality == "images"


def test_exif_turns_webp_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(scene(60, 40)).save(tmp_path / "a.webp", lossless=True, exif=exif)
    got = sm.io.read_image(tmp_path / "a.webp").numpy()
    assert got.shape == (60, 40, 3)
    assert np.array_equal(got, np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / "a.webp"))))


def test_transparency_stays_and_does_not_reach_encoders(tmp_path: Path) -> None:
    rgba = np.dstack([scene(48, 48), np.tile(np.arange(48, dtype=np.uint8) * 5, (48, 1))])
    Image.fromarray(rgba).save(tmp_path / "a.webp", lossless=True, exact=True)
    Image.fromarray(rgba).save(tmp_path / "a.png")
    assert np.array_equal(sm.io.read_image(tmp_path / "a.webp").numpy(), rgba)
    assert torch.equal(one_batch(cohort_of([tmp_path / "a.webp"])), one_batch(cohort_of([tmp_path / "a.png"])))


def test_an_animation_gives_its_first_picture_and_is_told(tmp_path: Path) -> None:
    frames = [Image.fromarray(scene(32, 32, i)) for i in range(3)]
    for name, options in (("a.webp", {"lossless": True}), ("a.gif", {})):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], **options)
        with pytest.warns(sm.FormatWarning, match=rf"{name}: 3 pictures in one (WebP|GIF) file, of which the first is read"):
            got = sm.io.read_image(tmp_path / name).numpy()
        assert np.array_equal(got[..., :3], np.asarray(Image.open(tmp_path / name).convert("RGB")))


@pytest.mark.skipif(not features.check("jpg_2000"), reason="this Pillow reads no JPEG 2000")
def test_jpeg_2000_of_8_and_12_bits(tmp_path: Path) -> None:
    Image.fromarray(scene(64, 48)).save(tmp_path / "a.jp2")
    assert np.array_equal(sm.io.read_image(tmp_path / "a.jp2").numpy(), np.asarray(Image.open(tmp_path / "a.jp2")))
    deep = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)
    Image.fromarray(deep).save(tmp_path / "b.jp2")
    got = sm.io.read_image(tmp_path / "b.jp2", torch.uint16).numpy()[..., 0]
    assert np.allclose(got, deep / 4095 * 65535, atol=1)
    assert sm.io.read_image(tmp_path / "b.jp2").numpy().max() == 255


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow reads no AVIF")
def test_avif(tmp_path: Path) -> None:
    Image.fromarray(scene(64, 48)).save(tmp_path / "a.avif")
    assert np.array_equal(sm.io.read_image(tmp_path / "a.avif").numpy(), np.asarray(Image.open(tmp_path / "a.avif")))


def test_a_copy_is_made_once_and_again_when_the_file_changes(tmp_path: Path, store: Path) -> None:
    path = tmp_path / "a.webp"
    Image.fromarray(scene(32, 32)).save(path, lossless=True)
    (copy,) = sm.io.convert_pictures([path])
    stamp = Path(copy).stat().st_mtime_ns
    assert sm.io.convert_pictures([path]) == [copy]
    assert Path(copy).stat().st_mtime_ns == stamp
    Image.fromarray(scene(40, 24, 1)).save(path, lossless=True)
    assert sm.io.read_image(path).shape == (24, 40, 3)
    assert len(list(store.iterdir())) == 2
    assert np.array_equal(np.asarray(Image.open(copy)), scene(32, 32))  # a TIFF file that others read too
    png = tmp_path / "b.png"
    Image.fromarray(scene(32, 32)).save(png)
    assert sm.io.convert_pictures([png]) == [str(png)]


def test_a_wrong_ending_is_told_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    Image.fromarray(scene(48, 48)).save(path, "WEBP", lossless=True)
    with pytest.raises(sm.FormatError, match=r"photo\.jpg: .*a WebP image without a copy: convert it first \(sslmed\.io\.convert_pictures\)"):
        one_batch(cohort_of([path]))
    sm.io.convert_pictures([path])
    assert one_batch(cohort_of([path])).shape[0] == 4


def test_damaged_files_are_named_and_leave_no_copy(tmp_path: Path, store: Path, rng: np.random.Generator) -> None:
    coded = io.BytesIO()
    Image.fromarray(scene(64, 64)).save(coded, "WEBP")
    whole = coded.getvalue()
    path = tmp_path / "cut.webp"
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(sm.FormatError, match=r"cut\.webp: expected a whole WebP picture of at most 2\^28 pixels that Pillow reads, found"):
        one_batch(cohort_of([path]))
    assert not list(store.iterdir())
    for i in range(40):
        damaged = bytearray(whole)
        for at in rng.integers(12, len(whole), 3):
            damaged[at] = int(rng.integers(0, 256))
        path = tmp_path / f"{i}.webp"
        path.write_bytes(bytes(damaged))
        try:
            assert sm.io.read_image(path).dim() == 3
        except sm.FormatError as error:
            assert f"{i}.webp" in str(error)


def test_a_picture_that_claims_too_many_pixels_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.gif"
    path.write_bytes(b"GIF89a" + b"\xff\xff\xff\xff\0\0\0" + b"\x2c\0\0\0\0\xff\xff\xff\xff\0\x02\0\x3b")
    with pytest.raises(sm.FormatError, match=r"bomb\.gif: expected a whole GIF picture of at most 2\^28 pixels"):
        sm.io.read_image(path)


def test_native_files_are_not_opened_beforehand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at: list[Any] = []
    monkeypatch.setattr(picture_store, "foreign_kind", lambda path: looked_at.append(path))
    picture_store.prepare([tmp_path / "a.png", tmp_path / "b.JPG", tmp_path / "c.tif", tmp_path / "d", tmp_path / "e.dcm"])
    assert [Path(path).name for path in looked_at] == ["d", "e.dcm"]


def adobe(transform: int, mode: str) -> bytes:
    """A JPEG of four inks, with Adobe's marker."""
    coded = io.BytesIO()
    Image.fromarray(scene(48, 40)).convert(mode).save(coded, "JPEG", quality=95)
    data = bytearray(coded.getvalue())
    if (at := data.find(b"Adobe")) >= 0:
        data[at + 11] = transform
    return bytes(data)


def oddities() -> dict[str, bytes]:
    """JPEG files that cameras, scanners and the web make, and Pillow reads."""
    picture = Image.fromarray(scene(67, 45))

    def saved(image: Image.Image = picture, **options: Any) -> bytes:
        coded = io.BytesIO()
        image.save(coded, "JPEG", quality=92, **options)
        return coded.getvalue()

    plain = saved()
    return {
        "cmyk": adobe(0, "CMYK"),
        "ycck": adobe(2, "CMYK"),
        "progressive in gray": saved(picture.convert("L"), progressive=True),
        "4:1:1": saved(subsampling=2),
        "rgb": saved(keep_rgb=True),
        "restart markers": saved(restart_marker_blocks=1),
        "bytes after the end": plain + b"\0" * 100,
        "another picture after the end": plain + saved(picture.rotate(180)),
        "filled markers": plain[:2] + b"\xff\xff" + plain[2:],
        "a comment": saved(comment=b"x" * 60000),
        "a profile in pieces": saved(icc_profile=b"p" * 100000),
        "exif and no jfif": saved(exif=Image.Exif().tobytes()).replace(b"JFIF\0", b"JFXX\0", 1),
    }


@pytest.mark.oracle
@pytest.mark.skipif(not _C.have_images(), reason="built without libpng and libjpeg-turbo")
@pytest.mark.parametrize("name", list(oddities()))
def test_oddities_of_jpeg_that_pillow_reads(name: str, tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(oddities()[name])
    image = Image.open(path)
    want = np.asarray(image.convert("RGB") if image.mode != "L" else image).astype(int).reshape(image.height, image.width, -1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sm.FormatWarning)
        got = sm.io.read_image(path).numpy().astype(int)
    assert got.shape == want.shape
    assert np.abs(got - want).max() <= (2 if "c" in name[:1] or name == "ycck" else 0)
