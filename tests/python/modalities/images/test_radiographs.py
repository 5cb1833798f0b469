"""DICOM images as they are to be shown, and what is refused."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from radiographs import CT, SECONDARY, dataset, save, table_of

import sslmed as sm
from sslmed.io import dicom

pydicom = pytest.importorskip("pydicom")
pytestmark = pytest.mark.oracle

GRAY = np.arange(64 * 48, dtype=np.uint16).reshape(48, 64)  # 0 … 3071, of 12 bits


@pytest.fixture(autouse=True)
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    sm.io.set_picture_store(folder)
    return folder


def read(path: Path, dtype: torch.dtype = torch.uint16, **options: Any) -> np.ndarray[Any, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sm.FormatWarning)
        return sm.io.read_image(path, dtype, **options).numpy()


def cohort_of(paths: list[Path], **columns: Any) -> sm.Cohort:
    return sm.Cohort.from_table(pd.DataFrame({"path": [str(path) for path in paths], "subject": [f"p{i}" for i in range(len(paths))], **columns}))


def test_monochrome1_is_shown_inverted(tmp_path: Path) -> None:
    a = read(save(tmp_path / "a.dcm", dataset(GRAY, bits=12)))
    b = read(save(tmp_path / "b.dcm", dataset(GRAY, bits=12, photometric="MONOCHROME1")))
    assert a.shape == (48, 64, 1)
    assert a.min() == 0
    assert a.max() == 65535
    assert np.array_equal(a.astype(int) + b, np.full_like(a, 65535, dtype=int))
    assert np.allclose(a[..., 0], GRAY / 3071 * 65535, atol=1)


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_windows_are_those_of_pydicom(function: str, tmp_path: Path) -> None:
    ds = dataset(GRAY, bits=12, WindowCenter=[1500, 40], WindowWidth=[1000, 80], VOILUTFunction=function, RescaleSlope=2, RescaleIntercept=-1000)
    got = read(save(tmp_path / "a.dcm", ds))[..., 0] / 65535
    values = pydicom.pixels.apply_modality_lut(ds.pixel_array, ds)
    want = pydicom.pixels.apply_voi_lut(values, ds)
    low, high = -1000, 4095 * 2 - 1000  # what pydicom spreads windows over
    assert np.allclose(got, (want - low) / (high - low), atol=2e-3 if function == "SIGMOID" else 2e-4)
    exact = (2.0 * GRAY - 1000 - 1499.5) / 999 + 0.5
    if function == "LINEAR":
        assert np.allclose(got, np.clip(exact, 0, 1), atol=1e-5)


def test_a_window_of_one_value_is_a_step(tmp_path: Path) -> None:
    got = read(save(tmp_path / "a.dcm", dataset(GRAY, bits=12, WindowCenter=1000, WindowWidth=1)))[..., 0]
    assert np.array_equal(got, np.where(GRAY > 999.5, 65535, 0))


def test_a_voi_lut_comes_before_a_window(tmp_path: Path) -> None:
    table = [int(4095 * (i / 3071) ** 2) for i in range(3072)]
    ds = dataset(GRAY, bits=12, WindowCenter=1500, WindowWidth=100, VOILUTSequence=table_of(table, 0, 12))
    path = save(tmp_path / "a.dcm", ds)
    want = pydicom.pixels.apply_voi_lut(ds.pixel_array, ds, prefer_lut=True)
    assert np.allclose(read(path)[..., 0], want / 4095 * 65535, atol=1)
    assert np.allclose(read(path, voi="lut"), read(path))
    assert np.allclose(read(path, voi="window")[..., 0] / 65535, np.clip((GRAY - 1499.5) / 99 + 0.5, 0, 1), atol=1e-4)
    assert np.allclose(read(path, voi="range")[..., 0], GRAY / 3071 * 65535, atol=1)


def test_tables_that_start_late_say_16_bits_or_have_8(tmp_path: Path) -> None:
    late = read(save(tmp_path / "a.dcm", dataset(GRAY, bits=12, VOILUTSequence=table_of([0, 1000, 4095], 100, 12))))[..., 0]
    assert np.array_equal(late, np.round(np.select([GRAY <= 100, GRAY == 101], [0, 1000], 4095) / 4095 * 65535))
    said = read(save(tmp_path / "b.dcm", dataset(GRAY, bits=12, VOILUTSequence=table_of([0, 4095], 0, 16))))[..., 0]
    assert said.max() == 65535
    eight = read(save(tmp_path / "c.dcm", dataset(GRAY, bits=12, VOILUTSequence=table_of([i // 16 for i in range(4096)], 0, 8))))[..., 0]
    assert np.allclose(eight, GRAY // 16 * 257)


def test_a_modality_table_is_applied_first(tmp_path: Path) -> None:
    ds = dataset(GRAY, bits=12, ModalityLUTSequence=table_of([4095 - i for i in range(4096)], 0, 12))
    got = read(save(tmp_path / "a.dcm", ds))[..., 0]
    assert np.allclose(got, (3071 - GRAY.astype(int)) / 3071 * 65535, atol=1)


def test_signed_values_and_bits_that_hold_overlays(tmp_path: Path) -> None:
    signed = (GRAY.astype(int) - 1500).astype(np.int16)
    assert np.allclose(read(save(tmp_path / "a.dcm", dataset(signed)))[..., 0], GRAY / 3071 * 65535, atol=1)
    overlaid = GRAY | (np.arange(64, dtype=np.uint16) % 2 << 15)
    assert np.allclose(read(save(tmp_path / "b.dcm", dataset(overlaid, bits=12)))[..., 0], GRAY / 3071 * 65535, atol=1)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_is_black_and_does_not_count(photometric: str, tmp_path: Path) -> None:
    values = 1000 + GRAY // 4
    values[:, :20] = 0
    values[:, 20:22] = 3
    got = read(save(tmp_path / "a.dcm", dataset(values, bits=12, photometric=photometric, PixelPaddingValue=0, PixelPaddingRangeLimit=3)))[..., 0]
    assert not got[:, :22].any()
    inside = got[:, 22:].astype(int)
    assert inside.max() == 65535
    assert inside.min() == 0
    assert (inside[-1, -1] > inside[0, 0]) == (photometric == "MONOCHROME2")


def test_a_dark_picture_stays_dark(tmp_path: Path) -> None:
    path = save(tmp_path / "a.dcm", dataset(GRAY, bits=12, WindowCenter=8192, WindowWidth=16384))
    assert read(path, torch.uint8).max() == round(255 * ((3071 - 8191.5) / 16383 + 0.5))


def test_eight_bits_and_an_odd_size(tmp_path: Path) -> None:
    values = (GRAY[:47, :63] % 256).astype(np.uint8)
    assert values.max() == 254  # files of 8 bits are not stretched
    assert np.array_equal(read(save(tmp_path / "a.dcm", dataset(values)), torch.uint8)[..., 0], values)


def test_colors(tmp_path: Path, rng: np.random.Generator) -> None:
    rgb = rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)
    assert np.array_equal(read(save(tmp_path / "a.dcm", dataset(rgb, photometric="RGB", sop=SECONDARY)), torch.uint8), rgb)
    ybr = pydicom.pixels.convert_color_space(rgb, "RGB", "YBR_FULL")
    got = read(save(tmp_path / "b.dcm", dataset(ybr, photometric="YBR_FULL", sop=SECONDARY)), torch.uint8)
    assert np.abs(got.astype(int) - rgb).max() <= 2
    planes = dataset(np.ascontiguousarray(rgb.transpose(2, 0, 1)).reshape(48, 64, 3), photometric="RGB", sop=SECONDARY, PlanarConfiguration=1)
    assert np.array_equal(read(save(tmp_path / "c.dcm", planes), torch.uint8), rgb)


@pytest.mark.parametrize("bits", [8, 16])
def test_palettes(bits: int, tmp_path: Path, rng: np.random.Generator) -> None:
    values = rng.integers(0, 256, (48, 64), dtype=np.uint8)
    palette = rng.integers(0, 256, (3, 256))
    ds = dataset(values, photometric="PALETTE COLOR", sop=SECONDARY)
    for name, entries in zip(("Red", "Green", "Blue"), palette, strict=True):
        ds.add_new(f"{name}PaletteColorLookupTableDescriptor", "US", [256, 0, bits])
        stored = (entries * 257).astype("<u2") if bits == 16 else entries.astype(np.uint8)
        ds.add_new(f"{name}PaletteColorLookupTableData", "OW", stored.tobytes())
    assert np.array_equal(read(save(tmp_path / "a.dcm", ds), torch.uint8), palette.T[values])


@pytest.mark.parametrize("name", ["RLELossless", "JPEG2000Lossless", "JPEGBaseline8Bit"])
def test_compressed_pixels(name: str, tmp_path: Path) -> None:
    values = (GRAY // 12).astype(np.uint8)
    if name == "RLELossless":
        ds = dataset(GRAY, bits=12)
        ds.compress(pydicom.uid.RLELossless, generate_instance_uid=False)
        want = GRAY / 3071 * 65535
    else:
        import io

        from PIL import Image

        coded = io.BytesIO()
        Image.fromarray(values).save(coded, "JPEG2000" if "2000" in name else "JPEG", **({"no_jp2": True} if "2000" in name else {"quality": 95}))
        ds = dataset(values, syntax=getattr(pydicom.uid, name))
        ds.PixelData = pydicom.encaps.encapsulate([coded.getvalue()])
        ds["PixelData"].VR = "OB"
        want = values * 257.0
    got = read(save(tmp_path / "a.dcm", ds))[..., 0]
    assert np.allclose(got, want, atol=1 if name != "JPEGBaseline8Bit" else 3 * 257)


def test_color_in_jpeg(tmp_path: Path) -> None:
    import io

    from PIL import Image

    rgb = np.stack([np.tile(np.arange(64), (48, 1)) * 4, np.full((48, 64), 90), np.tile(np.arange(48)[:, None], (1, 64)) * 5], 2).astype(np.uint8)
    coded = io.BytesIO()
    Image.fromarray(rgb).save(coded, "JPEG", quality=97, subsampling=1)
    ds = dataset(rgb, photometric="YBR_FULL_422", sop=SECONDARY, syntax=pydicom.uid.JPEGBaseline8Bit)
    ds.PixelData = pydicom.encaps.encapsulate([coded.getvalue()])
    ds["PixelData"].VR = "OB"
    got = read(save(tmp_path / "a.dcm", ds), torch.uint8).astype(int)
    assert np.abs(got - rgb).mean() < 3


def test_a_syntax_without_a_decoder_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ds = dataset(GRAY, bits=12, syntax=pydicom.uid.JPEGLosslessSV1)
    ds.PixelData = pydicom.encaps.encapsulate([b"\xff\xd8\xff\xd9"])
    ds["PixelData"].VR = "OB"
    decoder = pydicom.pixels.get_decoder(pydicom.uid.JPEGLosslessSV1)
    monkeypatch.setattr(decoder, "_available", {})
    with pytest.raises(sm.FormatError, match=r"a\.dcm: expected pixels that pydicom decodes \(JPEG Lossless.*pylibjpeg"):
        read(save(tmp_path / "a.dcm", ds))


def test_files_without_a_preamble_or_an_ending(tmp_path: Path) -> None:
    for name, syntax in (("IM0001", pydicom.uid.ExplicitVRLittleEndian), ("b.dcm", pydicom.uid.ImplicitVRLittleEndian)):
        path = save(tmp_path / name, dataset(GRAY, bits=12, syntax=syntax), preamble=False)
        assert path.read_bytes()[128:132] != b"DICM"
        assert cohort_of([path]).modality == "images"
        assert np.allclose(read(path)[..., 0], GRAY / 3071 * 65535, atol=1)


def series(tmp_path: Path) -> tuple[Any, str]:
    return dataset(GRAY.astype(np.int16), sop=CT, Modality="CT"), r"found a slice of a CT series; convert the series to NIfTI \(dcm2niix\)"


def frames(tmp_path: Path) -> tuple[Any, str]:
    ds = dataset(GRAY, bits=12, NumberOfFrames=2)
    ds.PixelData = ds.PixelData * 2
    return ds, r"expected a single image, found 2 frames .*PNG"


def report(tmp_path: Path) -> tuple[Any, str]:
    ds = dataset(GRAY, sop="1.2.840.10008.5.1.4.1.1.88.11")
    del ds.PixelData
    return ds, r"found a file without pixels \(Basic Text SR Storage\); leave it out"


def cut(tmp_path: Path) -> tuple[Any, str]:
    ds = dataset(GRAY, bits=12)
    ds.PixelData = ds.PixelData[:1000]
    return ds, r"expected pixels that pydicom decodes \(Explicit VR Little Endian\), found ValueError"


def wide(tmp_path: Path) -> tuple[Any, str]:
    ds = dataset(GRAY, bits=12)
    ds.Rows, ds.Columns = 65535, 65535
    return ds, r"expected an image of 1 to 2\^28 pixels of 1 or 3 samples, found 65535 x 65535 of 1"


def labels(tmp_path: Path) -> tuple[Any, str]:
    return dataset(GRAY, BitsAllocated=1, BitsStored=1, HighBit=0), "expected 8 or 16 bits a value, found 1"


def strange(tmp_path: Path) -> tuple[Any, str]:
    return dataset(GRAY, photometric="HSV"), "expected MONOCHROME1, MONOCHROME2, .*found photometric interpretation 'HSV'"


def short_table(tmp_path: Path) -> tuple[Any, str]:
    found = table_of([1, 2, 3], 0, 12)
    found[0].LUTDescriptor = [4096, 0, 12]
    return dataset(GRAY, bits=12, VOILUTSequence=found), "expected a table of 4096 gray values of 1 to 16 bits, found 3 of 12 bits"


@pytest.mark.parametrize("make", [series, frames, report, cut, wide, labels, strange, short_table])
def test_what_is_no_single_image_is_refused_with_what_to_do(make: Any, tmp_path: Path, store: Path) -> None:
    ds, text = make(tmp_path)
    path = save(tmp_path / "x.dcm", ds)
    with pytest.raises(sm.FormatError, match=rf"x\.dcm: .*{text}"):
        read(path)
    with pytest.raises(sm.FormatError, match=rf"x\.dcm: .*{text}"):
        sm.Loader(cohort_of([path]), sm.ImagePreprocessing(size=32, patch=16), batch_size=1)
    assert not list(store.iterdir())


def test_a_deflated_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ds = dataset(np.zeros((1024, 1024), np.uint16), bits=12, syntax=pydicom.uid.DeflatedExplicitVRLittleEndian)
    path = save(tmp_path / "x.dcm", ds)
    assert not read(path).any()
    monkeypatch.setattr(dicom, "_MOST", 1 << 18)
    (tmp_path / "y.dcm").write_bytes(path.read_bytes())
    with pytest.raises(sm.FormatError, match=r"y\.dcm: expected a deflated DICOM image"):
        read(tmp_path / "y.dcm")


def test_a_damaged_file_is_named(tmp_path: Path, rng: np.random.Generator) -> None:
    whole = save(tmp_path / "x.dcm", dataset(GRAY, bits=12, PatientAge="045Y", WindowCenter=1000, WindowWidth=500)).read_bytes()
    for i in range(60):
        damaged = bytearray(whole[: int(rng.integers(133, len(whole)))] if i % 2 else whole)
        for at in rng.integers(132, min(len(damaged), 800), 4):
            damaged[at] = int(rng.integers(0, 256))
        path = tmp_path / f"{i}.dcm"
        path.write_bytes(bytes(damaged))
        try:
            assert read(path).size
        except (sm.FormatError, sm.ReadError) as error:
            assert f"{i}.dcm" in str(error)


def test_what_a_file_lacks_is_told(tmp_path: Path) -> None:
    path = save(tmp_path / "x.dcm", dataset(GRAY, bits=12, WindowCenter=1000, WindowWidth=500))
    with pytest.raises(sm.FormatError, match=r"x\.dcm: voi='lut' needs the VOI LUT in the file, found only what voi=window and range needs"):
        read(path, voi="lut")
    with pytest.raises(ValueError, match=r"ImagePreprocessing: voi='cubic' must be one of auto, lut, window, range"):
        sm.Loader(cohort_of([path]), sm.ImagePreprocessing(size=32, patch=16, voi="cubic"), batch_size=1)
    zero = save(tmp_path / "y.dcm", dataset(GRAY, bits=12, WindowCenter=1000, WindowWidth=0))
    with pytest.warns(sm.FormatWarning, match=r"1 by the lowest and highest value .*, without a VOI LUT or window, such as .*y\.dcm"):
        sm.io.convert_pictures([zero])


def test_how_gray_values_became_light_is_told_once(tmp_path: Path) -> None:
    paths = [save(tmp_path / f"{i}.dcm", dataset(GRAY, bits=12, **({"WindowCenter": 9, "WindowWidth": 7} if i else {}))) for i in range(3)]
    with pytest.warns(sm.FormatWarning, match="3 DICOM images converted; .* 1 by the lowest .*; 2 by the window, such as") as told:
        copies = sm.io.convert_pictures(paths)
    assert len(told) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert sm.io.convert_pictures(paths) == copies
        # Who chooses is not told; every choice has copies of its own.
        assert not set(sm.io.convert_pictures(paths, voi="range")) & set(copies)


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    path = save(tmp_path / "x.dcm", dataset(GRAY, bits=12))
    assert read(path)[0, 0, 0] == 0
    save(path, dataset(GRAY[::-1].copy(), bits=12, PatientID="changed"))
    assert read(path)[0, 0, 0] > 60000


def test_an_encoder_learns_from_them(tmp_path: Path) -> None:
    paths = [save(tmp_path / f"{i}.dcm", dataset(np.roll(GRAY, 7 * i), bits=12, photometric="MONOCHROME1")) for i in range(4)]
    preprocessing = sm.ImagePreprocessing(size=32, patch=16)
    with pytest.warns(sm.FormatWarning, match="4 DICOM images converted"):
        run = sm.pretrain(cohort_of(paths), "mae", "vit_tiny", tmp_path / "run", preprocessing=preprocessing, epochs=1, batch_size=4, threads=1)
    kept = sm.Encoder.load(tmp_path / "run" / "encoder.safetensors")
    assert kept.preprocessing.voi == run.encoder.preprocessing.voi == "auto"
    assert len(sm.encode(kept, cohort_of(paths))[0]) == 4


def test_headers_become_columns_that_the_caller_does_not_have(tmp_path: Path) -> None:
    full = {
        "PatientAge": "045Y",
        "PatientSex": "F",
        "ViewPosition": "pa",
        "ImageLaterality": "L",
        "PixelSpacing": [0.2, 0.1],
        "WindowCenter": 9,
        "WindowWidth": 7,
    }
    a = save(tmp_path / "a.dcm", dataset(GRAY, bits=12, **full))
    b = save(tmp_path / "b.dcm", dataset(GRAY, bits=12, PatientBirthDate="19600301", StudyDate="20200301", PatientSex="O", ImagerPixelSpacing=[0.14, 0.14]))
    c = save(tmp_path / "c.dcm", dataset(GRAY, bits=12, PatientAge="006M"))
    with pytest.warns(sm.FormatWarning, match="converted"):
        index = cohort_of([a, b, c], label=[0, 1, 0]).index(tmp_path / "i.parquet")
    assert index is not None
    table = index.table
    assert table["age"].tolist() == [45.0, 60.0, 0.5]
    assert table["sex"].fillna("").tolist() == ["F", "", ""]
    assert table["view"].fillna("").tolist() == ["PA", "", ""]
    assert table["laterality"].fillna("").tolist() == ["L", "", ""]
    assert table["spacing_x"].fillna(0).tolist() == [0.1, 0.14, 0]
    assert table["spacing_y"].fillna(0).tolist() == [0.2, 0.14, 0]
    assert table["voi"].tolist() == ["window", "range", "range"]
    assert sm.Cohort.from_table(tmp_path / "i.parquet").table["view"].iloc[0] == "PA"
    mine = cohort_of([a, b, c], age=[50.0, np.nan, 51.0], sex=["M", None, "F"], view=["mine", "x", "y"]).index()
    assert mine is not None
    assert mine.table["age"].fillna(-1).tolist() == [50.0, -1.0, 51.0]
    assert mine.table["sex"].fillna("").tolist() == ["M", "", "F"]
    assert mine.table["view"].tolist() == ["mine", "x", "y"]


def test_a_copy_with_another_name_in_its_header_is_the_same_picture(tmp_path: Path) -> None:
    a = save(tmp_path / "a.dcm", dataset(GRAY, bits=12, PatientName="Somebody^Known", PatientID="17"))
    b = save(tmp_path / "b.dcm", dataset(GRAY, bits=12, PatientName="Nobody", PatientID="anonymous"))
    c = save(tmp_path / "c.dcm", dataset(GRAY + 1, bits=12, PatientName="Nobody", PatientID="anonymous"))
    images = sm.modalities.get("images")
    assert images.content(a) == images.content(b) != images.content(c)


def test_without_pydicom_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "a.dcm", dataset(GRAY, bits=12))
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(ImportError, match=r"a\.dcm: DICOM images are read through pydicom: pip install 'sslmed\[dicom\]'"):
        sm.Loader(cohort_of([path]), sm.ImagePreprocessing(size=32, patch=16), batch_size=1)


def test_a_folder_of_them_is_a_cohort(tmp_path: Path) -> None:
    for i in range(3):
        save(tmp_path / f"p{i}.{'dicom' if i == 0 else 'dcm'}", dataset(GRAY, bits=12))
    cohort = sm.Cohort.from_folder(tmp_path)
    assert cohort.modality == "images"
    assert len(cohort) == 3
