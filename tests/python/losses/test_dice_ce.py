"""Dice and cross-entropy against MONAI's DiceCELoss and against their formulas."""

import pytest
import torch
from torch.nn import functional as F

from sslmed import losses

SHAPES = [(3, 2, 17), (2, 4, 9, 8), (2, 3, 6, 5, 4)]


def drawn(shape, rng):
    logits = torch.from_numpy(rng.standard_normal(shape) * 3)
    return logits.requires_grad_(), torch.from_numpy(rng.integers(0, shape[1], (shape[0], *shape[2:])))


def same(ours, theirs, logits, tolerance=1e-10):
    assert abs((ours - theirs).item()) <= tolerance
    p, q = (torch.autograd.grad(loss, logits)[0] for loss in (ours, theirs))
    assert float((p - q).abs().max()) <= tolerance


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"include_background": False},
        {"batch": True},
        {"squared": True, "include_background": False, "batch": True},
        {"smooth_nr": 0.0, "smooth_dr": 1e-6},
        {"class_weights": True},
        {"class_weights": True, "include_background": False},
        {"dice_weight": 0.3, "ce_weight": 2.0},
        {"label_smoothing": 0.1},
        {"label_smoothing": 0.2, "class_weights": True},
    ],
)
def test_equals_monai(shape, options, rng):
    monai = pytest.importorskip("monai.losses")
    logits, labels = drawn(shape, rng)
    weights = torch.from_numpy(rng.uniform(0.5, 2, shape[1]))
    ours = dict(options)
    if ours.pop("class_weights", False):
        ours["class_weights"] = weights.tolist()
    names = {"squared": "squared_pred", "dice_weight": "lambda_dice", "ce_weight": "lambda_ce"}
    theirs = {names.get(k, k): v for k, v in options.items() if k != "class_weights"}
    loss = monai.DiceCELoss(softmax=True, to_onehot_y=True, weight=weights if "class_weights" in options else None, **theirs)
    if options.get("squared"):  # MONAI's own one-hot maps are float32, whose norms it squares
        loss.dice.to_onehot_y = False
        want = loss(logits, F.one_hot(labels, shape[1]).movedim(-1, 1).double())
    else:
        want = loss(logits, labels.unsqueeze(1))
    same(losses.dice_ce(logits, labels, **ours), want, logits)


@pytest.mark.parametrize("ignore", [-1, 255])
def test_ignored_cells_count_in_nothing(ignore, rng):
    logits, labels = drawn((2, 3, 8, 9), rng)
    labels[0, :3] = ignore
    known = labels != ignore
    p = logits.softmax(1)
    dice = []
    for b in range(2):
        for k in range(3):
            truth, said = (labels[b] == k).double(), p[b, k] * known[b]
            dice.append(1 - (2 * (truth * said).sum() + 1e-5) / (truth.sum() + said.sum() + 1e-5))
    want = torch.stack(dice).mean() + F.cross_entropy(logits, labels, ignore_index=ignore)
    same(losses.dice_ce(logits, labels, ignore=ignore), want, logits)
    moved = logits.detach().clone()
    moved[0, :, :3] += 5
    assert torch.equal(losses.dice_ce(moved, labels, ignore=ignore), losses.dice_ce(logits.detach(), labels, ignore=ignore))


def test_gradcheck(rng):
    logits, labels = drawn((2, 3, 4, 3), rng)
    labels[1, 0, 0] = -1
    assert torch.autograd.gradcheck(lambda x: losses.dice_ce(x, labels, include_background=False, label_smoothing=0.1), logits)


def test_half_precision_is_computed_in_float32(rng):
    logits, labels = drawn((2, 3, 8, 8), rng)
    half = logits.detach().bfloat16()
    out = losses.dice_ce(half, labels)
    assert out.dtype == torch.float32
    assert torch.equal(out, losses.dice_ce(half.float(), labels))


def test_wrong_input_is_refused(rng):
    logits, labels = drawn((2, 3, 4, 4), rng)
    for wrong, message in [
        ({"labels": labels[:1]}, r"labels must be \[2, 4, 4\]"),
        ({"labels": labels.double()}, "whole numbers"),
        ({"labels": labels + 1}, "number 3 classes from 0, or be ignore=-1, got 3"),
        ({"logits": logits[:, :1]}, "must number 1 classes|classes=1 must be at least 2"),
        ({"class_weights": [1.0]}, "class_weights has 1 entries"),
        ({"smooth_dr": 0.0}, "smooth_dr=0 must be positive"),
        ({"label_smoothing": 1.0}, r"label_smoothing=1 must be within \[0, 1\)"),
        ({"dice_weight": -1.0}, "dice_weight=-1 must not be negative"),
    ]:
        with pytest.raises(ValueError, match=message):
            losses.dice_ce(**({"logits": logits, "labels": labels} | wrong))
