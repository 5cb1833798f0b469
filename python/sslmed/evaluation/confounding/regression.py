"""Confound regression: features without what a linear model of covariates explains."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import BaseEstimator

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["ConfoundRegression", "regress_out"]

Array = np.ndarray[Any, Any]


def regress_out(train_features: Array, train_covariates: Array, features: Array, covariates: Array, *, controls: Array | None = None) -> Array:
    """Removes from features what a linear model of covariates, fitted to training rows, explains.

    Fit it inside each fold, on training rows alone: :class:`ConfoundRegression` says why, and what it cannot do.

    Args:
        train_features: Features of training rows [n, D].
        train_covariates: Covariates of training rows [n, q], such as those of :func:`design`.
        features: Features of any rows [m, D].
        covariates: Covariates of those rows [m, q].
        controls: True for training rows that the model is fitted to [n], bool; None for all of them.

    Returns:
        What is left of ``features`` [m, D].

    Raises:
        ValueError: Shapes that do not fit, values that are not finite, or fewer than two rows to fit to.

    Examples:
        >>> import numpy as np
        >>> from sslmed.evaluation.confounding import regress_out
        >>> age = np.array([[20.0], [40.0], [60.0]])
        >>> regress_out(3 * age, age, 3 * age + 1, age).round(6).tolist()
        [[1.0], [1.0], [1.0]]
    """
    x, c = _rows("regress_out", train_features, train_covariates, ("train_features", "train_covariates"))
    model = ConfoundRegression()._fitted("regress_out", "train_features", x, c, controls)
    return model._left("regress_out", *_rows("regress_out", features, covariates, ("features", "covariates")), "features")


class ConfoundRegression(BaseEstimator):  # type: ignore[misc]
    """Removes from features what a linear model of covariates explains (confound regression).

    Fit it inside each fold, on training rows alone. Fitted to all rows it makes training and test rows depend on each
    other, which drives scores below chance (Snoek et al., NeuroImage 2019). What it cannot do:

    - It removes what disease and confounder share as well. Fitted to controls alone it keeps the disease's own effect.
    - It removes linear effects of means alone. A forest or a network may find the confounder in what is left.
    - It may add information on the confounder to features that had none, where these are skewed or have few values, and a
      flexible model then scores higher than before (Hamdan et al., GigaScience 2023, "confound-leakage"). A score that
      rises after confound regression is a warning, not a result.

    Attributes:
        coef_: Slopes [q, D] after :meth:`fit`.
        intercept_: Intercepts [D] after :meth:`fit`.

    See Also:
        :func:`sslmed.evaluation.confounding.adjusted_auroc`: Adjusts the score and not the features.

    Examples:
        >>> import numpy as np
        >>> from sslmed.evaluation.confounding import ConfoundRegression
        >>> age = np.array([[20.0], [40.0], [60.0]])
        >>> ConfoundRegression().fit(3 * age + 5, age).coef_.round(6).tolist()
        [[3.0]]
    """

    def fit(self, x: Array, covariates: Array, *, controls: Array | None = None) -> Self:
        """Fits the model to training rows.

        Args:
            x: Features [n, D].
            covariates: Covariates [n, q].
            controls: True for rows that the model is fitted to [n], bool; None for all of them.

        Raises:
            ValueError: Shapes that do not fit, values that are not finite, or fewer than two rows to fit to.
        """
        return self._fitted("ConfoundRegression.fit", "x", *_rows("ConfoundRegression.fit", x, covariates), controls)

    def _fitted(self, where: str, name: str, x: Array, covariates: Array, controls: Array | None) -> Self:
        if controls is not None:
            mask = np.asarray(controls)
            if mask.dtype != bool or mask.shape != (len(x),):
                raise ValueError(f"{where}: controls must be a mask of {len(x)} rows, got {mask.dtype} of shape {list(mask.shape)}")
            if mask.sum() < 2:
                raise ValueError(f"{where}: controls has {int(mask.sum())} rows; the model needs at least two")
            x, covariates = x[mask], covariates[mask]
        elif len(x) < 2:
            raise ValueError(f"{where}: {name} has {len(x)} rows; the model needs at least two")
        center, middle = covariates.mean(axis=0), x.mean(axis=0)
        # Columns of one size, so that the cut-off of collinear ones does not depend on units. A constant one gets no slope.
        size = covariates.std(axis=0)
        size = np.where(size > 1e-12 * np.maximum(np.abs(center), 1), size, np.inf)
        slopes = np.linalg.lstsq((covariates - center) / size, x - middle, rcond=1e-10)[0]
        self.coef_ = slopes / size[:, None]
        self.intercept_ = middle - center @ self.coef_
        return self

    def transform(self, x: Array, covariates: Array) -> Array:
        """Returns features less what the model predicts from the covariates.

        Args:
            x: Features [m, D].
            covariates: Covariates [m, q].

        Raises:
            ValueError: Shapes that do not fit the model, or values that are not finite.
        """
        return self._left("ConfoundRegression.transform", *_rows("ConfoundRegression.transform", x, covariates), "x")

    def _left(self, where: str, x: Array, covariates: Array, name: str) -> Array:
        q, d = self.coef_.shape
        if x.shape[1] != d:
            raise ValueError(f"{where}: {name} must have the {d} features of the training rows, got {x.shape[1]}")
        if covariates.shape[1] != q:
            raise ValueError(f"{where}: covariates must have the {q} columns of the training rows, got {covariates.shape[1]}")
        return np.asarray(x - (covariates @ self.coef_ + self.intercept_))


def _rows(where: str, x: Array, covariates: Array, names: tuple[str, str] = ("x", "covariates")) -> tuple[Array, Array]:
    found = np.asarray(x, float), np.asarray(covariates, float)
    for name, values in zip(names, found, strict=True):
        if values.ndim != 2:
            raise ValueError(f"{where}: {name} must be [n, columns], got shape {list(values.shape)}")
        if not np.isfinite(values).all():
            raise ValueError(f"{where}: {name} has values that are not finite")
    if len(found[0]) != len(found[1]):
        raise ValueError(f"{where}: {names[1]} must have one row for each of the {len(found[0])} rows of {names[0]}, got {len(found[1])}")
    return found
