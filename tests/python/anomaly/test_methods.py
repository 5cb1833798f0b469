"""Methods equal anomalib's, scikit-learn's, or the papers' formulas written plainly."""

import anomalib_parts
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.covariance import ledoit_wolf
from sklearn.svm import OneClassSVM

import sslmed as sm
from sslmed.anomaly import LatentSvm, Mahalanobis, PatchCore, Patches, Scan, k_center_greedy, knn, nearest, shrunk_covariance
from sslmed.anomaly.neighbors import random_projection


def people(n):
    return sm.Cohort.from_arrays(np.zeros((n, 1, 400)), 100.0, ["Cz"], pd.DataFrame({"subject": [f"s{i}" for i in range(n)]}))


def scans(rng, n=6, patches=40, width=12):
    """Scans with the same four places each, which differ in their mean."""
    cohort, made = people(n), []
    places = torch.arange(patches) % 4
    for row in range(n):
        features = torch.from_numpy(rng.normal(size=(patches, width)) + 2.0 * places[:, None].numpy()).float()
        made.append(Scan(cohort, row, None, Patches(features, places[:, None].double(), 1.0, torch.zeros(patches))))
    return made


def test_nearest_equals_all_distances(rng):
    queries, bank = (torch.from_numpy(rng.normal(3, 1, size=(n, 7))) for n in (50, 90))
    distance, row = nearest(queries, bank, 5)
    expected = torch.cdist(queries, bank).topk(5, largest=False)
    assert torch.allclose(distance, expected.values, atol=1e-12)
    assert torch.equal(row, expected.indices)
    assert nearest(bank, bank)[0].max() == 0  # and not what is left of |a|² - 2 a·b + |b|²


def test_nearest_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="k=4 must be at most the 3 rows"):
        nearest(torch.zeros(2, 2), torch.zeros(3, 2), 4)
    with pytest.raises(ValueError, match="one type"):
        nearest(torch.zeros(2, 2), torch.zeros(3, 3))


def naive_coreset(x, n, start):
    chosen = [start]
    for _ in range(n - 1):
        chosen.append(int(torch.cdist(x, x[chosen]).min(1).values.argmax()))
    return chosen


def test_coreset_equals_the_one_by_all_distances(rng):
    middles = rng.normal(0, 5, size=(8, 6))
    x = torch.from_numpy(middles[rng.integers(0, 8, 400)] + rng.normal(size=(400, 6)))
    assert k_center_greedy(x, 120, 7).tolist() == naive_coreset(x, 120, 7)


def test_coreset_of_equal_rows():
    assert sorted(k_center_greedy(torch.zeros(4, 2), 2).tolist())[0] == 0
    with pytest.raises(ValueError, match="n=5"):
        k_center_greedy(torch.zeros(4, 2), 5)


def test_coreset_equals_anomalib(rng, monkeypatch):
    greedy = anomalib_parts.module("models.components.sampling.k_center_greedy").KCenterGreedy
    x = torch.from_numpy(rng.normal(size=(300, 5)))
    theirs = greedy(x, sampling_ratio=0.2)
    monkeypatch.setattr(theirs.model, "fit", lambda _: None)  # without the projection, which is random
    monkeypatch.setattr(theirs.model, "transform", lambda x: x)
    chosen = theirs.select_coreset_idxs()
    assert k_center_greedy(x, 60, chosen[0]).tolist() == chosen


def test_projection_keeps_distances_in_the_mean(rng):
    x = torch.from_numpy(rng.normal(size=(60, 400)))
    short = random_projection(x, 128, seed=int(rng.integers(1000)))
    ratio = torch.pdist(short) / torch.pdist(x)
    assert abs(float(ratio.mean()) - 1) < 0.05
    assert random_projection(x, 400, 0) is x


def test_patchcore_equals_anomalib(rng):
    model_of = anomalib_parts.module("models.image.patchcore.torch_model").PatchcoreModel
    train, tested = scans(rng), scans(rng, 3)
    method = PatchCore(coreset=0.3, reweight=9)
    state = method.fit(train, 0)
    theirs = model_of.__new__(model_of)
    torch.nn.Module.__init__(theirs)
    theirs.num_neighbors, theirs.memory_bank = 9, state["bank"].double()
    for scan in tested:
        found = method.detect(state, scan, 0)
        x = scan.patches.features.double()
        distances, rows = theirs.nearest_neighbors(x, 1)
        score = theirs.compute_anomaly_score(distances[None], rows[None], x)
        assert np.allclose(found.patches, distances, atol=1e-5)  # ours are float32
        assert found.score == pytest.approx(float(score), rel=1e-5)


def test_patchcore_equals_the_paper(rng):
    train, scan = scans(rng), scans(rng, 1)[0]
    for method in (PatchCore(coreset=1.0, reweight=4), knn(3)):
        state = method.fit(train, 0)
        bank, x = torch.cat([one.patches.features for one in train]).double(), scan.patches.features.double()
        assert torch.equal(state["bank"].double(), bank)
        distance = torch.cdist(x, bank).topk(method.k, largest=False)
        top = int(distance.values.mean(1).argmax())
        score = float(distance.values.mean(1)[top])
        if method.reweight:
            around = torch.cdist(bank[distance.indices[top, :1]], bank).topk(4, largest=False).indices[0]
            far = torch.linalg.vector_norm(x[top] - bank[around], dim=1)
            score *= 1 - float(far[0].exp() / far.exp().sum())
        found = method.detect(state, scan, 0)
        assert found.score == pytest.approx(score, rel=1e-6)
        assert torch.allclose(found.patches.double(), distance.values.mean(1), atol=1e-5)


def test_coreset_size_and_seed(rng):
    train = scans(rng)
    assert len(PatchCore(coreset=0.1).fit(train, 0)["bank"]) == 24
    assert len(PatchCore(coreset=1.0, most=7).fit(train, 0)["bank"]) == 7
    a, b, c = (PatchCore(coreset=0.1).fit(train, seed)["bank"] for seed in (1, 1, 2))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_covariance_equals_scikit_learn_and_padim(rng):
    x = rng.normal(size=(30, 5)) @ rng.normal(size=(5, 5))
    shrunk, amount = ledoit_wolf(x)
    sample, eye = np.cov(x.T), np.eye(5)
    expected = (1 - amount) * sample + amount * np.trace(sample) / 5 * eye
    assert np.allclose(shrunk_covariance(torch.from_numpy(x)), expected, atol=1e-10)
    # scikit-learn's own is of the biased covariance
    assert np.allclose(shrunk * 30 / 29, expected, atol=1e-10)
    assert np.allclose(shrunk_covariance(torch.from_numpy(x), 0.0, 0.01), sample + 0.01 * eye, atol=1e-10)
    with pytest.raises(ValueError, match="at least two rows"):
        shrunk_covariance(torch.zeros(1, 3))


def test_global_mahalanobis_equals_the_formula(rng):
    train, scan = scans(rng), scans(rng, 1)[0]
    method = Mahalanobis(shrinkage=0.2, top=0.1)
    found = method.detect(method.fit(train, 0), scan, 0)
    x = torch.cat([one.patches.features for one in train]).double()
    inverse = torch.linalg.inv(shrunk_covariance(x, 0.2))
    off = scan.patches.features.double() - x.mean(0)
    expected = torch.einsum("nd,de,ne->n", off, inverse, off).sqrt()
    assert torch.allclose(found.patches, expected, atol=1e-9)
    assert found.score == pytest.approx(float(expected.topk(4).values.mean()))


def test_mahalanobis_by_place_equals_anomalibs_padim(rng):
    gaussian = anomalib_parts.module("models.components.stats.multi_variate_gaussian").MultiVariateGaussian()
    n, width, places = 25, 6, 9
    x = torch.from_numpy(rng.normal(size=(n + 1, places, width))).float()
    cohort, where = people(n + 1), torch.arange(places)[:, None].double()
    made = [Scan(cohort, row, None, Patches(x[row], where, 1.0, torch.zeros(places))) for row in range(n + 1)]
    method = Mahalanobis("place", shrinkage=0.0, ridge=0.01 + 1e-5)
    found = method.detect(method.fit(made[:n], 0), made[n], 0)
    mean, inverse = gaussian.fit(x[:n].permute(0, 2, 1).reshape(n, width, 3, 3))
    off = (x[n].T - mean).double()
    expected = torch.einsum("dp,pde,ep->p", off, inverse.double(), off).sqrt()
    assert torch.allclose(found.patches, expected, rtol=1e-4)  # anomalib inverts in float32
    plain = [float(np.sqrt(o @ np.linalg.inv(np.cov(x[:n, p].double().numpy().T) + (0.01 + 1e-5) * np.eye(width)) @ o))
             for p, o in enumerate((x[n].double() - x[:n].double().mean(0)).numpy())]  # fmt: skip
    assert np.allclose(found.patches, plain, rtol=1e-6)


def test_a_place_with_few_scans_has_the_gaussian_of_all(rng):
    train, scan = scans(rng), scans(rng, 1)[0]
    rare, common = Mahalanobis("place", least=10), Mahalanobis("global")
    assert torch.equal(rare.detect(rare.fit(train, 0), scan, 0).patches, common.detect(common.fit(train, 0), scan, 0).patches)
    assert len(Mahalanobis("place", least=6).fit(train, 0)["places"]) == 4


def test_fewer_dimensions_are_drawn_by_the_seed(rng):
    train = scans(rng)
    a, b, c = (Mahalanobis(dimensions=5).fit(train, seed)["chosen"].tolist() for seed in (1, 1, 2))
    assert a == b != c
    assert len(set(a)) == 5


def test_a_singular_covariance_is_an_error(rng):
    with pytest.raises(ValueError, match="singular; raise shrinkage or ridge"):
        Mahalanobis(shrinkage=0.0).fit(scans(rng, 1, patches=4), 0)


@pytest.mark.parametrize("level", ["patch", "scan"])
def test_svm_equals_scikit_learn(rng, level):
    train, scan = scans(rng, 12), scans(rng, 1)[0]
    method = LatentSvm(level=level, nu=0.3, top=1.0)
    found = method.detect(method.fit(train, 0), scan, 0)

    def points(one):
        x = one.patches.features.double().numpy()
        return x.mean(0, keepdims=True) if level == "scan" else x

    x = np.concatenate([points(one) for one in train])
    model = OneClassSVM(nu=0.3).fit((x - x.mean(0)) / x.std(0))
    scores = model.dual_coef_.sum() - model.score_samples((points(scan) - x.mean(0)) / x.std(0))
    assert found.score == pytest.approx(scores.mean(), abs=1e-6)
    if level == "patch":
        assert np.allclose(found.patches, scores, atol=1e-6)
        assert found.patches.min() >= 0


def test_svm_is_fitted_to_a_draw_of_many_patches(rng):
    train = scans(rng)
    state = LatentSvm(most=50, nu=0.5, gamma=100.0).fit(train, 0)
    assert len(state["support"]) == 50  # points that are far from each other, in the kernel, are all support vectors


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PatchCore(coreset=0.0), "coreset=0.0"),
        (lambda: PatchCore(k=0), "k=0"),
        (lambda: Mahalanobis("here"), "gaussians='here'"),
        (lambda: Mahalanobis(shrinkage=2.0), "shrinkage=2.0"),
        (lambda: LatentSvm(nu=0.0), "nu=0.0"),
        (lambda: LatentSvm(level="slide"), "level='slide'"),
        (lambda: sm.anomaly.Atlas(grid=1), "grid=1"),
        (lambda: sm.anomaly.Histogram(bins=1), "bins=1"),
    ],
)
def test_options_out_of_range(make, message):
    with pytest.raises(ValueError, match=message):
        make()
