"""Features of a cohort as a table, for analyses of your own."""

from __future__ import annotations

from typing import Literal, get_args

import pandas as pd

from sslmed._checks import OnError, choice, whole
from sslmed._world import own_settings
from sslmed.cohort import Cohort
from sslmed.encoders import EncoderLike, resolve
from sslmed.evaluation.features import encoder_features
from sslmed.training.inference import encode_samples

__all__ = ["FeatureLevel", "features"]

FeatureLevel = Literal["recording", "sample"]
"""What a row of a table of features is."""


@own_settings()
def features(
    encoder: EncoderLike,
    cohort: Cohort,
    level: FeatureLevel = "recording",
    *,
    pooling: str = "mean",
    threads: int = 2,
    on_error: OnError = "raise",
) -> pd.DataFrame:
    """Computes the features of a cohort as a table with one row a recording or a sample.

    Args:
        encoder: Encoder, name or path (:func:`sslmed.encoders.resolve`).
        cohort: Recordings or images.
        level: "recording": the mean over a recording's samples, in the order of the cohort's table; or "sample": each sample (a window, a patch).
        pooling: How the tokens of a sample become its features (:func:`sslmed.encode`).
        threads: Number of loader threads.
        on_error: "raise", or "skip" samples that cannot be read or carry no signal, with a warning.

    Returns:
        subject and path; for samples also number (within the recording, from 0) and the place that the modality knows (start and duration in s; x and y in
        pixels); then the features f0, f1, …. ``df.filter(regex=r"^f\\d+$")`` are the features alone; ``df.filter(like="f")`` too.

    Raises:
        TypeError, ValueError: Arguments that do not fit, or a recording without a usable sample.

    See Also:
        :func:`sslmed.evaluate`, :func:`sslmed.encode`

    Examples:
        >>> import numpy as np, pandas as pd
        >>> import sslmed as sm
        >>> table = pd.DataFrame({"subject": [f"s{i}" for i in range(12)], "y": ["rest", "task"] * 6})
        >>> cohort = sm.Cohort.from_arrays(np.random.default_rng(0).normal(size=(12, 2, 800)), 100, ["Cz", "Pz"], table)
        >>> df = sm.features("vit_tiny", cohort)
        >>> df.columns[:4].tolist(), len(df)
        (['subject', 'path', 'f0', 'f1'], 12)
        >>> result = sm.evaluate(df.filter(like="f"), cohort.table, "y", cv=3, repeats=1, permutations=0)
        >>> sm.features("vit_tiny", cohort, "sample").columns[:6].tolist()
        ['subject', 'path', 'number', 'start', 'duration', 'f0']
    """
    choice("features", "level", level, get_args(FeatureLevel))
    choice("features", "on_error", on_error, get_args(OnError))
    whole("features", "threads", threads, 1)
    model = resolve(encoder, cohort)
    people = cohort.table[["subject", "path"]].reset_index(drop=True)
    if level == "recording":
        values = encoder_features(model, cohort, pooling=pooling, threads=threads, on_error=on_error)
        left = people
    else:
        tensor, places = encode_samples(model, cohort, pooling=pooling, threads=threads, on_error=on_error)
        values = tensor.numpy()
        left = pd.concat([people.iloc[places["row"].to_numpy()].reset_index(drop=True), places.drop(columns="row")], axis=1)
    return pd.concat([left, pd.DataFrame(values, columns=[f"f{i}" for i in range(values.shape[1])])], axis=1)
