"""Adaptations against definitions, and each against the shift that it is for."""

import numpy as np
import pandas as pd
import pytest
import sklearn
import torch
from scipy.linalg import sqrtm

import sslmed as sm
from sslmed.evaluation import adaptation, metrics, probes


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_coral_gives_the_target_covariance(rng):
    x, y = rng.normal(size=(300, 5)) @ rng.normal(size=(5, 5)), rng.normal(2, 1, size=(200, 5)) @ rng.normal(size=(5, 5))
    z = adaptation.Coral(1e-12, standardize=False).fit(x, y).transform(x, "source")
    assert np.allclose(np.cov(z.T), np.cov(y.T), atol=1e-8)
    assert np.allclose(z.mean(0), y.mean(0))
    # With the paper's regularisation, by the paper's formula.
    a, b = np.cov(x.T) + np.eye(5), np.cov(y.T) + np.eye(5)
    expected = (x - x.mean(0)) @ np.linalg.inv(np.real(sqrtm(a))) @ np.real(sqrtm(b)) + y.mean(0)
    plain = adaptation.Coral(standardize=False).fit(x, y)
    assert np.allclose(plain.transform(x, "source"), expected)
    assert np.array_equal(plain.transform(y), y)
    # By default on the scale of the source.
    mean, deviation = x.mean(0), x.std(0)
    scaled = adaptation.Coral().fit(x, y)
    other = adaptation.Coral(standardize=False).fit((x - mean) / deviation, (y - mean) / deviation)
    assert np.allclose(scaled.transform(x, "source"), other.transform((x - mean) / deviation, "source"))
    assert np.allclose(scaled.transform(y), (y - mean) / deviation)


def test_euclidean_alignment_makes_the_mean_covariance_the_identity(rng):
    windows, groups = rng.normal(size=(12, 6, 400)), np.repeat(["a", "b", "c"], 4)
    for i, mix in enumerate(rng.normal(size=(3, 6, 6))):
        windows[4 * i : 4 * i + 4] = mix @ windows[4 * i : 4 * i + 4]
    aligned = adaptation.euclidean_alignment(windows, groups)
    for group in "abc":
        own = aligned[groups == group]
        assert np.abs(np.einsum("nct,ndt->cd", own, own) / (4 * 400) - np.eye(6)).max() <= 1e-10
    referenced = windows - windows.mean(axis=1, keepdims=True)
    with pytest.raises(ValueError, match="singular"):
        adaptation.euclidean_alignment(referenced, groups)
    with pytest.raises(ValueError, match="groups must have one entry for each of 12 windows, got 3"):
        adaptation.euclidean_alignment(windows, groups[:3])


@pytest.mark.parametrize("routing", [False, True])
def test_each_adaptation_helps_against_its_own_shift(rng, routing, request):
    """Scores on the target of a probe trained on the source, with and without, where the shift is of the kind that the method is for.

    With scikit-learn's metadata routing off and on: importing skada turns it on.
    """
    routed = sklearn.get_config()["enable_metadata_routing"]
    request.addfinalizer(lambda: sklearn.set_config(enable_metadata_routing=routed))
    sklearn.set_config(enable_metadata_routing=routing)

    def score(x, y, x_test, y_test, how):
        groups = np.array([f"s{i}" for i in range(len(x))])
        predicted = probes.fit_predict(x, y, groups, x_test, np.unique(y), "linear", False, adaptation=how)
        return metrics.score("balanced_accuracy", y_test, predicted, np.unique(y))

    # Another device: every feature scaled and moved.
    y, y_test = rng.choice(["a", "b"], 200), rng.choice(["a", "b"], 200)
    x = rng.normal(size=(200, 6)) + 1.5 * (y == "b")[:, None] * np.array([1, 1, 0, 0, 0, 0])
    moved = (rng.normal(size=(200, 6)) + 1.5 * (y_test == "b")[:, None] * np.array([1, 1, 0, 0, 0, 0])) * 3 + 5
    assert score(x, y, moved, y_test, "none") < 0.6
    assert score(x, y, moved, y_test, "normalize") > 0.8
    # Noise that is correlated in the source alone, and hides in which direction the classes differ.
    mix = np.eye(6)
    mix[0, 1] = mix[1, 0] = 0.95
    hidden = x @ np.linalg.cholesky(mix).T
    there = rng.normal(size=(200, 6)) + 1.5 * (y_test == "b")[:, None] * np.array([1, 1, 0, 0, 0, 0])
    recolored = there @ (np.diag([4, 1, 1, 1, 1, 1]) @ np.linalg.cholesky(mix)).T
    assert score(hidden, y, recolored - 4, y_test, "coral") > score(hidden, y, recolored - 4, y_test, "none") + 0.1
    # A straight line for a curve: right for the target's people only if they count most.
    age = rng.uniform(0, 10, 400)[:, None]
    older = rng.uniform(7, 10, 200)[:, None]
    truth = lambda v: (v[:, 0] - 5) ** 2  # noqa: E731
    groups = np.array([f"s{i}" for i in range(400)])
    errors = {
        how: np.abs(probes.fit_predict(age, truth(age), groups, older, None, "linear", True, adaptation=how) - truth(older)).mean()
        for how in ("none", "importance")
    }
    assert errors["importance"] < 0.7 * errors["none"]
    with pytest.raises(ValueError, match="adaptation='magic' must be one of"):
        score(x, y, moved, y_test, "magic")


def test_adapters_of_skada(rng):
    """Optimal transport against a device that bends features; objects of skada as they are; both by the public call; the objects stay unfitted."""
    skada = pytest.importorskip("skada")

    def people(n):
        y = rng.choice(["a", "b"], n)
        return np.where(y == "b", 1.0, -1.0)[:, None] + 0.8 * rng.normal(size=(n, 2)), y

    (x, y), (x_test, y_test) = people(200), people(200)
    bent = np.exp(1.5 * x_test) + 2
    found = {}
    for how in ("none", "normalize", "optimal_transport"):
        predicted = probes.fit_predict(x, y, np.arange(200), bent, np.unique(y), "linear", False, adaptation=how)
        found[how] = metrics.score("balanced_accuracy", y_test, predicted, np.unique(y))
    assert found["none"] == 0.5
    assert found["optimal_transport"] > 0.8, found
    # What comes back is what skada makes of the same standardised rows.
    mean, deviation = x.mean(axis=0), x.std(axis=0)
    joined, domain = (np.concatenate([x, bent]) - mean) / deviation, np.repeat([1, -2], 200)
    labels = np.concatenate([(y == "b").astype(float), np.full(200, -1.0)])
    adapter = skada.LinearOTMappingAdapter()
    expected = skada.LinearOTMappingAdapter().fit_transform(joined, labels, sample_domain=domain)
    fitted = adaptation.SkadaAdapter(adapter).fit(x, bent, labels=y)
    assert np.allclose(np.concatenate([fitted.transform(x, "source"), fitted.transform(bent)]), expected)
    assert fitted.sample_weight_ is None
    with pytest.raises(ValueError, match="features must be the target rows"):
        fitted.transform(bent + 1)
    assert not [name for name in vars(adapter) if name.endswith("_")]
    # One that weighs, and a regressed target.
    reweighting = skada.DensityReweightAdapter()
    weights = adaptation.SkadaAdapter(reweighting).fit(x, x_test[:150] + 1, labels=x[:, 0]).sample_weight_
    assert weights.shape == (200,)
    assert np.corrcoef(weights, x.sum(axis=1))[0, 1] > 0.3  # the target lies further up
    predicted = probes.fit_predict(x, x[:, 0], np.arange(200), x_test + 1, None, "linear", True, adaptation=reweighting)
    assert np.abs(predicted - x_test[:, 0] - 1).mean() < 0.1
    a, b = (mixed_recordings(seed=s) for s in (0, 1))
    b = b.with_columns(subject=[f"other{s}" for s in b.table["subject"]])
    for how in ("optimal_transport", skada.EntropicOTMappingAdapter(reg_e=10.0)):
        table = sm.transfer(None, a, "y", test=b, adaptation=how, baselines=["band power", "riemann"], bootstrap=20).table
        assert table["value"].notna().all()
    for bad, error, words in (
        (object(), TypeError, "adaptation=.* got object"),
        ("magic", ValueError, "adaptation='magic' must be one of"),
        (adapter, ValueError, "needs a cohort to adapt to"),
    ):
        with pytest.raises(error, match=words):
            sm.transfer(None, a, "y", adaptation=bad)


def test_importance_weights_are_likelihood_ratios(rng):
    x, y = rng.normal(0, 1, size=(4000, 1)), rng.normal(0.5, 1, size=(4000, 1))
    weights = adaptation.ImportanceWeights().fit(x, y, groups=np.arange(4000)).sample_weight_
    expected = np.exp(0.5 * x[:, 0] - 0.125)
    assert np.corrcoef(weights, expected)[0, 1] > 0.99
    assert weights.mean() == pytest.approx(1)


@pytest.mark.parametrize("name", [n for n in adaptation.ADAPTATIONS if n not in ("none", "optimal_transport")])
def test_adaptations_are_estimators(rng, name):
    """By name, as an object, and cloned; the object itself stays unfitted."""
    x, y, groups = rng.normal(size=(40, 3)), rng.normal(1, 2, size=(30, 3)), np.repeat(np.arange(20), 2)
    labels, classes = np.tile(["a", "b"], 20), np.array(["a", "b"])
    made = adaptation.resolve(name)
    assert not [key for key in vars(made) if key.endswith("_")]
    assert repr(made).startswith(type(made).__name__)
    by_name, by_object = (probes.fit_predict(x, labels, groups, y, classes, "linear", False, adaptation=how) for how in (name, made))
    assert np.array_equal(by_name, by_object)
    assert not [key for key in vars(made) if key.endswith("_")]
    fitted = made.fit(x, y, groups=groups)
    assert fitted is made
    assert fitted.transform(x, "source").shape == x.shape
    expected = {"importance": adaptation.ImportanceWeights, "identity": type(None)}.get(name, adaptation.Recenter)
    assert type(adaptation.resolve(name, covariances=True)) is expected


def test_an_adaptation_of_ones_own(rng):
    """What derives from Adaptation goes through transfer."""

    class Shift(adaptation.Adaptation):
        def fit(self, source, target=None, *, labels=None, groups=None):
            self.offset_ = target.mean(0) - source.mean(0)
            return self

        def transform(self, features, domain="target"):
            return features - self.offset_ if domain == "target" else features

    a, b = (mixed_recordings(seed=s) for s in (0, 1))
    b = b.with_columns(subject=[f"other{s}" for s in b.table["subject"]])
    table = sm.transfer(None, a, "y", test=b, adaptation=Shift(), baselines=["band power"], bootstrap=20).table
    assert table["value"].notna().all()


def mixed_recordings(n=6, channels=4, seed=0):
    """Noise whose channels each person's head mixes otherwise; two recordings each."""
    rng = np.random.default_rng(seed)
    x = np.concatenate([np.einsum("cd,ndt->nct", 20 * rng.normal(size=(channels, channels)), rng.normal(size=(2, channels, 1600))) for _ in range(n)])
    table = pd.DataFrame({"subject": np.repeat([f"s{i}" for i in range(n)], 2), "y": ["a", "b"] * n})
    return sm.Cohort.from_arrays(x, 100, ["Fp1", "Cz", "O2", "Pz"], table, name="mixed")


def test_alignment_in_the_loader_equals_that_of_arrays():
    people = mixed_recordings()
    options = {"sfreq": 100, "window": 2, "l_freq": 0, "h_freq": 0, "average_reference": False, "scale": "none", "clip": 0}
    plain, aligned = (people.source(sm.EegPreprocessing(**options, align=align)) for align in ("none", "subject"))
    raw = np.stack([plain.sample(i)[0].numpy() for i in range(len(plain))])
    ours = np.stack([aligned.sample(i)[0].numpy() for i in range(len(plain))])
    groups = people.table["subject"].to_numpy()[plain.recording_of.numpy()]
    assert np.abs(ours - adaptation.euclidean_alignment(raw, groups)).max() < 1e-5
    # The whole stream, whatever the threads.
    for threads in (1, 4):
        loader = sm.Loader(people, sm.EegPreprocessing(**options, align="subject"), batch_size=7, order="shuffle", seed=3, threads=threads)
        for batch in loader:
            view = batch.views[0]
            rows = view.values.view(len(view.lengths), 4, -1)
            for slot, row in zip(view.slots, rows, strict=True):
                assert torch.equal(row, torch.from_numpy(ours[batch.sample_ids[slot]]))


def test_alignment_undoes_a_mixture_that_hides_the_classes():
    """Another device mixes the channels of each person: aligned, a network reads the class where it did not before."""
    rng = np.random.default_rng(1)
    t = np.arange(1600) / 100
    recordings, labels = [], []
    for i in range(40):
        slow = i % 2 == 0
        sources = rng.normal(size=(4, 1600))
        sources[0] += 2 * np.sin(2 * np.pi * (6 if slow else 12) * t + rng.uniform(0, 6))
        gains = 10 ** rng.uniform(-1.5, 1.5, 4)  # of the amplifiers
        recordings.append(gains[:, None] * (np.eye(4) + 0.5 * rng.normal(size=(4, 4))) @ sources)
        labels.append("slow" if slow else "fast")
    people = sm.Cohort.from_arrays(np.stack(recordings), 100, ["Fp1", "Cz", "O2", "Pz"], pd.DataFrame({"subject": range(40), "y": labels}), name="p")
    found = {}
    for align in ("none", "subject"):
        preprocessing = sm.EegPreprocessing(sfreq=100, window=4, patch=1, l_freq=0, h_freq=0, average_reference=False, scale="none", clip=0, align=align)
        encoder = sm.Encoder("vit_tiny", preprocessing, depth=1, seed=0)
        found[align] = sm.transfer(encoder, people, "y", baselines=False, bootstrap=20).table["value"].iloc[0]
    print(found)
    assert found["subject"] >= found["none"] + 0.1
