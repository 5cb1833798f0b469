"""Scores equal scikit-learn's and counts by hand."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from sslmed.anomaly.scoring import Case, _draws, areas, clopper_pearson, false_alarms, lesions_of, table_of
from sslmed.metrics import aupro


def test_areas_equal_scikit_learn(rng):
    for _ in range(5):
        scores, truth = np.round(rng.normal(size=200), 1), rng.random(200) < 0.2
        weights = rng.integers(0, 3, 200)
        found = areas(scores, truth, weights)
        assert found.auroc == pytest.approx(roc_auc_score(truth, scores, sample_weight=weights), abs=1e-12)
        assert found.auprc == pytest.approx(average_precision_score(truth, scores, sample_weight=weights), abs=1e-12)
        positives = np.sum(weights * truth)
        hits = [(np.sum(weights * (scores >= t) * truth), np.sum(weights * (scores >= t))) for t in scores]
        dice = [2 * hit / (above + positives) for hit, above in hits]
        assert found.best_dice == pytest.approx(max(dice), abs=1e-12)


def test_areas_of_one_class_are_not_known():
    assert np.isnan(areas([1.0, 2.0], [True, True]).auroc)
    assert np.isnan(areas([], []).auprc)


def test_exact_intervals():
    low, high = clopper_pearson(2, 20)
    assert (low, high) == (pytest.approx(0.012349, abs=1e-6), pytest.approx(0.316983, abs=1e-6))
    assert clopper_pearson(0, 10)[0] == 0
    assert clopper_pearson(10, 10)[1] == 1
    assert np.isnan(clopper_pearson(0, 0)[0])


def case(subject="a", anomalous=True, score=1.0):
    """Two lesions, of 4 cells and 1, of which the first is found; a false alarm of two cells that touch at a corner."""
    truth, scores = np.zeros((8, 8), bool), np.zeros((8, 8), np.float32)
    if anomalous:
        truth[0:2, 0:2] = truth[5, 5] = True
        scores[0:2, 0] = 0.9
    scores[3, 6] = scores[4, 7] = 0.8
    return Case(subject, anomalous, score, 0.5, scores, np.ones((8, 8), bool), truth, (2.0, 3.0))


def test_lesions_and_false_alarms():
    found = lesions_of(case(), 0.5, "share")
    assert found[["size", "found"]].values.tolist() == [[24.0, True], [6.0, False]]
    assert false_alarms(case(), 0.5) == 1
    assert false_alarms(case(anomalous=False), 0.85) == 0


def test_table_counts_what_it_says():
    tested = [case(f"s{i}", i < 6, 1.0 if i < 5 else 0.1) for i in range(12)]
    table = table_of("a", tested, {"any cell": 0.5}, (10.0,), 0)
    value = table.set_index("metric")["value"]
    assert value["AUROC of scans"] == pytest.approx((5 * 6 + 0.5 * 6) / 36)
    assert value["sensitivity"] == pytest.approx(5 / 6)
    assert value["false-alarm rate"] == 0
    assert value["Dice"] == pytest.approx(2 * 2 / (4 + 5))
    assert value["lesion sensitivity"] == 0.5
    assert value["lesion sensitivity, 0 to 10 mm³"] == 0
    assert value["lesion sensitivity, from 10 mm³"] == 1
    assert value["false alarms a scan, healthy"] == 1
    assert value["share of cells above, healthy"] == pytest.approx(2 / 64)
    cells = [one.scores.ravel() for one in tested], [one.truth.ravel() for one in tested]
    assert value["AUROC of cells"] == pytest.approx(roc_auc_score(np.concatenate(cells[1]), np.concatenate(cells[0])))
    expected = aupro([one.scores for one in tested], [one.truth for one in tested], convention="mvtec")
    assert value["AUPRO"] == pytest.approx(float(expected))
    bound = table[table["metric"] == "best Dice"].iloc[0]
    assert bound["note"].startswith("upper bound")
    assert (table["low"].dropna() <= table["value"][table["low"].notna()] + 1e-12).all()


def test_cells_that_were_not_looked_at_count_as_missed_lesions_only():
    one = case()
    looked = np.zeros((8, 8), bool)
    looked[3:, :] = True
    partly = Case("a", True, 1.0, 0.5, np.where(looked, one.scores, 0), looked | one.truth, one.truth, None)
    table = table_of("a", [partly, case("b", False)], {"any cell": 0.5}, (), 0)
    assert table.set_index("metric")["value"]["lesion sensitivity"] == 0


def test_intervals_are_of_people_and_need_five():
    few = table_of("a", [case(f"s{i}", i < 3) for i in range(6)], {}, (), 0).set_index("metric")
    assert np.isnan(few.loc["AUROC of cells", "low"])
    many = table_of("a", [case(f"s{i}", i < 6) for i in range(12)], {}, (), 0).set_index("metric")
    assert np.isfinite(many.loc["AUROC of cells", "low"])
    assert many.loc["AUROC of cells", "n_subjects"] == 12


def test_intervals_of_rare_lesions_are_those_of_all_cells(rng):
    """Two cells of 4,000 are of lesions, fewer than a bin of equal shares holds."""
    tested = []
    for number in range(12):
        scores, truth = rng.random((20, 20, 10)).astype(np.float32), np.zeros((20, 20, 10), bool)
        if number < 6:
            truth[3, 3, 3:5] = True
            scores[3, 3, 3:7] = 1 + rng.random(4) / 2
        tested.append(Case(f"s{number:02d}", number < 6, 1.0, 0.5, scores, np.ones_like(truth), truth, None))
    table = table_of("a", tested, {}, (), 0).set_index("metric")
    scores, truth = (np.concatenate([getattr(one, name).ravel() for one in tested]) for name in ("scores", "truth"))
    times = _draws(np.arange(12) < 6, 0)[:, np.repeat(np.arange(12), 4000)]
    drawn = [areas(scores, truth, row) for row in times[:100]]
    # Of all draws quantiles are compared with those of the first hundred, so that the test is short.
    for metric, name in (("AUROC of cells", "auroc"), ("AUPRC of cells", "auprc"), ("best Dice", "best_dice")):
        line, values = table.loc[metric], [getattr(one, name) for one in drawn]
        assert line["low"] <= line["value"] <= line["high"], metric
        assert np.mean([line["low"] <= one <= line["high"] for one in values]) > 0.85, metric
