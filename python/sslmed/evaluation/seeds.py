"""Several pretraining seeds of one encoder: the score is the mean over them, and their spread stands beside it."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from sslmed._checks import choice
from sslmed._core import TransductiveWarning
from sslmed.cohort import Cohort
from sslmed.encoders import CohortEncoder, resolve
from sslmed.evaluation import exposure
from sslmed.evaluation.crossfit import Made, Pipeline, Study, cross_fit, dummy, given
from sslmed.evaluation.features import encoder_features
from sslmed.evaluation.intervals import Estimate, estimate
from sslmed.evaluation.result import TransferResult

__all__ = ["Seeds", "estimate_seeds", "features_of", "members", "over_seeds", "predictions", "seeds_of"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Seeds:
    """A row of a table that was made once for each seed of a pretraining."""

    members: tuple[Pipeline | list[Array], ...]
    """How the row is predicted with each seed: a pipeline, or predictions of each repeat."""


def seeds_of(how: Any) -> int:
    """Returns the number of seeds of a row.

    Args:
        how: How the row is predicted.
    """
    return len(how.members) if isinstance(how, Seeds) else 1


def predictions(study: Study, how: Seeds | Pipeline | list[Array] | None) -> list[Made]:
    """Predicts a row in each repeat.

    Args:
        study: What is predicted of whom.
        how: A pipeline; predictions of each repeat that somebody else made; None: the dummy; or several of them by seed.

    Returns:
        Predictions of each repeat; with several seeds all repeats of the first, then all of the second, and so on.
    """
    if isinstance(how, Seeds):
        return [one for member in how.members for one in predictions(study, member)]
    if how is None:
        return dummy(study)
    return cross_fit(study, how) if isinstance(how, Pipeline) else given(study, how)


def estimate_seeds(study: Study, metric: str, made: Sequence[Made], seeds: int, **how: Any) -> tuple[Estimate, float]:
    """Scores the mean over seeds, with the interval of that mean.

    Scores without each person are averaged over the seeds too. The interval is that of the mean over these seeds for other people; how much another
    pretraining would differ is what the second number says.

    Args:
        study: What was predicted.
        metric: Name of the score.
        made: Predictions of each seed and repeat (:func:`predictions`).
        seeds: Number of seeds.
        **how: Options of :func:`sslmed.evaluation.intervals.estimate`.

    Returns:
        The estimate, whose ``repeats`` are means over seeds, and the standard deviation over seeds; NaN with one seed.
    """
    found = estimate(study, metric, made, **how)
    if seeds < 2:
        return found, np.nan
    by_seed = found.repeats.reshape(seeds, -1)
    return replace(found, repeats=by_seed.mean(axis=0)), float(by_seed.mean(axis=1).std(ddof=1))


def members(encoder: Any) -> list[Any]:
    """Returns the encoders of a list of them or of :class:`sslmed.pretraining.Runs`; none where one encoder is given.

    Args:
        encoder: Encoder, or several.

    Raises:
        ValueError: The list is empty.
    """
    found = getattr(encoder, "encoders", encoder)
    if isinstance(found, (str, os.PathLike)) or not isinstance(found, Sequence):
        return []
    if not found:
        raise ValueError("transfer: encoder=[] must hold at least one encoder")
    return list(found)


def features_of(encoders: Sequence[Any], cohort: Cohort, target: str, **how: Any) -> list[Array]:
    """Features of all but the first of the encoders of one pretraining, checked as the first one was.

    Args:
        encoders: Encoders that differ by their seed alone.
        cohort: People who are scored.
        target: Column that is predicted.
        **how: Options of :func:`sslmed.evaluation.features.encoder_features`.

    Raises:
        ValueError: An encoder has another architecture, or has seen labels of these people.
    """
    out: list[Array] = []
    models = [resolve(one, cohort) for one in encoders]
    for number, model in enumerate(models[1:], 1):
        if _architecture(model) != _architecture(models[0]):
            raise ValueError(f"transfer: encoder[{number}] has another architecture than encoder[0]; several encoders must differ by their seed alone")
        with warnings.catch_warnings():  # of the first encoder it was said already
            warnings.simplefilter("ignore", TransductiveWarning)
            exposure.check(model, cohort, target)
        out.append(encoder_features(model, cohort, **how))
    return out


def _architecture(encoder: CohortEncoder) -> dict[str, Any]:
    kept = {name: value for name, value in encoder.config.items() if name != "seed"}
    return kept | {"type": type(encoder).__name__, "preprocessing": encoder.preprocessing, "extra_channels": encoder.extra_channels}


def over_seeds(results: Sequence[TransferResult] | Mapping[Any, TransferResult]) -> pd.DataFrame:
    """Summarizes results of one study that differ by the seed of the pretraining.

    For the interval of the mean over seeds pass the encoders to :func:`sslmed.transfer` together.

    Args:
        results: Results of the same target and folds, one a seed; or the same by seed.

    Returns:
        row, metric, value (mean over seeds), sd_seeds, sd_folds (mean over seeds), low_seed and high_seed (the lowest and highest seed), seeds.

    Raises:
        ValueError: Fewer than two results, or results of different targets or folds.

    See Also:
        :func:`sslmed.pretrain`, whose ``seeds=`` trains them.

    Examples:
        >>> import numpy as np, pandas as pd
        >>> import sslmed as sm
        >>> rng, y = np.random.default_rng(0), np.tile(["a", "b"], 12)
        >>> table = pd.DataFrame({"subject": np.arange(24), "y": y})
        >>> features = [rng.normal(size=(24, 4)) + (y == "b")[:, None] for seed in range(3)]
        >>> results = [sm.evaluate(x, table, "y", repeats=2, permutations=0) for x in features]
        >>> found = sm.evaluation.over_seeds(results).set_index(["row", "metric"])
        >>> float(found.loc[("dummy", "auroc"), "sd_seeds"]), int(found.loc[("features", "auroc"), "seeds"])
        (0.0, 3)
    """
    named = dict(results) if isinstance(results, Mapping) else dict(enumerate(results))
    if len(named) < 2:
        raise ValueError(f"over_seeds: results must be at least two, one a seed, got {len(named)}")
    first = next(iter(named.values()))
    for key, one in named.items():
        choice("over_seeds", f"results[{key!r}].target", one.target, [first.target])
        if one.manifest.get("folds") != first.manifest.get("folds"):
            raise ValueError(f"over_seeds: results[{key!r}] has other folds than the first; score all seeds with the same seed and cv")
    table = pd.concat([one.table.assign(seed=key) for key, one in named.items()], ignore_index=True)
    grouped = table.groupby(["row", "metric"], sort=False)
    values = grouped["value"]
    parts = {"value": values.mean(), "sd_seeds": values.std(ddof=1), "sd_folds": grouped["sd_folds"].mean()}
    return pd.DataFrame(parts | {"low_seed": values.min(), "high_seed": values.max(), "seeds": values.size()}).reset_index()
