"""Codecs against plain NumPy with the same draws, against their definitions, and against the bounds of the papers."""

import doctest
import importlib
import math

import codecs_numpy as plain
import numpy as np
import pytest
import torch
from scipy import linalg, stats

from sslmed import FormatError
from sslmed._core import C
from sslmed.federated import METHODS, Compressed, compress, decompress

SHAPES = [(1,), (7,), (8, 3), (100, 41), (3, 5, 7, 11), (4096,), (4097,), (9000,), (130, 130)]
SETTINGS = [("qsgd", {}), ("drive", {}), ("hadamard", {}), ("topk", {}), ("randmask", {}), ("lowrank", {"rank": 1})]


def values_of(rng, shape):
    return torch.from_numpy(np.asarray(rng.standard_normal(shape) * 10.0 ** rng.integers(-6, 6), np.float32))


def nmse(found, true):
    return float(((found - true).double() ** 2).sum() / (true.double() ** 2).sum())


@pytest.mark.parametrize("n", [8, 16, 64, 512, 4096])
def test_walsh_hadamard_equals_scipy(rng, n):
    whole = rng.integers(-1000, 1000, n).astype(np.float32)
    matrix = linalg.hadamard(n, dtype=np.float64)
    assert np.array_equal(C.walsh_hadamard(torch.from_numpy(whole)).numpy(), matrix @ whole)
    assert np.array_equal(plain.transform(whole), matrix @ whole)
    values = rng.standard_normal(n).astype(np.float32)
    found = C.walsh_hadamard(torch.from_numpy(values))
    np.testing.assert_allclose(found.numpy(), matrix @ values, rtol=0, atol=1e-6 * n**0.5 * math.log2(n))
    back = C.walsh_hadamard(C.walsh_hadamard(torch.from_numpy(whole)))
    assert np.array_equal(back.numpy(), n * whole)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("bucket", [8, 512, 8192, None])
def test_qsgd_equals_numpy_to_the_byte(rng, shape, bucket):
    x, seed = values_of(rng, shape), int(rng.integers(2**63))
    for bits in range(2, 9):
        made = compress(x, "qsgd", bits, seed, bucket=bucket)
        payload, values = plain.qsgd(x.numpy().reshape(-1), bits, seed, bucket or x.numel())
        assert made.payload.numpy().tobytes() == payload
        assert np.array_equal(decompress(made).numpy(), values.reshape(shape))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("block", [8, 256, 4096, 16384])
def test_hadamard_equals_numpy(rng, shape, block):
    x, seed, bits = values_of(rng, shape), int(rng.integers(2**63)), int(rng.integers(1, 9))
    made = compress(x, "hadamard", bits, seed, block=block)
    exact = plain.rotated(x.numpy().reshape(-1), seed, block)
    scales = np.frombuffer(made.payload.numpy()[: 8 * len(exact)].tobytes(), np.float32).reshape(-1, 2).astype(np.float64)
    bits_of = np.unpackbits(made.payload.numpy()[8 * len(exact) :], bitorder="little")
    at, levels, different, total = 0, [], 0, 0
    for number, values in enumerate(exact):
        codes = bits_of[at : at + values.size * bits].reshape(-1, bits) @ (1 << np.arange(bits))
        at += values.size * bits
        low, step = scales[number]
        assert low == pytest.approx(values.min(), rel=1e-5, abs=1e-6 * np.abs(values).max())
        assert step == pytest.approx(np.ptp(values) / (2**bits - 1), rel=1e-5, abs=1e-6 * np.abs(values).max())
        levels.append(low + codes * step)
        if step > 0:
            draws = np.float64(plain.uniform(plain.words(seed, plain.ROUNDING, number, values.size)))
            steps = np.maximum((values - low) / step, 0)
            wanted = np.minimum(np.floor(steps) + (draws < steps - np.floor(steps)), 2**bits - 1)
            # The rotation is in float32 there and in float64 here: draws next to a chance fall on either side.
            assert np.abs(codes - wanted).max() <= 1
            different, total = different + (codes != wanted).sum(), total + codes.size
    assert different <= 3 + 1e-3 * total
    wanted = plain.turned_back(levels, seed, block, x.numel()).reshape(shape)
    np.testing.assert_allclose(decompress(made).numpy(), wanted, rtol=1e-4, atol=2e-5 * float(x.abs().max()))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("block", [8, 4096])
@pytest.mark.parametrize("scale", ["unbiased", "least_error"])
def test_drive_equals_its_definition(rng, shape, block, scale):
    x, seed = values_of(rng, shape), int(rng.integers(2**63))
    exact = plain.rotated(x.numpy().reshape(-1), seed, block)
    levels = []
    for values in exact:
        by = (values**2).sum() / np.abs(values).sum() if scale == "unbiased" else np.abs(values).mean()
        levels.append(np.where(values >= 0, by, -by))
    made = compress(x, "drive", seed=seed, block=block, scale=scale)
    scales = np.frombuffer(made.payload.numpy()[: 4 * len(exact)].tobytes(), np.float32)
    assert scales == pytest.approx([np.abs(each[0]) for each in levels], rel=1e-5)
    assert made.payload.numel() == 4 * len(exact) + sum(each.size for each in exact) // 8
    found, wanted = decompress(made).numpy().reshape(-1), plain.turned_back(levels, seed, block, x.numel())
    # Signs of rotated values next to 0 may differ: few, each by two scales of a block.
    assert nmse(torch.from_numpy(found), torch.from_numpy(wanted)) < (1e-2 if x.numel() >= 4096 else 1e-6)


@pytest.mark.parametrize("shape", [*SHAPES, (700_001,)])
def test_top_k_equals_torch(rng, shape):
    x = values_of(rng, shape)
    for fraction in (0.001, 0.01, 0.3, 1.0):
        k = math.ceil(fraction * x.numel())
        found = decompress(compress(x, "topk", fraction=fraction))
        wanted = torch.zeros(x.numel())
        places = x.reshape(-1).abs().topk(k).indices
        wanted[places] = x.reshape(-1)[places]
        assert torch.equal(found, wanted.reshape(shape))


@pytest.mark.parametrize("n", [10, 5000, 200_000])
def test_top_k_takes_the_first_of_equal_values(rng, n):
    x = torch.from_numpy(rng.integers(-3, 4, n).astype(np.float32))
    order = np.lexsort((np.arange(n), -np.abs(x.numpy())))
    for k in (1, n // 10, n // 2, n - 1, n):
        wanted = np.zeros(n, np.float32)
        wanted[order[:k]] = x.numpy()[order[:k]]
        assert np.array_equal(decompress(compress(x, "topk", k=k, fraction=None)).numpy(), wanted)
    few = compress(torch.ones(n), "topk", k=3, fraction=None)
    assert decompress(few).nonzero().flatten().tolist() == [0, 1, 2]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("fraction", [1e-9, 0.1, 0.5, 1.0])
def test_random_mask_equals_numpy(rng, shape, fraction):
    x, seed = values_of(rng, shape), int(rng.integers(2**63))
    threshold = max(1, round(fraction * 2**32))
    sent = plain.random_mask(x.numel(), seed, threshold).reshape(shape)
    made = compress(x, "randmask", seed=seed, fraction=fraction)
    assert made.payload.numpy().tobytes() == x.numpy()[sent].tobytes()
    assert np.array_equal(decompress(made).numpy(), np.where(sent, x.numpy() * np.float32(2**32 / threshold), 0))


@pytest.mark.parametrize("shape", [(1, 1), (3, 1000), (1000, 3), (64, 3, 7, 7), (300, 520), (40, 1200)])
@pytest.mark.parametrize("iterations", [1, 3])
def test_low_rank_equals_numpy(rng, shape, iterations):
    x, seed = values_of(rng, shape), int(rng.integers(2**63))
    matrix = x.numpy().reshape(shape[0], -1)
    for rank in {1, min(3, *matrix.shape), min(11, *matrix.shape)}:
        made = compress(x, "lowrank", seed=seed, rank=rank, iterations=iterations)
        assert made.payload.numel() == 4 * rank * sum(matrix.shape)
        wanted = plain.low_rank(matrix, rank, seed, iterations)
        np.testing.assert_allclose(decompress(made).numpy().reshape(matrix.shape), wanted, rtol=0, atol=3e-6 * float(np.linalg.norm(matrix, 2)))


def test_low_rank_gives_a_matrix_of_that_rank_back(rng):
    thin = [rng.standard_normal((2, n)).astype(np.float32) for n in (90, 70)]
    x = torch.from_numpy(thin[0].T @ thin[1])
    # A second iteration starts from well-separated columns; those of the first may be nearly the same, which float32 then shows.
    assert nmse(decompress(compress(x, "lowrank", seed=3, rank=2, iterations=2)), x) < 1e-11
    whole = torch.ones(20, 30)  # of rank 1: the second column of the factors is none
    assert torch.allclose(decompress(compress(whole, "lowrank", seed=3, rank=2)), whole, atol=1e-6)


# Where the mean is right, the z of each value is about standard normal, and the sum of n squares has the mean n and the
# variance 2 n if values are independent. A rotation makes their errors depend on each other a little: the deviation counts
# twice, and five of those are the threshold. A bias of a tenth of a value's deviation adds 20 n, many times that.
@pytest.mark.parametrize(
    ("method", "options"),
    [("qsgd", {"bits": 2, "bucket": None}), ("qsgd", {"bits": 5, "bucket": None}), ("hadamard", {"bits": 1}), ("hadamard", {"bits": 3}), ("randmask", {})],
)
def test_mean_over_seeds_is_the_tensor(method, options):
    seeds, n = 2000, 1024
    x = torch.from_numpy(np.random.default_rng(1).standard_normal(n).astype(np.float32))
    found = torch.stack([decompress(compress(x, method, seed=s, **options)) for s in range(seeds)]).double().numpy()
    if method == "qsgd":
        # Values that go up with a chance below .02 do so too seldom for a normal mean.
        steps = x.double().abs() / float(x.double().norm()) * (2 ** (options["bits"] - 1) - 1)
        kept = (steps.frac() > 0.02) & (steps.frac() < 0.98)
        assert int(kept.sum()) > 300
        x, found = x[kept], found[:, kept.numpy()]
        n = x.numel()
    error = found.mean(axis=0) - x.double().numpy()
    deviation = found.std(axis=0, ddof=1)
    z = error / (deviation / math.sqrt(seeds))
    # Each value: the largest of n standard normal numbers, at a chance of 1e-6 for a false alarm.
    assert np.abs(z).max() < stats.norm.isf(1e-6 / 2 / n)
    # All together: the sum of their squares.
    assert (z**2).sum() < n + 5 * 2 * math.sqrt(2 * n)
    # The test can fail: a bias of a tenth of a deviation is seen.
    assert (((error + 0.1 * deviation) / (deviation / math.sqrt(seeds))) ** 2).sum() > n + 5 * 2 * math.sqrt(2 * n)


def test_drive_is_unbiased_for_dense_tensors_and_not_for_sparse_ones():
    seeds, n = 2000, 1024
    x = torch.from_numpy(np.random.default_rng(2).standard_normal(n).astype(np.float32))
    found = torch.stack([decompress(compress(x, "drive", seed=s)) for s in range(seeds)]).double()
    # Along the tensor itself there is no bias in any draw: <estimate, x> = ||x||^2.
    assert (found @ x.double() / (x.double() ** 2).sum()).numpy() == pytest.approx(1, abs=1e-5)
    z = (found.mean(0) - x) / (found.std(0) / math.sqrt(seeds))
    assert float(z.abs().max()) < stats.norm.isf(1e-6 / 2 / n)
    assert float((z**2).sum()) < n + 5 * 2 * math.sqrt(2 * n)
    # A rotation by signs and Hadamard is not uniform: of two values in a block the smaller one is lost in every draw.
    sparse = torch.zeros(n)
    sparse[3], sparse[500] = 3.0, 1.0
    mean = torch.stack([decompress(compress(sparse, "drive", seed=s)) for s in range(200)]).mean(0)
    assert abs(float(mean[500])) < 1e-5
    # Least error: the mean is shrunk by 2 / pi.
    shrunk = torch.stack([decompress(compress(x, "drive", seed=s, scale="least_error")) for s in range(200)]).double().mean(0)
    assert float(shrunk @ x.double() / (x.double() ** 2).sum()) == pytest.approx(2 / math.pi, rel=0.02)


@pytest.mark.parametrize("kind", ["normal", "heavy", "sparse", "constant"])
def test_mean_errors_are_within_the_bounds_of_the_papers(rng, kind):
    n = 4096
    made = {
        "normal": rng.standard_normal(n),
        "heavy": rng.standard_t(1.5, n),
        "sparse": rng.standard_normal(n) * (rng.random(n) < 0.01),
        "constant": np.ones(n),
    }
    made["sparse"][0] = 1
    x = torch.from_numpy(made[kind].astype(np.float32))
    mean = lambda *args, **options: np.mean([nmse(decompress(compress(x, *args, seed=s, **options)), x) for s in range(60)])  # noqa: E731
    for bits in range(2, 9):
        s = 2 ** (bits - 1) - 1
        assert mean("qsgd", bits, bucket=None) <= 1.02 * min(n / s**2, math.sqrt(n) / s)
    for bits in range(1, 9):
        assert mean("hadamard", bits) <= (2 * math.log(n) + 2) / (2**bits - 1) ** 2
    for fraction in (0.05, 0.5):
        threshold = round(fraction * 2**32)
        # The error of a mask is exact: 1/p - 1 in the mean; five deviations of it over the seeds.
        power = x.double().numpy() ** 2 / float((x.double() ** 2).sum())
        p = threshold / 2**32
        deviation = math.sqrt((power**2).sum() * p * (1 - p)) * abs((1 / p - 1) ** 2 - 1) / math.sqrt(60)
        assert mean("randmask", fraction=fraction) == pytest.approx(1 / p - 1, abs=5 * deviation + 1e-5)
    if kind == "normal":
        assert mean("drive", scale="unbiased") == pytest.approx(math.pi / 2 - 1, rel=0.03)
        assert mean("drive", scale="least_error") == pytest.approx(1 - 2 / math.pi, rel=0.03)
    # By Khintchine's inequality with its best constant: E ||Rx||_1 >= sqrt(d / 2) ||x||.
    assert mean("drive", scale="least_error") <= 0.5
    assert mean("topk") <= 1 - math.ceil(0.01 * n) / n + 1e-6


@pytest.mark.parametrize(("method", "options"), SETTINGS)
def test_bytes_depend_on_seed_and_values_alone(rng, method, options):
    x = values_of(rng, (700, 900))
    args = {"seed": 5, **options}
    threads = torch.get_num_threads()
    try:
        made = []
        for n in (1, 4):
            torch.set_num_threads(n)
            made.append(compress(x, method, **args))
            assert torch.equal(decompress(made[0]), decompress(made[-1]))
    finally:
        torch.set_num_threads(threads)
    assert (
        made[0].to_bytes()
        == made[1].to_bytes()
        == compress(x.t().contiguous().t(), method, **args).to_bytes()
        == compress(x.numpy(), method, **args).to_bytes()
    )
    assert torch.nn.Parameter(x).requires_grad
    assert compress(torch.nn.Parameter(x), method, **args).to_bytes() == made[0].to_bytes()
    if method != "topk":
        assert compress(x, method, **{**args, "seed": 6}).payload.numpy().tobytes() != made[0].payload.numpy().tobytes()


@pytest.mark.parametrize(("method", "options"), SETTINGS)
@pytest.mark.parametrize("shape", [(0,), (0, 5), (3, 0, 2), (), (1,), (1, 1), (5, 9)])
def test_empty_zero_and_single_values(method, options, shape):
    if method == "lowrank" and len(shape) < 2:
        with pytest.raises(ValueError, match="at least two axes"):
            compress(torch.zeros(shape), method, seed=1, **options)
        return
    for value in (0.0, 2.5):
        x = torch.full(shape, value)
        made = Compressed.from_bytes(compress(x, method, seed=1, **options).to_bytes())
        found = decompress(made)
        assert found.shape == x.shape
        assert made.nbytes == len(made.to_bytes())
        assert found.isfinite().all()
        if value == 0 or (method in ("lowrank", "qsgd") and x.numel() == 1):
            assert torch.allclose(found, x)
        if x.numel() == 0:
            assert made.payload.numel() == 0


@pytest.mark.parametrize("method", METHODS)
def test_unusable_tensors_are_refused_by_reason(method):
    x = torch.ones(30, 40)
    for odd, text in ((math.nan, "1 value of NaN or infinity, the first at index 42"), (math.inf, "index 42")):
        bad = x.clone()
        bad[1, 2] = odd
        with pytest.raises(ValueError, match=text):
            compress(bad, method, seed=1)
    for bad in (x.double(), x.half(), x.int(), x.to_sparse(), torch.ones(3, 3, device="meta")):
        with pytest.raises(ValueError, match="must be a dense float32 tensor on the CPU"):
            compress(bad, method, seed=1)
    with pytest.raises(TypeError, match="got list"):
        compress([1.0], method, seed=1)
    if method != "topk":
        with pytest.raises(ValueError, match="too large"):
            compress(torch.full((500, 20), 3.4e38), method, seed=1)
        with pytest.raises(ValueError, match="needs seed="):
            compress(x, method)


@pytest.mark.parametrize(
    ("method", "options", "error", "text"),
    [
        ("gzip", {}, ValueError, "method='gzip' must be one of"),
        ("qsgd", {"bits": 1}, ValueError, "bits=1 must be from 2 to 8"),
        ("qsgd", {"bits": 9}, ValueError, "bits=9 must be from 2 to 8"),
        ("qsgd", {"bits": 2.0}, ValueError, "bits=2.0"),
        ("qsgd", {"bucket": 500}, ValueError, "bucket=500 must be a power of two"),
        ("qsgd", {"block": 512}, TypeError, "no option 'block'; its options are bucket"),
        ("drive", {"bits": 2}, ValueError, "bits=2 must be 1"),
        ("drive", {"scale": "best"}, ValueError, "scale='best'"),
        ("hadamard", {"block": 3}, ValueError, "block=3"),
        ("topk", {"fraction": 0}, ValueError, "fraction=0"),
        ("topk", {"k": 5}, ValueError, "exactly one"),
        ("topk", {"k": 1201, "fraction": None}, ValueError, "k=1201 must be at most the 1200 values"),
        ("randmask", {"fraction": 1.5}, ValueError, "fraction=1.5"),
        ("lowrank", {"rank": 31}, ValueError, "rank=31 must be from 1 to 30"),
        ("lowrank", {"bits": 8}, ValueError, "bits=8 must be 32"),
        ("drive", {"seed": -1}, ValueError, "seed=-1"),
        ("drive", {"seed": 2**64}, ValueError, "must be below"),
    ],
)
def test_impossible_settings_are_refused_by_name(method, options, error, text):
    with pytest.raises(error, match=text):
        compress(torch.ones(30, 40), method, **{"seed": 1, **options})


def test_decompress_takes_nothing_else():
    with pytest.raises(TypeError, match=r"Compressed\.from_bytes"):
        decompress(b"abc")
    made = compress(torch.ones(100), "qsgd", seed=1)
    with pytest.raises(FormatError, match="payload"):
        decompress(Compressed(made.method, (200,), made.payload, made.bits, made.seed, made.parameter))


@pytest.mark.parametrize("name", ["codec", "compressed", "feedback", "updates"])
def test_examples_run(name):
    result = doctest.testmod(importlib.import_module(f"sslmed.federated.{name}"))
    assert result.attempted > 0
    assert result.failed == 0
