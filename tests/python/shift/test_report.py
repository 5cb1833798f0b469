import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.covariance import ledoit_wolf
from soak import WHEN_SOAKED, near
from statsmodels.stats.multitest import multipletests
from weights import changed

import sslmed as sm
from sslmed.encoders import Encoder
from sslmed.modalities.eeg import baselines

PRE = sm.EegPreprocessing(sfreq=100, window=4, patch=1, h_freq=45)


def cohort(name, n, age, female, gain=1.0, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3, 1200)) * gain
    table = pd.DataFrame(
        {"subject": [f"{name}{i}" for i in range(n)], "age": rng.normal(age, 8, n), "sex": np.where(rng.random(n) < female, "F", "M"), "y": rng.normal(size=n)}
    )
    return sm.Cohort.from_arrays(x, 100, ["Fp1", "Cz", "O2"], table, name=name)


def test_differences_and_tests():
    a, b = cohort("a", 40, 30, 0.4), cohort("b", 30, 55, 0.8, gain=3.0, seed=1)
    report = sm.shift.report(a, b, Encoder("vit_tiny", PRE, depth=1), by=["age", "sex", "site"], bootstrap=200, permutations=9)
    columns = ["row", "metric", "value", "low", "high", "n_subjects", "p", "p_holm", "random", "random_low", "random_high"]
    assert list(report.table.columns) == columns
    rows = report.table.set_index(["row", "metric"])
    x, y = a.table["age"], b.table["age"]
    assert rows.loc[("age", "difference"), "value"] == pytest.approx(y.mean() - x.mean())
    assert rows.loc[("age", "difference"), "p"] == pytest.approx(stats.ttest_ind(x, y, equal_var=False).pvalue)
    interval = stats.ttest_ind(y, x, equal_var=False).confidence_interval(0.95)
    assert rows.loc[("age", "difference"), ["low", "high"]].tolist() == pytest.approx([interval.low, interval.high])
    assert rows.loc[("age", "cohen_d"), "low"] < rows.loc[("age", "cohen_d"), "value"] < rows.loc[("age", "cohen_d"), "high"]
    assert rows.loc[[("age", "ks"), ("sex", "total_variation")], ["low", "high"]].isna().all(axis=None)
    assert rows.loc[("age", "ks"), "value"] == pytest.approx(stats.ks_2samp(x, y).statistic)
    assert rows.loc[("age", "difference"), "low"] < 25 < rows.loc[("age", "difference"), "high"]
    share = abs((a.table["sex"] == "F").mean() - (b.table["sex"] == "F").mean())
    assert rows.loc[("sex", "total_variation"), "value"] == pytest.approx(share)
    assert rows.loc[("site", "total_variation"), "value"] == 1.0
    # A threefold gain is plain in band power, and gone after z-scoring.
    assert rows.loc[("domain classifier: band power", "auroc"), "value"] > 0.95
    assert rows.loc[("domain classifier: features", "auroc"), "value"] < 0.8
    # Three distances that see the gain in neither: the encoder z-scores.
    for metric in ("mmd", "coral", "frechet"):
        assert rows.loc[("features", metric), "value"] > 0
        assert rows.loc[("features", metric), "p"] > 0.005
    for row in ("features", "band power"):
        line = rows.loc[(f"domain classifier: {row}", "auroc")]
        assert abs(line["random"] - 0.5) < 0.15
        assert line["random_low"] < line["random"] < line["random_high"]
        assert line["low"] <= line["value"] <= line["high"]
    assert rows.loc[("domain classifier: band power", "auroc"), "p"] == pytest.approx(1 / 10)
    assert rows.loc[("domain classifier: features", "auroc"), "p"] > 1 / 10
    # Two tests of age, one each of sex and site, two classifiers; the distances stay out.
    tests = report.table[report.table["p"].notna() & ~report.table["metric"].isin(["mmd", "coral", "frechet"])]
    assert len(tests) == 6
    assert tests["p_holm"].tolist() == pytest.approx(multipletests(tests["p"], method="holm")[1].tolist())
    assert report.table["p_holm"].notna().sum() == 6
    assert not report.table["row"].str.contains("random").any()


@WHEN_SOAKED
def test_domain_classifier_holds_its_level_soak():
    """Two cohorts of one population, two recordings a person: at .05 it rejects in .05, as an exchange of people must."""
    p = []
    for seed in range(200):
        a, b = cohort("a", 16, 30, 0.5, seed=2 * seed), cohort("b", 12, 30, 0.5, seed=2 * seed + 1)
        p.append(sm.shift.report(a, b, by=[], bootstrap=1, permutations=19).table["p"].iloc[0])
    assert near(np.mean(np.array(p) <= 0.05), 0.05, 200)


def test_target_plot_and_save(tmp_path):
    a, b = cohort("a", 20, 30, 0.4), cohort("b", 20, 55, 0.8, seed=1)
    report = sm.shift.report(a, b, changed(Encoder("vit_tiny", PRE, depth=1)), by=["age"], target="y", bootstrap=20, permutations=2)
    assert report.table["row"].str.contains("y: a → b: pretrained").any()
    assert len(report.plot().axes) == 3
    report.save(str(tmp_path / "s.html"))
    report.save(str(tmp_path / "s.csv"))
    assert "domain classifier" in (tmp_path / "s.html").read_text()
    assert len(pd.read_csv(tmp_path / "s.csv")) == len(report.table)


def test_refusals():
    a, b = cohort("a", 10, 30, 0.4), cohort("b", 10, 55, 0.8)
    with pytest.raises(ValueError, match="height"):
        sm.shift.report(a, b, by=["height"])
    with pytest.raises(ValueError, match="empty"):
        sm.shift.report(a, b.with_columns(age=np.nan), by=["age"])


def test_same_subject_names_are_two_people():
    a, b = cohort("a", 10, 30, 0.5), cohort("b", 10, 30, 0.5, seed=2)
    b = sm.Cohort.from_arrays([v for v, _, _ in b.arrays], 100, ["Fp1", "Cz", "O2"], b.table.assign(subject=a.table["subject"]), name="b")
    table = sm.shift.report(a, b, by=["age"], bootstrap=20, permutations=2).table
    assert table["n_subjects"].max() == 20


def test_distance_is_mahalanobis_and_scores_go_by_it():
    rng = np.random.default_rng(0)
    t = np.arange(800) / 100

    def group(n, size, name):
        x = rng.normal(size=(n, 2, 800))
        x[:, 0] += size[:, None] * np.sin(2 * np.pi * 10 * t)  # of one channel: the average of both is taken out
        table = pd.DataFrame({"subject": [f"{name}{i}" for i in range(n)], "y": np.array(["a", "b"])[np.arange(n) % 2]})
        return sm.Cohort.from_arrays(x, 100, ["Cz", "O2"], table, name=name)

    here, there = group(30, rng.uniform(0.5, 1.5, 30), "here"), group(12, np.linspace(1, 40, 12), "there")
    distance = sm.shift.distance_from(here, there)
    assert list(distance.index) == sorted(there.table["subject"])
    by_size = distance[there.table["subject"]].to_numpy()
    assert stats.spearmanr(by_size, np.arange(12))[0] > 0.9
    x = baselines.band_power(here, ["Cz", "O2"])
    z = baselines.band_power(there, ["Cz", "O2"])
    shrunk, _ = ledoit_wolf(x / x.std(0))
    gap = (z - x.mean(0)) / x.std(0)
    assert np.allclose(by_size, np.sqrt(np.einsum("ij,jk,ik->i", gap, np.linalg.inv(shrunk), gap)))
    result = sm.transfer(None, here, "y", test=there, baselines=["dummy", "band power"], bootstrap=20)
    near, far = result.subgroups(distance, bins=2, draws=20)["n_subjects"].iloc[:2]
    assert (near, far) == (6, 6)
    with pytest.raises(ValueError, match="by has no value of subject 'there0'"):
        result.subgroups(distance.drop("there0"))
    with pytest.raises(ValueError, match="at least two subjects"):
        sm.shift.distance_from(group(1, np.ones(1), "one"), there)


def test_columns_by_default_and_names_in_both():
    a, b = cohort("a", 6, 30, 0.5), cohort("b", 6, 55, 0.5, seed=1)
    b = b.with_columns(age=np.nan)
    report = sm.shift.report(a, b, bootstrap=20, permutations=2)
    assert [row for row in report.table["row"].unique() if not row.startswith("domain")] == ["sex", "site"]
    assert repr(report).startswith("<ShiftReport a → b>")
    assert "<td>sex</td>" in report._repr_html_()
    twins = b.with_columns(subject=a.table["subject"])
    with pytest.warns(sm.OverlapWarning, match="6 subjects have the same name in both cohorts, such as 'a0'"):
        sm.shift.report(a, twins, by=["site"], bootstrap=20, permutations=2)
