import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from weights import changed

import sslmed as sm
from sslmed.encoders import Encoder
from sslmed.evaluation import features, metrics, probes
from sslmed.evaluation.adaptation import Recenter
from sslmed.evaluation.transfer import plan
from sslmed.labels import is_regression
from sslmed.modalities.eeg import baselines

BASELINES = ("dummy", "band power", "handcrafted", "riemann", "acquisition", "random encoder", "permuted labels")


PRE = sm.EegPreprocessing(sfreq=100, window=4, patch=1, h_freq=45)


@pytest.fixture(scope="module")
def encoder():
    return changed(Encoder("vit_tiny", PRE, depth=1))


@pytest.mark.parametrize(
    ("values", "regression"),
    [([0, 1] * 10, False), ([1.5, 2.5] * 10, True), (range(20), True), ([20, 30, 40], True), (list("ab") * 5, False), ([1.0, 2.0, 3.0] * 3, False)],
)
def test_kind_of_target(values, regression):
    assert is_regression(np.array(list(values))) == regression


def test_kind_of_target_counts_people():
    ages = np.repeat([23, 30, 30, 41, 47, 52, 55, 60, 61, 61, 68, 70], 4)  # twelve people of four recordings
    subjects = np.repeat([f"s{i}" for i in range(12)], 4)
    assert not is_regression(ages)
    assert is_regression(ages, groups=subjects)
    assert not is_regression(np.tile([0, 1], 24), groups=subjects)  # a state that every person has been in
    assert not is_regression(np.repeat([0, 1], 24), groups=subjects)
    assert is_regression(ages, False, subjects) is False
    x = np.random.default_rng(0).normal(size=(48, 2, 400))
    cohort = sm.Cohort.from_arrays(x, 100, ["Cz", "O2"], pd.DataFrame({"subject": subjects, "age": ages}))
    assert plan(None, cohort, "age", cv=3).regression
    encoder = Encoder("vit_tiny", PRE, depth=1)
    with pytest.raises(ValueError, match="target='age' is regressed"):
        sm.few_shot(encoder, cohort, "age")
    assert len(sm.finetune(encoder, cohort, "age", sm.FineTuning(epochs=1, tuned="nothing")).classes_) == 0


def test_rows_and_columns(encoder, tiny_clinic):
    result = sm.transfer(encoder, tiny_clinic, "diagnosis", cv=3, repeats=2, permutations=9)
    assert list(result.table.columns) == ["row", "metric", "value", "low", "high", "n_subjects", "sd_folds"]
    rows = [name for name in BASELINES if name != "permuted labels"] + ["pretrained encoder"]
    assert list(dict.fromkeys(result.table["row"])) == [*rows, "permuted labels"]
    assert set(result.table["metric"]) == {"balanced_accuracy", "auroc", "auprc", "f1", "brier"}
    assert (result.table["n_subjects"] == 15).all()
    long = result.predictions
    assert list(long.columns) == ["row", "subject", "path", "fold", "truth", "label", "predicted", "prior"]
    assert list(dict.fromkeys(long["row"])) == rows  # permuted labels are a distribution of scores, and predict nobody
    assert len(long) == len(rows) * 15 * long["label"].nunique()
    assert long.notna().all().all()
    assert sorted(long["fold"].unique()) == [0, 1, 2]
    assert long.groupby("path")["fold"].nunique().eq(1).all()
    one = long[(long["row"] == "riemann") & (long["path"] == long["path"].iloc[0])]
    assert one["predicted"].sum() == pytest.approx(1)
    wide = result.wide()
    assert wide.shape == (15, 2 + len(rows) * long["label"].nunique())
    assert wide[f"riemann: {one['label'].iloc[0]}"].iloc[0] == one["predicted"].iloc[0]
    again = sm.transfer(encoder, tiny_clinic, "diagnosis", cv=3, repeats=2, permutations=9)
    pd.testing.assert_frame_equal(result.table, again.table)
    regressed = sm.transfer(encoder, tiny_clinic, "age", protocol="knn", cv=3, repeats=2, permutations=9)
    assert set(regressed.table["metric"]) == {"mae", "r2", "r"}
    assert regressed.predictions["label"].isna().all()
    assert list(regressed.wide().columns[:3]) == ["subject", "truth", "dummy"]


def test_it_finds_what_is_there_and_nothing_else(rng):
    """A cohort whose classes differ in alpha power: band power must find it; with permuted labels nothing may."""
    n, t = 40, np.arange(3000) / 100
    y = np.array(["a", "b"] * (n // 2))
    x = rng.normal(size=(n, 3, 3000)) * 10
    x += np.where(y == "b", 40.0, 5.0)[:, None, None] * np.sin(2 * np.pi * 10 * t + rng.uniform(0, 6, size=(n, 3, 1)))
    table = pd.DataFrame({"subject": [f"s{i}" for i in range(n)], "y": y, "shuffled": rng.permutation(y)})
    cohort = sm.Cohort.from_arrays(x, 100, ["Fp1", "Cz", "O2"], table)
    real = sm.transfer(None, cohort, "y", repeats=2).table.set_index(["row", "metric"])
    assert real.loc[("band power", "auroc"), "value"] > 0.9
    assert real.loc[("dummy", "balanced_accuracy"), "value"] == 0.5
    none = sm.transfer(None, cohort, "shuffled", repeats=2).table.set_index(["row", "metric"])
    assert none.loc[("band power", "auroc"), "value"] < 0.8


def test_band_power_is_in_the_right_band():
    t = np.arange(2000) / 100
    x = np.stack([np.sin(2 * np.pi * f * t) * 10 for f in (2.5, 6, 10, 20)])[None] + np.random.default_rng(0).normal(size=(1, 4, 2000)) * 0.01
    cohort = sm.Cohort.from_arrays(x, 100, ["Fp1", "Fp2", "O1", "O2"], pd.DataFrame({"subject": ["a"]}))
    power = baselines.band_power(cohort).reshape(4, len(baselines.BANDS))
    # Average reference spreads each sine to all channels with a third of its amplitude; its own channel keeps most.
    assert sm.modalities.eeg.common_channels(cohort) == ["Fp1", "Fp2", "O1", "O2"]
    assert [int(np.argmax(power[:, band])) for band in range(4)] == [0, 1, 2, 3]


def test_cross_cohort(encoder, tiny_site, tiny_clinic):
    result = sm.transfer(encoder, tiny_clinic, "age", test=tiny_site, bootstrap=20)
    assert (result.table["n_subjects"] == 6).all()
    with pytest.raises(ValueError, match="training and test data at once"):
        sm.transfer(encoder, tiny_clinic, "age", test=tiny_clinic.subset([0, 1]))


@pytest.mark.parametrize(("target", "kwargs"), [("none", {}), ("task", {}), ("age", {"protocol": "x"}), ("age", {"cv": 100})])
def test_refusals(encoder, tiny_clinic, target, kwargs):
    with pytest.raises(ValueError):
        sm.transfer(encoder, tiny_clinic, target, **kwargs)


def test_a_fold_predicts_subjects_it_never_saw():
    """A memoriser (1-NN on the subject's own number) must fail: its training folds hold no row of the test subject."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(30), 4)
    y = np.repeat(rng.choice(["a", "b"], 30), 4)
    x = np.repeat(rng.normal(size=(30, 5)), 4, axis=0) + 1e-6 * rng.normal(size=(120, 5))
    table = pd.DataFrame({"subject": groups.astype(str), "y": y})
    cohort = sm.Cohort.from_arrays(rng.normal(size=(120, 1, 10)), 100, ["Cz"], table)
    p = probes.cross_predict(x, y, groups, list(cohort.folds(5, stratify="y")), "knn", False)
    assert metrics.score("balanced_accuracy", y, p, np.unique(y)) < 0.8


def test_encode_does_not_depend_on_batches_or_threads(encoder, tiny_site):
    a, recording = sm.encode(encoder, tiny_site, batch_size=3, threads=1)
    b, _ = sm.encode(encoder, tiny_site, batch_size=64, threads=8)
    assert (a - b).abs().max() < 1e-5
    assert recording.tolist() == sorted(recording.tolist())
    assert not (sm.encode(encoder, tiny_site, pooling="cls")[0] - a).abs().max() < 1e-3
    assert encoder.randomized().state_dict()["norm.weight"].shape == encoder.state_dict()["norm.weight"].shape
    assert not encoder.randomized().state_dict()["blocks.0.attn.qkv.weight"].equal(encoder.state_dict()["blocks.0.attn.qkv.weight"])


def test_plot_and_save(encoder, tiny_clinic, tmp_path):
    result = sm.transfer(encoder, tiny_clinic, "age", cv=3, repeats=1, permutations=9)
    assert result.plot().get_xlabel().startswith("mean absolute error")
    result.save(str(tmp_path / "t.csv"))
    result.save(str(tmp_path / "t.html"))
    page = (tmp_path / "t.html").read_text()
    assert "pretrained encoder" in page
    assert "data:image/png" in page
    assert "http" not in page.replace("http-equiv", "")


def test_regions_keep_what_a_mean_over_the_head_loses(tmp_path):
    """Classes that differ in the side on which the same rhythm is: regions tell them apart, the mean over all channels cannot."""
    rng, n, t = np.random.default_rng(0), 40, np.arange(1200) / 100
    y = np.array(["left", "right"] * (n // 2))
    x = rng.normal(size=(n, 4, 1200)) * 10
    for i in range(n):
        side = [0, 2] if y[i] == "left" else [1, 3]
        x[i, side] += 60 * np.sin(2 * np.pi * 10 * t + rng.uniform(0, 6, size=(2, 1)))
    cohort = sm.Cohort.from_arrays(x, 100, ["F3", "F4", "P3", "P4"], pd.DataFrame({"subject": [f"s{i}" for i in range(n)], "y": y}))
    encoder = changed(Encoder("vit_tiny", sm.EegPreprocessing(sfreq=100, window=4, patch=1, h_freq=45, average_reference=False), depth=1))
    assert sm.encode(encoder, cohort, pooling="regions")[0].shape[1] == 6 * encoder.dim
    how = {"baselines": False, "repeats": 2}
    scores = {p: sm.transfer(encoder, cohort, "y", pooling=p, **how).table.set_index(["row", "metric"])["value"] for p in ("mean", "regions")}
    assert scores["regions"]["pretrained encoder", "auroc"] > 0.85
    assert scores["regions"]["pretrained encoder", "auroc"] > scores["mean"]["pretrained encoder", "auroc"] + 0.1
    with pytest.raises(ValueError, match="pooling='x', expected one of"):
        sm.encode(encoder, cohort, pooling="x")


def waves(n=16, seconds=20, seed=0, effect=30.0):
    """Classes that differ in how two channels go together, not in power."""
    rng = np.random.default_rng(seed)
    t = np.arange(seconds * 100) / 100
    y = np.array(["in phase", "against"] * (n // 2))
    x = rng.normal(size=(n, 4, len(t))) * 10
    wave = effect * np.sin(2 * np.pi * 10 * t + rng.uniform(0, 6, (n, 1)))
    x[:, 0] += wave
    x[:, 1] += np.where(y == "in phase", 1, -1)[:, None] * wave
    return sm.Cohort.from_arrays(x, 100, ["F3", "F4", "P3", "P4"], pd.DataFrame({"subject": [f"s{seed}-{i}" for i in range(n)], "y": y}), name=f"w{seed}")


def test_covariances_equal_a_shrunk_sample_covariance():
    cohort = waves(4)
    ours = baselines.covariances(cohort)
    assert sm.modalities.eeg.common_channels(cohort) == ["F3", "F4", "P3", "P4"]
    source = cohort.source(sm.EegPreprocessing(sfreq=100, window=4, patch=1, l_freq=0.5, h_freq=48, scale="none", clip=0))
    for r in range(4):
        x = np.concatenate(
            [w - w.mean(1, keepdims=True) for w in (source.sample(i)[0].double().numpy() for i in np.flatnonzero(source.recording_of == r))], axis=1
        )
        plain, n, c = x @ x.T / x.shape[1], x.shape[1], 4
        # Chen et al. (arXiv 0907.4698), equation 23.
        rho = ((1 - 2 / c) * np.trace(plain @ plain) + np.trace(plain) ** 2) / ((n + 1 - 2 / c) * (np.trace(plain @ plain) - np.trace(plain) ** 2 / c))
        assert np.allclose(ours[r], (1 - rho) * plain + rho * np.trace(plain) / c * np.eye(c), rtol=1e-4)
        assert (np.linalg.eigvalsh(ours[r]) > 0).all()  # though the average reference takes a dimension away


def test_riemann_finds_what_power_cannot():
    rows = sm.transfer(None, waves(32), "y", repeats=2, cv=4).table.set_index(["row", "metric"])["value"]
    assert rows["riemann", "balanced_accuracy"] > 0.9
    moved = sm.transfer(None, waves(32), "y", test=waves(32, seed=1, effect=60), bootstrap=20, baselines=["riemann"], adaptation="normalize")
    assert moved.table["value"].iloc[0] > 0.9


def test_recentered_covariances_have_the_identity_as_their_mean():
    from pyriemann.geometry.mean import mean_riemann

    here, there = (baselines.covariances(waves(8, seed=seed)) for seed in (0, 1))
    fitted = Recenter().fit(here, there)
    for x, domain in ((here, "source"), (there, "target")):
        assert np.allclose(mean_riemann(fitted.transform(x, domain)), np.eye(4), atol=1e-6)


def test_handcrafted_features_are_what_they_are_called():
    t = np.arange(2000) / 100
    x = np.stack([np.sin(2 * np.pi * f * t) * 10 for f in (9, 10, 12)] + [np.random.default_rng(0).normal(size=2000)])[None]
    cohort = sm.Cohort.from_arrays(x, 100, ["Fp1", "Fp2", "O1", "O2"], pd.DataFrame({"subject": ["a"]}))
    f = baselines.handcrafted(cohort).reshape(4, 15)
    power, share, entropy, peak, activity, mobility = f[:, :5], f[:, 5:10], f[:, 10], f[:, 11], f[:, 12], f[:, 13]
    assert np.array_equal(power.ravel(), baselines.band_power(cohort).ravel())
    assert np.allclose(share.sum(1), 1)
    assert (share[:3].argmax(1) == 2).all()
    assert (peak[:3] >= 9).all()
    assert entropy[3] > entropy[:3].max() or share[3].max() < 0.9
    # Hjorth: a sine's mobility is its angular frequency a sample; its activity is its variance.
    source = cohort.source(sm.EegPreprocessing(sfreq=100, window=4, patch=1, l_freq=0.5, h_freq=48, scale="none", clip=0))
    windows = [source.sample(i)[0].double().numpy() for i in range(len(source))]
    assert np.allclose(activity, np.mean([np.log10(w.var(1)) for w in windows], 0), atol=1e-6)
    assert np.allclose(mobility, np.mean([np.sqrt(np.diff(w).var(1) / w.var(1)) for w in windows], 0), atol=1e-6)


def test_permuted_labels_score_at_chance():
    encoder = changed(Encoder("vit_tiny", sm.EegPreprocessing(sfreq=100, window=4, patch=1, h_freq=45, average_reference=False), depth=1))
    plain = waves(40, effect=0.0)
    x = np.stack([v.numpy() for v, _, _ in plain.arrays])
    x[1::2] += 50 * np.sin(2 * np.pi * 10 * np.arange(x.shape[2]) / 100)
    cohort = sm.Cohort.from_arrays(x, 100, ["F3", "F4", "P3", "P4"], plain.table)
    result = sm.transfer(encoder, cohort, "y", repeats=1, permutations=39, baselines=["permuted labels"])
    rows = result.table.set_index(["row", "metric"])
    permuted = rows.loc[("permuted labels", "balanced_accuracy")]
    assert rows.loc[("pretrained encoder", "balanced_accuracy"), "value"] > 0.8 > permuted["high"]
    assert abs(permuted["value"] - 0.5) < 0.1
    chance = result.comparisons.set_index("against").loc["chance"]
    assert chance["p"] == 1 / 40
    assert chance["test"] == "permuted labels, refitted"


def test_subgroups_of_a_result(encoder, tiny_clinic):
    result = sm.transfer(encoder, tiny_clinic, "age", cv=3, repeats=1, baselines=["dummy"])
    by_sex = result.subgroups("sex", draws=20)
    assert list(by_sex["group"]) == ["F", "M"] * 2
    truth, guess = result.wide()["truth"].to_numpy(), result.wide()["dummy"].to_numpy()
    women = (result.people["sex"] == "F").to_numpy()
    assert by_sex["value"].iloc[0] == pytest.approx(np.abs(truth - guess)[women].mean())
    assert by_sex.groupby("row")["p_interaction"].nunique().eq(1).all()
    assert by_sex.groupby("row")["worst"].sum().le(1).all()
    assert not by_sex.loc[by_sex["p_interaction"] >= 0.05, "worst"].any()
    assert len(result.subgroups("age", bins=3, draws=20)) == 6
    with pytest.raises(ValueError, match="by='x' is not a column"):
        result.subgroups("x")


def arrays(labels, n=None, name="arrays", subjects=None):
    n = n or len(labels)
    values = np.random.default_rng(1 if name == "arrays" else 2).normal(size=(n, 3, 1000)) * 10
    table = pd.DataFrame({"subject": subjects or [f"{name}{i}" for i in range(n)], "k": labels})
    return sm.Cohort.from_arrays(values, 100, ["Fp1", "Cz", "O2"], table, name=name)


def test_classes_that_are_numbers():
    """As 0 and 1 mostly come; a missing value makes the column one of floats, in one cohort and not in the other."""
    result = sm.transfer(None, arrays([0, 1] * 6), "k", cv=2, repeats=2)
    words = sm.transfer(None, arrays(["a", "b"] * 6), "k", cv=2, repeats=2)
    pd.testing.assert_frame_equal(result.table, words.table)
    assert set(result.predictions["truth"]) == {"0", "1"}
    elsewhere = arrays([0, None, 1, 1, 0, 1, 0], name="b")
    across = sm.transfer(None, arrays([0, 1] * 6), "k", test=elsewhere, bootstrap=20, baselines=["handcrafted", "riemann"])
    assert list(across.wide()["truth"]) == list("011010")
    for labels in ([True, False] * 6, [True, False, None] * 4):
        result = sm.transfer(None, arrays(labels), "k", cv=2, repeats=1, baselines=["handcrafted"])
        assert set(result.predictions["truth"]) == {"True", "False"}
    with pytest.raises(ValueError, match="infinite"):
        sm.transfer(None, arrays([1.5, np.inf] * 4), "k")


@pytest.mark.parametrize("protocol", ["linear", "knn"])
@pytest.mark.parametrize(("labels", "folds"), [("aaabb", "loso"), ("aaaaaaaaaabb", 2), ("aabb", "loso"), ("aabbcc", 2)])
def test_few_subjects_of_a_class(protocol, labels, folds):
    """Folds inside the training subjects may lack a class; neighbours may be fewer than five."""
    result = sm.transfer(None, arrays(list(labels)), "k", protocol, cv=folds, repeats=2, baselines=["band power", "riemann"])
    columns = [c for c in result.wide() if str(c).startswith("band power: ")]
    np.testing.assert_allclose(result.wide()[columns].sum(axis=1), 1)


def test_what_is_no_encoder_or_cohort_is_told(encoder, tmp_path):
    cohort = arrays([0, 1] * 3)
    wrongs = (("nowhere.safetensors", sm.ReadError, "nowhere"), (sm.Run(tmp_path, encoder, pd.DataFrame()), TypeError, r"expected a name.*pass run\.encoder"))
    for wrong, error, match in wrongs:
        for use in (sm.transfer, sm.few_shot, sm.finetune):
            with pytest.raises(error, match=match):
                use(wrong, cohort, "k")
        with pytest.raises(error, match=match):
            sm.shift.report(cohort, cohort, wrong, by=[])
    pictures = sm.Cohort.from_table(pd.DataFrame({"path": ["a.png"] * 2, "subject": ["a", "b"], "k": [0, 1]}))
    for use in (sm.transfer, sm.few_shot, sm.finetune):
        with pytest.raises(ValueError, match="encoder of modality 'eeg', but the cohort is of 'images'"):
            use(encoder, pictures, "k")
    with pytest.raises(TypeError, match=r"cohort='cohort\.tsv' must be a Cohort"):
        sm.transfer(encoder, "cohort.tsv", "k")


def test_one_baseline_by_its_name():
    table = sm.transfer(None, arrays([0, 1] * 3), "k", cv=2, repeats=1, baselines="dummy").table
    assert table["row"].unique().tolist() == ["dummy"]


def test_results_show_themselves(encoder, tmp_path):
    result = sm.transfer(None, arrays([0, 1] * 3), "k", cv=2, repeats=1, baselines=["dummy"])
    assert "balanced_accuracy" in repr(result)
    assert "<td>balanced_accuracy</td>" in result._repr_html_()
    run = sm.Run(tmp_path, encoder, pd.DataFrame({"loss": [2.0, 1.5]}))
    assert "2 steps, loss 1.5; <Encoder vit_tiny: 192 wide" in repr(run)


def recordings(values, labels, names=("Fp1", "Cz", "O2")):
    values = [np.asarray(v, float) for v in values]
    return sm.Cohort.from_arrays(values, 100, list(names), pd.DataFrame({"subject": [f"s{i}" for i in range(len(values))], "k": labels}))


def test_recordings_with_dead_channels_and_windows(rng):
    """As a clinic's are: an electrode that was off, a minute without a cap."""
    x = rng.normal(size=(8, 3, 2000)) * 10
    labels = [0, 1] * 4
    sound = recordings(x, labels)
    x[3, 1] = 0  # Cz, throughout
    x[5, :, 600:1400] = 1  # everything stands still for a while: a gap, but for encoders that keep such runs
    x[6, 1:, 600:1400] = 1  # all but Fp1, which is no gap, and leaves nothing to refer to
    encoder = changed(Encoder("vit_tiny", replace(PRE, flat_gap=0), depth=1))
    cohort = recordings(x, labels)
    options = {"cv": 2, "repeats": 1, "permutations": 9, "baselines": ["band power", "riemann", "permuted labels"]}
    with pytest.raises(sm.FormatError, match=r"arrays\[5\]"):
        sm.transfer(encoder, cohort, "k", **(options | {"baselines": False}))
    with pytest.warns(sm.LeftOutWarning) as caught:
        result = sm.transfer(encoder, cohort, "k", on_error="skip", **options)
    told = [str(w.message) for w in caught]
    assert any("Cz left out of band power, riemann" in text for text in told)
    assert any("windows left out of band power, riemann" in text for text in told)
    assert any("2 of its samples left out; the first: arrays[5]" in text for text in told)
    assert result.predictions.notna().all().all()
    # The shared channels are what is left in both cohorts, and nothing else changes them.
    here, there = features.classical([sound.subset([0, 1]), cohort], ["band power"], on_error="skip")
    assert here["band power"].shape == (2, 2 * 5)
    assert there["band power"].shape == (8, 2 * 5)
    np.testing.assert_allclose(here["band power"], there["band power"][:2], rtol=1e-12)
    with pytest.raises(
        ValueError, match=r"arrays\[0\]: none of its 5 windows has a signal on all of Cz, Fp1, O2; on_error='skip' leaves Cz out of all recordings"
    ):
        baselines.band_power(recordings(x[3:4], [0]))


def test_recordings_that_nothing_can_be_said_of_are_named(encoder, rng):
    x = [rng.normal(size=(3, 2000)) for _ in range(6)]
    labels = [0, 1] * 3
    x[2] = x[2] * 0
    with pytest.warns(sm.LeftOutWarning), pytest.raises(ValueError, match=r"1 recordings have no usable window .*: arrays\[2\]$"):
        sm.transfer(encoder, recordings(x, labels), "k", cv=2, bootstrap=20, baselines=False, on_error="skip")
    with pytest.warns(sm.LeftOutWarning), pytest.raises(ValueError, match=r"arrays\[2\]: none of its 5 windows"):
        sm.transfer(None, recordings(x, labels), "k", cv=2, bootstrap=20, baselines=["riemann"], on_error="skip")
    x[2] = rng.normal(size=(3, 300))
    with pytest.raises(ValueError, match=r"arrays\[2\]: is shorter than the 4 s of a window"):
        sm.transfer(None, recordings(x, labels), "k", cv=2, bootstrap=20, baselines=["riemann"])
    with pytest.raises(ValueError, match=r"no usable window .*: arrays\[2\]$"):
        sm.transfer(encoder, recordings(x, labels), "k", sm.FineTuning(epochs=1, batch_size=4), cv=2, bootstrap=20, baselines=False)


def test_the_recording_at_fault_is_named(rng):
    """A dead channel of one can be done without; a recording that is dead or too short cannot, and comes later in the cohort."""
    x = [rng.normal(size=(3, 2000)) for _ in range(6)]
    x[1][0] = 0
    for last, what in ((np.zeros((3, 2000)), "none of its 5 windows .*; leave it out"), (rng.normal(size=(3, 300)), "is shorter than the 4 s")):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", sm.LeftOutWarning)
            with pytest.raises(ValueError, match=rf"arrays\[5\]: {what}"):
                features.classical([recordings([*x[:5], last], [0, 1] * 3)], ["riemann"], on_error="skip")
    x[2][1] = x[3][2] = 0  # each of the three has two, and together none
    with pytest.warns(sm.LeftOutWarning), pytest.raises(ValueError, match="with a signal, and there are none"):
        features.classical([recordings(x, [0, 1] * 3)], ["riemann"], on_error="skip")


def test_a_single_channel(rng):
    cohort = recordings(rng.normal(size=(6, 1, 2000)) * 10, [0, 1] * 3, ["Cz"])
    with pytest.raises(ValueError, match="average_reference=False"):
        sm.transfer(Encoder("vit_tiny", PRE, depth=1), cohort, "k", cv=2, bootstrap=20, baselines=False)
    alone = Encoder("vit_tiny", replace(PRE, average_reference=False), depth=1)
    result = sm.transfer(alone, cohort, "k", cv=2, repeats=1, baselines=["band power", "handcrafted"])
    assert result.predictions.notna().all().all()
    assert baselines.band_power(cohort).min() > -6  # a signal, not what an average of one leaves of it


def test_a_regressed_target_needs_numbers_on_both_sides():
    here, there = arrays([20.5, 30.5, 40.5, 50.5]), arrays(["old", "young"] * 2, name="b")
    with pytest.raises(ValueError, match="b: target='k' is regressed, and test has values that are not numbers, such as 'old'"):
        sm.transfer(None, here, "k", test=there)


def test_a_score_is_what_somebody_says_it_is():
    """0 to 9 are classes to look at, and pain to a clinic."""
    cohort = arrays([i % 5 for i in range(20)])
    options = {"cv": 2, "repeats": 1, "baselines": ["dummy"]}
    assert set(sm.transfer(None, cohort, "k", **options).table["metric"]) == set(metrics.METRICS["classification"])
    assert set(sm.transfer(None, cohort, "k", regression=True, **options).table["metric"]) == set(metrics.METRICS["regression"])
    many = arrays([20, 30, 40] * 2)
    assert set(sm.transfer(None, many, "k", **options).table["metric"]) == set(metrics.METRICS["regression"])
    assert set(sm.transfer(None, many, "k", regression=False, **options).table["metric"]) == set(metrics.METRICS["classification"])
    with pytest.raises(ValueError, match="regression=True needs numbers as a target, got values such as 'a'"):
        sm.transfer(None, arrays(list("ab") * 4), "k", regression=True, **options)


@pytest.mark.parametrize("balanced", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_networks_are_decided_by_the_shares_that_they_were_fitted_with(encoder, rng, monkeypatch, balanced, weighted):
    """A network that knows nothing predicts the shares of its loss: one half of each class where that weights them, and those of the training part else."""
    from types import SimpleNamespace

    from sslmed.evaluation import rows

    y = np.array(["rare"] * 6 + ["usual"] * 18)

    def fitted(encoder, part, target, options, **how):
        share = [0.5, 0.5] if options.balanced else [(part.table["y"] == c).mean() for c in ("rare", "usual")]
        return SimpleNamespace(classes_=np.array(["rare", "usual"]), predict_proba=lambda asked, **how: np.repeat([share], len(asked), axis=0))

    monkeypatch.setattr(rows, "finetune", fitted)
    cohort = sm.Cohort.from_arrays(rng.normal(size=(24, 2, 400)), 100, ["Cz", "O2"], pd.DataFrame({"subject": np.arange(24), "y": y}))
    how = {"baselines": ["dummy"], "balanced": balanced, "positive": "rare"}
    result = sm.transfer(encoder, cohort, "y", sm.FineTuning(epochs=1, balanced=weighted), cv=3, **how)
    elsewhere = sm.Cohort.from_arrays(rng.normal(size=(4, 2, 400)), 100, ["Cz", "O2"], pd.DataFrame({"subject": list("abcd"), "y": y[4:8]}))
    for one in (result, sm.transfer(encoder, cohort, "y", sm.FineTuning(epochs=1, balanced=weighted), test=elsewhere, **how)):
        assert np.allclose(one.predictions["predicted"], one.predictions["prior"])
        scores = one.table[one.table["row"] != "permuted labels"].set_index(["row", "metric"])["value"]
        for row in ("dummy", "pretrained encoder"):
            assert scores[row, "balanced_accuracy"] == scores[row, "sensitivity"] == scores[row, "specificity"] == 0.5


def test_a_perfect_score_elsewhere_has_an_interval(rng):
    def made(name, y):
        x = rng.normal(size=(len(y), 1, 400)) * np.where(y == "b", 3.0, 1.0)[:, None, None]
        return sm.Cohort.from_arrays(x, 100, ["Cz"], pd.DataFrame({"subject": [f"{name}{i}" for i in range(len(y))], "y": y}))

    here, there = made("h", np.tile(["a", "b"], 12)), made("t", np.tile(["a", "b"], 11))
    how = {"baselines": ["dummy", "band power"], "positive": "b", "bootstrap": 50}
    result = sm.transfer(None, here, "y", test=there, **how)
    table = result.table.set_index(["row", "metric"])
    for metric in ("balanced_accuracy", "auroc", "sensitivity", "ppv"):
        assert table.loc[("band power", metric), "value"] == table.loc[("band power", metric), "high"] == 1
        assert 0.5 < table.loc[("band power", metric), "low"] < 1
        assert metric == "ppv" or np.isnan(table.loc[("dummy", metric), "low"])
    assert "band power is better than chance" in str(result.verdict())
    alone = sm.transfer(None, here, "y", test=made("a", np.array(["a"] * 12)), **how).table.set_index(["row", "metric"])["value"]
    assert np.isnan(alone["band power", "calibration_intercept"])
