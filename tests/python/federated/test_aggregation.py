"""The server's step equals NumPy, SciPy and torch's optimizers; rounds are whole or not at all."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import trim_mean

from sslmed import FormatError
from sslmed.federated import Aggregator, CompressedUpdate, compress_update


def model_of(rng: np.random.Generator) -> dict[str, torch.Tensor]:
    shapes: dict[str, tuple[int, ...]] = {"a": (3, 5), "b": (), "empty": (0, 2)}
    return {name: torch.from_numpy(rng.normal(size=shape)).float() for name, shape in shapes.items()} | {"steps": torch.tensor(4)}


def update_of(rng: np.random.Generator, model: dict[str, torch.Tensor], steps: int = 7) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(rng.normal(size=of.shape)).float() if of.is_floating_point() else torch.tensor(steps) for name, of in model.items()}


def test_the_mean_is_numpys(rng: np.random.Generator) -> None:
    model = model_of(rng)
    server, weights = Aggregator(model, lr=0.5), rng.integers(1, 90, 4).astype(float)
    updates = [update_of(rng, model, steps) for steps in (5, 9, 2, 9)]
    for update, weight in zip(updates, weights, strict=True):
        server.add(update, float(weight))
    assert (server.updates, server.rounds) == (4, 0)
    made = server.step()
    for name in ("a", "b"):
        mean = np.average([update[name].double().numpy() for update in updates], axis=0, weights=weights)
        assert np.allclose(made[name].numpy(), model[name].double().numpy() + 0.5 * mean, rtol=1e-6, atol=1e-7)
        assert made[name].dtype == torch.float32
    assert made["steps"] == 9
    assert made["empty"].shape == (0, 2)
    assert (server.updates, server.rounds) == (0, 1)


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 9), trim=st.sampled_from([0.0, 0.1, 0.25, 0.4, 0.49]), seed=st.integers(0, 2**32 - 1))
def test_rules_by_coordinate_are_those_of_numpy_and_scipy(n: int, trim: float, seed: int) -> None:
    draws = np.random.default_rng(seed)
    values = draws.normal(size=(n, 6)) * 10.0 ** draws.integers(-3, 4, (n, 1))
    for server, expected in (
        (Aggregator({"w": torch.zeros(6, dtype=torch.float64)}, rule="median"), np.median(values, axis=0)),
        (Aggregator({"w": torch.zeros(6, dtype=torch.float64)}, rule="trimmed_mean", trim=trim), trim_mean(values, trim, axis=0)),
    ):
        for row in values:
            server.add({"w": torch.from_numpy(row)})
        assert np.allclose(server.step()["w"].numpy(), expected, rtol=1e-12, atol=1e-12)


def test_one_bad_client_moves_the_mean_and_not_the_median() -> None:
    for rule, low, high in (("mean", 1e5, 1e7), ("median", 0.9, 1.1), ("trimmed_mean", 0.9, 1.1)):
        server = Aggregator({"w": torch.zeros(8)}, rule=rule, **({"trim": 0.2} if rule == "trimmed_mean" else {}))  # type: ignore[arg-type]
        for client in range(5):
            server.add({"w": torch.full((8,), 1e6 if client == 3 else 1.0)})
        made = server.step()["w"]
        assert low < made.min()
        assert made.max() < high


@pytest.mark.parametrize("optimizer", ["sgd", "adagrad"])
def test_steps_are_those_of_torchs_optimizers(rng: np.random.Generator, optimizer: str) -> None:
    start = torch.from_numpy(rng.normal(size=(4, 3)))
    weights = torch.nn.Parameter(start.clone())
    peer: torch.optim.Optimizer
    if optimizer == "sgd":
        server, peer = Aggregator({"w": start}, lr=0.3, momentum=0.8), torch.optim.SGD([weights], lr=0.3, momentum=0.8)
    else:
        server = Aggregator({"w": start}, optimizer="adagrad", lr=0.3, tau=0.05)
        peer = torch.optim.Adagrad([weights], lr=0.3, initial_accumulator_value=0.05**2, eps=0.05)
    for _ in range(6):
        delta = torch.from_numpy(rng.normal(size=(4, 3)))
        server.add({"w": delta})
        weights.grad = -delta
        peer.step()
        assert torch.allclose(server.step()["w"], weights.detach(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("optimizer", ["adam", "yogi"])
def test_adaptive_steps_are_the_papers(rng: np.random.Generator, optimizer: str) -> None:
    # Algorithm 2 of Reddi et al., arXiv 2003.00295, written out.
    b1, b2, tau, lr = 0.8, 0.95, 0.01, 0.2
    x, m, v = rng.normal(size=5), np.zeros(5), np.full(5, tau**2)
    server = Aggregator({"w": torch.from_numpy(x.copy())}, optimizer=optimizer, lr=lr, betas=(b1, b2), tau=tau)  # type: ignore[arg-type]
    for _ in range(8):
        deltas = rng.normal(size=(3, 5)) * 10.0 ** rng.integers(-3, 2)
        d = deltas.mean(axis=0)
        m = b1 * m + (1 - b1) * d
        v = b2 * v + (1 - b2) * d**2 if optimizer == "adam" else v - (1 - b2) * d**2 * np.sign(v - d**2)
        x = x + lr * m / (np.sqrt(v) + tau)
        for row in deltas:
            server.add({"w": torch.from_numpy(row)})
        assert np.allclose(server.step()["w"].numpy(), x, rtol=1e-11, atol=1e-12)


def test_compressed_updates_are_decompressed_and_averaged() -> None:
    model = {"w": torch.zeros(4096), "bias": torch.zeros(3)}
    server, exact = Aggregator(model), Aggregator(model)
    for client in range(16):
        draws = torch.Generator().manual_seed(client)
        update = {"w": torch.randn(4096, generator=draws) + 1, "bias": torch.full((3,), float(client))}
        sent = compress_update(update, "hadamard", bits=4, seed=client)
        server.add(CompressedUpdate.from_bytes(sent.to_bytes()), client + 1)
        exact.add(update, client + 1)
    made, wanted = server.step(), exact.step()
    assert torch.equal(made["bias"], wanted["bias"])
    # Errors of clients with seeds of their own average out: below that of one client.
    one = (torch.randn(4096, generator=torch.Generator().manual_seed(0)) + 1).norm()
    assert 0 < (made["w"] - wanted["w"]).norm() < 0.1 * one


def test_clients_of_different_people_learn_one_model() -> None:
    """Least squares over four clients, four local steps a round, sent with 4 bits: the optimum of all data together."""
    draws = torch.Generator().manual_seed(3)
    true = torch.randn(2048, generator=draws)
    data = [torch.randn(2048, generator=draws) * (0.5 + client / 4) + 1.5 for client in range(4)]
    server = Aggregator({"w": torch.zeros(2048)})
    for number in range(60):
        received = server.model["w"]
        for client, x in enumerate(data):
            w = received.clone()
            for _ in range(4):
                w -= 0.05 * x * x * (w - true)
            server.add(compress_update({"w": w - received}, "hadamard", bits=4, seed=10 * number + client), 1.0)
        server.step()
    assert (server.model["w"] - true).norm() < 0.02 * true.norm()


def test_rounds_go_on_from_a_saved_state(rng: np.random.Generator) -> None:
    model = model_of(rng)
    updates = [update_of(rng, model) for _ in range(6)]
    through, first = (Aggregator(model, optimizer="yogi", lr=0.1) for _ in range(2))
    for update in updates:
        through.add(update)
        through.step()
    for update in updates[:3]:
        first.add(update)
        first.step()
    held = io.BytesIO()
    torch.save(first.state_dict(), held)
    second = Aggregator(model, optimizer="yogi", lr=0.1)
    second.add(updates[0])  # of a round that is dropped
    second.load_state_dict(torch.load(io.BytesIO(held.getvalue())))
    for update in updates[3:]:
        second.add(update)
        second.step()
    assert second.rounds == 6
    assert all(torch.equal(through.model[name], second.model[name]) for name in model)


def test_an_update_counts_whole_or_not_at_all(rng: np.random.Generator) -> None:
    model = model_of(rng)
    server, plain = Aggregator(model), Aggregator(model)
    good, bad = update_of(rng, model), update_of(rng, model, steps=99)
    bad["b"] = torch.tensor(float("nan"))
    for one in (server, plain):
        one.add(good, 2.0)
    with pytest.raises(ValueError, match=r"update\['b'\] must be finite"):
        server.add(bad, 5.0)
    sent = compress_update({name: torch.zeros_like(of) for name, of in model.items()}, "topk", min_size=1)
    broken = bytearray(sent.to_bytes())
    broken[40] ^= 1
    with pytest.raises(FormatError):
        server.add(CompressedUpdate.from_bytes(bytes(broken)))
    made, wanted = server.step(), plain.step()
    assert all(torch.equal(made[name], wanted[name]) for name in model)


def test_the_given_tensors_are_not_changed(rng: np.random.Generator) -> None:
    model = model_of(rng)
    before = {name: of.clone() for name, of in model.items()}
    update = update_of(rng, model)
    kept = {name: of.clone() for name, of in update.items()}
    for rule in ("mean", "median"):
        server = Aggregator(model, rule=rule)  # type: ignore[arg-type]
        server.add(update)
        server.step()["a"].fill_(7.0)
        assert not bool((server.model["a"] == 7.0).all())
    assert all(torch.equal(model[name], before[name]) for name in model)
    assert all(torch.equal(update[name], kept[name]) for name in model)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"rule": "krum"}, "rule='krum'"),
        ({"optimizer": "lion"}, "optimizer='lion'"),
        ({"trim": 0.1}, "trim=0.1 is no option of rule='mean'"),
        ({"rule": "trimmed_mean", "trim": 0.5}, "trim"),
        ({"optimizer": "adam", "momentum": 0.9}, "momentum=0.9 is no option of optimizer='adam'"),
        ({"betas": (0.9, 0.99)}, "betas"),
        ({"optimizer": "adam", "betas": (0.9, 1.0)}, r"betas\[1\]"),
        ({"tau": 0.1}, "tau"),
        ({"optimizer": "yogi", "tau": 0.0}, "tau"),
        ({"lr": 0}, "lr"),
        ({"lr": float("nan")}, "lr"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Aggregator({"w": torch.zeros(2)}, **options)


def test_what_does_not_fit_is_refused() -> None:
    server = Aggregator({"w": torch.zeros(2), "n": torch.tensor(0)})
    good = {"w": torch.ones(2), "n": torch.tensor(1)}
    with pytest.raises(ValueError, match="no client has sent"):
        server.step()
    for update, said in (
        ({"w": torch.ones(2)}, "1 are missing"),
        (good | {"more": torch.ones(1)}, "1 are unknown"),
        (good | {"w": torch.ones(3)}, r"\(2,\) in torch.float32, got \(3,\)"),
        (good | {"w": torch.ones(2, dtype=torch.float64)}, "float64"),
    ):
        with pytest.raises(ValueError, match=said):
            server.add(update)
    with pytest.raises(TypeError, match="mapping of names to tensors"):
        server.add([torch.ones(2)])  # type: ignore[arg-type]
    for weight in (0, -1.0, float("inf"), float("nan")):
        with pytest.raises(ValueError, match="weight"):
            server.add(good, weight)
    with pytest.raises(TypeError, match="model"):
        Aggregator({"w": 3})  # type: ignore[dict-item]
    with pytest.raises(ValueError, match="finite"):
        Aggregator({"w": torch.tensor(float("inf"))})
    server.add(good)
    with pytest.raises(ValueError, match="1 updates"):
        server.state_dict()
    with pytest.raises(ValueError, match="what Aggregator"):
        server.load_state_dict({"model": {}})


def test_clients_weigh_alike_where_a_rule_has_no_weights() -> None:
    server = Aggregator({"w": torch.zeros(1)}, rule="median")
    for _ in range(4):
        server.add({"w": torch.ones(1)}, 0.1)
    with pytest.raises(ValueError, match="weighs all clients alike"):
        server.add({"w": torch.ones(1)}, 60)


def test_a_step_that_overflows_leaves_the_round_as_it_is() -> None:
    server = Aggregator({"a": torch.ones(1), "w": torch.full((1,), 3e38)})
    server.add({"a": torch.ones(1), "w": torch.full((1,), 3e38)})
    with pytest.raises(ValueError, match="'w' would not be finite"):
        server.step()
    assert (server.updates, server.rounds, float(server.model["a"])) == (1, 0, 1.0)
