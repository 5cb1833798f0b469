"""Archives of NumPy beside numpy.load, bit for bit, and those that are damaged or hold what is refused."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hn

import sslmed as sm

TYPES = ("?", "i1", "u1", *(f"{order}{kind}" for order in "<>" for kind in ("i2", "i4", "i8", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16")))
FUZZED = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def bits(array: Any) -> bytes:
    """In C order, little-endian: of NaN too."""
    return np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


def same(path: Path) -> dict[str, torch.Tensor]:
    """What we read, after it was compared with what NumPy reads."""
    ours = sm.io.read_npz(path)
    with np.load(path, allow_pickle=False) as theirs:
        assert list(ours) == list(theirs)
        for name, tensor in ours.items():
            array = theirs[name]
            assert tuple(tensor.shape) == array.shape
            assert tensor.numpy().dtype == array.dtype.newbyteorder("=")
            assert tensor.is_contiguous()
            assert bits(tensor.numpy()) == bits(array)
    return ours


@st.composite
def arrays(draw: Any) -> Any:
    kind = np.dtype(draw(st.sampled_from(TYPES)))
    shape = draw(hn.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=5))
    size = int(np.prod(shape)) * kind.itemsize
    raw = draw(st.binary(min_size=size, max_size=size))
    values = np.frombuffer(bytes(b & 1 for b in raw) if kind.kind == "b" else raw, kind).reshape(shape)
    return np.asfortranarray(values) if draw(st.booleans()) else values


@FUZZED
@given(
    content=st.dictionaries(st.text(st.characters(codec="utf-8", exclude_characters="/\\\0"), min_size=1, max_size=8), arrays(), max_size=4),
    packed=st.booleans(),
)
def test_arrays_of_all_types_and_orders_are_those_of_numpy(tmp_path: Path, content: dict[str, Any], packed: bool) -> None:
    content = {name: values for name, values in content.items() if name != "file" and not name.endswith(".npy")}
    (np.savez_compressed if packed else np.savez)(tmp_path / "a.npz", **content)
    assert set(same(tmp_path / "a.npz")) == set(content)


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("large", [False, True])
def test_versions_of_headers_and_sizes_of_64_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: Any, packed: bool, large: bool) -> None:
    if large:
        monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 64)
    values = np.random.default_rng().normal(size=(30, 40))
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED) as archive:
        for name in ("x.npy", "y.npy"):
            with archive.open(name, "w", force_zip64=large) as member:
                np.lib.format.write_array(member, values, version=version)
    assert (b"PK\x06\x06" in (tmp_path / "a.npz").read_bytes()) == large
    assert torch.equal(same(tmp_path / "a.npz")["y"], torch.from_numpy(values))


class Stream(io.RawIOBase):
    """Cannot be rewound, so that sizes stand behind the bytes."""

    def __init__(self) -> None:
        self.content = b""

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.content += bytes(data)
        return len(data)


def test_data_descriptors(tmp_path: Path) -> None:
    stream = Stream()
    values = np.random.default_rng().integers(0, 256, (3, 28, 28), np.uint8)
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("a.npy", "w") as member:  # type: ignore[call-overload]
        np.save(member, values)
    assert stream.content[6] & 8
    (tmp_path / "a.npz").write_bytes(stream.content)
    assert torch.equal(same(tmp_path / "a.npz")["a"], torch.from_numpy(values))


def test_large_arrays(tmp_path: Path) -> None:
    rng = np.random.default_rng()
    content = {"noise": rng.normal(size=(1 << 19) + 3), "flat": np.zeros((300, 70, 70), np.uint8), "turned": np.asfortranarray(rng.normal(size=(301, 203)))}
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "a.npz", **content)
        same(tmp_path / "a.npz")


def test_names_choose_arrays(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", a=np.arange(2), b=np.arange(3))
    assert list(sm.io.read_npz(tmp_path / "a.npz", ["b"])) == ["b"]
    assert sm.io.read_npz(tmp_path / "a.npz", []) == {}
    with pytest.raises(sm.FormatError, match=r"a\.npz: expected an array 'c', found 'a', 'b'"):
        sm.io.read_npz(tmp_path / "a.npz", ["c"])
    np.savez(tmp_path / "b.npz", a=np.arange(2), b=np.array([None]))
    assert sm.io.read_npz(tmp_path / "b.npz", ["a"])["a"].tolist() == [0, 1]
    with pytest.raises(TypeError, match="must be a list of names"):
        sm.io.read_npz(tmp_path / "a.npz", "a")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (np.array([{"a": 1}, None], object), r"array 'bad': .* objects \(dtype 'O'\), which only pickle"),
        (np.array(["text"]), "dtype '<U4'"),
        (np.array([b"text"]), "dtype '|S4'"),
        (np.array(["2020-01-01"], "M8[D]"), r"dtype '<M8\[D\]'"),
        (np.zeros(2, [("a", "<f4"), ("b", "<i2")]), "structured array"),
        (np.zeros(2, np.longdouble), "dtype '<f16'"),
    ],
)
def test_what_is_no_array_of_numbers_is_refused_by_name(tmp_path: Path, values: Any, said: str) -> None:
    np.savez(tmp_path / "a.npz", good=np.zeros(2), bad=values)
    with pytest.raises(sm.FormatError, match=said):
        sm.io.read_npz(tmp_path / "a.npz")


def test_pickle_is_never_opened(tmp_path: Path) -> None:
    class Harm:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "harm"),)

    np.savez(tmp_path / "a.npz", a=np.array([Harm()], object))
    with pytest.raises(sm.FormatError, match="objects"):
        sm.io.read_npz(tmp_path / "a.npz")
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize(("method", "number"), [(zipfile.ZIP_BZIP2, 12), (zipfile.ZIP_LZMA, 14)])
def test_other_compressions_are_refused_by_number(tmp_path: Path, method: int, number: int) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w", method) as archive, archive.open("a.npy", "w") as member:
        np.save(member, np.zeros(3))
    with pytest.raises(sm.FormatError, match=rf"member 'a\.npy': expected a stored or deflated member.*found zip method {number}"):
        sm.io.read_npz(tmp_path / "a.npz")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(sm.ReadError, match=r"none\.npz"):
        sm.io.read_npz(tmp_path / "none.npz")
    np.save(tmp_path / "a.npy", np.zeros(3))
    with pytest.raises(sm.FormatError, match=r"expected a whole zip archive \(\.npz\)"):
        sm.io.read_npz(tmp_path / "a.npy")
    (tmp_path / "empty.npz").write_bytes(b"")
    with pytest.raises(sm.FormatError, match="a file of 0 bytes"):
        sm.io.read_npz(tmp_path / "empty.npz")


def test_a_cut_file_is_refused_at_every_length(tmp_path: Path) -> None:
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "a.npz", a=np.arange(9), b=np.ones((2, 2), np.uint8))
        whole = (tmp_path / "a.npz").read_bytes()
        for length in range(len(whole)):
            (tmp_path / "cut.npz").write_bytes(whole[:length])
            with pytest.raises(sm.FormatError, match=r"cut\.npz"):
                sm.io.read_npz(tmp_path / "cut.npz")


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_bytes_are_refused_or_change_nothing(tmp_path: Path, data: Any) -> None:
    content = {"a": np.arange(60).reshape(3, 4, 5) % 7, "b": np.array([True, False])}
    (np.savez_compressed if data.draw(st.booleans()) else np.savez)(tmp_path / "a.npz", **content)
    raw = bytearray((tmp_path / "a.npz").read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    (tmp_path / "a.npz").write_bytes(bytes(raw))
    try:
        found = sm.io.read_npz(tmp_path / "a.npz")
    except sm.FormatError:
        return
    # The directory's names are not under a checksum; the values are.
    assert sorted(bits(values.numpy()) for values in found.values()) == sorted(bits(values) for values in content.values())


def medmnist_file(folder: Path, images: tuple[int, ...] = (4, 4), labels: int = 1, **changes: Any) -> Path:
    rng = np.random.default_rng()
    content: dict[str, Any] = {}
    for part, n in (("train", 5), ("val", 3), ("test", 4)):
        content[f"{part}_images"] = rng.integers(0, 256, (n, *images), np.uint8)
        content[f"{part}_labels"] = rng.integers(0, 2, (n, labels), np.uint8)
    content |= changes
    np.savez_compressed(folder / "set.npz", **{name: values for name, values in content.items() if values is not None})
    return folder / "set.npz"


@pytest.mark.parametrize(("images", "labels"), [((4, 5), 1), ((4, 5, 3), 1), ((4, 5, 6), 1), ((4, 4), 14)])
def test_medmnist_files_are_those_of_numpy(tmp_path: Path, images: tuple[int, ...], labels: int) -> None:
    path = medmnist_file(tmp_path, images, labels, more=np.array(["not read"]))
    ours = sm.io.read_medmnist(path)
    assert list(ours) == ["train_images", "train_labels", "val_images", "val_labels", "test_images", "test_labels"]
    with np.load(path) as theirs:
        for name in ours:
            assert np.array_equal(ours[name].numpy(), theirs[name])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"val_labels": None}, "expected an array 'val_labels', found 'train_images'"),
        ({"val_images": np.zeros((3, 4, 4))}, r"val_images: expected uint8 .*found torch\.float64 \[3, 4, 4\]"),
        ({"val_images": np.zeros((3, 4), np.uint8)}, r"val_images: expected uint8 .*\[3, 4\]"),
        ({"val_images": np.zeros((3, 5, 4), np.uint8)}, r"val_images: expected \[4, 4\] an image as in train_images, found \[5, 4\]"),
        ({"val_labels": np.zeros((2, 1), np.uint8)}, "val_labels: expected a row for each of 3 images, found 2"),
        ({"val_labels": np.zeros(3, np.uint8)}, r"val_labels: expected whole numbers \[n, L\]"),
        ({"val_labels": np.zeros((3, 1))}, r"val_labels: expected whole numbers .*float64"),
        ({"val_labels": np.zeros((3, 2), np.uint8)}, r"val_labels: expected \[1\] an image as in train_labels, found \[2\]"),
        ({"test_labels": np.full((4, 1), -1, np.int64)}, "test_labels: expected labels from 0 on, found -1"),
        ({"train_images": np.zeros((5, 0, 4), np.uint8)}, "train_images: expected images with pixels"),
    ],
)
def test_sets_that_lack_something_are_refused_by_name(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(sm.FormatError, match=said):
        sm.io.read_medmnist(medmnist_file(tmp_path, **changes))


@pytest.mark.data
def test_pneumoniamnist() -> None:
    root = os.environ.get("SSLMED_DATA")
    path = Path(root or "", "2d/pneumoniamnist_dev_repacked.npz")
    if not root or not path.exists():
        pytest.skip("needs SSLMED_DATA")
    assert list(same(path)) == list(sm.io.read_medmnist(path))
