import numpy as np
import pandas as pd
import pytest

import sslmed as sm
from sslmed.encoders import Encoder
from sslmed.evaluation import probes

PRE = sm.EegPreprocessing(sfreq=100, window=2, patch=0.5, h_freq=45, average_reference=False)


def cohort(n=40, name="s", seed=0, size=25.0, share=0.5):
    rng = np.random.default_rng(seed)
    t = np.arange(800) / 100
    y = np.where(np.arange(n) < share * n, "a", "b")
    x = rng.normal(size=(n, 3, 800)) * 10
    x += (y == "b")[:, None, None] * size * np.sin(2 * np.pi * 10 * t + rng.uniform(0, 6, (n, 3, 1)))
    table = pd.DataFrame({"subject": [f"{name}{i}" for i in range(n)], "y": y, "age": rng.uniform(20, 70, n)})
    return sm.Cohort.from_arrays(x, 100, ["Fp1", "Cz", "O2"], table, name=name)


@pytest.fixture(scope="module")
def encoder():
    return Encoder("vit_tiny", PRE, depth=1)


def test_more_shots_more_is_learned(encoder):
    table = sm.few_shot(encoder, cohort(size=12.0), "y", (1, 4, 12), repeats=10).set_index(["row", "metric", "shots"])["value"]
    for row in ("band power", "random encoder", "pretrained encoder"):
        scores = table.xs((row, "auroc"), level=("row", "metric"))
        assert list(scores.index) == [1, 4, 12]
        assert scores[12] > scores[1]
    for shots, target, said in (((20,), "y", "within 1 and 19"), ((0,), "y", "within 1"), ((1,), "age", "regressed")):
        with pytest.raises(ValueError, match=said):
            sm.few_shot(encoder, cohort(), target, shots)
    twice = cohort()
    twice.table["subject"] = twice.table["subject"].iloc[::-1].str.replace("s39", "s0").to_numpy()
    with pytest.raises(ValueError, match="recordings of two classes"):
        sm.few_shot(encoder, twice, "y", (1,))


def test_shots_are_nested_and_tested_on_people_they_did_not_see(encoder, monkeypatch):
    plain, calls = cohort(), []
    doubled = sm.Cohort.from_arrays(
        np.concatenate([np.stack([v.numpy() for v, _, _ in plain.arrays])] * 2), 100, ["Fp1", "Cz", "O2"], pd.concat([plain.table] * 2)
    )

    def watched(x, y, groups, x_test, classes, *rest):
        calls.append((set(groups), {r.tobytes() for r in x}, {r.tobytes() for r in x_test}))
        assert [len(set(groups[y == c])) for c in classes] == [len(set(groups)) // 2] * 2
        return np.full((len(x_test), 2), 0.5)

    monkeypatch.setattr(probes, "fit_predict", watched)
    sm.few_shot(encoder, doubled, "y", (2, 8), repeats=3)
    for small, large in zip(calls[::6], calls[3::6], strict=True):  # of three rows each
        assert small[0] < large[0]
        assert small[2] == large[2]
        assert len(large[2]) == 40 - 16
    for _, train, test in calls:
        assert not train & test


def test_the_matrix_is_transfer_cell_by_cell(encoder):
    parts = [cohort(name="p"), cohort(name="q", seed=1, size=40.0)]
    table = sm.transfer_matrix(encoder, parts, "y", baselines=False, bootstrap=20)
    cells = table[table["metric"] == "auroc"].set_index(["train", "test"])["value"]
    assert set(cells.index) == {(a, b) for a in "pq" for b in "pq"}
    for a, b in (("p", "q"), ("q", "q")):
        train, test = parts["pq".index(a)], parts["pq".index(b)]
        alone = sm.transfer(encoder, train, "y", test=None if a == b else test, baselines=False, bootstrap=20).table.set_index("metric")["value"]
        assert cells[a, b] == alone["auroc"]
    with pytest.raises(ValueError, match="different names"):
        sm.transfer_matrix(encoder, [parts[0], parts[0]], "y")
