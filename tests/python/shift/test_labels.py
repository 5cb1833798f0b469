"""Label shift against its definition, and against a prevalence that is known."""

import warnings

import numpy as np
import pandas as pd
import pytest
from soak import near, simulations

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


def answers(rng, people, shares, rows=4, right=0.8):
    """Classes and answers of people with several recordings; some people are easy and some hard."""
    label = rng.choice(len(shares), people, p=shares)
    label[: len(shares)] = np.arange(len(shares))  # nobody's class is missing
    label, ease = np.repeat(label, rows), np.repeat(rng.beta(4 * right, 4 * (1 - right), people), rows)
    wrong = (label + rng.integers(1, len(shares), len(label))) % len(shares)
    said = np.where(rng.random(len(label)) < ease, label, wrong)
    return label, np.eye(len(shares))[said], np.repeat(np.arange(people), rows)


def test_people_are_drawn_with_all_their_rows():
    rng = np.random.default_rng(1)
    classes = np.array(["a", "b"])
    here, there = answers(rng, 80, [0.5, 0.5]), answers(rng, 80, [0.3, 0.7])
    rows = sm.shift.label_shift(classes[here[0]], here[1], there[1], classes, draws=400)
    people = sm.shift.label_shift(classes[here[0]], here[1], there[1], classes, groups=here[2], groups_elsewhere=there[2], draws=400)
    assert rows[["here", "elsewhere", "weight"]].equals(people[["here", "elsewhere", "weight"]])
    assert ((people["high"] - people["low"]) > 1.15 * (rows["high"] - rows["low"])).all()
    # With one row each, naming people changes nothing, and neither does the order of rows.
    once = [sm.shift.label_shift(classes[here[0]], here[1], there[1], classes, groups=g, draws=50) for g in (None, np.arange(320))]
    pd.testing.assert_frame_equal(*once)


def test_draws_without_an_estimate_widen_the_interval_and_are_counted():
    classes = np.array(["a", "b"])
    label = np.array([0] * 30 + [1] * 2)
    said = np.eye(2)[label]
    with pytest.warns(sm.WeakFitWarning, match=r"1\d% of 400 draws of people have no estimate"):
        table = sm.shift.label_shift(classes[label], said, said[20:], classes, draws=400)
    assert table["low"].tolist() == [0, 0]
    assert table["high"].tolist() == [1, 1]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sm.shift.label_shift(classes[label[20:]], said[20:][:, :], said, classes, draws=1, seed=1)


@simulations(120, 500)
@pytest.mark.parametrize(("here", "there", "shares", "elsewhere"), [(60, 60, [0.5, 0.5], [0.3, 0.7]), (80, 100, [0.5, 0.3, 0.2], [0.2, 0.3, 0.5])])
def test_intervals_hold_the_prevalence_among_people(simulations, here, there, shares, elsewhere):
    """Of 60 to 100 people with four recordings each, 95 % intervals hold the true share in .93 to .97; by rows in .8."""
    rng, classes, held, by_rows = np.random.default_rng(2), np.array(list("abc")[: len(shares)]), [], []
    for seed in range(simulations):
        label, said, who = answers(rng, here, shares)
        _, said_there, who_there = answers(rng, there, elsewhere)
        for into, groups in ((held, {"groups": who, "groups_elsewhere": who_there}), (by_rows, {})):
            table = sm.shift.label_shift(classes[label], said, said_there, classes, draws=200, seed=seed, **groups)
            into.append(((table["low"] <= elsewhere) & (table["high"] >= elsewhere)).mean())
    assert near(np.mean(held), 0.95, simulations)
    assert np.mean(by_rows) < 0.9
