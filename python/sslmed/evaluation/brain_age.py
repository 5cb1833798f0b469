"""Brain age: predictions corrected for their bias towards the mean, and gaps between predicted and true age by group."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator

from sslmed._core import WeakFitWarning
from sslmed.evaluation.statistics import holm
from sslmed.leakage import refuse_overlap

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["BiasCorrection", "gaps"]

Array = np.ndarray[Any, Any]

_LEAST_SLOPE = 0.1


class BiasCorrection(BaseEstimator):  # type: ignore[misc]
    """Corrects predictions for regression to the mean: the young are predicted too old, the old too young.

    The line prediction = intercept + slope · age is fitted on training subjects and inverted. Only a prediction is
    needed to correct it, not the true age: a correction by the true age would make any model look good. The predictions
    that it is fitted on must be out of fold. Source: Cole et al., Mol. Psychiatry 2018; Smith et al., NeuroImage 2019.

    Attributes:
        slope_: Slope of the line, in years of prediction per year of age; at least 0.1.
        intercept_: Intercept of the line, in years.

    Examples:
        >>> import numpy as np
        >>> from sslmed.evaluation.brain_age import BiasCorrection
        >>> age = np.array([20.0, 40.0, 60.0, 80.0])
        >>> correction = BiasCorrection().fit(25 + 0.5 * age, age)
        >>> round(correction.slope_, 3), np.round(correction.transform(np.array([35.0, 65.0])), 3).tolist()
        (0.5, [20.0, 80.0])
    """

    def fit(self, predictions: Array, age: Array, groups: Array | None = None) -> Self:
        """Fits the line.

        Args:
            predictions: Out-of-fold predictions [n], in years.
            age: True ages [n], in years.
            groups: Subject of each row [n]; :meth:`transform` refuses them.

        Raises:
            ValueError: Lengths differ, a value is not finite, or there are fewer than three different ages.

        Warns:
            WeakFitWarning: The slope is below 0.1, and 0.1 is used instead.
        """
        predictions, age = np.asarray(predictions, float), np.asarray(age, float)
        for name, values in (("predictions", predictions), ("age", age)):
            if values.ndim != 1 or not np.isfinite(values).all():
                raise ValueError(f"BiasCorrection.fit: {name} must be finite numbers [n], got shape {list(values.shape)}")
        if len(age) != len(predictions):
            raise ValueError(f"BiasCorrection.fit: age must have one value for each of {len(predictions)} predictions, got {len(age)}")
        if groups is not None and len(groups) != len(predictions):
            raise ValueError(f"BiasCorrection.fit: groups must have one subject for each of {len(predictions)} predictions, got {len(groups)}")
        if len(np.unique(age)) < 3:
            raise ValueError(f"BiasCorrection.fit: age must have at least three different values, got {len(np.unique(age))}")
        slope, self.intercept_ = (float(v) for v in np.polyfit(age, predictions, 1))
        # A model that explains next to nothing has a slope near zero; inverted, it would magnify noise without bound.
        self.slope_ = max(slope, _LEAST_SLOPE)
        if self.slope_ != slope:
            text = f"predictions hardly follow age (slope {slope:.3f}): they are corrected by a slope of {_LEAST_SLOPE} instead"
            warnings.warn(text, WeakFitWarning, stacklevel=2)
            self.intercept_ = float(predictions.mean() - self.slope_ * age.mean())
        self._fitted = np.empty(0, str) if groups is None else np.unique(np.asarray(groups).astype(str))
        return self

    def transform(self, predictions: Array, groups: Array | None = None) -> Array:
        """Returns corrected predictions of other subjects.

        Args:
            predictions: Predictions [m], in years.
            groups: Subject of each row [m], to refuse those that the line was fitted on.

        Raises:
            ValueError: A subject that the line was fitted on.
        """
        if groups is not None:
            refuse_overlap(self._fitted, groups, "BiasCorrection.transform: groups")
        return np.asarray((np.asarray(predictions, float) - self.intercept_) / self.slope_)


def gaps(
    predictions: pd.DataFrame,
    people: pd.DataFrame,
    *,
    row: str,
    group: str,
    reference: str,
    covariates: Sequence[str] = ("age", "sex"),
) -> pd.DataFrame:
    """Compares the brain-age gap (predicted minus true age) of groups with a reference group, by linear regression.

    Age and sex stay in the model as covariates, because the gap depends on age wherever predictions are biased towards
    the mean.

    Args:
        predictions: :attr:`sslmed.TransferResult.predictions` of a transfer to age.
        people: One line a subject with ``subject``, the group and the covariates: ``cohort.subjects``.
        row: Row of the result whose predictions are used, for example "pretrained encoder".
        group: Column of ``people`` with the groups.
        reference: Group that the others are compared with.
        covariates: Columns of ``people`` that are held constant.

    Returns:
        group, n_subjects, difference (years), low, high (95 %), p, p_holm. The reference comes first, with its mean
        gap.

    Raises:
        ValueError: A column, the row, the reference or a second group is missing, or age is constant.
    """
    import statsmodels.formula.api as smf

    if missing := [c for c in ("row", "subject", "truth", "predicted") if c not in predictions]:
        raise ValueError(f"gaps: predictions has no column {missing[0]!r}; pass TransferResult.predictions")
    for name, column in (("people", "subject"), ("group", group), *(("covariates", c) for c in covariates)):
        if column not in people:
            raise ValueError(f"gaps: {name}: people has no column {column!r}; there are {', '.join(map(str, people.columns))}")
    if row not in set(predictions["row"]):
        raise ValueError(f"gaps: row={row!r} is not in predictions; there are {', '.join(predictions['row'].unique())}")
    if "age" in covariates and people["age"].nunique() < 2:
        raise ValueError("gaps: covariates: column 'age' has one value only; leave it out of the covariates")
    own = predictions[predictions["row"] == row]
    gap = (own["predicted"] - own["truth"].astype(float)).groupby(own["subject"]).mean()
    data = people.assign(_gap=people["subject"].map(gap), _group=people[group].astype(str)).dropna(subset=["_gap", group, *covariates])
    names = sorted(set(data["_group"]) - {reference})
    found = ", ".join(sorted(set(data["_group"])))
    if reference not in set(data["_group"]):
        raise ValueError(f"gaps: reference={reference!r} is no group of column {group!r}; there are {found}")
    if not names:
        raise ValueError(f"gaps: group={group!r} must have a second group besides the reference, found {found} alone")
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
