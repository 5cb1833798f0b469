"""Small files that ask for much, pipes, and files of endless depth: one error that names the file, at once."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sslmed as sm
from sslmed.evaluation.card import Card
from sslmed.evaluation.manifest import load_manifest
from sslmed.nn.checkpoints import read_tensors

DEEP = "[" * 100_000


def safetensors(path: Path, shape: list[Any], size: int = 0) -> Path:
    head = json.dumps({"a": {"dtype": "F32", "shape": shape, "data_offsets": [0, size]}}).encode()
    path.write_bytes(struct.pack("<Q", len(head)) + head + bytes(size))
    return path


@pytest.mark.parametrize(
    ("shape", "size", "said"),
    [
        ([2**40, 2**40], 0, "overflows 63 bits"),
        ([2**32, 2**32], 0, "overflows 63 bits"),
        ([2**62 + 1], 4, "overflows 63 bits"),
        ([2**40, 2**40, 0], 0, "overflows 63 bits"),
        ([0, 2**62, 2**62], 0, "overflows 63 bits"),
        ([1] * 1000, 4, "a shape of 1000 axes, more than 64"),
        ([-1], 4, "expected a non-negative 64-bit integer, found -1"),
        ([1.5], 4, "found 1.5"),
        ([2], 4, "with 4 bytes where its shape needs 8"),
    ],
)
def test_shapes_of_safetensors_are_counted_without_overflow(shape: list[Any], size: int, said: str, tmp_path: Path) -> None:
    with pytest.raises(sm.FormatError, match=rf"a\.safetensors: expected a valid safetensors header, found .*{said}"):
        sm.io.load_safetensors(safetensors(tmp_path / "a.safetensors", shape, size))


def test_empty_tensors_and_many_axes_are_read(tmp_path: Path) -> None:
    assert sm.io.load_safetensors(safetensors(tmp_path / "a.safetensors", [0, 5, 0]))["a"].shape == (0, 5, 0)
    assert sm.io.load_safetensors(safetensors(tmp_path / "b.safetensors", [1] * 64, 4))["a"].dim() == 64


def test_headers_and_descriptions_of_any_depth(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    text = b'{"a":' + DEEP.encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text)
    with pytest.raises(sm.FormatError, match=r"a\.safetensors: .*less nesting"):
        sm.io.load_safetensors(path)
    head = {"__metadata__": {"format": sm.Encoder.FORMAT, "preprocessing": DEEP, "encoder": DEEP}, "a": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}}
    text = json.dumps(head).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text)
    with pytest.raises(sm.FormatError, match=r"a\.safetensors: expected the description of an encoder"):
        sm.Encoder.load(path)


def nested(levels: int) -> str:
    return '{"type":"GeometryCollection","geometries":[' * levels + '{"type":"Point","coordinates":[1,2]}' + "]}" * levels


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (DEEP, "nested too deeply"),
        ("[" * 900 + "]" * 900, "at most 64 collections"),
        (nested(300), "at most 64 collections"),
        (nested(20_000), "nested too deeply"),
        ('{"type":"Polygon","coordinates":' + "[" * 500 + "1" + "]" * 500 + "}", "expected rings of points"),
        ('{"type":"Polygon","coordinates":[[[' + "9" * 5000 + ",0],[1,1],[0,1]]]}", "numbers of ordinary length"),
        ('{"type":"Polygon","coordinates":[[[1e999,0],[1,1],[0,1],[1e999,0]]]}', "not finite"),
    ],
)
def test_geojson_of_any_depth(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "a.geojson").write_text(text)
    with pytest.raises(sm.FormatError, match=rf"a\.geojson: .*{said}"):
        sm.io.read_annotations(tmp_path / "a.geojson")


def test_xml_of_any_depth(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text("<a>" * 100_000 + "</a>" * 100_000)
    with pytest.raises(sm.FormatError, match=r"a\.xml: expected XML of ASAP"):
        sm.io.read_annotations(tmp_path / "a.xml")


def test_other_files_of_any_depth(tmp_path: Path) -> None:
    for name in ("c.card.json", "m.json", "model.safetensors.index.json", "g.yaml"):
        (tmp_path / name).write_text(DEEP[:20_000])
    with pytest.raises(sm.FormatError, match=r"c\.card\.json"):
        Card.load(tmp_path / "c.card.json")
    with pytest.raises(ValueError, match=r"m\.json"):
        load_manifest(tmp_path / "m.json")
    with pytest.raises(sm.FormatError, match=r"model\.safetensors\.index\.json: expected an index"):
        read_tensors(tmp_path)
    with pytest.raises(sm.FormatError, match=r"g\.yaml: expected YAML"):
        sm.grid.run(tmp_path / "g.yaml", tmp_path / "out")


def header(shape: Any, descr: str = "'<f8'") -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\0" + struct.pack("<H", len(text)) + text


def npz(path: Path, data: bytes) -> Path:
    np.savez(path, sfreq=100, channels=np.array(["Cz"]), subject="a")
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data.npy", data)
    return path


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (header((1, 10**13)) + bytes(64), r"array 'data' that \d+ bytes hold, found a shape of \[1, 10000000000000\]"),
        (header((2**40, 2**40)), r"found a shape of \[1099511627776, 1099511627776\]"),
        (header((2**32, 2**32)) + bytes(8), "found a shape of"),
        (header((-1, 4)) + bytes(64), r"found a shape of \[-1, 4\]"),
        (header((1,) * 500) + bytes(8), r"expected a \.npz of plain arrays"),
        (header((1,), "(" * 3000), r"expected a \.npz of plain arrays"),
        (header((1,), "[" * 60 + "]" * 60), r"expected a \.npz of plain arrays"),
        (b"\x93NUMPY\x09\0", r"expected a \.npz of plain arrays"),
    ],
)
def test_arrays_of_npz_are_as_large_as_their_file_says(data: bytes, said: str, tmp_path: Path) -> None:
    with pytest.raises(sm.FormatError, match=rf"a\.npz: .*{said}"):
        sm.Cohort.from_npz([npz(tmp_path / "a.npz", data)])


def test_an_array_that_unpacks_to_more_than_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = npz(tmp_path / "a.npz", header((1, 1 << 20)) + bytes(8 << 20))
    assert len(sm.Cohort.from_npz([path])) == 1
    monkeypatch.setattr("sslmed.modalities.eeg.recordings._MOST_UNPACKED", 1 << 20)
    with pytest.raises(sm.FormatError, match=r"a\.npz: expected recordings, found \d+ bytes of 'data' that unpack to 8388"):
        sm.Cohort.from_npz([path])


PIPES = {
    "x.edf": "sm.io.open_edf(path)",
    "x.vhdr": "sm.io.open_brainvision(path)",
    "y.edf": "sm.modalities.eeg.channels(cohort)",
    "x.set": "sm.modalities.eeg.channels(cohort)",
    "x.png": "sm.io.read_image(path)",
    "y.png": "next(iter(sm.Loader(cohort, sm.ImagePreprocessing(size=32, patch=16), batch_size=1)))",
    "x.dcm": "sm.io.convert_pictures([path])",
    "x.svs": "sm.io.open_slide(path)",
    "y.svs": "cohort.index(path + '.parquet')",
    "x.geojson": "sm.io.read_annotations(path)",
    "x.csv": "sm.Cohort.from_table(path)",
    "x.tsv": "sm.Cohort.open(path)",
    "x.parquet": "sm.Cohort.from_table(path)",
    "x.npz": "sm.Cohort.from_npz([path])",
    "x.safetensors": "sm.Encoder.load(path)",
    "x.pt": "sm.nn.checkpoints.read_tensors(Path(path))",
    "x.nii.gz": "sm.io.read_nifti(path)",
    "x.mgz": "sm.io.read_volume(path)",
    "z.png": "sm.modalities.get('images').content(path)",
    "x.card.json": "Card.load(path)",
}


def test_pipes_are_named_and_not_waited_for(tmp_path: Path) -> None:
    lines = ["import sys", "from pathlib import Path", "import pandas as pd", "import sslmed as sm", "import sslmed.nn.checkpoints"]
    lines += ["from sslmed.evaluation.card import Card"]
    for name, call in PIPES.items():
        os.mkfifo(tmp_path / name)
        lines.append(f"path = {str(tmp_path / name)!r}")
        lines.append("cohort = sm.Cohort.from_table(pd.DataFrame({'path': [path], 'subject': ['a']}))")
        lines += ["try:", f"    {call}", "    print('nothing')", "except sm.ReadError as error:", "    print(error)"]
    found = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, timeout=300, check=False)
    assert found.returncode == 0, found.stderr
    said = found.stdout.splitlines()
    assert len(said) == len(PIPES)
    for name, text in zip(PIPES, said, strict=True):
        assert f"{name}: is not a regular file: expected a file, found a pipe" in text
        assert "leave it out" in text
    for name in ("x.tif", "x"):
        os.mkfifo(tmp_path / name)
        assert sm.modalities.file_kinds.picture_of(tmp_path / name) is None
