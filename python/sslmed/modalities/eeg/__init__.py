"""EEG: recordings in files, in an index or in memory, and the windows that are cut out of them."""

from __future__ import annotations

import os
import warnings
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import pandas as pd

from sslmed._core import C, ChannelWarning, FormatError, regular
from sslmed.bids import LeftOut
from sslmed.modalities.base import Array, Baseline, Copy, Modality, OnError, Rows
from sslmed.modalities.eeg import choice, electrodes, index, recordings
from sslmed.modalities.eeg.epochs import epochs
from sslmed.modalities.eeg.preprocessing import EegPreprocessing
from sslmed.modalities.eeg.recordings import channels, common_channels, montages, unknown_channels
from sslmed.modalities.eeg.sidecars import CHANNELS, with_sidecars
from sslmed.modalities.eeg.source import source
from sslmed.modalities.eeg.views import EegAugmentation, EegView

__all__ = [
    "EEG",
    "Eeg",
    "EegAugmentation",
    "EegPreprocessing",
    "EegView",
    "channels",
    "common_channels",
    "montages",
    "source",
    "unknown_channels",
]


class Eeg(Modality):
    """EEG, of which windows of all channels are samples."""

    name = "eeg"
    preprocessing = EegPreprocessing
    rows = "recordings"
    samples = "windows"
    poolings = ("mean", "cls", "regions")
    baselines: ClassVar[Mapping[str, Baseline]] = {
        "band power": Baseline(),
        "handcrafted": Baseline(probe="forest", adapts=False, corrects=False),  # a forest has no use for another scale or covariance
        "riemann": Baseline(probe="linear", corrects=False),
        "acquisition": Baseline(adapts=False, corrects=False, acquisition=True),
    }
    files = (".edf", ".bdf", ".rec", ".vhdr", ".set", "raw.fif", "raw.fif.gz", "_eeg.fif", "_eeg.fif.gz")
    bids = ("_eeg.edf", "_eeg.bdf", "_eeg.vhdr", "_eeg.set", "_eeg.fif", "_eeg.fif.gz")
    bids_folders = ("eeg",)
    bids_parts = (".fdt", ".vmrk", ".eeg")
    bids_sidecars = (CHANNELS, electrodes.ELECTRODES, electrodes.COORDINATES)
    other_formats = "Cohort.from_mne takes what MNE reads"
    index_options = ("threads", "flat_gap")
    likeness = "signals"
    readers: ClassVar[Mapping[str, Any]] = {"arrays": recordings.from_arrays, "mne": recordings.from_mne, "npz": recordings.from_npz}

    def recognizes(self, table: pd.DataFrame) -> bool:
        """By an index's columns, or the ending of the first path."""
        return index.is_indexed(table) or str(table["path"].iloc[0]).lower().endswith(self.files)

    def dense(self, rows: Rows, preprocessing: Any) -> Any:
        """With the channels that all recordings have as the montage, where none is given."""
        if preprocessing.montage:
            return preprocessing.dense()
        shared = common_channels(rows)
        if not shared:
            raise ValueError(f"{rows.name}: montage=(): the recordings have no channel of the 10-05 system in common, which dense views need")
        return replace(preprocessing, montage=tuple(shared)).dense()

    def columns(self, table: pd.DataFrame) -> list[str]:
        """The paths, the index, what is read of them, and the subjects, by whom windows may be aligned."""
        return ["path", "subject", "stretches", "electrode_positions", *index.COLUMNS, *index.CHOICES, *index.SPAN]

    def choices(self, table: pd.DataFrame) -> list[str]:
        """Which channels are read, in which units, and where their electrodes are: an index of the same choices gives the same windows."""
        return [*index.CHOICES, "electrode_positions"]

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
        """Windows of all recordings, see :func:`source`."""
        return source(rows, preprocessing, extra_channels=extra_channels, stride=stride, random=random, targets=targets)

    def extra_channels(self, rows: Rows) -> list[str]:
        """Channel names without a position in the 10-05 system."""
        extra = unknown_channels(rows)
        if extra:
            text = f"{rows.name}: {len(extra)} channel names have no known position and get learned ones: {', '.join(extra[:8])}"
            warnings.warn(text, ChannelWarning, stacklevel=5)
        return extra

    def describe(self, source: C.Source) -> dict[str, Any]:
        """Number of windows, and the starts of the first and the last one in s."""
        return {"windows": len(source), "first": source.describe(0).place["start"], "last": source.describe(len(source) - 1).place["start"]}

    def members(self, path: str | os.PathLike[str]) -> Sequence[str | os.PathLike[str]]:
        """The header and the samples of a BrainVision or EEGLAB recording; else the file itself."""
        data = self.data_file(path)
        return [path] if data == path else [path, data]

    def data_file(self, path: str | os.PathLike[str]) -> str | os.PathLike[str]:
        """The ``.eeg`` of a BrainVision header, the ``.fdt`` beside a ``.set``; else the file itself."""
        if os.fspath(path).lower().endswith(".set"):
            beside = os.fspath(path)[:-4] + ".fdt"
            return beside if os.path.exists(beside) else path
        if not os.fspath(path).lower().endswith(".vhdr"):
            return path
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # told where the recording is read
                return C.BrainVisionFile(os.fspath(path)).data_path
        except FormatError:
            return path

    def body(self, path: str | os.PathLike[str]) -> int:
        """Byte where the data records start. The header before them names the patient, and does not count."""
        if not os.fspath(path).lower().endswith((".edf", ".bdf", ".rec")):
            return 0
        with open(regular(path), "rb") as file:
            header, size = file.read(192), os.fstat(file.fileno()).st_size
        length = header[184:192].strip()
        return int(length) if length.isdigit() and int(length) < size else 0

    def index(self, rows: Rows, out: str | os.PathLike[str] | None, **options: Any) -> pd.DataFrame:
        """Reads the headers of all files, and looks for gaps in their signals, see :func:`sslmed.modalities.eeg.index.describe`."""
        if rows.arrays is not None:
            raise ValueError(f"{rows.name}: recordings in memory have no files to index")
        table = index.describe(rows.table, **options)
        recordings.warn_of_scale(rows, len(rows.table))
        if out is not None:
            index.write(table, out)
        return table

    def gather(self, table: pd.DataFrame, sidecars: Mapping[str, Sequence[str]]) -> pd.DataFrame:
        """With what channels.tsv says of channels, and measured places of electrodes in the column ``electrode_positions``."""
        table = with_sidecars(table, sidecars)
        places = electrodes.measured(table["path"].tolist(), sidecars)
        return table.assign(electrode_positions=pd.Series(places, index=table.index, dtype=object)) if any(places) else table

    def check(self, rows: Sequence[Rows], preprocessing: Any) -> None:
        """That a recording has each of its ``channels`` and ``exclude``."""
        choice.check_names(rows, preprocessing.channels, preprocessing.exclude)

    def check_channels(self, rows: Sequence[Rows], channels: Sequence[str], exclude: Sequence[str]) -> None:
        """See :func:`sslmed.modalities.eeg.choice.check_names`."""
        choice.check_names(rows, channels, exclude)

    def with_chosen_channels(self, table: pd.DataFrame, channels: Sequence[str], exclude: Sequence[str]) -> pd.DataFrame:
        """See :func:`sslmed.modalities.eeg.choice.with_choice`."""
        return choice.with_choice(table, channels, exclude)

    def fingerprint(self, rows: Rows) -> Any:
        """Its largest waves, see :func:`sslmed.modalities.eeg.copies.fingerprint`."""
        from sslmed.modalities.eeg import copies  # needs SciPy's image processing, which takes long to load

        return copies.fingerprint(rows)

    def copies(self, fingerprints: Sequence[Any], groups: Array) -> Iterable[Copy]:
        """Copies of recordings, see :func:`sslmed.modalities.eeg.copies.copies`."""
        from sslmed.modalities.eeg import copies

        return copies.copies(fingerprints, groups)

    def channel_report(self, rows: Rows) -> pd.DataFrame:
        """What each channel's name is taken for, see :func:`sslmed.modalities.eeg.recordings.channel_report`."""
        return recordings.channel_report(rows)

    def epochs(self, rows: Rows, names: Sequence[str], *, column: str, tmin: float, tmax: float | None) -> tuple[pd.DataFrame, list[LeftOut]]:
        """Spans of events.tsv or of annotations, see :func:`sslmed.modalities.eeg.epochs.epochs`."""
        return epochs(rows, names, column=column, tmin=tmin, tmax=tmax)

    def summary(self, table: pd.DataFrame) -> str:
        """Number of montages."""
        return f"{len(index.montages(table))} montages"

    def pooling(self, name: str) -> C.Pooling:
        """By "regions" too: six of the head, left, middle and right, front and back."""
        return C.head_regions() if name == "regions" else super().pooling(name)

    def comparable(self, cohorts: Sequence[Rows]) -> bool:
        """Whether all recordings have a channel in common."""
        return bool(common_channels(*cohorts))

    def features(self, cohorts: Sequence[Rows], names: Collection[str], *, threads: int = 2, on_error: OnError = "raise") -> list[dict[str, Array]]:
        """Band power and more, see :func:`sslmed.modalities.eeg.baselines.features`."""
        from sslmed.modalities.eeg import baselines  # needs SciPy's signal processing, which takes long to load
        from sslmed.modalities.eeg.acquisition import acquisition

        spectral = [name for name in names if name != "acquisition"]
        found = baselines.features(cohorts, spectral, on_error=on_error) if spectral else [{} for _ in cohorts]
        if "acquisition" in names:
            found = [one | {"acquisition": x} for one, x in zip(found, acquisition(cohorts, on_error=on_error), strict=True)]
        return found


EEG = Eeg()
