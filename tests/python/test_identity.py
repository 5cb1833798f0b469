import numpy as np
import pytest

from sslmed.shift import identity_variance, remove_identity


def people(rng, n=12, rows=10, spread=2.0):
    """Features with one direction that tells people apart, and one that a condition within people moves."""
    subjects = np.repeat(np.arange(n), rows)
    condition = np.tile([0, 1], n * rows // 2)
    x = rng.normal(size=(n * rows, 6))
    x[:, 0] += spread * rng.normal(size=n)[subjects]
    x[:, 1] += 2 * condition
    return x, subjects, condition


def test_identity_is_between_subjects_variance(rng):
    x, subjects, _ = people(rng)
    share, by_chance, p = identity_variance(x, subjects)
    z = (x - x.mean(0)) / x.std(0)
    between = sum(len(z[subjects == s]) * (z[subjects == s].mean(0) ** 2).sum() for s in range(12))
    assert share == pytest.approx(between / (z**2).sum())
    assert share > by_chance
    assert p < 0.05
    # By chance: (groups - 1) / (rows - 1) of it.
    assert by_chance == pytest.approx(11 / 119, abs=0.01)
    nobody = identity_variance(rng.normal(size=(120, 6)), subjects)
    assert nobody[2] > 0.001


def test_removing_identity_leaves_what_varies_within(rng):
    x, subjects, condition = people(rng, spread=5.0)
    other, others, their_condition = people(rng, spread=5.0)
    clean, moved = remove_identity(x, subjects, other)
    assert identity_variance(clean, subjects)[0] < 0.5 * identity_variance(x, subjects)[0]
    assert identity_variance(moved, others)[0] < 0.7 * identity_variance(other, others)[0]  # who was never seen
    for features, labels in ((clean, condition), (moved, their_condition)):
        assert features[labels == 1].mean(0)[1] - features[labels == 0].mean(0)[1] > 1.5
    # The removed direction has no variance between the training subjects left; test rows had no say in it.
    again, _ = remove_identity(x, subjects, other + 1000)
    assert np.array_equal(clean, again)


@pytest.mark.parametrize(
    ("subjects", "directions"), [(np.zeros(20), 1), (np.arange(20), 1), (np.repeat([0, 1], 10), 2), (np.repeat([0, 1], 10), 0), (np.arange(3), 1)]
)
def test_refusals(rng, subjects, directions):
    with pytest.raises(ValueError):
        remove_identity(rng.normal(size=(20, 3)), subjects, rng.normal(size=(5, 3)), directions=directions)
