"""Label shift against its definition, and against a prevalence that is known."""

import numpy as np
import pytest

import sslmed as sm


def test_label_shift_equals_its_definition_and_finds_the_prevalence():
    rng = np.random.default_rng(0)
    classes = np.array(["a", "b", "c"])
    truth = rng.choice(classes, 3000, p=[0.5, 0.3, 0.2])
    elsewhere = rng.choice(classes, 3000, p=[0.1, 0.3, 0.6])
    confusion = np.array([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.1, 0.3, 0.6]])

    def classifier(labels):
        said = np.array([rng.choice(3, p=confusion[list(classes).index(c)]) for c in labels])
        return np.eye(3)[said]

    here, there = classifier(truth), classifier(elsewhere)
    table = sm.shift.label_shift(truth, here, there, classes).set_index("class")
    # By the definition: w = C^-1 mu, C[i, j] = P(said i, is j), and q = w p.
    joint = np.array([[((here.argmax(1) == i) & (truth == c)).mean() for c in classes] for i in range(3)])
    weights = np.linalg.solve(joint, there.mean(0))
    assert np.allclose(table["weight"], weights)
    assert np.abs(table["elsewhere"] - [0.1, 0.3, 0.6]).max() < 0.05
    assert ((table["low"] < [0.1, 0.3, 0.6]) & (table["high"] > [0.1, 0.3, 0.6])).all()
    useless = np.tile([1.0, 0.0, 0.0], (3000, 1))
    for wrong, said in (
        ((truth, useless, there, classes), "singular"),
        ((truth, here[:5], there, classes), "predicted must be probabilities"),
        ((np.full(3000, "a"), here, there, classes), "no sample of truth has the class b, c"),
    ):
        with pytest.raises(ValueError, match=said):
            sm.shift.label_shift(*wrong)
