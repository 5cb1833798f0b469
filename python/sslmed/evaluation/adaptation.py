"""Domain adaptation without labels: the features of one population (source) are brought towards another (target).

An adaptation is an estimator: ``fit(source, target)`` learns from the features of both, ``transform(features, domain)``
changes those of one, and ``sample_weight_`` holds weights of the source's rows where it gives any.
"""

from __future__ import annotations

import importlib.util
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from scipy.linalg import fractional_matrix_power, sqrtm
from sklearn import config_context
from sklearn.base import BaseEstimator, clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sslmed._checks import choice, number, whole
from sslmed.evaluation._arrays import feature_pair, subject_codes
from sslmed.evaluation.alignment import euclidean_alignment, log_vectors

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = [
    "ADAPTATIONS",
    "Adaptation",
    "AdaptationName",
    "Coral",
    "Domain",
    "ImportanceWeights",
    "Normalize",
    "Recenter",
    "RemoveIdentity",
    "SkadaAdapter",
    "euclidean_alignment",
    "log_vectors",
    "resolve",
]

Array = np.ndarray[Any, Any]

Domain = Literal["source", "target"]
"""Whose rows: those of the population that was learned from, or of the one that is tested."""

AdaptationName = Literal["none", "normalize", "coral", "importance", "identity", "optimal_transport"]
"""The name of an adaptation."""

ADAPTATIONS: tuple[AdaptationName, ...] = ("none", "normalize", "coral", "importance", "identity", "optimal_transport")
"""Names that :func:`sslmed.transfer` takes. "identity" needs no other cohort; "optimal_transport" needs skada."""


class Adaptation(BaseEstimator, ABC):  # type: ignore[misc]
    """Base of the adaptations. Derive from it to write your own: define :meth:`fit` and :meth:`transform`."""

    needs_target = True
    """Whether :meth:`fit` needs features of the target population."""
    sample_weight_: Array | None = None
    """Weights of the source's rows [n] after :meth:`fit`, with a mean of 1; None where the adaptation gives none."""

    @abstractmethod
    def fit(self, source: Array, target: Array | None = None, *, labels: Array | None = None, groups: Array | None = None) -> Self:
        """Learns from the features of both populations. Labels of the target are not used.

        Args:
            source: Features of the source [n, D].
            target: Features of the target [m, D].
            labels: Labels of the source [n]; floats are regressed.
            groups: Subjects of the source [n].
        """

    @abstractmethod
    def transform(self, features: Array, domain: Domain = "target") -> Array:
        """Returns adapted features.

        Args:
            features: Features [k, D].
            domain: Population that they come from.
        """


class Normalize(Adaptation):
    """Normalizes each population by its own mean and standard deviation.

    For another device: scale and offset of every feature may differ.

    Examples:
        >>> import numpy as np
        >>> from sslmed.evaluation.adaptation import Normalize
        >>> x = np.random.default_rng(0).normal(size=(50, 3))
        >>> adapted = Normalize().fit(x, 4 * x + 7)
        >>> bool(np.allclose(adapted.transform(4 * x + 7, "target"), adapted.transform(x, "source")))
        True
    """

    def fit(self, source: Array, target: Array | None = None, *, labels: Array | None = None, groups: Array | None = None) -> Self:
        """Computes mean and deviation of each population.

        Raises:
            ValueError: Shapes that do not fit, or values that are not finite.
        """
        source, target = feature_pair(source, target, "Normalize")
        self.scalers_ = {"source": StandardScaler().fit(source), "target": StandardScaler().fit(target)}
        return self

    def transform(self, features: Array, domain: Domain = "target") -> Array:
        """Normalizes features by the statistics of their population."""
        choice("Normalize.transform", "domain", domain, ("source", "target"))
        return np.asarray(self.scalers_[domain].transform(features))


class Coral(Adaptation):
    """Gives the source the covariance and the mean of the target (CORAL, Sun et al., arXiv 1511.05547).

    Args:
        regularization: Number that is added to the diagonals of both covariances (1 in the paper).
        standardize: Standardize both populations by the source's mean and deviation before, because the regularization
            of the paper is meant for that scale.
    """

    def __init__(self, regularization: float = 1.0, *, standardize: bool = True) -> None:
        number("Coral", "regularization", regularization, 0)
        self.regularization = regularization
        self.standardize = standardize

    def fit(self, source: Array, target: Array | None = None, *, labels: Array | None = None, groups: Array | None = None) -> Self:
        """Computes the covariances of both populations.

        Raises:
            ValueError: Shapes that do not fit, or values that are not finite.
        """
        source, target = feature_pair(source, target, "Coral")
        self.scaler_ = StandardScaler(with_mean=self.standardize, with_std=self.standardize).fit(source)
        source, target = self.scaler_.transform(source), self.scaler_.transform(target)
        eye = self.regularization * np.eye(source.shape[1])
        self.whiten_ = np.real(fractional_matrix_power(np.cov(source, rowvar=False) + eye, -0.5))
        self.color_ = np.real(sqrtm(np.cov(target, rowvar=False) + eye))
        self.source_mean_, self.target_mean_ = source.mean(0), target.mean(0)
        return self

    def transform(self, features: Array, domain: Domain = "target") -> Array:
        """Recolors rows of the source; rows of the target are standardized only."""
        choice("Coral.transform", "domain", domain, ("source", "target"))
        x = self.scaler_.transform(np.asarray(features, float))
        return np.asarray(x if domain == "target" else (x - self.source_mean_) @ self.whiten_ @ self.color_ + self.target_mean_)


class ImportanceWeights(Adaptation):
    """Weights source rows by how much likelier they are in the target: the odds of a logistic domain classifier.

    Every row is weighted by a classifier that was not fitted on its subject. Features stay as they are; the weights are
    in ``sample_weight_``. Source: Shimodaira, J. Stat. Plan. Inference 2000; Bickel et al., JMLR 2009.

    Args:
        limit: Weights are clipped to [1 / limit, limit] before they are scaled to a mean of 1.
    """

    def __init__(self, limit: float = 20.0) -> None:
        number("ImportanceWeights", "limit", limit, 1)
        self.limit = limit

    def fit(self, source: Array, target: Array | None = None, *, labels: Array | None = None, groups: Array | None = None) -> Self:
        """Fits the domain classifiers, by folds over subjects.

        Args:
            source: Features [n, D], or covariances [n, C, C], which are compared by their logarithms.
            target: Features [m, D], or covariances [m, C, C].
            labels: Not used.
            groups: Subjects of the source [n]; each row by itself by default.

        Raises:
            ValueError: Shapes that do not fit, values that are not finite, or fewer than two subjects.
        """
        source, target = feature_pair(_vectors(source), None if target is None else _vectors(target), "ImportanceWeights")
        groups = np.arange(len(source)) if groups is None else np.asarray(groups)
        if len(groups) != len(source):
            raise ValueError(f"ImportanceWeights.fit: groups must have one subject for each of {len(source)} source rows, got {len(groups)}")
        folds = min(5, len(np.unique(groups)))
        if folds < 2:
            raise ValueError(f"ImportanceWeights.fit: groups must have at least two subjects, got {folds}")
        x, domain = np.concatenate([source, target]), np.repeat([0, 1], [len(source), len(target)])
        names = np.concatenate([groups.astype(str).astype(object) + "/source", np.arange(len(target)).astype(str).astype(object)])
        everyone = np.unique(names, return_inverse=True)[1]  # by number: GroupKFold searches texts one by one
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000))
        folded = GroupKFold(folds, shuffle=True, random_state=0)
        with config_context(enable_metadata_routing=False):  # importing skada turns it on for the whole process
            p = cross_val_predict(model, x, domain, groups=everyone, cv=folded, method="predict_proba")[: len(source), 1]
        odds = p / np.maximum(1 - p, 1e-12) * len(source) / len(target)
        odds = np.clip(odds, 1 / self.limit, self.limit)
        self.sample_weight_ = np.asarray(odds / odds.mean())
        return self

    def transform(self, features: Array, domain: Domain = "target") -> Array:
        """Returns the features as they are."""
        choice("ImportanceWeights.transform", "domain", domain, ("source", "target"))
        return features


class RemoveIdentity(Adaptation):
    """Removes the directions in which training subjects differ most from each other, relative to how much each varies.

    For labels that vary within subjects: what a label says between subjects is removed too, where it lies in those
    directions. It is fitted on training subjects alone, and needs no target.

    Args:
        directions: Number of directions to remove.
    """

    needs_target = False

    def __init__(self, directions: int = 1) -> None:
        whole("RemoveIdentity", "directions", directions, 1)
        self.directions = directions

    def fit(self, source: Array, target: Array | None = None, *, labels: Array | None = None, groups: Array | None = None) -> Self:
        """Finds the directions.

        Args:
            source: Features [n, D], several rows a subject.
            target: Not used.
            labels: Not used.
            groups: Subjects of the rows [n].

        Raises:
            ValueError: No subjects, fewer than two, none with two rows, or as many directions as subjects.
        """
        if groups is None:
            raise ValueError("RemoveIdentity.fit: groups=None, but the subject of each source row is needed")
        codes, n = subject_codes(source, groups, "RemoveIdentity.fit")
        if self.directions >= n:
            raise ValueError(f"RemoveIdentity.fit: directions={self.directions} must be at most {n - 1}, the number of subjects less one")
        self.mean_ = source.mean(axis=0)
        counts = np.bincount(codes)
        means = np.zeros((n, source.shape[1]))
        np.add.at(means, codes, source - self.mean_)
        means /= counts[:, None]
        within = source - self.mean_ - means[codes]
        # Whitened by the variance within subjects: a direction is removed for telling people apart, not for being large.
        self.scale_ = np.sqrt((within**2).mean(axis=0) + 1e-12 * (source - self.mean_).var(axis=0).max() + 1e-12)
        _, _, vectors = np.linalg.svd(np.sqrt(counts)[:, None] * means / self.scale_, full_matrices=False)
        self.components_ = vectors[: self.directions]
        return self

    def transform(self, features: Array, domain: Domain = "target") -> Array:
        """Removes the directions; rows of both populations are treated alike."""
        choice("RemoveIdentity.transform", "domain", domain, ("source", "target"))
        basis = self.components_.T
        z = (features - self.mean_) / self.scale_
        left: Array = (z - z @ basis @ basis.T) * self.scale_ + self.mean_
        return left


class Recenter(Adaptation):
    """Recenters the covariances of each population at the identity, by their Riemannian mean.

    Source: Zanini et al., IEEE Trans. Biomed. Eng. 2018.
    """

    def fit(self, source: Array, target: Array | None = None, *, labels: Array | None = None, groups: Array | None = None) -> Self:
        """Computes the Riemannian mean of each population.

        Args:
            source: Covariances [n, C, C], positive definite.
            target: Covariances [m, C, C], positive definite.
            labels: Not used.
            groups: Not used.

        Raises:
            ValueError: No target, or arrays that are not square matrices of the same size.
        """
        from pyriemann.geometry.base import invsqrtm
        from pyriemann.geometry.mean import mean_riemann

        if target is None:
            raise ValueError("Recenter.fit: target=None, but the covariances of the target population are needed")
        for name, given in (("source", source), ("target", target)):
            if given.ndim != 3 or given.shape[1] != given.shape[2] or given.shape[1] != source.shape[1]:
                raise ValueError(f"Recenter.fit: {name} must be covariances [n, C, C] of the same C, got {list(given.shape)}")
        self.whiten_ = {"source": invsqrtm(mean_riemann(source)), "target": invsqrtm(mean_riemann(target))}
        return self

    def transform(self, features: Array, domain: Domain = "target") -> Array:
        """Recenters covariances [k, C, C] by the mean of their population."""
        choice("Recenter.transform", "domain", domain, ("source", "target"))
        whiten = self.whiten_[domain]
        return np.asarray(whiten @ features @ whiten)


class SkadaAdapter(Adaptation):
    """Adapts by an adapter of skada, which also sees the labels of the source.

    Needs ``pip install 'sslmed[adaptation]'``; see https://scikit-adaptation.github.io.
    Features of both populations are standardized by the source's mean and deviation before.

    Args:
        adapter: An adapter of skada 0.6 or later, which is cloned and stays unfitted. By default optimal transport:
            source rows move onto the target's at the least cost (Courty et al., IEEE TPAMI 2017).
    """

    def __init__(self, adapter: Any = None) -> None:
        if importlib.util.find_spec("skada") is None:
            raise ImportError("SkadaAdapter (adaptation='optimal_transport') needs skada: pip install 'sslmed[adaptation]'")
        if adapter is not None and not _is_skadas(adapter):
            raise TypeError(f"SkadaAdapter: adapter={adapter!r} must be an adapter of skada, got {type(adapter).__name__}")
        self.adapter = adapter

    def fit(self, source: Array, target: Array | None = None, *, labels: Array | None = None, groups: Array | None = None) -> Self:
        """Fits the adapter on both populations.

        Args:
            source: Features [n, D].
            target: Features [m, D]; skada gets them as unlabeled.
            labels: Labels of the source [n]; floats are regressed.
            groups: Not used.

        Raises:
            ValueError: No labels, shapes that do not fit, values that are not finite, or an adapter that returns
                something else.
        """
        import skada

        source, target = feature_pair(source, target, "SkadaAdapter")
        if labels is None or len(labels) != len(source):
            got = "None" if labels is None else len(labels)
            raise ValueError(f"SkadaAdapter.fit: labels must have one value for each of {len(source)} source rows, got {got}")
        self.source_, self.target_ = source, target
        scaler = StandardScaler().fit(source)
        source, target = scaler.transform(source), scaler.transform(target)
        n, m = len(source), len(target)
        regression = np.issubdtype(np.asarray(labels).dtype, np.floating)
        known = np.asarray(labels, float) if regression else np.unique(labels, return_inverse=True)[1].astype(float)
        hidden = np.full(m, np.nan if regression else -1.0)  # what skada takes as unlabeled
        self.adapter_ = clone(skada.OTMappingAdapter() if self.adapter is None else self.adapter)
        x, y, domain = np.concatenate([source, target]), np.concatenate([known, hidden]), np.repeat([1, -2], [n, m])
        made = self.adapter_.fit_transform(x, y, sample_domain=domain)
        x, weights = (made[0], np.asarray(made[1]["sample_weight"])[:n]) if isinstance(made, tuple) else (made, None)
        x = np.asarray(x, float)
        if x.ndim != 2 or len(x) != n + m or not np.isfinite(x).all():
            raise ValueError(f"SkadaAdapter.fit: adapter={self.adapter_!r} must return {n + m} finite rows, got shape {list(x.shape)}")
        self.adapted_ = {"source": x[:n], "target": x[n:]}
        self.sample_weight_ = weights
        return self

    def transform(self, features: Array, domain: Domain = "target") -> Array:
        """Returns the adapted features of the rows that were fitted.

        Raises:
            ValueError: Other rows: what an adapter of skada learns holds for the rows it was fitted on.
        """
        choice("SkadaAdapter.transform", "domain", domain, ("source", "target"))
        if not np.array_equal(features, self.source_ if domain == "source" else self.target_):
            raise ValueError(f"SkadaAdapter.transform: features must be the {domain} rows that fit() got")
        return self.adapted_[domain]


def resolve(adaptation: Any, covariances: bool = False) -> Adaptation | None:
    """Makes the estimator for an adaptation that is given by name or as an object.

    Args:
        adaptation: One of :data:`ADAPTATIONS`, an :class:`Adaptation`, or an adapter of skada.
        covariances: Whether features are covariances [n, C, C]. They are recentered (:class:`Recenter`), except by
            "importance", which weights them too, and "identity", which leaves them as they are.

    Returns:
        An unfitted estimator; None where nothing is adapted.

    Raises:
        ValueError: An unknown name.
        TypeError: Neither a name nor an adaptation.
        ImportError: skada is needed and is not installed.
    """
    if isinstance(adaptation, Adaptation):
        made: Adaptation | None = clone(adaptation)
    elif _is_skadas(adaptation):
        made = SkadaAdapter(adaptation)
    elif not isinstance(adaptation, str):
        raise TypeError(
            f"adaptation={adaptation!r} must be one of {', '.join(map(repr, ADAPTATIONS))}, an sslmed.evaluation.adaptation.Adaptation or an adapter of "
            f"skada, got {type(adaptation).__name__}"
        )
    elif adaptation not in _BY_NAME:
        raise ValueError(f"adaptation={adaptation!r} must be one of {', '.join(map(repr, ADAPTATIONS))}, or an adapter of skada")
    else:
        made = None if adaptation == "none" else _BY_NAME[adaptation]()
    if made is None or not covariances or isinstance(made, (ImportanceWeights, Recenter)):
        return made
    return None if isinstance(made, RemoveIdentity) else Recenter()


_BY_NAME: dict[str, Any] = {
    "none": None,
    "normalize": Normalize,
    "coral": Coral,
    "importance": ImportanceWeights,
    "identity": RemoveIdentity,
    "optimal_transport": SkadaAdapter,
}


def _is_skadas(adapter: Any) -> bool:
    return not isinstance(adapter, (str, type, Adaptation)) and hasattr(adapter, "fit_transform") and hasattr(adapter, "get_params")


def _vectors(features: Array) -> Array:
    return log_vectors(features) if np.ndim(features) == 3 else np.asarray(features)
