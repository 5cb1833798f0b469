"""State dictionaries, error feedback, and bytes that were damaged."""

import struct
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sslmed import FormatError
from sslmed._core import C
from sslmed.federated import METHODS, Compressed, CompressedUpdate, ErrorFeedback, compress, compress_update, decompress, decompress_update
from sslmed.federated.compressed import DTYPES
from sslmed.federated.updates import seed_of

BIASED = [("topk", {"fraction": 0.05}), ("lowrank", {"rank": 2}), ("drive", {"scale": "least_error"})]


def model_update(rng):
    values = lambda *shape: torch.from_numpy(rng.standard_normal(shape).astype(np.float32))  # noqa: E731
    return {
        "embed.weight": values(64, 3, 9, 9),
        "norm.weight": values(64),
        "norm.num_batches_tracked": torch.tensor(17),
        "head.weight": values(50, 64),
        "half": values(2000).half(),
        "wide": values(1500).double(),
        "brain": values(1500).bfloat16(),
        "seen": torch.arange(3000) % 2 == 0,
        "flat": values(5000),
        "empty": torch.zeros(0, 4),
    }


@pytest.mark.parametrize("method", METHODS)
def test_updates_come_back_through_bytes(rng, method):
    update = model_update(rng)
    made = compress_update(update, method, seed=11)
    sent = made.to_bytes()
    assert made.nbytes == len(sent)
    assert made.ratio == pytest.approx(sum(t.numel() * t.element_size() for t in update.values()) / len(sent))
    received = CompressedUpdate.from_bytes(sent)
    assert received.to_bytes() == sent
    found = decompress_update(received, like=update)
    assert list(found) == list(update)
    table = made.table.set_index("name")
    for name, values in update.items():
        assert found[name].dtype == values.dtype
        assert found[name].shape == values.shape
        compressed = table.loc[name, "method"] != "none"
        assert compressed == (name in ("embed.weight", "head.weight") or (name == "flat" and method != "lowrank"))
        assert bool(table.loc[name, "reason"]) != compressed
        if compressed:
            alone = compress(values, method, seed=seed_of(11, name))
            assert torch.equal(found[name], decompress(alone))
            assert table.loc[name, "nbytes"] == alone.nbytes < table.loc[name, "nbytes_before"]
        else:
            assert torch.equal(found[name], values)
    assert table.loc["norm.weight", "reason"] == "fewer than 1024 values"
    assert table.loc["half", "reason"] == table.loc["norm.num_batches_tracked", "reason"] == "not float32"
    assert table.loc["empty", "reason"] == "fewer than 1024 values"


def test_draws_differ_by_tensor_and_do_not_depend_on_others(rng):
    x = torch.from_numpy(rng.standard_normal(4000).astype(np.float32))
    both = compress_update({"a": x, "b": x}, "qsgd", seed=1).tensors
    assert not torch.equal(both["a"].payload, both["b"].payload)
    assert torch.equal(both["b"].payload, compress_update({"b": x}, "qsgd", seed=1).tensors["b"].payload)
    assert not torch.equal(both["b"].payload, compress_update({"b": x}, "qsgd", seed=2).tensors["b"].payload)


def test_what_a_method_would_not_make_smaller_is_sent_as_it_is():
    made = compress_update({"w": torch.ones(2, 2000)}, "lowrank", seed=1, rank=2)
    assert made.reasons == {"w": "lowrank does not make it smaller"}
    assert torch.equal(decompress_update(made)["w"], torch.ones(2, 2000))


@pytest.mark.parametrize(("method", "options"), BIASED)
def test_feedback_loses_nothing(rng, method, options):
    feedback, rounds = ErrorFeedback(), 12
    given_sum, arrived = torch.zeros(30, 100).double(), torch.zeros(30, 100).double()
    for number in range(rounds):
        x = torch.from_numpy(rng.standard_normal((30, 100)).astype(np.float32))
        arrived += decompress(feedback.compress("w", x, method, seed=number, **options)).double()
        given_sum += x.double()
    rest = feedback.residual("w").double()
    # Each round rounds twice, at values of at most the residual's size.
    assert float((arrived + rest - given_sum).abs().max()) <= rounds * 2**-22 * float(rest.abs().max() + 4)
    assert float(rest.norm()) > 1
    # Residuals do not grow without end: of top-k's errors at most sqrt(1 - share) of what was given stays each round.
    assert float(rest.norm()) < float(rounds * 60)


@pytest.mark.parametrize(("method", "options"), BIASED)
def test_feedback_of_updates_and_its_state(rng, method, options):
    update = model_update(rng)
    one, other = ErrorFeedback(), ErrorFeedback()
    compress_update(update, method, seed=1, feedback=one, **options)
    state = one.state_dict()
    torch.manual_seed(0)
    first = compress_update(update, method, seed=2, feedback=one, **options)
    other.load_state_dict(state)
    again = compress_update(update, method, seed=2, feedback=other, **options)
    assert first.to_bytes() == again.to_bytes()
    # What was kept is a copy.
    for residual in state.values():
        residual.zero_()
    assert torch.equal(other.residual("flat"), one.residual("flat"))
    for name in ("embed.weight", "head.weight"):
        total = update[name].double() * 2
        before = compress_update(update, method, seed=1, **options)
        arrived = decompress(before.tensors[name]).double() + decompress(first.tensors[name]).double()
        assert torch.allclose(arrived + one.residual(name).double(), total, atol=1e-5)
    assert float(one.residual("norm.weight").abs().max()) == 0


def test_feedback_is_all_or_nothing(rng):
    feedback = ErrorFeedback()
    update = {"a": torch.ones(2000), "b": torch.ones(2000)}
    compress_update(update, "topk", feedback=feedback)
    before = feedback.state_dict()
    update["b"][3] = float("nan")
    with pytest.raises(ValueError, match=r"update\['b'\] must be finite"):
        compress_update(update, "topk", feedback=feedback)
    assert all(torch.equal(before[name], feedback.residual(name)) for name in ("a", "b"))
    with pytest.raises(ValueError, match="one shape"):
        feedback.compress("a", torch.ones(5), "topk")
    for method, options in (("qsgd", {}), ("randmask", {}), ("hadamard", {}), ("drive", {})):
        with pytest.raises(ValueError, match="error feedback needs method='topk'"):
            feedback.compress("c", torch.ones(5), method, seed=1, **options)
        with pytest.raises(ValueError, match="error feedback needs"):
            compress_update(update, method, seed=1, feedback=feedback)
    with pytest.raises(ValueError, match=r"state\['a'\] must be finite"):
        feedback.load_state_dict({"a": torch.tensor([float("inf")])})
    with pytest.raises(ValueError, match=r"state\['a'\] must be a float32"):
        feedback.load_state_dict({"a": torch.tensor([1])})


def test_updates_that_cannot_be_sent_are_refused_by_name():
    with pytest.raises(ValueError, match=r"update\['w'\] must be finite"):
        compress_update({"w": torch.tensor([1.0, float("inf")])}, "topk")
    with pytest.raises(ValueError, match=r"update\['w'\] must be a dense tensor on the CPU of one of float32"):
        compress_update({"w": torch.zeros(3, dtype=torch.complex64)}, "topk")
    with pytest.raises(TypeError, match="got str to float"):
        compress_update({"w": 1.0}, "topk")
    with pytest.raises(TypeError, match="must be a mapping"):
        compress_update([torch.ones(3)], "topk")
    with pytest.raises(ValueError, match="needs seed="):
        compress_update({"w": torch.ones(3)}, "qsgd")
    # Taken modulo 2**64 it would draw what another client draws.
    with pytest.raises(ValueError, match="compress_update: seed=18446744073709551623 must be below"):
        compress_update({"w": torch.ones(3000)}, "qsgd", seed=2**64 + 7)
    numpys = compress_update({"w": torch.ones(3000)}, "qsgd", seed=np.int64(7))
    assert numpys.to_bytes() == compress_update({"w": torch.ones(3000)}, "qsgd", seed=7).to_bytes()
    with pytest.raises(ValueError, match=r"update\['w'\]: compress: bits=9"):
        compress_update({"w": torch.ones(3000)}, "qsgd", bits=9, seed=1)
    made = compress_update({"w": torch.ones(3000), "v": torch.ones(3)}, "topk")
    with pytest.raises(ValueError, match=r"1 are missing \['z'\], 1 are unknown \['v'\]"):
        decompress_update(made, like={"w": torch.ones(3000), "z": torch.ones(3)})
    with pytest.raises(ValueError, match=r"update\['v'\] must be \(4,\)"):
        decompress_update(made, like={"w": torch.ones(3000), "v": torch.ones(4)})
    with pytest.raises(ValueError, match=r"update\['v'\] must be \(3,\) in torch.float64"):
        decompress_update(made, like={"w": torch.ones(3000), "v": torch.ones(3).double()})
    with pytest.raises(TypeError, match=r"CompressedUpdate\.from_bytes"):
        decompress_update(made.to_bytes())


@pytest.mark.parametrize("dtype", list(DTYPES))
def test_every_dtype_is_sent_as_it_is(dtype):
    x = (torch.arange(24) % 5).to(dtype).reshape(2, 3, 4)
    made = CompressedUpdate.from_bytes(compress_update({"x": x}, "topk").to_bytes())
    assert torch.equal(decompress_update(made)["x"], x)
    assert decompress_update(made)["x"].dtype == dtype


@pytest.mark.parametrize("dtype", [dtype for dtype in DTYPES if dtype.is_floating_point])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_forged_values_that_are_not_finite_are_refused_by_name(dtype, value):
    made = compress_update({"w": torch.ones(3000), "bias": torch.ones(5, dtype=dtype)}, "topk")
    forged = torch.ones(5, dtype=dtype)
    forged[3] = value
    made.tensors["bias"].payload.copy_(forged.view(torch.uint8))
    received = CompressedUpdate.from_bytes(made.to_bytes())
    with pytest.raises(FormatError, match=r"update\['bias'\]: decompress: expected finite values .*, found NaN or infinity"):
        decompress_update(received)


def signed(body):
    """Bytes with a right checksum: what damage by malice looks like."""
    return bytes(body) + struct.pack("<Q", C.bytes_checksum(bytes(body)))


SAMPLES = {method: compress(torch.randn(30, 44), method, seed=3).to_bytes() for method in METHODS}
SAMPLES["update"] = compress_update({"a": torch.randn(40, 50), "n": torch.tensor(3), "b": torch.randn(9)}, "drive", seed=3).to_bytes()


def read(data):
    if data[:4] == b"SMFU":
        return list(decompress_update(CompressedUpdate.from_bytes(data, max_elements=2**16)).values())
    return [decompress(Compressed.from_bytes(data, max_elements=2**16))]


@pytest.mark.parametrize("name", SAMPLES)
def test_every_flipped_bit_and_every_cut_is_noticed(name):
    data = SAMPLES[name]
    rng = np.random.default_rng()
    for at in {*range(min(len(data), 80)), *rng.integers(0, len(data), 80).tolist()}:
        bad = bytearray(data)
        bad[at] ^= 1 << int(rng.integers(8))
        with pytest.raises(FormatError):
            read(bytes(bad))
    for size in {*range(0, 60), *rng.integers(0, len(data), 40).tolist()}:
        with pytest.raises(FormatError):
            read(data[:size])
    with pytest.raises(FormatError):
        read(data + b"\0")


@settings(max_examples=400, deadline=None)
@given(data=st.data(), name=st.sampled_from(sorted(SAMPLES)))
def test_bytes_of_malice_are_refused_or_give_finite_values(data, name):
    body = bytearray(SAMPLES[name][:-8])
    edits = st.tuples(st.integers(0, len(body) - 1) | st.integers(4, 60), st.binary(min_size=1, max_size=8))
    for at, piece in data.draw(st.lists(edits, min_size=1, max_size=6)):
        body[at : at + len(piece)] = piece
    if data.draw(st.booleans()):
        del body[data.draw(st.integers(0, len(body))) :]
    try:
        found = read(signed(body))
    except FormatError:
        return
    for each in found:
        assert each.numel() <= 2**16
        if each.is_floating_point():
            assert each.isfinite().all()


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.sampled_from([b"SMFC\1", b"SMFU\1"]))
def test_any_bytes_are_refused_or_read(content, start):
    try:
        read(signed(start + content))
    except FormatError:
        pass


def test_claimed_sizes_cost_nothing():
    head = struct.Struct("<4sBBBBQQQ")
    claims = [
        (4, 32, 1, 1, 8, (2**40,)),  # top-k: eight bytes for a terabyte
        (5, 32, 1, 1, 0, (2**39,)),  # a mask that may be empty
        (1, 4, 2, 512, 8, (2**63, 2**63)),
        (0, 0, 3, 0, 0, (0, 2**62, 2**62)),
        (2, 1, 32, 4096, 0, (2**64 - 1,) * 32),
    ]
    start = time.perf_counter()
    for method, bits, axes, parameter, size, shape in claims:
        body = head.pack(b"SMFC", 1, method, bits, axes, 0, parameter, size) + struct.pack(f"<{len(shape)}Q", *shape) + bytes(size)
        with pytest.raises(FormatError, match="max_elements"):
            Compressed.from_bytes(signed(body))
        update = struct.pack("<4sB3xIH", b"SMFU", 1, 1, 1) + b"x" + struct.pack("<Q", len(signed(body))) + signed(body)
        with pytest.raises(FormatError, match="max_elements"):
            CompressedUpdate.from_bytes(signed(update))
    with pytest.raises(FormatError, match="more bytes"):
        CompressedUpdate.from_bytes(signed(struct.pack("<4sB3xI", b"SMFU", 1, 2**32 - 1)))
    with pytest.raises(FormatError, match="more bytes"):
        CompressedUpdate.from_bytes(signed(struct.pack("<4sB3xIH", b"SMFU", 1, 1, 1) + b"x" + struct.pack("<Q", 2**63)))
    assert time.perf_counter() - start < 5


def test_errors_of_the_format_say_what_was_found():
    data = compress(torch.randn(100), "qsgd", seed=1).to_bytes()
    for bad, text in ((b"", "at least 40 bytes, found 0"), (b"SMFX" + data[4:], "b'SMFX'"), (data[:4] + b"\2" + data[5:], "expected version 1, found 2")):
        with pytest.raises(FormatError, match=text):
            Compressed.from_bytes(bad)
    with pytest.raises(TypeError, match="data must be bytes, got str"):
        Compressed.from_bytes("abc")
    with pytest.raises(FormatError, match="at most max_elements=99 values"):
        Compressed.from_bytes(data, max_elements=99)
    one = compress_update({"x": torch.ones(2000), "y": torch.ones(2000)}, "topk")
    with pytest.raises(FormatError, match="max_elements=1999"):
        CompressedUpdate.from_bytes(one.to_bytes(), max_elements=3999)
    assert len(CompressedUpdate.from_bytes(one.to_bytes(), max_elements=4000).tensors) == 2
    twice = struct.pack("<4sB3xI", b"SMFU", 1, 2) + (struct.pack("<H", 1) + b"x" + struct.pack("<Q", len(data)) + data) * 2
    with pytest.raises(FormatError, match="'x' twice"):
        CompressedUpdate.from_bytes(signed(twice))
    wrong = struct.pack("<4sB3xI", b"SMFU", 1, 1) + struct.pack("<H", 1) + b"\xff" + struct.pack("<Q", len(data)) + data
    with pytest.raises(FormatError, match="UTF-8"):
        CompressedUpdate.from_bytes(signed(wrong))
