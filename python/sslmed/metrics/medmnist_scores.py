"""MedMNIST's scores: AUC and accuracy with its conventions, and what they hide, class by class."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import numpy as np
import pandas as pd
import torch
from scipy.stats import rankdata

from sslmed._checks import choice
from sslmed._core import Array

__all__ = ["medmnist"]

MedmnistTask: TypeAlias = Literal["multi-class", "binary-class", "multi-label, binary-class", "ordinal-regression"]

_TASKS = ("multi-class", "binary-class", "multi-label, binary-class", "ordinal-regression")

Values: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"


def medmnist(scores: Array, labels: Array, task: MedmnistTask) -> pd.DataFrame:
    """Computes AUC and accuracy as MedMNIST's evaluator does (Yang et al., Scientific Data 2023), and both class by class.

    The evaluator's conventions, by task:

    - ``"multi-class"`` and ``"ordinal-regression"`` (RetinaMNIST): the class with the highest score is the prediction, of equal ones the
      first. AUC is the mean over classes of one against the rest, so that a class of 5 images counts as one of 5,000 does.
    - ``"binary-class"``: a score strictly above .5 is class 1. Of two columns the last one counts.
    - ``"multi-label, binary-class"`` (ChestMNIST): each label by itself, strictly above .5; both numbers are means over labels. Where
      labels are rare, accuracy is high for a model that finds none.

    A mean hides a class that is never found: ``recall`` stands beside it for each.

    Args:
        scores: Probabilities [n, K] of K classes; of a binary task also [n] or [n, 1]; of several labels [n, L]. Scores that are no
            probabilities have no accuracy at .5.
        labels: Whole numbers from 0 to K - 1, [n] or [n, 1]; of several labels 0 or 1, [n, L].
        task: MedMNIST's name of the task.

    Returns:
        Rows with ``metric``, ``label``, ``value`` and ``n``. The evaluator's two numbers are ``auc`` and ``acc`` of the label ``"all"``,
        with n samples. Of each class, by number, ``auc`` (one against the rest) and ``recall`` (the share of its n samples that are
        predicted as it), and for several labels ``acc``. Values are in [0, 1].

    Raises:
        TypeError: Scores or labels are no arrays of numbers.
        ValueError: Shapes do not fit the task or each other, a score is not finite, a label is out of range, there is one
            sample only, or a class has no sample, or has all: its AUC is not defined.

    Examples:
        >>> import numpy as np
        >>> from sslmed.metrics import medmnist
        >>> scores = np.array([[0.8, 0.1, 0.1], [0.6, 0.3, 0.1], [0.5, 0.2, 0.3], [0.4, 0.1, 0.5]])
        >>> table = medmnist(scores, np.array([[0], [0], [1], [2]]), "multi-class")
        >>> table[table["label"] == "all"].round(3).values.tolist()
        [['auc', 'all', 0.889, 4], ['acc', 'all', 0.75, 4]]
        >>> table[table["metric"] == "recall"].values.tolist()
        [['recall', '0', 1.0, 2], ['recall', '1', 0.0, 1], ['recall', '2', 1.0, 1]]

    See Also:
        :func:`sslmed.io.read_medmnist`, :meth:`sslmed.Cohort.from_medmnist`.
    """
    choice("medmnist", "task", task, _TASKS)
    given, true = _numbers("scores", scores), _numbers("labels", labels)
    if given.ndim == 0 or true.ndim == 0 or len(given) != len(true):
        raise ValueError(f"medmnist: scores {list(given.shape)} and labels {list(true.shape)} must have one row a sample")
    if len(given) < 2:
        raise ValueError(f"medmnist: scores has {len(given)} samples, AUC needs two at least")
    if not np.isfinite(given).all():
        raise ValueError(f"medmnist: scores must be finite, row {int(np.flatnonzero(~np.isfinite(given.reshape(len(given), -1)).all(1))[0])} is not")
    if task == "multi-label, binary-class":
        return _several_labels(given, _whole_labels(true, 2))
    return _one_label(*(_binary if task == "binary-class" else _classes)(given, true))


def _several_labels(given: Values, true: Values) -> pd.DataFrame:
    if given.ndim != 2 or true.shape != given.shape or given.shape[1] < 2:
        raise ValueError(
            f"medmnist: scores {list(given.shape)} and labels {list(true.shape)} must both be [n, L] with L > 1 for several labels; "
            "one label is task='binary-class'"
        )
    positive, found = true == 1, given > 0.5
    auc = _auc(given, positive, "label")
    right, recall = (found == positive).mean(axis=0), _recall(found, positive)
    rows: list[tuple[str, str, float, int]] = [("auc", "all", float(auc.mean()), len(true)), ("acc", "all", float(right.mean()), len(true))]
    rows += [("auc", str(i), float(value), int(positive[:, i].sum())) for i, value in enumerate(auc)]
    rows += [("acc", str(i), float(value), len(true)) for i, value in enumerate(right)]
    rows += [("recall", str(i), float(value), int(positive[:, i].sum())) for i, value in enumerate(recall)]
    return _table(rows)


def _binary(given: Values, true: Values) -> tuple[Values, Values, Values]:
    """Scores of class 1 [n, 1], predictions and labels [n]."""
    if given.ndim > 2 or (given.ndim == 2 and given.shape[1] not in (1, 2)):
        raise ValueError(f"medmnist: scores {list(given.shape)} must be [n], [n, 1] or [n, 2] for task='binary-class'")
    last = given if given.ndim == 1 else given[:, -1]
    return last[:, None], (last > 0.5).astype(np.int64), _column(_whole_labels(true, 2))


def _classes(given: Values, true: Values) -> tuple[Values, Values, Values]:
    """Scores [n, K], predictions and labels [n]."""
    if given.ndim != 2 or given.shape[1] < 2:
        raise ValueError(f"medmnist: scores {list(given.shape)} must be [n, K] with K > 1 classes")
    return given, given.argmax(axis=1), _column(_whole_labels(true, given.shape[1]))


def _one_label(given: Values, found: Values, true: Values) -> pd.DataFrame:
    is_binary = given.shape[1] == 1
    names = np.arange(2 if is_binary else given.shape[1])
    member = true[:, None] == names
    auc = _auc(given, member[:, 1:] if is_binary else member, "class", first=int(is_binary))
    recall = _recall(found[:, None] == names, member)
    rows: list[tuple[str, str, float, int]] = [("auc", "all", float(auc.mean()), len(true)), ("acc", "all", float((found == true).mean()), len(true))]
    if not is_binary:
        rows += [("auc", str(i), float(value), int(member[:, i].sum())) for i, value in enumerate(auc)]
    rows += [("recall", str(i), float(value), int(member[:, i].sum())) for i, value in enumerate(recall)]
    return _table(rows)


def _table(rows: list[tuple[str, str, float, int]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["metric", "label", "value", "n"])


def _auc(given: Values, positive: Values, kind: str, first: int = 0) -> Values:
    """The area of each column [K], by mean ranks: equal scores count as a half (Mann and Whitney)."""
    count, n = positive.sum(axis=0), len(positive)
    for number, of in enumerate(count):
        if 0 < of < n:
            continue
        # A binary task has one column for both of its classes: all samples in one means none in the other.
        missing = number + first - 1 if first and of == n else number + first
        told = f"{kind} {missing} has no sample" if of == 0 or first else f"{kind} {missing} has all {n} samples"
        raise ValueError(f"medmnist: labels: {told}: AUC is not defined; score a part that has every {kind}, or leave the {kind} out of both arrays")
    ranks = np.where(positive, rankdata(given, axis=0), 0.0).sum(axis=0)
    area: Values = (ranks - count * (count + 1) / 2) / (count * (n - count))
    return area


def _recall(found: Values, member: Values) -> Values:
    share: Values = (found & member).sum(axis=0) / member.sum(axis=0)
    return share


def _whole_labels(true: Values, classes: int) -> Values:
    """The labels as int64, all from 0 to classes - 1."""
    whole = true.astype(np.int64)
    wrong = (whole != true) | (whole < 0) | (whole >= classes)
    if wrong.any():
        row = int(np.flatnonzero(wrong.reshape(len(true), -1).any(axis=1))[0])
        value = true.reshape(len(true), -1)[row][wrong.reshape(len(true), -1)[row]][0].item()
        raise ValueError(f"medmnist: labels must be whole numbers from 0 to {classes - 1}, row {row} has {value!r}")
    return whole


def _column(true: Values) -> Values:
    if true.ndim == 2 and true.shape[1] == 1:
        return true[:, 0]
    if true.ndim != 1:
        raise ValueError(f"medmnist: labels {list(true.shape)} must be [n] or [n, 1] for a task with one label")
    return true


def _numbers(name: str, given: Array) -> Values:
    if not isinstance(given, (np.ndarray, torch.Tensor)):
        raise TypeError(f"medmnist: {name} must be a tensor or a NumPy array, got {type(given).__name__}")
    values = np.asarray(given.detach().cpu().double().numpy() if isinstance(given, torch.Tensor) else given)
    if values.dtype.kind not in "biuf":
        raise TypeError(f"medmnist: {name} must be numbers, got {values.dtype}")
    return values.astype(np.float64)
