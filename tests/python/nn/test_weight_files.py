"""Files of weights that are damaged, quantized or dangerous: refused by name, and nothing of them is loaded."""

import pickle

import pytest
import torch
from public_models import ours, shaken

import sslmed as sm
from sslmed.nn import load_weights, save_weights

KEY = "blocks.0.attn.qkv.weight"


def state_of(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def refused(content, error, message, path, module=None):
    torch.save(content, path)
    mine = module or ours()
    before = state_of(mine)
    with pytest.raises(error, match=message):
        load_weights(mine, path, "timm")
    assert all(torch.equal(value, before[name]) for name, value in mine.state_dict().items())


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (lambda w: (10 * w).to(torch.int8), r"float64: blocks\.0\.attn\.qkv\.weight \(int8\)"),
        (lambda w: w > 0, r"\(bool\)"),
        (lambda w: w * (1 + 1j), r"\(complex64\)"),
        (lambda w: w.to(torch.float8_e4m3fn), r"\(float8_e4m3fn\)"),
        (lambda w: w.to_sparse(), r"\(float32 sparse_coo\)"),
        (lambda w: w.to("meta"), r"\(float32 without values\)"),
        (lambda w: w[:1, :1].expand(10**6, 10**6), r"\(\[1000000, 1000000\] with \d+ bytes\)"),
        (lambda w: w.double() * 1e300, r"1 tensors have values that are too large for float32: blocks\.0\.attn\.qkv\.weight"),
    ],
    ids=["int8", "bool", "complex", "float8", "sparse", "meta", "expanded", "large"],
)
def test_tensors_that_hold_no_plain_weights_are_refused(changed, message, tmp_path):
    state = state_of(shaken(ours(seed=9)))
    refused(state | {KEY: changed(state[KEY])}, ValueError, message, tmp_path / "w.pth")


def test_values_fit_the_type_of_the_module(tmp_path):
    state = state_of(ours())
    refused(state | {KEY: torch.full_like(state[KEY], 1e5)}, ValueError, "too large for float16", tmp_path / "w.pth", ours().half())


@pytest.mark.parametrize("name", ["blocks.0.se.fc.weight", "blocks.1.attn.linear.bias", "blocks.1.head.weight", "blocks.0.scaler.weight"])
def test_parts_inside_of_a_block_are_no_head(name, tmp_path):
    """Left out, they would give other features without a word."""
    state = state_of(ours())
    refused(state | {name: torch.zeros(3)}, ValueError, f"the file has 1 tensors that the encoder has not: {name}", tmp_path / "w.pth")


def test_heads_and_states_of_training_are_left_out(tmp_path):
    extras = ["head.weight", "module.dino_head.layers.0.weight", "projector.layers.1.linear.weight", "optimizer.state.0.exp_avg", "fc.bias"]
    state = state_of(shaken(ours(seed=9)))
    torch.save(state | {name: torch.zeros(3) for name in extras}, tmp_path / "w.pth")
    told = load_weights(ours(), tmp_path / "w.pth", "timm").set_index("file_key")
    assert set(told.change[extras]) == {"left out: head", "left out: state of the training"}


def test_dictionaries_in_dictionaries_end(tmp_path):
    state = state_of(ours())
    own = dict(state)
    own["model"] = own
    refused(own, sm.FormatError, "one that holds itself", tmp_path / "own.pth")
    deep = state
    for _ in range(100):
        deep = {"model": deep}
    refused(deep, sm.FormatError, "at most 20 dictionaries", tmp_path / "deep.pth")


def test_an_object_is_named_and_nobody_is_told_to_run_it(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "exploded"), "w"))

    torch.save({"model": Bomb()}, tmp_path / "bomb.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Bomb()))
    for name, found in (("bomb.pth", r"the object \w*\.?open"), ("plain.pth", "other objects, or damaged bytes|the object")):
        with pytest.raises(sm.FormatError, match=f"expected tensors and plain values only, found {found}") as error:
            load_weights(ours(), tmp_path / name, "timm")
        assert "weights_only" not in str(error.value)
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_any_changed_byte_loads_or_is_refused(zipped, rng, tmp_path):
    """Also the files of PyTorch before 1.6, whose reader fails in other ways."""
    path = tmp_path / "w.pth"
    torch.save(state_of(ours()), path, _use_new_zipfile_serialization=zipped)
    data = path.read_bytes()
    for _ in range(40):
        changed = bytearray(data)
        for place in rng.integers(0, 3000, 5):
            changed[place] = rng.integers(256)
        path.write_bytes(changed)
        try:
            load_weights(ours(), path, "timm")
        except (ValueError, sm.FormatError) as error:
            assert "w.pth" in str(error)


def test_a_file_is_complete_or_not_there(tmp_path, monkeypatch):
    with pytest.raises(sm.ReadError, match=r"nowhere/w\.pth: cannot be written"):
        save_weights(ours(), tmp_path / "nowhere" / "w.pth", "timm")

    def full(tensors, path):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(sm.ReadError, match="No space left"):
        save_weights(ours(), tmp_path / "w.pth", "timm")
    assert not list(tmp_path.iterdir())
