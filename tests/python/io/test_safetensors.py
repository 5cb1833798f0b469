import json
import struct

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import sslmed as sm
from sslmed.io import load_safetensors, save_safetensors


def craft(path, header, data=b"", length=None):
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(raw) if length is None else length) + raw + data)
    return path


def test_round_trip_with_the_reference(tmp_path):
    reference = pytest.importorskip("safetensors.torch")
    tensors = {
        "a": torch.randn(3, 4, dtype=torch.float64), "b.ü": torch.randn(2).bfloat16(), "c": torch.tensor([[True], [False]]),
        "d": torch.zeros(0, 5), "e": torch.tensor(7), "f": torch.randn(4, 4).t(), "g": torch.arange(5, dtype=torch.uint8),
    }  # fmt: skip
    save_safetensors(tensors, tmp_path / "x.safetensors", {"note": 'quote " \\ \n'})
    theirs = reference.load_file(tmp_path / "x.safetensors")
    ours = load_safetensors(tmp_path / "x.safetensors")
    reference.save_file({k: v.contiguous() for k, v in tensors.items()}, tmp_path / "y.safetensors")
    from_reference = load_safetensors(tmp_path / "y.safetensors")
    for name, tensor in tensors.items():
        for other in (theirs[name], ours[name], from_reference[name]):
            assert other.dtype == tensor.dtype
            assert torch.equal(other, tensor)
    assert [p.name for p in sorted(tmp_path.iterdir())] == ["x.safetensors", "y.safetensors"]


ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    ("header", "data", "match"),
    [
        ({"a": ENTRY | {"data_offsets": [4, 12]}}, b"\0" * 12, "hole"),
        ({"a": ENTRY, "b": ENTRY}, b"\0" * 8, "overlap"),
        ({"a": ENTRY}, b"\0" * 12, "end with the file"),
        ({"a": ENTRY}, b"\0" * 4, "bytes 0..8 of 4"),
        ({"a": ENTRY | {"shape": [3]}}, b"\0" * 8, "its shape needs 12"),
        ({"a": ENTRY | {"shape": [2**62, 4]}}, b"\0" * 8, "overflow"),
        ({"a": ENTRY | {"shape": [-1]}}, b"\0" * 8, "non-negative"),
        ({"a": ENTRY | {"dtype": "F31"}}, b"\0" * 8, "unknown dtype"),
        ({"a": ENTRY | {"more": 1}}, b"\0" * 8, "exactly"),
        ({"a": {"dtype": "F32"}}, b"", "exactly"),
        ({"__metadata__": {"a": 1}}, b"", "not a string"),
        (
            b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
            b"\0" * 4,
            "duplicate",
        ),
        (b"[]", b"", "start with"),
        (b"{} x", b"", "nothing more"),
        (b'{"a":' + b"[" * 100 + b"]" * 100 + b"}", b"", "nesting"),
        (b'{"\\ud800":1}', b"", "surrogate"),
        (b"", b"", "start with"),
    ],
)
def test_refusals(tmp_path, header, data, match):
    path = craft(tmp_path / "bad.safetensors", header, data)
    with pytest.raises(sm.FormatError, match=match) as error:
        load_safetensors(path)
    assert "bad.safetensors" in str(error.value)


@pytest.mark.parametrize("length", [2**63, 2**32, 10**8 + 1, 3])
def test_header_length(tmp_path, length):
    with pytest.raises(sm.FormatError):
        load_safetensors(craft(tmp_path / "bad.safetensors", {"a": ENTRY}, b"\0" * 8, length))


def test_failed_save_leaves_the_old_file(tmp_path):
    path = tmp_path / "x.safetensors"
    save_safetensors({"a": torch.ones(2)}, path)
    with pytest.raises(ValueError):
        save_safetensors({"a": torch.ones(2, dtype=torch.complex64)}, path)
    assert torch.equal(load_safetensors(path)["a"], torch.ones(2))
    assert len(list(tmp_path.iterdir())) == 1
    with pytest.raises(sm.ReadError):
        save_safetensors({"a": torch.ones(2)}, tmp_path / "none" / "x.safetensors")


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_bytes_never_crash(tmp_path, data):
    path = tmp_path / "f.safetensors"
    save_safetensors({"a": torch.ones(2, 3), "b": torch.ones(1)}, path, {"k": "v"})
    raw = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(raw[: data.draw(st.integers(0, len(raw)))]))
    try:
        load_safetensors(path)
    except sm.FormatError:
        pass
