"""Brain age: predictions corrected for their bias towards the mean, and gaps between predicted and true age by group."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator

from sslmed._checks import number, whole
from sslmed._core import WeakFitWarning
from sslmed.evaluation.statistics import holm
from sslmed.leakage import refuse_overlap

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["BiasCorrection", "gaps", "held_out_line", "weak_slope"]

Array = np.ndarray[Any, Any]

_LEAST_SLOPE = 0.1
_WEAK_SLOPE = 0.3
_FEW = 10  # people on whom a line is too uncertain to be inverted without a warning
_LEAST_OVERLAP = 0.2


class BiasCorrection(BaseEstimator):  # type: ignore[misc]
    """Corrects predictions for regression to the mean: the young are predicted too old, the old too young.

    The line prediction = intercept + slope · age is fitted on training subjects and inverted. Only a prediction is
    needed to correct it, not the true age: a correction by the true age would make any model look good. The predictions
    that it is fitted on must be out of fold. Fit it on controls (``fitted_on``) where patients are compared with them:
    a line that patients have a part in takes a share of their gap away. Source: Cole et al., Mol. Psychiatry 2018;
    Smith et al., NeuroImage 2019.

    Attributes:
        slope_: Slope of the line, in years of prediction per year of age; at least 0.1.
        intercept_: Intercept of the line, in years.
        n_subjects_: Number of people that the line is fitted on; of rows without ``groups``.

    See Also:
        :func:`held_out_line`, for networks.

    Examples:
        >>> import numpy as np
        >>> from sslmed.evaluation.brain_age import BiasCorrection
        >>> age = np.array([20.0, 40.0, 60.0, 80.0])
        >>> correction = BiasCorrection().fit(25 + 0.5 * age, age)
        >>> round(correction.slope_, 3), np.round(correction.transform(np.array([35.0, 65.0])), 3).tolist()
        (0.5, [20.0, 80.0])
    """

    def fit(self, predictions: Array, age: Array, groups: Array | None = None, *, fitted_on: Array | None = None) -> Self:
        """Fits the line.

        Args:
            predictions: Out-of-fold predictions [n], in years.
            age: True ages [n], in years.
            groups: Subject of each row [n]. Each person counts once, by the means of their predictions and ages;
                :meth:`transform` refuses the people that the line was fitted on.
            fitted_on: True for the rows that the line is fitted on [n], bool: controls. All rows by default.

        Raises:
            ValueError: Lengths differ, a value is not finite, ``fitted_on`` is not boolean, or there are fewer than
                three different ages to fit on.

        Warns:
            WeakFitWarning: The slope is below 0.3, so that the correction spreads predictions more than threefold, or
                below 0.1, and 0.1 is used instead.
        """
        predictions, age = np.asarray(predictions, float), np.asarray(age, float)
        for name, values in (("predictions", predictions), ("age", age)):
            if values.ndim != 1 or not np.isfinite(values).all():
                raise ValueError(f"BiasCorrection.fit: {name} must be finite numbers [n], got shape {list(values.shape)}")
        if len(age) != len(predictions):
            raise ValueError(f"BiasCorrection.fit: age must have one value for each of {len(predictions)} predictions, got {len(age)}")
        if groups is not None and len(groups) != len(predictions):
            raise ValueError(f"BiasCorrection.fit: groups must have one subject for each of {len(predictions)} predictions, got {len(groups)}")
        used = _mask("BiasCorrection.fit", fitted_on, len(predictions))
        people = np.arange(len(predictions)) if groups is None else np.asarray(groups).astype(str)
        means = pd.DataFrame({"predicted": predictions[used], "age": age[used]}).groupby(people[used]).mean()
        if means["age"].nunique() < 3:
            rows = "" if fitted_on is None else " among the rows of fitted_on"
            raise ValueError(f"BiasCorrection.fit: age must have at least three different values{rows}, got {means['age'].nunique()}")
        slope, self.intercept_ = (float(v) for v in np.polyfit(means["age"], means["predicted"], 1))
        # A model that explains next to nothing has a slope near zero; inverted, it would magnify noise without bound.
        self.slope_ = max(slope, _LEAST_SLOPE)
        if self.slope_ != slope:
            self.intercept_ = float(means["predicted"].mean() - self.slope_ * means["age"].mean())
        if text := weak_slope(slope):
            warnings.warn(text, WeakFitWarning, stacklevel=2)
        self.n_subjects_ = len(means)
        self._fitted = np.empty(0, str) if groups is None else means.index.to_numpy(str)
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


def _mask(where: str, fitted_on: Array | None, n: int) -> Array:
    """Rows that a line is fitted on."""
    if fitted_on is None:
        return np.ones(n, bool)
    mask = np.asarray(fitted_on)
    if mask.dtype != bool or mask.shape != (n,):
        raise ValueError(f"{where}: fitted_on must be True or False for each of {n} rows, got {mask.dtype} of shape {list(mask.shape)}")
    return mask


def weak_slope(slope: float) -> str:
    """Describes what a low slope does to corrected predictions, for a warning; empty for a slope of 0.3 and more."""
    if slope >= _WEAK_SLOPE:
        return ""
    if slope <= _LEAST_SLOPE:
        return f"predictions hardly follow age (slope {slope:.3f}): they are corrected by a slope of {_LEAST_SLOPE} instead"
    return f"predictions follow age weakly (slope {slope:.3f}): the correction spreads them, noise included, {1 / slope:.1f} times as far apart"


def held_out_line(
    predict: Callable[[Array, Array], Array],
    age: Array,
    groups: Array,
    *,
    fitted_on: Array | None = None,
    share: float = 0.2,
    seed: int = 0,
) -> BiasCorrection:
    """Fits a bias correction for a model that is too costly to cross-fit, such as a network that is trained in each fold.

    A share of the training people is held out, evenly over age. The model is trained once on the others and predicts
    them; the line is fitted on these predictions. One more training, instead of one for each inner fold. Predictions of
    training data cannot take their place: a network knows them by heart, their slope is near one, and nothing would be
    corrected. The line belongs to the model of the remaining people. Correct the predictions of that same model, or of
    one that is trained on all of them: it is a little better, so a little is left of its bias.

    The line is as uncertain as the people held out are few: with a true slope of 0.5, predictions that scatter by 6
    years, and ages that scatter by 12, the slope's standard error is 0.18 for 8 people and 0.11 for 20. Hold out more
    people (``share``) where there are fewer than 50 in training.

    Args:
        predict: A function of positions (train [a], held out [b]) that trains a model on the first and returns its
            predictions [b] of the second, in years.
        age: True ages of the training rows [n], in years.
        groups: Subject of each training row [n]; people are held out with all their rows.
        fitted_on: True for the rows that the line may be fitted on [n], bool: controls. Only these people are held out;
            ``predict`` trains on the remaining ones and on all others.
        share: Share of the people of ``fitted_on`` that are held out.
        seed: Seed of the draw of people.

    Returns:
        The fitted correction, for :meth:`BiasCorrection.transform` of the fold's test predictions.

    Raises:
        ValueError: Lengths differ, a share outside 0 and 1, fewer than three people to hold out or none left, or what
            :meth:`BiasCorrection.fit` refuses.

    Warns:
        WeakFitWarning: The line is fitted on fewer than ten people, or its slope is low.

    Examples:
        >>> import numpy as np
        >>> from sslmed.evaluation.brain_age import held_out_line
        >>> age = np.linspace(20, 80, 60)
        >>> def predict(train, held_out):
        ...     return age[train].mean() + 0.5 * (age[held_out] - age[train].mean())
        >>> line = held_out_line(predict, age, np.arange(60))
        >>> line.n_subjects_, round(line.slope_, 3)
        (12, 0.5)
    """
    age, groups = np.asarray(age, float), np.asarray(groups).astype(str)
    number("held_out_line", "share", share, 0, 1, strict=True)
    whole("held_out_line", "seed", seed)
    if age.ndim != 1 or not np.isfinite(age).all():
        raise ValueError(f"held_out_line: age must be finite numbers [n], got shape {list(age.shape)}")
    if len(groups) != len(age):
        raise ValueError(f"held_out_line: groups must have one subject for each of {len(age)} ages, got {len(groups)}")
    allowed = _mask("held_out_line", fitted_on, len(age))
    order = pd.Series(age[allowed]).groupby(groups[allowed]).mean().sort_values(kind="stable").index.to_numpy(str)
    count = round(share * len(order))
    if count < 3 or count >= len(np.unique(groups)):
        people = f"{len(order)} people{'' if fitted_on is None else ' of fitted_on'}"
        raise ValueError(f"held_out_line: share={share!r} must hold out at least three of {people} and leave some to train on, got {count}")
    # One from each of equally large stretches of age: the line needs the ends.
    rng = np.random.default_rng(seed)
    chosen = np.array([rng.choice(stretch) for stretch in np.array_split(order, count)])
    held = np.flatnonzero(np.isin(groups, chosen) & allowed)
    predicted = np.asarray(predict(np.flatnonzero(~np.isin(groups, chosen)), held), float)
    if predicted.shape != held.shape:
        raise ValueError(f"held_out_line: predict must return one value for each of {len(held)} held-out rows, got shape {list(predicted.shape)}")
    if count < _FEW:
        warnings.warn(f"the line of the bias correction rests on {count} people; hold out more (share={share})", WeakFitWarning, stacklevel=2)
    return BiasCorrection().fit(predicted, age[held], groups[held])


def gaps(
    predictions: pd.DataFrame,
    people: pd.DataFrame,
    *,
    row: str | Sequence[str],
    group: str,
    reference: str,
    covariates: Sequence[str] | None = None,
    age_df: int = 3,
) -> pd.DataFrame:
    """Compares the brain-age gap (predicted minus true age) of groups with a reference group, by linear regression.

    Age stays in the model, because the gap depends on age wherever predictions are biased towards the mean, and not
    always along a line: it enters as a natural cubic spline of the person's mean true age, its knots at quantiles for
    which every group weighs the same. Each person counts once, by
    the mean gap of their recordings. Intervals and tests are robust to groups that vary differently (HC3: MacKinnon and
    White, J. Econom. 1985; Long and Ervin, Am. Stat. 2000), with Student's t. In simulations of 20 to 60 people, bent
    bias and groups 20 years apart, the test rejects at .05 in 3.5 to 6 % where there is no gap; with classical standard
    errors in up to 15 %, where the smaller group varies twice as much.

    Give the uncorrected row and the corrected one (``row=["pretrained encoder", "pretrained encoder, bias-corrected"]``):
    a gap of the uncorrected predictions is smaller than the true one by the slope of the bias, that of the corrected
    ones has its scale. Their tests are almost the same.

    Args:
        predictions: :attr:`sslmed.TransferResult.predictions` of a transfer to age.
        people: One line a subject with ``subject``, the group and the covariates: ``cohort.subjects``.
        row: Row of the result whose predictions are used, for example "pretrained encoder", or several.
        group: Column of ``people`` with the groups.
        reference: Group that the others are compared with.
        covariates: What is held constant: "age" (the spline) and columns of ``people``. By default age and sex; sex is
            left out where it is the group.
        age_df: Degrees of freedom of the spline; 1 is a straight line.

    Returns:
        row, group, n_subjects, difference (years), low, high (95 %), p, p_holm (over all lines), overlap. The reference
        comes first in each row, with its mean gap. ``overlap`` is the share of people, in the smaller of both shares,
        whose age lies where the group and the reference both have people.

    Raises:
        ValueError: A column, the row, the reference or a second group is missing, the group is one of the covariates, a
            group has one person only or cannot be told from the covariates, age is constant, or there are too few
            people.

    Warns:
        WeakFitWarning: The ages of a group and of the reference hardly overlap (less than 0.2): their difference rests
            on what the spline says where only one of them has people.

    Examples:
        >>> import numpy as np, pandas as pd
        >>> from sslmed.evaluation.brain_age import gaps
        >>> rng, age = np.random.default_rng(0), np.tile(np.linspace(30, 70, 20), 2)
        >>> people = pd.DataFrame({"subject": np.arange(40), "age": age, "diagnosis": np.repeat(["control", "back"], 20)})
        >>> older = np.where(people["diagnosis"] == "back", 5.0, 0.0)
        >>> predicted = 25 + 0.5 * age + older + rng.normal(size=40)
        >>> predictions = pd.DataFrame({"row": "model", "subject": np.arange(40), "truth": age, "predicted": predicted})
        >>> table = gaps(predictions, people, row="model", group="diagnosis", reference="control", covariates=["age"])
        >>> table[["group", "n_subjects"]].values.tolist(), bool(abs(table["difference"][1] - 5) < 1)
        ([['control', 20], ['back', 20]], True)
    """
    rows = [row] if isinstance(row, str) else list(row)
    chosen = [c for c in ("age", "sex") if c != group or c == "age"] if covariates is None else list(covariates)
    _check_gaps(predictions, people, rows, group, chosen)
    whole("gaps", "age_df", age_df, 1)
    tables = []
    for name in rows:
        own = predictions[predictions["row"] == name]
        age = own["truth"].astype(float)
        means = pd.DataFrame({"_gap": own["predicted"] - age, "_age": age}).groupby(own["subject"]).mean()
        columns = [c for c in chosen if c != "age"]
        data = people[["subject", *dict.fromkeys([group, *columns])]].join(means, on="subject").dropna()
        data = data.assign(_group=data[group].astype(str))
        _check_groups(data, group, reference, age="age" in chosen)
        tables.append(_compared(data, reference, columns, age_df if "age" in chosen else 0).assign(row=name))
    table = pd.concat(tables, ignore_index=True)
    table["p_holm"] = holm(table["p"].to_numpy())
    for other, overlap in table.drop_duplicates("group").set_index("group")["overlap"].to_dict().items():
        if "age" in chosen and overlap < _LEAST_OVERLAP:
            text = f"ages of {other!r} and {reference!r} hardly overlap ({overlap:.2f} of people): their difference is extrapolated"
            warnings.warn(text, WeakFitWarning, stacklevel=2)
    return table[["row", "group", "n_subjects", "difference", "low", "high", "p", "p_holm", "overlap"]]


def _check_gaps(predictions: pd.DataFrame, people: pd.DataFrame, rows: list[str], group: str, covariates: list[str]) -> None:
    """Refuses columns and rows that are missing, and a group that is held constant."""
    if missing := [c for c in ("row", "subject", "truth", "predicted") if c not in predictions]:
        raise ValueError(f"gaps: predictions has no column {missing[0]!r}; pass TransferResult.predictions")
    if group in covariates:
        raise ValueError(f"gaps: covariates={covariates!r} must not have the group's own column {group!r}: held constant, it has no difference left")
    for name, column in (("people", "subject"), ("group", group), *(("covariates", c) for c in covariates if c != "age")):
        if column not in people:
            raise ValueError(f"gaps: {name}: people has no column {column!r}; there are {', '.join(map(str, people.columns))}")
    if not rows:
        raise ValueError("gaps: row=[] must name at least one row of predictions")
    known = predictions["row"].unique()
    if unknown := [row for row in rows if row not in known]:
        raise ValueError(f"gaps: row={unknown[0]!r} is not in predictions; there are {', '.join(known)}")
    if people["subject"].duplicated().any():
        twice = people["subject"][people["subject"].duplicated()].iloc[0]
        raise ValueError(f"gaps: people must have one line a subject, and {twice!r} has several; pass cohort.subjects")


def _check_groups(data: pd.DataFrame, group: str, reference: str, *, age: bool) -> None:
    """Refuses groups that cannot be compared."""
    counts = data["_group"].value_counts()
    found = ", ".join(sorted(counts.index))
    if reference not in counts:
        raise ValueError(f"gaps: reference={reference!r} is no group of column {group!r}; there are {found}")
    if len(counts) < 2:
        raise ValueError(f"gaps: group={group!r} must have a second group besides the reference, found {found} alone")
    if counts.min() < 2:
        raise ValueError(f"gaps: group={group!r} must have at least two people in every group, and {counts.idxmin()!r} has one")
    if age and data["_age"].nunique() < 2:
        raise ValueError("gaps: covariates: age has one value only; leave 'age' out of the covariates")


def _compared(data: pd.DataFrame, reference: str, columns: list[str], age_df: int) -> pd.DataFrame:
    """Least squares with HC3: one line a group."""
    import statsmodels.api as sm

    names = sorted(set(data["_group"]) - {reference})
    parts = [np.ones((len(data), 1)), *((data["_group"] == name).to_numpy(float)[:, None] for name in names)]
    age = data["_age"].to_numpy(float)
    if age_df:
        parts.append(_natural_spline(age, age_df, data["_group"].to_numpy(str)))
    for column in columns:
        values = data[column]
        coded = values.astype(float).to_frame() if pd.api.types.is_numeric_dtype(values) else pd.get_dummies(values.astype(str), drop_first=True, dtype=float)
        parts.append((coded - coded.mean()).loc[:, coded.nunique() > 1].to_numpy())
    x = np.concatenate(parts, axis=1)
    if len(x) <= np.linalg.matrix_rank(x):
        raise ValueError(f"gaps: people: {len(x)} people are too few for {x.shape[1]} coefficients; lower age_df or the number of covariates")
    # A person who is alone in a level of a covariate is fitted exactly: without them the estimate is the same, and HC3 defined.
    told = np.einsum("ij,ji->i", x, np.linalg.pinv(x)) < 1 - 1e-8
    x, gap = x[told], data["_gap"].to_numpy(float)[told]
    for i, name in enumerate(names, 1):
        if np.linalg.matrix_rank(np.delete(x, i, axis=1)) == np.linalg.matrix_rank(x):
            raise ValueError(f"gaps: covariates: {', '.join(columns) or 'age'} tells the group {name!r} exactly; its difference cannot be told apart")
    x = x[:, [j for j in range(x.shape[1]) if np.linalg.matrix_rank(x[:, : j + 1]) > np.linalg.matrix_rank(x[:, :j])]]
    # With use_t: the normal distribution is too narrow for 20 people.
    model = sm.OLS(gap, x).fit(cov_type="HC3", use_t=True)
    interval = model.conf_int()
    inside = (data["_group"] == reference).to_numpy()
    lines: list[tuple[Any, ...]] = [(reference, int(inside.sum()), float(data["_gap"][inside].mean()), np.nan, np.nan, np.nan, np.nan)]
    for i, name in enumerate(names, 1):
        own = (data["_group"] == name).to_numpy()
        figures = (model.params[i], *interval[i], model.pvalues[i], _overlap(age[own], age[inside]))
        lines.append((name, int(own.sum()), *map(float, figures)))
    return pd.DataFrame(lines, columns=["group", "n_subjects", "difference", "low", "high", "p", "overlap"])


def _overlap(a: Array, b: Array) -> float:
    """Share of people within the range that both have, in the smaller of both shares."""
    low, high = max(a.min(), b.min()), min(a.max(), b.max())
    return float(min(((v >= low) & (v <= high)).mean() for v in (a, b)))


def _natural_spline(x: Array, df: int, groups: Array) -> Array:
    """Centered basis [n, df] of natural cubic splines: the span of patsy's cr(x, constraints="center") with the same knots.

    Knots lie at the ends and at quantiles for which every group weighs the same: quantiles of all people would leave
    the ages of a small group without any. Source: Hastie et al., The Elements of Statistical Learning, section 5.2.1.
    """
    order = np.argsort(x, kind="stable")
    _, codes, counts = np.unique(groups, return_inverse=True, return_counts=True)
    weight = 1 / counts[codes][order]
    reached = (np.cumsum(weight) - weight / 2) / weight.sum()
    inner = np.interp(np.linspace(0, 1, df + 1)[1:-1], reached, x[order])
    knots = np.unique([x.min(), *inner, x.max()])
    df, start, width = len(knots) - 1, knots[0], knots[-1] - knots[0]
    z, knots = (x - start) / width, (knots - start) / width

    def bent(j: int) -> Array:
        return np.asarray((np.maximum(z - knots[j], 0) ** 3 - np.maximum(z - knots[-1], 0) ** 3) / (knots[-1] - knots[j]))

    basis = np.stack([z, *(bent(j) - bent(df - 1) for j in range(df - 1))], axis=1)
    return np.asarray(basis - basis.mean(axis=0))
