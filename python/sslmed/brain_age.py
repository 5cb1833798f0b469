"""Brain age: predictions freed of their pull towards the mean, and the gap between predicted and true age by group."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from sslmed.leakage import refuse_overlap
from sslmed.stats import holm

__all__ = ["BiasCorrection", "gaps"]

Array = np.ndarray[Any, Any]


class BiasCorrection:
    """Undoes regression to the mean: the line prediction = intercept + slope · age of training subjects, inverted.

    Only a prediction is needed to correct it, not the true age: a correction by the true age would make any model look good.
    Predictions to fit it on must themselves be out of fold. Source: Cole et al., Mol. Psychiatry 2018; Smith et al., NeuroImage 2019.
    """

    def fit(self, age: Array, predicted: Array, subjects: Array) -> BiasCorrection:
        """Fits the line.

        Args:
            age: [n] years.
            predicted: [n] out-of-fold predictions.
            subjects: [n] whose they are; :meth:`apply` refuses them.

        Raises:
            ValueError: Fewer than three different ages, or lengths that differ.

        Warns:
            RuntimeWarning: A slope below .1, which .1 stands in for.
        """
        age, predicted = np.asarray(age, float), np.asarray(predicted, float)
        if not len(age) == len(predicted) == len(subjects) or len(np.unique(age)) < 3:
            raise ValueError(f"a bias correction needs three ages or more, got {len(np.unique(age))} of {len(predicted)} predictions")
        slope, self.intercept = (float(v) for v in np.polyfit(age, predicted, 1))
        # A model that knows next to nothing has a slope near zero; inverted, it would blow its noise up without bound.
        self.slope = max(slope, 0.1)
        if self.slope != slope:
            warnings.warn(f"predictions hardly follow age (slope {slope:.3f}): they are corrected as if by a slope of 0.1", RuntimeWarning, stacklevel=2)
            self.intercept = float(predicted.mean() - self.slope * age.mean())
        self._seen = np.unique(np.asarray(subjects).astype(str))
        return self

    def apply(self, predicted: Array, subjects: Array) -> Array:
        """Corrected predictions of other subjects.

        Raises:
            ValueError: One of them was fitted on.
        """
        refuse_overlap(self._seen, subjects)
        return np.asarray((np.asarray(predicted, float) - self.intercept) / self.slope)


def gaps(predictions: pd.DataFrame, people: pd.DataFrame, *, row: str, group: str, reference: str, covariates: Sequence[str] = ("age", "sex")) -> pd.DataFrame:
    """Brain-age gap (predicted minus true age) of each group against a reference group, by linear regression.

    Age and sex stay in the model as covariates: the gap depends on age wherever predictions are pulled to the mean.

    Args:
        predictions: ``TransferResult.predictions`` of a transfer to age: subject, truth and a column a row.
        people: One row a subject, with ``subject``, the group and the covariates: ``cohort.subjects``.
        row: Which predictions, for example "pretrained encoder".
        group: Column of the groups.
        reference: The one to compare with.
        covariates: Columns held constant.

    Returns:
        group, n_subjects, difference (years), low, high (95 %), p, p_holm; the reference first, with its mean gap.

    Raises:
        ValueError: A column, the reference or a second group is missing.
    """
    import statsmodels.formula.api as smf

    missing = [c for c in (group, *covariates) if c not in people] + [c for c in ("subject", "truth", row) if c not in predictions]
    if missing:
        raise ValueError(f"no column {', '.join(map(repr, missing))}")
    if "age" in covariates and people["age"].nunique() < 2:
        raise ValueError("age has one value only; leave it out of the covariates")
    gap = (predictions[row] - predictions["truth"]).groupby(predictions["subject"]).mean()
    data = people.assign(_gap=people["subject"].map(gap), _group=people[group].astype(str)).dropna(subset=["_gap", group, *covariates])
    names = sorted(set(data["_group"]) - {reference})
    if reference not in set(data["_group"]) or not names:
        raise ValueError(f"{group}: expected {reference!r} and another group, found {', '.join(sorted(set(data['_group'])))}")
    terms = [f"Q('{c}')" for c in covariates if data[c].nunique() > 1]
    model = smf.ols(f"_gap ~ C(_group, Treatment('{reference}'))" + "".join(f" + {t}" for t in terms), data).fit()
    interval = model.conf_int()
    inside = data["_group"] == reference
    lines = [(reference, int(inside.sum()), float(data.loc[inside, "_gap"].mean()), np.nan, np.nan, np.nan)]
    for name in names:
        term = f"C(_group, Treatment('{reference}'))[T.{name}]"
        low, high = interval.loc[term]
        lines.append((name, int((data["_group"] == name).sum()), float(model.params[term]), float(low), float(high), float(model.pvalues[term])))
    table = pd.DataFrame(lines, columns=["group", "n_subjects", "difference", "low", "high", "p"])
    return table.assign(p_holm=holm(table["p"].to_numpy()))
