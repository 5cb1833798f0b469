"""Preparation of cohorts whose files take long to read: once, into a folder."""

from __future__ import annotations

import os
from typing import Any

from sslmed.cohort import Cohort
from sslmed.modalities import registry

__all__ = ["prepare"]


def prepare(cohort: Cohort, out: str | os.PathLike[str], **options: Any) -> Cohort | None:
    """The same cohort with its files brought to one orientation, grid and scale, in a folder that opens at once.

    What is there already stays as it is, so that a call which was stopped goes on where it ended, and calls with other shards
    add theirs. The same files and options give the same bytes. ``sslmed.Cohort.open(out)`` opens
    the prepared cohort again: its table is ``cohort.parquet`` in the folder.

    Args:
        cohort: Rows of one modality whose files can be prepared: volumes.
        out: Folder.
        **options: Of the modality. Volumes: ``spacing`` in mm, ``crop``, ``margin``, ``clip``, ``normalize`` and ``storage``
            of :class:`sslmed.VolumePreprocessing`; ``threads``, ``shard=(k, n)``, ``on_error`` and ``progress``.

    Returns:
        The prepared cohort; None where another process has still to do its part.

    Raises:
        FormatError, ReadError: A file cannot be read.
        TypeError: An option is unknown.
        ValueError: The rows need no preparation, or the folder was made with other options.

    Examples:
        >>> import pandas as pd, sslmed as sm, tempfile, torch
        >>> folder = tempfile.mkdtemp()
        >>> head = torch.zeros(20, 20, 20)
        >>> head[4:16, 4:16, 4:16] = torch.rand(12, 12, 12) + 1
        >>> sm.io.write_nifti(sm.io.Volume(head, torch.diag(torch.tensor([2.0, 2, 2, 1]))), f"{folder}/sub-1_T1w.nii.gz")
        >>> cohort = sm.Cohort.from_table(pd.DataFrame({"path": [f"{folder}/sub-1_T1w.nii.gz"], "subject": ["1"]}))
        >>> sm.prepare(cohort, f"{folder}/prepared", spacing=2.0)
        <Cohort cohort: 1 sessions of 1 subjects>

    See Also:
        :meth:`sslmed.Cohort.index`: what slides and EEG have in its place.
    """
    modality = registry.get(cohort.modality)
    if unknown := [name for name in options if name not in modality.prepare_options]:
        known = ", ".join(modality.prepare_options)
        raise TypeError(f"{cohort.name}: prepare: {', '.join(unknown)} is no option for modality {modality.name!r}, expected {known}")
    table = modality.prepare(cohort, out, **options)
    return None if table is None else Cohort(table, cohort.name)
