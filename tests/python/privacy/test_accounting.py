"""Epsilon against dp-accounting, Opacus, closed forms and sums of our own."""

import math

import numpy as np
import pytest
from scipy import integrate, special, stats

import sslmed as sm
from sslmed.privacy import Ledger, gaussian_sigma, noise_multiplier
from sslmed.privacy.accounting import epsilon_of
from sslmed.privacy.calibration import gaussian_delta, last_below

dp_accounting = pytest.importorskip("dp_accounting")
ONE, OTHER = dp_accounting.NeighboringRelation.ADD_OR_REMOVE_ONE, dp_accounting.NeighboringRelation.REPLACE_ONE
# Abadi et al. 2016 and the tutorials after them: MNIST, batches of 256, 60 epochs.
MNIST = (1.1, 256 / 60_000, 60 * 60_000 // 256)


def reference(events, delta, relation=ONE, accountant="pld"):
    from dp_accounting import pld, rdp

    made = pld.PLDAccountant(relation) if accountant == "pld" else rdp.RdpAccountant(neighboring_relation=relation)
    for sigma, rate, steps in events:
        event = dp_accounting.GaussianDpEvent(sigma)
        made.compose(event if rate == 1 else dp_accounting.PoissonSampledDpEvent(rate, event), steps)
    return made.get_epsilon(delta)


def filled(path, events, relation="add_or_remove_one"):
    ledger = Ledger(path, "record", relation)
    for event in events:
        ledger.spend(*event)
    return ledger


def some_events(rng):
    kinds = [(float(rng.uniform(0.7, 3)), float(rng.uniform(0.001, 0.02)), int(rng.integers(1, 300))) for _ in range(2)]
    return [kinds[0], (float(rng.uniform(4, 9)), 1.0, 2), kinds[1], kinds[0], (*kinds[1][:2], 7)]


@pytest.mark.oracle
@pytest.mark.parametrize(("relation", "neighbors"), [("add_or_remove_one", ONE), ("replace_one", OTHER)])
def test_epsilon_is_dp_accountings(tmp_path, rng, relation, neighbors):
    events, delta = some_events(rng), 10 ** rng.uniform(-7, -3)
    ledger = filled(tmp_path / "ledger", events, relation)
    expected = reference(events, delta, neighbors)
    # Larger by what rounding may be.
    assert expected * (1 - 1e-6) <= ledger.epsilon(delta) <= expected * (1 + 1e-5)
    if neighbors is ONE:
        assert ledger.epsilon(delta, "rdp") == pytest.approx(reference(events, delta, ONE, "rdp"), rel=1e-12)
        assert ledger.epsilon(delta) < ledger.epsilon(delta, "rdp")


@pytest.mark.oracle
@pytest.mark.parametrize(("relation", "neighbors"), [("add_or_remove_one", ONE), ("replace_one", OTHER)])
def test_large_losses_are_rounded_up_by_little(tmp_path, rng, relation, neighbors):
    event = (float(rng.uniform(0.6, 0.7)), float(rng.uniform(0.05, 0.06)), int(rng.integers(2_500, 3_000)))
    expected = reference([event], 1e-5, neighbors)
    epsilon = filled(tmp_path / "ledger", [event], relation).epsilon(1e-5)
    # Down to what Fourier transforms leave.
    assert expected * (1 - 1e-9) <= epsilon <= expected * (1 + 1e-3)


@pytest.mark.oracle
def test_renyi_is_opacus_at_the_orders_that_both_have(tmp_path, rng, monkeypatch):
    analysis = pytest.importorskip("opacus.accountants.analysis.rdp")
    from dp_accounting import rdp

    orders = list(range(2, 64))
    monkeypatch.setattr(rdp, "RdpAccountant", lambda made=rdp.RdpAccountant: made(orders))
    events = [MNIST, *[event for event in some_events(rng)[:3] if event[1] < 1]]
    curves = [analysis.compute_rdp(q=q, noise_multiplier=sigma, steps=n, orders=orders) for sigma, q, n in events]
    curve = np.sum(curves, axis=0)
    expected, _ = analysis.get_privacy_spent(orders=orders, rdp=curve, delta=1e-5)
    assert filled(tmp_path / "ledger", events).epsilon(1e-5, "rdp") == pytest.approx(expected, rel=1e-9)


def mnist_renyi(order):
    """Rényi divergence of a step at a whole order (Mironov, Talwar and Zhang 2019, section 3.3), by no package."""
    sigma, rate, _ = MNIST
    k = np.arange(order + 1)
    binomial = special.gammaln(order + 1) - special.gammaln(k + 1) - special.gammaln(order - k + 1)
    terms = binomial + k * math.log(rate) + (order - k) * math.log1p(-rate) + (k * k - k) / (2 * sigma**2)
    return special.logsumexp(terms) / (order - 1)


def test_the_published_setting_of_mnist(tmp_path):
    ledger, orders = filled(tmp_path / "ledger", [MNIST]), np.arange(2, 64)
    curve = MNIST[2] * np.array([mnist_renyi(order) for order in orders])
    # The tutorials' epsilon of 3.0 has the conversion of 2017; that of 2020 makes it 2.6, and the distributions 2.4.
    assert min(curve - math.log(1e-5) / (orders - 1)) == pytest.approx(3.0, abs=0.02)
    newer = min(curve - (math.log(1e-5) + np.log(orders)) / (orders - 1) + np.log1p(-1 / orders))
    assert ledger.epsilon(1e-5, "rdp") == pytest.approx(newer, rel=2e-3)
    assert ledger.epsilon(1e-5, "rdp") <= newer
    assert ledger.epsilon(1e-5) == pytest.approx(2.38, abs=0.01)


@pytest.mark.parametrize(("relation", "factor"), [("add_or_remove_one", 1), ("replace_one", 2)])
def test_without_sampling_epsilon_is_that_of_the_analytic_gaussian(tmp_path, rng, relation, factor):
    sigma, steps = float(rng.uniform(2, 20)), int(rng.integers(1, 50))
    epsilon = filled(tmp_path / "ledger", [(sigma, 1.0, steps)], relation).epsilon(1e-5)
    assert gaussian_sigma(epsilon, 1e-5, sensitivity=factor) == pytest.approx(sigma / math.sqrt(steps), rel=1e-4)


@pytest.mark.parametrize(("relation", "factor"), [("add_or_remove_one", 1), ("replace_one", 2)])
def test_rounding_in_transforms_never_makes_a_small_delta_cheaper(rng, relation, factor):
    """A rate next to 1 is composed as samples are, and its epsilon is known: that of noise without sampling."""
    finite = 0
    for sigma, steps in ((100.0, 100_000), (float(rng.uniform(20, 60)), int(rng.integers(500, 3_000)))):
        spread = sigma / math.sqrt(steps) / factor
        for delta in (1e-5, 1e-8, 1e-10, 1e-12, 1e-13, 1e-14):
            epsilon = epsilon_of({(sigma, 1 - 1e-9): steps}, delta, relation, "pld")
            if delta == 1e-5:
                assert gaussian_delta(epsilon, spread) >= 0.99 * delta
            if math.isfinite(epsilon):
                assert gaussian_delta(epsilon, spread) <= delta * (1 + 1e-5)
                finite += 1
    assert finite >= 4


def test_rounding_is_counted_for_steps_of_several_kinds(rng):
    sigmas, delta = rng.uniform(40, 80, 2), 1e-13
    epsilon = epsilon_of({(float(sigma), 1 - 1e-9): 2_000 for sigma in sigmas}, delta, "replace_one", "pld")
    exact = 1 / (2 * math.sqrt(np.sum(2_000 / sigmas**2)))
    assert math.isinf(epsilon) or gaussian_delta(epsilon, exact) <= delta * (1 + 1e-5)


def divergence(epsilon, rate, sigma, up, down):
    """Integral of the positive part of p - e^epsilon q, for a unit that contributes ``up`` to p and ``down`` to q."""

    def positive(x):
        still = stats.norm.pdf(x, 0, sigma)
        p = (1 - rate) * still + rate * stats.norm.pdf(x, up, sigma)
        return np.maximum(p - math.exp(epsilon) * ((1 - rate) * still + rate * stats.norm.pdf(x, down, sigma)), 0)

    x = np.linspace(-12 * sigma - 1, 12 * sigma + 1, 200_001)
    return integrate.trapezoid(positive(x), x)


def test_no_pair_of_contributions_costs_more_than_replace_one_counts(tmp_path, rng):
    sigma, rate = float(rng.uniform(0.6, 2)), float(rng.uniform(0.01, 0.9))
    epsilon = filled(tmp_path / "ledger", [(sigma, rate, 1)], "replace_one").epsilon(0.01)
    if epsilon > 0:
        assert divergence(epsilon, rate, sigma, 1, -1) == pytest.approx(0.01, rel=1e-3)
    for _ in range(30):
        assert divergence(epsilon, rate, sigma, *rng.uniform(-1, 1, 2)) <= 0.01 * (1 + 1e-6)


def test_equal_steps_are_merged(tmp_path, rng):
    sigma, rate = float(rng.uniform(1, 2)), float(rng.uniform(0.001, 0.01))
    one, many = filled(tmp_path / "one", [(sigma, rate, 300)]), filled(tmp_path / "many", [(sigma, rate, 1)] * 300)
    assert one.epsilon(1e-6) == many.epsilon(1e-6)


def test_every_spend_costs(tmp_path, rng):
    ledger, last = Ledger(tmp_path / "ledger", "record"), 0.0
    assert ledger.epsilon(1e-5) == ledger.epsilon(1e-5, "rdp") == 0.0
    # The last ones carry epsilon to where losses are rounded more coarsely.
    for steps in (1, 200, 10_000, 1_000_000):
        ledger.spend(1.0, 0.02, steps)
        assert ledger.epsilon(1e-5) > last
        last = ledger.epsilon(1e-5)
        assert last < ledger.epsilon(1e-5, "rdp")
    assert last > 300


@pytest.mark.parametrize("sigma", [0, 0.0, 1e-9])
def test_no_noise_is_an_infinite_epsilon(tmp_path, sigma):
    ledger = filled(tmp_path / "ledger", [(1.0, 0.01, 3), (sigma, 0.01, 1)])
    assert ledger.epsilon(1e-5) == ledger.epsilon(1e-5, "rdp") == math.inf


@pytest.mark.parametrize("relation", ["add_or_remove_one", "replace_one"])
def test_steps_beyond_all_numbers_have_an_epsilon_too(relation):
    for rate in (1.0, 0.5):
        assert epsilon_of({(1e-3, rate): 10**9}, 1e-5, relation, "pld") == math.inf
        assert 0 <= epsilon_of({(1e300, rate): 10}, 1e-5, relation, "pld") < 1e-3
    assert 1e4 < epsilon_of({(0.01, 0.5): 5}, 1e-5, relation, "pld") < math.inf


def test_series_that_do_not_converge_are_not_told_line_by_line(tmp_path, capfd):
    assert filled(tmp_path / "ledger", [(100.0, 0.5, 100)]).epsilon(1e-5, "rdp") == pytest.approx(0.18, abs=0.01)
    assert "converge" not in capfd.readouterr().err


def test_relations_and_accountants(tmp_path):
    ledger = filled(tmp_path / "ledger", [(1.0, 0.01, 10)], "replace_one")
    with pytest.raises(ValueError, match="needs relation='add_or_remove_one', found relation='replace_one'"):
        ledger.epsilon(1e-5, "rdp")
    with pytest.raises(ValueError, match="accountant='gdp' must be one of 'pld', 'rdp'"):
        ledger.epsilon(1e-5, "gdp")
    assert ledger.epsilon(1e-5) > filled(tmp_path / "other", [(1.0, 0.01, 10)]).epsilon(1e-5)


@pytest.mark.oracle
@pytest.mark.parametrize("accountant", ["pld", "rdp"])
def test_the_calibrated_noise_is_the_least(tmp_path, rng, accountant):
    from dp_accounting import pld, rdp

    epsilon, delta, rate, steps = (
        float(rng.uniform(0.5, 8)),
        1e-5,
        float(rng.uniform(0.005, 0.1)),
        int(rng.integers(5, 500)),
    )
    sigma = noise_multiplier(epsilon, delta, rate, steps, accountant=accountant)
    assert filled(tmp_path / "holds", [(sigma, rate, steps)]).epsilon(delta, accountant) <= epsilon
    assert filled(tmp_path / "fails", [(sigma * (1 - 2e-6), rate, steps)]).epsilon(delta, accountant) > epsilon

    def event(noise):
        step = dp_accounting.PoissonSampledDpEvent(rate, dp_accounting.GaussianDpEvent(noise))
        return dp_accounting.SelfComposedDpEvent(step, steps)

    expected = dp_accounting.calibrate_dp_mechanism(
        pld.PLDAccountant if accountant == "pld" else rdp.RdpAccountant,
        event,
        epsilon,
        delta,
        dp_accounting.ExplicitBracketInterval(0.97 * sigma, 1.03 * sigma),
        tol=1e-6,
    )
    assert sigma == pytest.approx(expected, abs=3e-6)


@pytest.mark.parametrize(("relation", "factor"), [("add_or_remove_one", 1), ("replace_one", 2)])
def test_calibrated_noise_without_sampling_is_the_analytic_gaussians(rng, relation, factor):
    epsilon, steps = float(rng.uniform(1, 5)), int(rng.integers(1, 50))
    sigma = noise_multiplier(epsilon, 1e-5, 1.0, steps, relation=relation)
    assert sigma == pytest.approx(gaussian_sigma(epsilon, 1e-5, factor) * math.sqrt(steps), rel=1e-4)


@pytest.mark.oracle
def test_the_analytic_gaussian_is_dp_accountings(rng):
    from dp_accounting import gaussian_mechanism

    for _ in range(50):
        epsilon, delta, sensitivity = 10 ** rng.uniform(-2, 1.5), 10 ** rng.uniform(-9, -0.5), 10 ** rng.uniform(-3, 3)
        expected = gaussian_mechanism.get_sigma_gaussian(epsilon, delta)
        assert gaussian_sigma(epsilon, delta, sensitivity) == pytest.approx(expected * sensitivity, rel=1e-6)


def test_the_analytic_gaussian_in_many_digits(rng):
    mpmath = pytest.importorskip("mpmath")
    with mpmath.workdps(60):
        for epsilon in (0.0, *10 ** rng.uniform(-6, 1.5, 20)):
            delta = float(10 ** rng.uniform(-14, -0.3))
            sigma = mpmath.mpf(gaussian_sigma(float(epsilon), delta))
            exact = [
                mpmath.ncdf(1 / (2 * s) - epsilon * s) - mpmath.exp(epsilon) * mpmath.ncdf(-1 / (2 * s) - epsilon * s)
                for s in (sigma * (1 + mpmath.mpf("1e-12")), sigma * (1 - mpmath.mpf("1e-11")))
            ]
            assert exact[0] <= delta < exact[1]


def test_the_search_for_steps_finds_the_last_that_fits(rng):
    for _ in range(300):
        most, power = int(10 ** rng.uniform(0, 9)), rng.choice([0.5, 1.0, 2.0])
        cliff = rng.random() < 0.2

        def excess(n, most=most, power=power, cliff=cliff):
            return math.inf if cliff and n > 2 * most else (n / (most + 0.5)) ** power - 1

        assert last_below(excess, 10**9) == most


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"epsilon": 0}, "epsilon=0 must be a number above 0"),
        ({"delta": 0}, "delta=0 must be"),
        ({"delta": 1}, "delta=1 must be below 1"),
        ({"sampling_rate": 0}, "sampling_rate=0 must be"),
        ({"sampling_rate": 1.5}, "sampling_rate=1.5 must be"),
        ({"steps": 2.5}, "steps=2.5 must be a whole number of at least 1"),
        ({"relation": "replace_special"}, "relation='replace_special' must be one of"),
        ({"accountant": "rdp", "relation": "replace_one"}, "accountant='rdp' needs"),
    ],
)
def test_calibration_names_what_is_wrong(arguments, message):
    with pytest.raises(ValueError, match=message):
        noise_multiplier(**{"epsilon": 1.0, "delta": 1e-5, "sampling_rate": 0.1, "steps": 2, **arguments})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((-1, 1e-5), "epsilon=-1"),
        ((1, 0), "delta=0"),
        ((1, 1), "delta=1 must be below 1"),
        ((1, 1e-5, 0), "sensitivity=0"),
        ((math.nan, 0.1), "epsilon=nan"),
    ],
)
def test_the_analytic_gaussian_names_what_is_wrong(arguments, message):
    with pytest.raises(ValueError, match=message):
        gaussian_sigma(*arguments)


def test_names_of_the_package():
    assert sm.privacy.Ledger is Ledger
    assert sm.BudgetError is sm.privacy.BudgetError
