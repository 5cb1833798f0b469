"""Volumes: brain MRI, PET and other images in three dimensions, a session a row."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd

from sslmed._core import C, FormatError
from sslmed.modalities.base import Array, Baseline, Modality, OnError, Rows
from sslmed.modalities.volumes import files, members, preparation, sessions
from sslmed.modalities.volumes.label_maps import VolumeLabelMaps
from sslmed.modalities.volumes.preprocessing import VolumeAugmentation, VolumePreprocessing, VolumeView
from sslmed.modalities.volumes.source import source

__all__ = ["VOLUMES", "VolumeAugmentation", "VolumePreprocessing", "VolumeView", "Volumes", "source"]


class Volumes(Modality):
    """Sessions with one or several volumes, of which one is a sample."""

    name = "volumes"
    preprocessing = VolumePreprocessing
    rows = "sessions"
    samples = "volumes"
    poolings = ("mean", "cls", "regions")
    baselines: ClassVar[Mapping[str, Baseline]] = {
        "histogram": Baseline(),
        "tissue volumes": Baseline(),
        "smoothed": Baseline(probe="linear"),
        "head size": Baseline(),
        "acquisition": Baseline(adapts=False, corrects=False, acquisition=True),
    }
    files = (*files.NIFTI, ".mgh", ".mgz", ".mgh.gz", ".nrrd", ".nhdr", ".mha", ".mhd", files.ENDING)
    bids = sessions.ENDINGS
    has_label_maps = True
    prepare_options = ("threads", "shard", "on_error", "progress", "spacing", "crop", "margin", "clip", "normalize", "storage")

    def gather(self, table: pd.DataFrame, sidecars: Mapping[str, Sequence[str]]) -> pd.DataFrame:
        """Files of a session side by side, see :func:`sslmed.modalities.volumes.sessions.gather`."""
        return sessions.gather(table)

    def listed(self, table: pd.DataFrame) -> pd.DataFrame:
        """Images that are no masks, labels or prepared volumes, see :func:`sslmed.modalities.volumes.files.listed`."""
        return files.listed(table)

    def opens(self, folder: Path) -> Path | None:
        """``cohort.parquet`` in a folder that has ``prepare.json``."""
        return preparation.table_of(folder)

    def default(self, rows: Rows) -> VolumePreprocessing:
        """As the cohort was prepared, with all of its sequences; those that some sessions lack may be missing."""
        first = str(rows.table["path"].iloc[0])
        names = _sequences(rows)
        if not files.is_prepared(first):
            return VolumePreprocessing(sequences=names)
        return VolumePreprocessing.from_settings(C.VolumeStore(first).settings, sequences=names)

    def without(self, preprocessing: Any) -> dict[str, Any]:
        """Each sequence beside which another one is always there."""
        names = preprocessing.sequences
        left = {name: tuple(other for other in names if other != name) for name in names}
        return {name.rstrip("?"): replace(preprocessing, sequences=others) for name, others in left.items() if any(not other.endswith("?") for other in others)}

    def columns(self, table: pd.DataFrame) -> list[str]:
        """The paths of all sequences and masks."""
        return files.columns(table)

    def choices(self, table: pd.DataFrame) -> list[str]:
        """The other sequences and masks, not the label maps."""
        return [column for column in self.columns(table) if column not in ("path", "path_labels")]

    def members(self, path: str | os.PathLike[str]) -> Sequence[str | os.PathLike[str]]:
        """Both files of a pair. Other formats are read when they are prepared only."""
        return members.members(str(path)) if str(path).lower().endswith(files.NIFTI) else [path]

    def content(self, path: str | os.PathLike[str]) -> bytes:
        """Digest of the decoded values of the first sequence: the same for a NIfTI file, however it is packed, and for what
        was prepared of it. Other formats, and files that cannot be decoded, are known by their bytes.

        Raises:
            OSError: The file cannot be read.
        """
        if str(path).lower().endswith((*files.NIFTI, files.ENDING)):
            try:
                digest: str = C.volume_checksum(str(path))
                return digest.encode()
            except FormatError:
                pass
        return super().content(path)

    def source(
        self,
        rows: Rows,
        preprocessing: Any,
        *,
        extra_channels: Sequence[str] = (),
        stride: float = 0.0,
        random: bool = False,
        targets: Mapping[str, Sequence[float]] | None = None,
    ) -> C.Source:
        """One sample a session, see :func:`source`."""
        return source(rows, preprocessing, extra_channels=extra_channels, random=random, targets=targets)

    def label_maps(self, rows: Rows, preprocessing: Any) -> VolumeLabelMaps:
        """Whole volumes with their label maps, see :class:`VolumeLabelMaps`."""
        return VolumeLabelMaps(rows, preprocessing)

    def extra_channels(self, rows: Rows) -> list[str]:
        """The sequences, where there are several: their tokens need to be told apart."""
        names = _sequences(rows)
        return [name.rstrip("?") for name in names] if len(names) > 1 else []

    def pooling(self, name: str) -> C.Pooling:
        """By "regions" too: twelve of the volume, left and right, back, middle and front, low and high."""
        return C.volume_regions() if name == "regions" else super().pooling(name)

    def prepare(self, rows: Rows, out: str | os.PathLike[str], **options: Any) -> pd.DataFrame | None:
        """Brings sessions to one grid and scale, see :func:`sslmed.modalities.volumes.preparation.prepare`."""
        return preparation.prepare(rows, out, **options)

    def features(self, cohorts: Sequence[Rows], names: Collection[str], *, threads: int = 2, on_error: OnError = "raise") -> list[dict[str, Array]]:
        """Sizes, intensities and small images, see :mod:`sslmed.modalities.volumes.baselines`."""
        from sslmed.modalities.volumes import classical  # needs SciPy's image processing, which takes long to load

        return [classical.features(rows, names, threads=threads, on_error=on_error) for rows in cohorts]


def _sequences(rows: Rows) -> tuple[str, ...]:
    """All sequences of a cohort, those that may be missing with a question mark."""
    held = [one for one in files.held(rows.table) if one]
    names = dict.fromkeys(name for one in held for name in one)
    return tuple(name if all(name in one for one in held) else f"{name}?" for name in names)


VOLUMES = Volumes()
