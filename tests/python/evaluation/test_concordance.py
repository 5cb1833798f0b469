"""C-indices against lifelines, scikit-survival and a double loop."""

import numpy as np
import pytest

from sslmed.evaluation.concordance import censoring_weights, concordance_index


def people(n=70, seed=0):
    rng = np.random.default_rng(seed)
    risk = np.round(rng.normal(size=n), 1)  # with ties
    time = np.ceil(5 * rng.exponential(np.exp(-risk)))
    return risk, time, (rng.random(n) < 0.7).astype(int)


def looped(risk, time, event, weights):
    right = total = 0.0
    for i in range(len(risk)):
        for j in range(len(risk)):
            if event[i] and (time[i] < time[j] or (time[i] == time[j] and not event[j])):
                total += weights[i]
                right += weights[i] * (1.0 if risk[i] > risk[j] else 0.5 if risk[i] == risk[j] else 0.0)
    return right / total


def test_harrell():
    risk, time, event = people()
    found = concordance_index(risk, time, event)
    assert found.value == pytest.approx(looped(risk, time, event, np.ones(70)), abs=1e-12)
    assert found.low < found.value < found.high
    assert found.n_subjects == 70
    lifelines = pytest.importorskip("lifelines.utils")
    assert found.value == pytest.approx(lifelines.concordance_index(time, -risk, event), abs=1e-12)


def test_scikit_survival():
    metrics = pytest.importorskip("sksurv.metrics")
    util = pytest.importorskip("sksurv.util")
    (risk, time, event), (_, there, seen) = people(), people(200, 1)
    assert concordance_index(risk, time, event, draws=0).value == pytest.approx(metrics.concordance_index_censored(event == 1, time, risk)[0], abs=1e-12)
    tau = float(np.quantile(there, 0.8))
    train, test = (util.Surv.from_arrays(e == 1, t) for e, t in ((seen, there), (event, time)))
    theirs = metrics.concordance_index_ipcw(train, test, risk, tau=tau)[0]
    assert concordance_index(risk, time, event, kind="uno", censoring=(there, seen), tau=tau, draws=0).value == pytest.approx(theirs, abs=1e-10)


def test_uno_weighs_by_the_censoring():
    risk, time, event = people()
    weights = censoring_weights(time, event, time)
    g, by_time = 1.0, {}
    for t in np.unique(time):
        at_risk = (time >= t).sum() - ((time == t) & (event == 1)).sum()
        g *= 1 - ((time == t) & (event == 0)).sum() / max(at_risk, 1)
        by_time[t] = g
    assert np.allclose(weights, [1 / by_time[t] ** 2 if by_time[t] > 0 else 0 for t in time])
    assert concordance_index(risk, time, event, kind="uno", draws=0).value == pytest.approx(looped(risk, time, event, weights), abs=1e-12)
    nobody = np.ones(70, int)
    assert concordance_index(risk, time, nobody, kind="uno", draws=0).value == pytest.approx(concordance_index(risk, time, nobody, draws=0).value)


def test_intervals_hold_what_they_promise():
    """Percentiles over people hold the value of the population in about 95 % of cohorts."""
    rng = np.random.default_rng(5)

    def cohort(n):
        risk = rng.normal(size=n)
        time, censored = rng.exponential(np.exp(-risk)), rng.exponential(2.0, n)
        return risk, np.minimum(time, censored), (time <= censored).astype(int)

    truth = concordance_index(*cohort(4000), draws=0).value
    inside = 0
    for seed in range(60):
        found = concordance_index(*cohort(80), draws=200, seed=seed)
        inside += found.low <= truth <= found.high
    assert inside >= 50


def test_pairs_of_one_person_do_not_count():
    risk, time, event = np.array([1.0, 2.0, 3.0, 0.5]), np.array([1.0, 2.0, 3.0, 4.0]), np.ones(4)
    who = np.array(["a", "a", "b", "b"])
    assert concordance_index(risk, time, event, subject=who, draws=0).pairs == 4


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"risk": [np.nan, 1.0]}, "risk must be finite"),
        ({"time": [1.0]}, "time must be"),
        ({"event": [1, 2]}, "event must be 0"),
        ({"event": [0, 0]}, "no pair is comparable"),
        ({"kind": "gonen"}, "kind='gonen' must be one of"),
        ({"draws": -1}, "draws=-1 must be"),
        ({"subject": ["a"]}, "subject must have 2 entries"),
        ({"kind": "uno", "tau": 0}, "tau=0 must be"),
    ],
)
def test_refuses(change, text):
    given = {"risk": [2.0, 1.0], "time": [1.0, 2.0], "event": [1, 1]} | change
    with pytest.raises(ValueError, match=text):
        concordance_index(**given)
