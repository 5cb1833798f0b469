"""What an encoder or a task makes of a whole cohort."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pandas as pd
import torch

from sslmed._core import C
from sslmed._world import own_settings
from sslmed.cohort import Cohort
from sslmed.encoders import CohortEncoder, resolve
from sslmed.modalities import registry
from sslmed.modalities.base import Array, OnError
from sslmed.sources import in_order, warn_of_samples
from sslmed.training.loader import warn_of_failures

__all__ = ["Pooling", "encode", "encode_samples", "predict", "recording_means"]

Pooling = Literal["mean", "cls", "regions"] | str


@own_settings()
def encode(
    encoder: str | CohortEncoder,
    cohort: Cohort,
    *,
    pooling: Pooling = "mean",
    threads: int = 2,
    batch_size: int = 64,
    on_error: OnError = "raise",
) -> tuple[torch.Tensor, torch.Tensor]:
    """Features of every sample of a cohort, in order.

    Args:
        encoder: An encoder, a name or a path, see :func:`sslmed.encoders.resolve`.
        cohort: Rows of the encoder's modality.
        pooling: How tokens become the features of a sample: "mean" over patch tokens, "cls", or what else the modality has. EEG has "regions": means over
            six regions of the head side by side (left, middle, right; front, back); a region without an electrode takes the mean over all.
        threads: Number of loader threads.
        batch_size: Number of samples in a batch; does not change the result beyond rounding.
        on_error: "raise", or "skip" what cannot be read or carries no signal, with a warning.

    Returns:
        Features [n, D] float32 ([n, 6 · D] with "regions"), and the number [n] int64 of the cohort's row that each sample is of.

    Raises:
        ValueError: The cohort is of another modality, or the pooling is unknown.

    Examples:
        >>> import numpy as np, pandas as pd, sslmed as sm
        >>> cohort = sm.Cohort.from_arrays(np.random.randn(2, 3, 800), 100.0, ["Cz", "Pz", "Oz"], pd.DataFrame({"subject": ["a", "b"]}))
        >>> features, row = sm.encode("vit_tiny", cohort)
        >>> features.shape, row.tolist()
        (torch.Size([4, 192]), [0, 0, 1, 1])
    """
    values, source, ids = _encoded(encoder, cohort, pooling=pooling, threads=threads, batch_size=batch_size, on_error=on_error)
    return values, source.recording_of[ids]


@own_settings()
def encode_samples(encoder: str | CohortEncoder, cohort: Cohort, *, pooling: Pooling = "mean", **how: Any) -> tuple[torch.Tensor, pd.DataFrame]:
    """Features of every sample of a cohort, and where each lies.

    Args:
        encoder: As in :func:`encode`.
        cohort: As in :func:`encode`.
        pooling: As in :func:`encode`.
        **how: ``threads``, ``batch_size`` and ``on_error`` of :func:`encode`.

    Returns:
        Features [n, D] float32, and one line a sample: row (of the cohort), number (within its row, from 0), and its place as the modality names it (start and
        duration in s; x and y in pixels).

    Examples:
        >>> import numpy as np, pandas as pd, sslmed as sm
        >>> from sslmed.training import encode_samples
        >>> cohort = sm.Cohort.from_arrays(np.random.randn(2, 3, 800), 100.0, ["Cz", "Pz", "Oz"], pd.DataFrame({"subject": ["a", "b"]}))
        >>> _, places = encode_samples("vit_tiny", cohort)
        >>> places["row"].tolist(), places["number"].tolist(), places["start"].tolist()
        ([0, 0, 1, 1], [0, 1, 0, 1], [0.0, 4.0, 0.0, 4.0])
    """
    given = {"threads": 2, "batch_size": 64, "on_error": "raise"} | how
    values, source, ids = _encoded(encoder, cohort, pooling=pooling, **given)
    rows = source.recording_of
    number = pd.Series(rows.numpy()).groupby(rows.numpy()).cumcount().to_numpy()
    places = pd.DataFrame([source.describe(int(i)).place for i in ids], index=range(len(ids)))
    return values, pd.concat(
        [pd.DataFrame({"row": rows[ids].numpy(), "number": number[ids.numpy()]}), places[sorted(places, key=lambda name: (name != "start", name))]], axis=1
    )


def _encoded(encoder: str | CohortEncoder, cohort: Cohort, *, pooling: Pooling, **how: Any) -> tuple[torch.Tensor, C.Source, torch.Tensor]:
    model = resolve(encoder, cohort)
    kinds = [registry.get(name) for name in cohort.modalities]
    known = [name for name in kinds[0].poolings if all(name in kind.poolings for kind in kinds)]
    if pooling not in known:
        raise ValueError(f"encode: pooling={pooling!r}, expected one of {', '.join(known)} for {' and '.join(cohort.modalities)}")
    chosen = kinds[0].pooling(pooling)
    return _run(model, cohort, lambda loader: C.encode(model._handle, loader, chosen), model, **how)


@own_settings()
def predict(
    task: Any, encoder: CohortEncoder, cohort: Cohort, *, threads: int = 2, batch_size: int = 64, on_error: OnError = "raise"
) -> tuple[torch.Tensor, torch.Tensor]:
    """Outputs of a task's head for every sample of a cohort, in order.

    Args:
        task: A :class:`sslmed.methods.Supervised`.
        encoder: The task's encoder.
        cohort: Rows of the encoder's modality.
        threads: Number of loader threads.
        batch_size: Number of samples in a batch; does not change the result beyond rounding.
        on_error: "raise", or "skip" what cannot be read or carries no signal, with a warning.

    Returns:
        Logits [n, classes], or the regressed target [n, 1], and the number [n] int64 of the cohort's row that each sample is of.
    """
    how: dict[str, Any] = {"threads": threads, "batch_size": batch_size, "on_error": on_error}
    values, source, ids = _run(encoder, cohort, lambda loader: C.predict(task._handle, loader), task, **how)
    return values, source.recording_of[ids]


def _run(
    encoder: CohortEncoder, cohort: Cohort, step: Any, module: Any, *, threads: int, batch_size: int, on_error: OnError
) -> tuple[torch.Tensor, C.Source, torch.Tensor]:
    """Outputs of all samples, their source, and the number of each in it."""
    source = cohort.source(encoder.preprocessing, extra_channels=encoder.extra_channels)
    loader = in_order(source, encoder.preprocessing, threads=threads, batch_size=batch_size, on_error=on_error)
    # In evaluation: what a sample gives must not depend on the others of its batch, nor change the module.
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        values, ids = step(loader)
    finally:
        module.train(modes[0][1])
        for part, mode in modes:
            part.training = mode
    warn_of_failures(cohort, loader.failures)
    warn_of_samples(source)
    return values, source, ids


@own_settings()
def recording_means(values: torch.Tensor, recording: torch.Tensor, n: int) -> Array:
    """Mean of the samples of each row.

    Args:
        values: [m, D] features of samples.
        recording: [m] int64 number of each sample's row.
        n: Number of rows.

    Returns:
        [n, D] float64; NaN for a row without samples.
    """
    sums = torch.zeros(n, values.shape[1], dtype=torch.float64).index_add_(0, recording, values.double())
    counts = torch.bincount(recording, minlength=n).unsqueeze(1)
    means: np.ndarray[Any, Any] = (sums / counts).numpy()
    return means
