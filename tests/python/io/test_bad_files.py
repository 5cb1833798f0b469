"""Files that are not what they must be: one error that names the file, in bounded time and memory."""

import json
import struct

import numpy as np
import pandas as pd
import pytest
import torch
from ramps import RampPreprocessing

import sslmed as sm


@pytest.fixture
def npz(tmp_path):
    np.savez(tmp_path / "a.npz", data=np.zeros((1, 900)), sfreq=100, channels=np.array(["Cz"]), subject="a")
    return (tmp_path / "a.npz").read_bytes()


@pytest.mark.parametrize("change", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"PK\3\4" + bytes(40), lambda b: b[:200] + b"\1" * 300 + b[500:]])
def test_a_damaged_npz_is_named(change, npz, tmp_path):
    (tmp_path / "b.npz").write_bytes(change(npz))
    with pytest.raises(sm.FormatError, match=r"b\.npz: expected a \.npz of plain arrays"):
        sm.Cohort.from_npz([tmp_path / "b.npz"])


def test_an_array_without_names_is_no_npz(tmp_path):
    np.save(tmp_path / "c.npy", np.zeros(3))
    with pytest.raises(sm.FormatError, match=r"c\.npy: expected a \.npz with the keys .*, found a single array"):
        sm.Cohort.from_npz([tmp_path / "c.npy"])


@pytest.mark.parametrize("name", ["d.parquet", "d.tsv", "d.csv"])
def test_a_folder_is_no_table(name, tmp_path):
    (tmp_path / name).mkdir()
    with pytest.raises(sm.ReadError, match=rf"{name}: is a folder"):
        sm.Cohort.from_table(tmp_path / name)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" + bytes(100) + b"PAR1", b"\xff\xfe\x00\x00"])
def test_a_damaged_parquet_is_named(content, tmp_path):
    (tmp_path / "e.parquet").write_bytes(content)
    with pytest.raises(sm.FormatError, match=r"e\.parquet: expected a table"):
        sm.Cohort.from_table(tmp_path / "e.parquet")


def test_a_cut_parquet_is_named(tmp_path):
    pd.DataFrame({"path": ["a"] * 100, "subject": [str(i) for i in range(100)]}).to_parquet(tmp_path / "f.parquet")
    whole = (tmp_path / "f.parquet").read_bytes()
    (tmp_path / "f.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(sm.FormatError, match=r"f\.parquet: expected a table"):
        sm.Cohort.from_table(tmp_path / "f.parquet")


@pytest.fixture
def encoder():
    return sm.Encoder("vit_tiny", RampPreprocessing(), depth=1, dim=24, heads=2)


def rewritten(encoder, path, **new):
    """A saved encoder whose description has other values."""
    encoder.save(path)
    raw = path.read_bytes()
    size = struct.unpack("<Q", raw[:8])[0]
    head = json.loads(raw[8 : 8 + size])
    head["__metadata__"]["encoder"] = json.dumps(json.loads(head["__metadata__"]["encoder"]) | new)
    text = json.dumps(head).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + raw[8 + size :])
    return path


@pytest.mark.parametrize("new", [{"depth": 10**9}, {"lora_rank": 10**12}, {"dim": 10**9}, {"depth": -1}, {"name": ["vit_tiny"]}, {"dim": None, "depth": 10**6}])
def test_a_small_file_cannot_ask_for_a_large_encoder(new, encoder, tmp_path):
    with pytest.raises(sm.FormatError, match=r"g\.safetensors: expected"):
        sm.Encoder.load(rewritten(encoder, tmp_path / "g.safetensors", **new))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_are_finite_in_every_file_that_is_saved_or_loaded(value, encoder, tmp_path):
    encoder.save(tmp_path / "h.safetensors")
    weights = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    weights["norm.weight"][3] = value
    metadata = sm.io.load_metadata(tmp_path / "h.safetensors", sm.Encoder.FORMAT)
    sm.io.save_safetensors(weights, tmp_path / "i.safetensors", metadata)
    with pytest.raises(sm.FormatError, match=r"i\.safetensors: expected finite weights, found that 1 of its \d+ tensors have values .*norm\.weight"):
        sm.Encoder.load(tmp_path / "i.safetensors")
    kept = (tmp_path / "h.safetensors").read_bytes()
    with torch.no_grad():
        encoder.norm.weight[3] = value
    with pytest.raises(ValueError, match=r"h\.safetensors: the encoder was not saved: 1 of its \d+ tensors"):
        encoder.save(tmp_path / "h.safetensors")
    assert (tmp_path / "h.safetensors").read_bytes() == kept
