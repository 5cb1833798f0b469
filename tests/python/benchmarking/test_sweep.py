import numpy as np
import pytest
import torch

from sslmed.benchmarking import LEARNING_RATES, Sweep, fit_sweep
from sslmed.benchmarking.choices import held_out
from sslmed.benchmarking.sweep import _batches, _Heads


def data(seed, n=90, dim=6, classes=3):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, n)
    return rng.normal(size=(n, dim)) + 1.5 * np.eye(classes, dim)[y], y


def trained_by_torch(x, y, how, classes, seed):
    """Every head by itself: a torch.nn.Linear, an optimizer and a schedule of torch on the same batches."""
    heads = _Heads(x.shape[1], classes, how, seed, torch.float64)
    wide = classes or 1
    out = []
    for h, lr in enumerate(how.learning_rates):
        layer = torch.nn.Linear(x.shape[1], wide).double()
        layer.weight.data = heads.weight[:, h * wide : (h + 1) * wide].T.clone()
        layer.bias.data = heads.bias[h * wide : (h + 1) * wide].clone()
        lr = lr * (how.batch_size / 256 if how.scale_lr else 1)
        kinds = {
            "sgd": lambda p, lr: torch.optim.SGD(p, lr, momentum=0.9, weight_decay=0),
            "adamw": lambda p, lr: torch.optim.AdamW(p, lr, weight_decay=0),
        }
        optimizer = kinds[how.optimizer](layer.parameters(), lr)
        batches = list(_batches(len(x), how, (1,)))
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, len(batches), eta_min=0)
        for rows, _ in batches:
            optimizer.zero_grad()
            answer = layer(torch.from_numpy(x[rows]))
            target = torch.from_numpy(y[rows])
            loss = torch.nn.functional.mse_loss(answer[:, 0], target) if classes is None else torch.nn.functional.cross_entropy(answer, target)
            loss.backward()
            optimizer.step()
            schedule.step()
        out.append((layer.weight.detach().numpy().T, layer.bias.detach().numpy()))
    return out


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("classes", [3, None])
def test_heads_are_those_of_torch(optimizer, classes):
    x, y = data(0)
    target = y if classes else x[:, 0] + 0.1
    how = Sweep(optimizer=optimizer, batch_size=32, steps=40, scale_lr=optimizer == "sgd", learning_rates=(1e-3, 0.05, 0.5))
    heads = _Heads(x.shape[1], classes, how, (5,), torch.float64)
    heads.fit(torch.from_numpy(x), target, list(_batches(len(x), how, (1,))), torch.from_numpy(x), target, np.arange(len(x)))
    for (weight, bias), (expected, offset) in zip(heads.weights(), trained_by_torch(x, target, how, classes, (5,)), strict=True):
        np.testing.assert_allclose(weight, expected, atol=1e-12)
        np.testing.assert_allclose(bias, offset, atol=1e-12)


def test_batches_cover_each_epoch():
    seen = list(_batches(70, Sweep(steps=7, batch_size=32), (0,)))
    assert [len(rows) for rows, _ in seen] == [32, 32, 6, 32, 32, 6, 32]
    assert [ends for _, ends in seen] == [False, False, True, False, False, True, True]
    assert sorted(np.concatenate([rows for rows, _ in seen[:3]])) == list(range(70))
    assert len(list(_batches(70, Sweep(steps=0, epochs=4, batch_size=64), (0,)))) == 8


def test_the_choice_is_made_on_people_who_were_held_out():
    x, y = data(1, n=120)
    person = np.repeat(np.arange(60), 2)
    y = np.repeat(y[::2], 2)
    fitted = fit_sweep(
        {"a": x, "b": np.random.default_rng(0).normal(size=(120, 4))},
        y,
        person,
        Sweep(steps=300, batch_size=32),
        classes=3,
    )
    assert fitted.table["chosen"].sum() == 1
    assert fitted.table.loc[fitted.table["chosen"], "input"].iloc[0] == "a"
    assert len(fitted.table) == 2 * len(LEARNING_RATES)
    # Labels of the validation part change which head is chosen, never the heads.
    valid = held_out(y, person, 0.2, (0, 0), 3)
    changed = y.copy()
    changed[valid] = (changed[valid] + 1) % 3
    again = fit_sweep({"a": x}, y, person, Sweep(steps=50, learning_rates=(0.1,), batch_size=32), classes=3)
    other = fit_sweep(
        {"a": np.where(valid[:, None], x + 100.0, x)},
        y,
        person,
        Sweep(steps=50, learning_rates=(0.1,), batch_size=32),
        classes=3,
    )
    np.testing.assert_array_equal(again.heads[0][1], other.heads[0][1])
    assert again.table["score"].iloc[0] != other.table["score"].iloc[0]
    best = fitted.table.loc[fitted.table["chosen"]].iloc[0]
    assert best["score"] == fitted.table["score"].max()
    tied = fitted.table[fitted.table["score"] == best["score"]]
    assert best["loss"] == tied["loss"].min()


def test_early_stopping_keeps_the_best_epoch():
    x, y = data(2, n=60, classes=2)
    how = Sweep(
        learning_rates=(3e-2,),
        optimizer="adamw",
        scale_lr=False,
        batch_size=256,
        steps=400,
        patience=0.1,
        choose="balanced_accuracy",
        runs=3,
        init="uniform",
    )
    fitted = fit_sweep({"x": x}, y, np.arange(60), how, classes=2)
    assert len(fitted.heads) == 3
    assert fitted.table["chosen"].all()
    assert (fitted.table["epoch"] < 400).all()
    answers = fitted.predict({"x": x})
    assert not np.array_equal(answers[0], answers[1])
    valid = held_out(y, np.arange(60), 0.2, (0, 0), 2)
    made = answers[0][valid].argmax(1) == y[valid]
    assert np.mean([made[y[valid] == c].mean() for c in (0, 1)]) == pytest.approx(fitted.table["score"].iloc[0])


def test_values_are_regressed():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(200, 3))
    y = 50 + 10 * x[:, 0] + rng.normal(size=200)
    fitted = fit_sweep({"x": x}, y, np.arange(200), Sweep(steps=600))
    assert np.abs(fitted.predict({"x": x})[0] - y).mean() < 2
    # Center and scale are those of the rows that heads were trained on.
    valid = held_out(y, np.arange(200), 0.2, (0, 0), None)
    assert fitted.center == pytest.approx(y[~valid].mean())
    assert fitted.scale == pytest.approx(y[~valid].std())


def test_what_is_refused():
    x, y = data(4, n=20, classes=2)
    for bad in ({"learning_rates": ()}, {"learning_rates": (0.0,)}, {"blocks": (0,)}, {"tokens": ("mean",)}, {"optimizer": "adam"}, {"steps": 0},
                {"epochs": 3}, {"validation": 0}, {"validation": 0.6}, {"patience": 2}, {"runs": 0}, {"choose": "f1"}, {"init": "zeros"}):  # fmt: skip
        with pytest.raises(ValueError, match="Sweep: "):
            Sweep(**bad)
    with pytest.raises(ValueError, match=r"fit_sweep: inputs\['x'\]"):
        fit_sweep({"x": x[:5]}, y, np.arange(20), classes=2)
    with pytest.raises(ValueError, match="four people"):
        fit_sweep({"x": x}, y, np.arange(20) % 3, classes=2)
