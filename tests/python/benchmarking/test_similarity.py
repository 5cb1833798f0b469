import numpy as np
import pandas as pd
import pytest

from sslmed.benchmarking import cka, cka_table, robustness_index


def plain_cka(a, b, unbiased):
    """By loops over the definition: HSIC with centering matrices, or Song et al.'s sums over indices that all differ."""
    k, other = a @ a.T, b @ b.T
    n = len(k)
    if not unbiased:
        h = np.eye(n) - 1 / n
        hsic = lambda p, q: np.trace(p @ h @ q @ h)  # noqa: E731
    else:

        def hsic(p, q):
            pairs = [(i, j) for i in range(n) for j in range(n) if i != j]
            first = sum(p[i, j] * q[i, j] for i, j in pairs) / (n * (n - 1))
            third = sum(p[i, j] * q[i, m] for i, j in pairs for m in range(n) if m not in (i, j)) / (n * (n - 1) * (n - 2))
            four = sum(p[i, j] * q[m, o] for i, j in pairs for m, o in pairs if len({i, j, m, o}) == 4)
            return first + four / (n * (n - 1) * (n - 2) * (n - 3)) - 2 * third

    return hsic(k, other) / np.sqrt(hsic(k, k) * hsic(other, other))


@pytest.mark.parametrize("unbiased", [True, False])
def test_cka_is_its_definition(unbiased):
    rng = np.random.default_rng(0)
    a = rng.normal(size=(9, 3))
    b = np.concatenate([a[:, :1] * 2, rng.normal(size=(9, 4))], axis=1) + 5
    assert cka(a, b, unbiased=unbiased) == pytest.approx(plain_cka(a, b, unbiased), abs=1e-10)


def test_cka_of_rotations_and_of_nothing():
    rng = np.random.default_rng(1)
    a = rng.normal(size=(60, 10))
    rotation = np.linalg.qr(rng.normal(size=(10, 10)))[0]
    assert cka(a, 3 * a @ rotation + 7) == pytest.approx(1)
    wide = [rng.normal(size=(60, 500)) for _ in range(2)]
    assert cka(*wide, unbiased=False) > 0.8  # that is why the unbiased one is the default
    assert abs(cka(*wide)) < 0.1
    assert np.isnan(cka(np.ones((6, 2)), a[:6]))
    table = cka_table({"a": a, "b": wide[0]})
    np.testing.assert_allclose(np.diag(table), 1)
    np.testing.assert_allclose(table, table.T)
    for bad in ((a[:3], a[:3]), (a, a[:5]), (a[:, 0], a), (a * np.nan, a)):
        with pytest.raises(ValueError, match="cka: "):
            cka(*bad)


def plain_index(x, biology, center, subject, k):
    """By loops: for each row the k nearest of other subjects."""
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    same = near = 0
    for i in range(len(x)):
        others = [j for j in range(len(x)) if subject[j] != subject[i]]
        others.sort(key=lambda j: np.sum((x[i] - x[j]) ** 2))
        for j in others[:k]:
            same += biology[j] == biology[i] and center[j] != center[i]
            near += biology[j] != biology[i] and center[j] == center[i]
    return same / (same + near)


@pytest.mark.parametrize("seed", range(3))
def test_robustness_index_is_its_definition(seed):
    rng = np.random.default_rng(seed)
    biology, center, subject = rng.integers(0, 3, 60), rng.integers(0, 2, 60), rng.integers(0, 25, 60)
    x = rng.normal(size=(60, 5)) + np.eye(3, 5)[biology] + 0.5 * np.eye(2, 5, 3)[center]
    found = robustness_index(x, biology, center, subject, k=7).iloc[0]
    assert found["value"] == pytest.approx(plain_index(x, biology, center, subject, 7))
    assert found["low"] <= found["value"] <= found["high"]
    assert found["n_subjects"] == len(set(subject))
    chosen = robustness_index(x, biology, center, subject, k=[3, 5, 9], draws=0)
    each = {k: robustness_index(x, biology, center, subject, k=k, draws=0)["balanced_accuracy"].iloc[0] for k in (3, 5, 9)}
    assert chosen["k"].iloc[0] == max(each, key=lambda k: (each[k], -k))


@pytest.mark.oracle
def test_robustness_index_is_that_of_croma():
    croma = pytest.importorskip("croma")
    rng = np.random.default_rng(4)
    table = pd.DataFrame({"image_path": "", "label": rng.integers(0, 3, 90).astype(str), "site": rng.integers(0, 2, 90).astype(str)})
    table = table.assign(sample_id=[f"x{i}" for i in range(90)], group_id=rng.integers(0, 30, 90).astype(str))
    x = rng.normal(size=(90, 6)) + np.eye(3, 6)[table["label"].astype(int)]
    expected = croma.RI.compute_curve(x, table, confounder_column="site", k_values=[3, 5, 9])
    for k in (3, 5, 9):
        found = robustness_index(x, table["label"], table["site"], table["group_id"], k=k, draws=0)["value"].iloc[0]
        assert found == pytest.approx(expected[k])


def test_robust_and_confounded_features():
    rng = np.random.default_rng(0)
    biology, center = np.tile(["a", "b"], 40), np.repeat(["x", "y"], 40)
    noise = rng.normal(size=(80, 4))
    by_biology, by_center = ((noise + 9 * (np.stack([v == sorted(set(v))[0]] * 4, 1) - 0.5)) for v in (biology, center))
    assert robustness_index(by_biology, biology, center, np.arange(80))["value"].iloc[0] > 0.95
    assert robustness_index(by_center, biology, center, np.arange(80), k=9)["value"].iloc[0] < 0.05
    none = robustness_index(noise, biology, center, np.arange(80), k=39).iloc[0]
    assert none["low"] < none["chance"] < none["high"]


def test_what_is_refused():
    x, two, who = np.random.default_rng(0).normal(size=(12, 3)), np.tile([0, 1], 6), np.arange(12)
    with pytest.raises(ValueError, match="biology must have at least two values"):
        robustness_index(x, np.zeros(12), two, who)
    with pytest.raises(ValueError, match="center must have 12 entries"):
        robustness_index(x, two, two[:3], who)
    with pytest.raises(ValueError, match="k=12 is larger than the 11 rows"):
        robustness_index(x, two, two, who, k=12)
    with pytest.raises(ValueError, match="rows of zeros"):
        robustness_index(x * 0, two, two, who)
    with pytest.raises(ValueError, match="center must be known of every row"):
        robustness_index(np.random.default_rng(0).normal(size=(6, 2)), list("ababab"), ["p", "q", None] * 2, range(6))
