"""Evaluate: how well features predict a column of a table of people, beside the rows that they have to beat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from sslmed._checks import choice, number, whole
from sslmed._world import own_settings
from sslmed.cohort import Cohort
from sslmed.evaluation import confounding
from sslmed.evaluation.assess import Options, assess
from sslmed.evaluation.crossfit import Pipeline, Study
from sslmed.evaluation.record import flow
from sslmed.evaluation.result import TransferResult
from sslmed.evaluation.splits import CV, repeated
from sslmed.labels import class_names, is_regression, labeled

__all__ = ["Level", "Prepared", "covariate_pipelines", "evaluate", "named_folds", "positive_class", "prepared"]

Array = np.ndarray[Any, Any]

Level = Literal["person", "recording"]
"""What counts once in a score."""
_TAKEN = ("dummy", "covariates", "permuted labels", "chance")


@own_settings()
def evaluate(
    features: Array | pd.DataFrame | Mapping[str, Array | pd.DataFrame],
    table: pd.DataFrame,
    target: str,
    protocol: Literal["linear", "knn", "forest"] = "linear",
    *,
    cv: CV = 5,
    positive: str | None = None,
    covariates: Sequence[str] = (),
    repeats: int = 10,
    regression: bool | None = None,
    compare: Sequence[str] | None = None,
    balanced: bool = False,
    level: Level = "person",
    prevalence: float | None = None,
    permutations: int = 199,
    seed: int = 0,
) -> TransferResult:
    """Scores features of recordings, whoever made them, on a labeled table; no person is in training and test data at once.

    What is estimated is the performance of the whole procedure, choice of strength included, trained on about as many
    people as a training part has, on other people of this population. Folds are drawn ``repeats`` times.

    Args:
        features: Features [rows, D], one row a recording; or several such arrays by name, of which the last is compared
            with the others.
        table: One row a recording, with ``subject``, the target and the covariates.
        target: Column to predict; rows without a value are left out. Numbers are regressed, unless they are at most ten
            whole numbers that repeat; anything else is classified.
        protocol: "linear" (logistic or ridge regression, its strength chosen inside the training people), "knn" (five
            nearest neighbors) or "forest" (a random forest).
        cv: Number of folds over people, "loso" (leave one subject out), a splitter of scikit-learn, or pairs (train,
            test) of row positions; the latter two are used once.
        positive: Class that sensitivity, predictive values, precision and calibration are of, with two classes.
        covariates: Columns such as age, sex and site that could explain the target by themselves (texts are categories): adds the rows
            ``covariates``, ``features + covariates`` and, with two classes, ``features, adjusted``.
        repeats: Number of draws of the folds.
        regression: True to regress the target, False to classify it, None to decide by its values.
        compare: Rows that the last features are compared with; p values are corrected over these and chance. By default the
            other features and the covariates.
        balanced: Weight every class alike in all fits. By default probabilities stay those of the cohort, and decisions
            are made by how far they are above the training shares.
        level: "person": predictions of a person's recordings are averaged, and the person counts once; "recording".
        prevalence: Share of the positive class that predictive values are meant for; by default the cohort's.
        permutations: Number of permuted label vectors for the test against chance; 0 for none.
        seed: Seed of folds, forests and permutations.

    Returns:
        Scores with 95 % intervals, comparisons and predictions.

    Raises:
        TypeError: ``table`` is not a table.
        ValueError: Shapes that do not fit, features that are not finite, a column that is missing, a target with one
            value only, an argument out of range, or folds that leak.

    See Also:
        :func:`sslmed.transfer`

    Examples:
        >>> import numpy as np, pandas as pd
        >>> import sslmed as sm
        >>> rng, y = np.random.default_rng(0), np.tile(["control", "pain"], 12)
        >>> x = rng.normal(size=(24, 8)) + 2.0 * (y == "pain")[:, None]
        >>> table = pd.DataFrame({"subject": np.arange(24), "diagnosis": y})
        >>> result = sm.evaluate(x, table, "diagnosis", permutations=19)
        >>> scores = result.table.set_index(["row", "metric"])["value"]
        >>> float(scores["features", "auroc"]) > 0.9, float(scores["dummy", "auroc"])
        (True, 0.5)
    """
    choice("evaluate", "protocol", protocol, ("linear", "knn", "forest"))
    choice("evaluate", "level", level, get_args(Level))
    whole("evaluate", "repeats", repeats, 1)
    whole("evaluate", "permutations", permutations)
    whole("evaluate", "seed", seed)
    if prevalence is not None:
        number("evaluate", "prevalence", prevalence, 0, 1, strict=True)
    data = prepared("evaluate", features, table, target, regression)
    if taken := [name for name in data.matrices if name in _TAKEN]:
        raise ValueError(f"evaluate: features[{taken[0]!r}] has the name of another row of the table; call it something else")
    people, matrices, values, classes = data.people, data.matrices, data.values, data.classes
    folds = repeated(people, cv, stratify=None if classes is None else target, repeats=repeats, seed=seed)
    study = Study.of(
        values, people.table["subject"].to_numpy(), classes, folds, level=level, balanced=balanced, positive=positive_class("evaluate", positive, classes)
    )
    pipelines = {name: Pipeline(x, protocol, seed=seed) for name, x in matrices.items()}
    rows: dict[str, Any] = {"dummy": None}
    main = list(pipelines)[-1]
    extra, design = covariate_pipelines("evaluate", people.table, covariates, pipelines[main], main, target)
    rows |= {"covariates": extra.pop("covariates")} if extra else {}
    rows |= pipelines | extra
    others = [name for name in rows if name in matrices and name != main] + (["covariates"] if covariates else [])
    declared = others if compare is None else [compare] if isinstance(compare, str) else list(dict.fromkeys(compare))
    if unknown := [name for name in declared if name not in rows or name == main]:
        raise ValueError(f"evaluate: compare={list(declared)!r}: {unknown[0]!r} is not another row; there are {', '.join(n for n in rows if n != main)}")
    options = Options(target, protocol, main, tuple(declared), positive, prevalence, permutations, seed, named_folds(cv), tuple(covariates))
    result = assess(study, rows, people.table, options, design)
    result.manifest["flow"] = flow(table, target, people.table, result.people)
    return result


@dataclass(frozen=True)
class Prepared:
    """Checked features and targets of the rows that have a value."""

    matrices: dict[str, Array]
    """Features [rows, D] by name."""
    people: Cohort
    values: Array
    """Numbers of classes, or values [rows]."""
    classes: Array | None
    """Names of the classes; None: values are regressed."""


def prepared(where: str, features: Any, table: pd.DataFrame, target: str, regression: bool | None) -> Prepared:
    """Checks features and a table, and leaves out the rows that have no value.

    Args:
        where: Name of the function, for messages.
        features: As in :func:`evaluate`.
        table: As in :func:`evaluate`.
        target: As in :func:`evaluate`.
        regression: As in :func:`evaluate`.

    Raises:
        TypeError, ValueError: As :func:`evaluate`.
    """
    if not isinstance(table, pd.DataFrame):
        raise TypeError(f"{where}: table must be a pandas DataFrame with a row a recording, got {type(table).__name__}")
    given = features if isinstance(features, Mapping) else {"features": features}
    matrices = {str(name): _matrix(where, name, x, table) for name, x in given.items()}
    if not matrices:
        raise ValueError(f"{where}: features={{}} must hold at least one array of features")
    people, known = _people(where, table, target)
    y = people.table[target].infer_objects().to_numpy()
    if is_regression(y, regression, people.table["subject"].to_numpy()):
        values, classes = y.astype(float), None
    else:
        values, classes = _classes(people, y, target)
    return Prepared({name: x[known] for name, x in matrices.items()}, people, values, classes)


def _matrix(function: str, name: str, given: Array | pd.DataFrame, table: pd.DataFrame) -> Array:
    """Features as an array of finite numbers, one row a row of the table."""
    x = np.asarray(given.to_numpy() if isinstance(given, pd.DataFrame) else given)
    where = "features" if name == "features" else f"features[{name!r}]"
    if x.ndim not in (2, 3) or len(x) != len(table) or not x.shape[1] or (x.ndim == 3 and x.shape[1] != x.shape[2]):
        shapes = f"[{len(table)}, D >= 1], or covariances [{len(table)}, C, C]"
        raise ValueError(f"{function}: {where} must be {shapes}, one row a row of the table, got {list(x.shape)}")
    try:
        x = x.astype(float)
    except (TypeError, ValueError):
        raise ValueError(f"{function}: {where} must be numbers, got {x.dtype}") from None
    if (bad := ~np.isfinite(x.reshape(len(x), -1)).all(axis=1)).any():
        raise ValueError(f"{function}: {where} has {int(bad.sum())} rows that are not finite, such as row {int(bad.argmax())}; leave them out of the table")
    return x


def _people(where: str, table: pd.DataFrame, target: str) -> tuple[Cohort, Array]:
    """The rows that have a value, as a cohort whose rows are held in memory, and which they are."""
    if "subject" not in table:
        raise ValueError(f"{where}: table needs a column 'subject', found {', '.join(map(str, table.columns))}")
    named = table if "path" in table else table.assign(path=[f"row {i}" for i in range(len(table))])
    whole_ = Cohort(named.drop(columns="modality", errors="ignore"), "table", [()] * len(table))
    people, _ = labeled(whole_, target)
    return people, whole_.table[target].notna().to_numpy()


def _classes(people: Cohort, y: Array, target: str) -> tuple[Array, Array]:
    names = class_names(y)
    classes, codes = np.unique(names, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(f"{people.name}: target={target!r} has one value only, {str(classes[0])!r}; there is nothing to predict")
    return codes, classes


def named_folds(cv: CV) -> int | str | None:
    """The number of folds, or "loso"; None of folds that the caller made."""
    return int(cv) if isinstance(cv, Integral) else cv if isinstance(cv, str) else None


def positive_class(where: str, positive: str | None, classes: Array | None) -> int:
    """Number of the positive class; that of the last class where none is named."""
    if positive is None:
        return -1
    if classes is None or len(classes) != 2:
        raise ValueError(f"{where}: positive={positive!r} needs a target of two classes, got {'a regressed one' if classes is None else len(classes)}")
    choice(where, "positive", str(positive), [str(c) for c in classes])
    return [str(c) for c in classes].index(str(positive))


def covariate_pipelines(
    where: str, table: pd.DataFrame, covariates: Sequence[str], main: Pipeline, name: str, target: str
) -> tuple[dict[str, Pipeline], Array | None]:
    """Rows of the covariates alone and beside the features, and the covariates as numbers [rows, q]."""
    if isinstance(covariates, str):
        raise TypeError(f"{where}: covariates={covariates!r} must be a list of columns, such as [{covariates!r}]")
    if not covariates:
        return {}, None
    if missing := [c for c in covariates if c not in table]:
        raise ValueError(f"{where}: covariates: {missing[0]!r} is not a column of the table; there are {', '.join(map(str, table.columns))}")
    if wrong := [c for c in covariates if c in (target, "subject")]:
        raise ValueError(f"{where}: covariates={list(covariates)!r} must not hold {'the target' if wrong[0] == target else 'the column'} {wrong[0]!r}")
    for column in covariates:
        known = table[column].dropna()
        if known.nunique() > 10 and not pd.api.types.is_numeric_dtype(known) and pd.to_numeric(known.astype(str), errors="coerce").notna().all():
            raise ValueError(f"{where}: covariates: {column!r} holds numbers as texts, such as {str(known.iloc[0])!r}; make them numbers (pandas.to_numeric)")
    design, _ = confounding.design(table, list(covariates))
    rows = {"covariates": Pipeline(design, "linear", seed=main.seed)}
    if main.x.ndim == 2:
        # A few covariates among hundreds of features would be shrunk away with them.
        emphasis = np.concatenate([np.ones(main.x.shape[1]), np.full(design.shape[1], 10.0)])
        both = np.concatenate([main.x, design], axis=1)
        rows[f"{name} + covariates"] = Pipeline(both, main.probe, seed=main.seed, emphasis=emphasis)
    return rows, design
