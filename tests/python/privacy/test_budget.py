"""Budgets: what is refused, what is stored, and that several writers together cannot pass one."""

import doctest
import importlib
import multiprocessing
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from sslmed.privacy import Budget, BudgetError, Ledger

pytest.importorskip("dp_accounting")
FORK = multiprocessing.get_context("fork")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "privacy.ledger"


@pytest.mark.parametrize("accountant", ["pld", "rdp"])
def test_what_passes_the_budget_is_refused_and_not_written(path, rng, accountant):
    ledger = Ledger(path, "subject")
    sigma, rate = float(rng.uniform(0.8, 2)), float(rng.uniform(0.005, 0.05))
    ledger.spend(sigma * 2, rate, 10)
    ledger.budget(float(rng.uniform(1.5, 6)), 1e-5, accountant)
    left = ledger.remaining(sigma, rate)
    assert left > 0
    before = path.read_bytes()
    message = f"steps={left + 1} .* past its budget of .* at delta 1e-05; nothing was written"
    with pytest.raises(BudgetError, match=message):
        Ledger(path, "subject").spend(sigma, rate, left + 1)
    assert path.read_bytes() == before
    part = int(rng.integers(1, left)) if left > 1 else 1
    ledger.spend(sigma, rate, part)
    if left > part:
        Ledger(path, "subject").spend(sigma, rate, left - part)
    assert ledger.remaining(sigma, rate) == 0
    assert ledger.epsilon(1e-5, accountant) <= ledger.limit.epsilon
    with pytest.raises(BudgetError):
        ledger.spend(sigma, rate)


def test_step_by_step_as_many_fit_as_at_once(path, rng):
    """What is remembered of what fits must neither let more through nor less."""
    ledger, other = Ledger(path, "record"), Ledger(path, "record")
    ledger.budget(1.0, 1e-5, "rdp")
    sigma, rate = float(rng.uniform(3, 5)), float(rng.uniform(0.02, 0.1))
    fits, done = ledger.remaining(sigma, rate), 0
    assert fits > 20
    while done <= fits:
        try:
            (ledger, other)[int(rng.random() < 0.3)].spend(sigma, rate)
        except BudgetError:
            break
        done += 1
    assert done == fits == len(other.events) - 1


def test_mixed_steps_stay_within_the_budget(path, rng):
    ledger = Ledger(path, "record")
    ledger.budget(2.0, 1e-6, "rdp")
    kinds = [(float(rng.uniform(3, 5)), float(rng.uniform(0.03, 0.08))) for _ in range(3)]
    refused = 0
    while refused < 5:
        kind = kinds[int(rng.integers(3))]
        try:
            ledger.spend(*kind, int(rng.integers(1, 20)))
        except BudgetError:
            refused += 1
    assert 0.5 < ledger.epsilon(1e-6, "rdp") <= 2.0


def spend_until_refused(path, done):
    ledger, n = Ledger(path, "record"), 0
    try:
        while True:
            ledger.spend(4.0, 0.1)
            n += 1
    except BudgetError:
        done.put(n)


def test_processes_together_cannot_pass_a_budget(path):
    ledger = Ledger(path, "record")
    ledger.budget(1.0, 1e-5, "rdp")
    fits = ledger.remaining(4.0, 0.1)
    assert fits > 20
    done = FORK.Queue()
    writers = [FORK.Process(target=spend_until_refused, args=(path, done)) for _ in range(3)]
    for writer in writers:
        writer.start()
    counts = [done.get(timeout=120) for _ in writers]
    for writer in writers:
        writer.join()
    assert sum(counts) == fits == ledger.events.steps.sum()
    assert ledger.epsilon(1e-5, "rdp") <= 1.0


def test_a_budget_is_stored_and_only_becomes_smaller(path):
    ledger = Ledger(path, "client")
    assert ledger.limit is None
    ledger.budget(3.0, 1e-5)
    again = Ledger(path, "client")
    assert again.limit == ledger.limit == Budget(3.0, 1e-5, "pld")
    again.budget(3.0, 1e-5)
    assert len(again.events) == 1  # the same one is not written twice
    for wider in ((3.1, 1e-5), (3.0, 1e-4), (2.0, 1e-4), (2.0, 1e-5, "rdp")):
        with pytest.raises(ValueError, match="a budget can only become smaller"):
            again.budget(*wider)
    again.budget(2.0, 1e-6)
    # The ledger that was open before sees it at once.
    with pytest.raises(BudgetError, match="past its budget of 2 at delta 1e-06"):
        ledger.spend(0.5, 0.5, 100)
    assert ledger.events.kind.tolist() == ["budget", "budget"]
    assert ledger.events.epsilon.tolist() == [3.0, 2.0]


def test_a_budget_that_is_spent_already_is_refused(path):
    ledger = Ledger(path, "record")
    ledger.spend(1.0, 0.5, 100)
    with pytest.raises(BudgetError, match=r"epsilon=1\.0 at delta=1e-05 is spent already"):
        ledger.budget(1.0, 1e-5)
    assert ledger.limit is None


def test_steps_without_noise_fit_into_no_budget(path):
    ledger = Ledger(path, "record")
    ledger.budget(1e9, 0.5)
    assert ledger.remaining(0, 0.5) == 0
    with pytest.raises(BudgetError, match="from epsilon 0 to inf"):
        ledger.spend(0.0, 0.5)


def test_remaining_needs_a_budget(path):
    with pytest.raises(ValueError, match=r"has no budget.*call budget\(epsilon, delta\) first"):
        Ledger(path, "record").remaining(1.0, 0.1)


def test_the_table_of_events(path):
    ledger = Ledger(path, "record")
    assert ledger.events.empty
    ledger.budget(5.0, 1e-5, "rdp")
    ledger.spend(np.float32(1.5), np.float64(0.25), np.int64(3))
    events = Ledger(path, "record").events
    assert events.columns.tolist() == [
        "time",
        "kind",
        "noise_multiplier",
        "sampling_rate",
        "steps",
        "epsilon",
        "delta",
        "accountant",
    ]
    assert events.kind.tolist() == ["budget", "spend"]
    assert events.loc[1, ["noise_multiplier", "sampling_rate", "steps"]].tolist() == [1.5, 0.25, 3]
    assert events.loc[0, ["epsilon", "delta", "accountant"]].tolist() == [5.0, 1e-5, "rdp"]
    assert events.loc[0, ["noise_multiplier", "sampling_rate", "steps"]].isna().all()
    assert str(events.time.dt.tz) == "UTC"
    kind = "unit='record', relation='add_or_remove_one'"
    limit = "limit=Budget(epsilon=5.0, delta=1e-05, accountant='rdp')"
    assert repr(ledger) == f"Ledger({str(path)!r}, {kind}, steps=3, {limit})"


@pytest.mark.parametrize("sampling", ["shuffle", "fixed", "without_replacement", None])
def test_other_sampling_is_refused(path, sampling):
    ledger = Ledger(path, "record")
    with pytest.raises(
        ValueError,
        match=r"sampling=.* must be 'poisson': batches of a fixed size or of a shuffled epoch are no Poisson samples",
    ):
        ledger.spend(1.0, 0.1, sampling=sampling)
    assert ledger.events.empty
    ledger.spend(1.0, 0.1, sampling="poisson")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((-0.1, 0.1), "noise_multiplier=-0.1 must be a number at least 0"),
        ((float("nan"), 0.1), "noise_multiplier=nan"),
        ((float("inf"), 0.1), "noise_multiplier=inf"),
        ((True, 0.1), "noise_multiplier=True"),
        (("1", 0.1), "noise_multiplier='1'"),
        ((1.0, 0.0), "sampling_rate=0.0 must be a number above 0 and at most 1"),
        ((1.0, 1.01), "sampling_rate=1.01"),
        ((1.0, 0.1, 0), "steps=0 must be a whole number of at least 1"),
        ((1.0, 0.1, 1.5), "steps=1.5"),
        ((1.0, 0.1, True), "steps=True"),
        ((1.0, 0.1, 10**9 + 1), "steps=1000000001 must be a number at least 1 and at most 1e"),
    ],
)
def test_spends_that_are_wrong_are_named_and_not_written(path, arguments, message):
    ledger = Ledger(path, "record")
    with pytest.raises(ValueError, match=message):
        ledger.spend(*arguments)
    assert ledger.events.empty


@pytest.mark.parametrize("unit", ["", "  ", None, 3])
def test_a_unit_must_be_named(path, unit):
    with pytest.raises(ValueError, match=r"unit=.* must say what a step is bounded for"):
        Ledger(path, unit)
    assert not path.exists()


def test_an_unknown_relation(path):
    with pytest.raises(ValueError, match="relation='both' must be one of 'add_or_remove_one', 'replace_one'"):
        Ledger(path, "record", "both")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((0, 1e-5), "epsilon=0"), ((float("inf"), 0.1), "epsilon=inf"), ((1, 1.0), "delta=1.0 must be below 1")],
)
def test_budgets_that_are_wrong_are_named(path, arguments, message):
    ledger = Ledger(path, "record")
    with pytest.raises(ValueError, match=message):
        ledger.budget(*arguments)
    assert ledger.limit is None


def test_without_dp_accounting_the_ledger_writes_and_says_what_counting_needs(path, monkeypatch):
    ledger = Ledger(path, "record")
    for name in [name for name in sys.modules if name.split(".")[0] == "dp_accounting"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "dp_accounting", None)
    monkeypatch.setitem(sys.modules, "dp_accounting.pld", None)
    ledger.spend(1.234567, 0.01)
    with pytest.raises(ImportError, match=r"pip install 'sslmed\[privacy\]'"):
        ledger.epsilon(1e-5)


@pytest.mark.parametrize("name", ["calibration", "ledger"])
def test_examples(name):
    found = doctest.testmod(importlib.import_module(f"sslmed.privacy.{name}"))
    assert found.attempted > 0
    assert found.failed == 0


def test_the_example_of_the_page(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", (Path(__file__).parents[3] / "docs/privacy.md").read_text(), re.DOTALL)
    names = {}
    exec(code, names)
    assert 1.9 < names["ledger"].epsilon(1e-5) <= 2.0
    assert names["ledger"].events.kind.tolist() == ["budget"] + ["spend"] * 20
    assert np.abs(names["mean"] - names["features"].mean(axis=0)).max() < 0.5
    assert len(capsys.readouterr().out.splitlines()) > 20
    exec(code, again := {})
    assert (again["mean"] == 0).all()
    assert len(again["ledger"].events) == 21
