"""Cohorts: recordings or images, and what is known of the people they come from."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from sslmed import bids, cohort_report, folders, joining, naming, splitting, tables
from sslmed._checks import is_text, readable
from sslmed._core import FormatError
from sslmed.cohort_table import CohortTable
from sslmed.modalities import registry
from sslmed.modalities.base import Array

__all__ = ["Cohort"]

_Path = str | os.PathLike[str]


class Cohort(CohortTable):
    """Files or arrays with one row of ``table`` each: ``path``, ``subject``, ``modality``, and whatever is known (age, sex, site, diagnosis …).

    Use :meth:`open`, :meth:`from_bids`, :meth:`from_folder`, :meth:`from_table`, :meth:`from_arrays`, :meth:`from_mne`, :meth:`from_npz`
    or :meth:`from_medmnist`.

    Args:
        table: One row a file or array, with at least ``path`` and ``subject``. A column ``modality`` names a registered modality
            (:func:`sslmed.modalities.names`); by default the table's files are recognized.
        name: Name of the cohort.
        arrays: For each row what its modality keeps in memory, or None for a row that is a file; None: all rows are files.

    Raises:
        ValueError: A column is missing or has missing values, there is no row, or a modality is unknown.
    """

    @classmethod
    def open(cls, path: _Path, *, name: str | None = None, channels: Sequence[str] | None = None, exclude: Sequence[str] = ()) -> Cohort:
        """The cohort that a path names: a prepared folder (:func:`sslmed.prepare`), a BIDS folder, another folder with files, or a table.

        Args:
            path: As for :meth:`from_bids`, :meth:`from_folder` or :meth:`from_table`.
            name: Name of the cohort; by default the folder's or the table's.
            channels: Names of the channels that are read where a recording has them, as for :meth:`choose_channels`; None: all EEG.
            exclude: Names of channels that are not read.

        Raises:
            FormatError: There are no files, or the table is none.
            ReadError: There is no such file, or a prepared folder lacks its table.
            ValueError: A name is no channel's.
        """
        if not Path(path).is_dir():
            return cls.from_table(path, name=name, channels=channels, exclude=exclude)
        if (table := registry.table_of(Path(path))) is not None:
            return cls.from_table(table, name=name or Path(path).resolve().name, channels=channels, exclude=exclude)
        endings = [ending for kind in registry.names() for ending in registry.get(kind).bids]
        left_out: list[bids.LeftOut] = []
        is_bids = bids.is_bids(path, endings) or not (folders.files_of(Path(path), left_out) or any(one.why == bids.NOT_TEXT for one in left_out))
        return (cls.from_bids if is_bids else cls.from_folder)(path, name=name, channels=channels, exclude=exclude)

    @classmethod
    def from_bids(
        cls, root: _Path, *, name: str | None = None, task: str | None = None, channels: Sequence[str] | None = None, exclude: Sequence[str] = ()
    ) -> Cohort:
        """The raw files of a BIDS folder that a registered modality knows, with participants.tsv, sessions.tsv, scans.tsv and channels.tsv.

        Says once, on standard error, what was found and what is left out: :meth:`report` has the same as a table.

        Args:
            root: The folder that holds participants.tsv.
            name: Name of the cohort; by default the folder's.
            task: Only files of this task.
            channels: Names of the channels that are read where a recording has them, as for :meth:`choose_channels`; None: all EEG.
            exclude: Names of channels that are not read.

        Raises:
            FormatError: There are no such files, or a subject that participants.tsv does not have.
            ReadError: The folder does not exist.
            ValueError: A name is no channel's.
        """
        name = name or Path(root).resolve().name
        listing = bids.scan(root, {kind: registry.get(kind).in_bids() for kind in registry.names()}, task)
        kinds = listing.table.groupby("modality", sort=False)
        parts = [registry.get(str(kind)).gather(part, listing.sidecars) for kind, part in kinds]
        table = tables.without_marks(pd.concat(parts, ignore_index=True), name)
        return cohort_report.told(cls(table, name).choose_channels(channels, exclude), listing.left_out)

    @classmethod
    def from_folder(
        cls, root: _Path, *, subject: str = naming.SUBJECT, name: str | None = None, channels: Sequence[str] | None = None, exclude: Sequence[str] = ()
    ) -> Cohort:
        """The files of a folder, and of folders within, whose endings a registered modality knows.

        Args:
            root: The folder.
            subject: Regular expression whose match, from the start of a file's name without its ending, says whose the file is. By default a patient
                as TCGA, TARGET, CPTAC, GTEx, HTAN and CAMELYON17 name them, or else the whole name.
            name: Name of the cohort; by default the folder's.
            channels: Names of the channels that are read where a recording has them, as for :meth:`choose_channels`; None: all EEG.
            exclude: Names of channels that are not read.

        Raises:
            FormatError: There are no such files, or a name does not match.
            ValueError: A name is no channel's.

        Warns:
            LeftOutWarning: Files are no recordings or images of their own, such as masks.
            ValueWarning: Files of one name in different folders count as one subject's.
        """
        name = name or Path(root).resolve().name
        table, left_out = folders.table_of(Path(root), subject, name)
        return cohort_report.told(cls(table, name).choose_channels(channels, exclude), left_out)

    @classmethod
    def from_table(
        cls,
        table: _Path | pd.DataFrame,
        *,
        name: str | None = None,
        root: _Path | None = None,
        channels: Sequence[str] | None = None,
        exclude: Sequence[str] = (),
    ) -> Cohort:
        """Files listed in a table (.tsv, .csv, .parquet or DataFrame) with at least ``path`` and ``subject``.

        An index (:meth:`index`) opens without touching the files.

        Args:
            table: The table, or its file.
            name: Name of the cohort; by default the file's.
            root: Folder that relative paths, in ``path`` and in columns ``path_…``, count from; by default the table's folder (a DataFrame's: the
                working directory).
            channels: Names of the channels that are read where a recording has them, as for :meth:`choose_channels`; None: all EEG.
            exclude: Names of channels that are not read.

        Raises:
            FormatError, ReadError: The table cannot be read.
            ValueError: A column is missing, or a name is no channel's.
        """
        if isinstance(table, pd.DataFrame):
            table = table if root is None else table.assign(path=[os.path.join(os.path.abspath(root), p) for p in table["path"]])
            return cls(tables.without_marks(table, name or "cohort"), name or "cohort").choose_channels(channels, exclude)
        path = Path(table)
        if not is_text(where := os.path.abspath(path.parent if root is None else root)):
            raise FormatError(f"{readable(where)}: expected a folder whose name is UTF-8; rename it")
        frame = tables.read_table(path, "," if path.suffix.lower() == ".csv" else "\t")
        for column in [c for c in frame if c == "path" or str(c).startswith("path_")]:
            missing, paths = frame[column].isna(), frame[column].astype(str)
            absolute = paths.str.startswith("/")
            if not (absolute | missing).all():
                paths = paths.where(absolute, f"{where}/" + paths)
                frame[column] = paths.mask(missing) if missing.any() else paths
        return cls(tables.without_marks(frame, name or path.stem), name or path.stem).choose_channels(channels, exclude)

    @classmethod
    def from_arrays(
        cls,
        values: Any,
        sfreq: float | Sequence[float],
        ch_names: Sequence[str] | Sequence[Sequence[str]],
        table: pd.DataFrame,
        *,
        name: str = "arrays",
        channels: Sequence[str] | None = None,
        exclude: Sequence[str] = (),
    ) -> Cohort:
        """Recordings in memory.

        Args:
            values: [R, C, T], or R arrays [C, T], in µV.
            sfreq: Sampling rate in Hz; one for all, or one a recording.
            ch_names: Channel names; one list for all, or one a recording.
            table: R rows with at least ``subject``.
            name: Name of the cohort.
            channels: Names of the channels that are read where a recording has them, as for :meth:`choose_channels`; None: all EEG.
            exclude: Names of channels that are not read.

        Raises:
            ValueError: Counts do not match, values are not numbers, a rate is not positive, or a name is no channel's.

        Warns:
            ValueWarning: Signals are so small that they are probably in V.
        """
        return cls._read("arrays", values, sfreq, ch_names, table, name=name).choose_channels(channels, exclude)

    @classmethod
    def from_mne(
        cls, raws: Sequence[Any], table: pd.DataFrame, *, name: str = "mne", channels: Sequence[str] | None = None, exclude: Sequence[str] = ()
    ) -> Cohort:
        """MNE's Raw objects: their channels that are not marked bad, in µV, as they are (filtered or not).

        Spans annotated as bad ("BAD_…", as :class:`mne.Epochs` leaves them out) are gaps, and so are those that are found
        in files (``flat_gap`` of :class:`sslmed.EegPreprocessing`); no window goes across a boundary. A Raw that is not loaded (``preload=False``) is
        written once, piece by piece, to a file in the folder of :func:`sslmed.io.set_recording_store` that is mapped into memory, and is gone with the cohort.

        Args:
            raws: R objects, which are only read.
            table: R rows with at least ``subject``.
            name: Name of the cohort.
            channels: Names of the channels that are read where a recording has them, as for :meth:`choose_channels`; None: all EEG.
            exclude: Names of channels that are not read.

        Raises:
            ValueError: Counts do not match, a Raw has no good channel, or a name is no channel's.
            TypeError: A recording is no Raw.
        """
        return cls._read("mne", raws, table, name=name).choose_channels(channels, exclude)

    @classmethod
    def from_npz(
        cls,
        paths: Sequence[_Path],
        *,
        data: str = "data",
        sfreq: str = "sfreq",
        ch_names: str = "channels",
        columns: Sequence[str] = ("subject",),
        name: str = "npz",
    ) -> Cohort:
        """One recording a .npz file.

        Args:
            paths: The files.
            data: Key of the signal [C, T] in µV.
            sfreq: Key of the sampling rate in Hz.
            ch_names: Key of the channel names.
            columns: Keys of scalars that become columns of the table.
            name: Name of the cohort.

        Raises:
            FormatError: A key is missing, or the file needs pickle.
        """
        return cls._read("npz", paths, data=data, sfreq=sfreq, ch_names=ch_names, columns=columns, name=name)

    @classmethod
    def _read(cls, reader: str, *args: Any, name: str, **options: Any) -> Cohort:
        """A cohort in memory, made by the modality that has this reader."""
        modality = registry.reader(reader)
        table, arrays = modality.readers[reader](*args, name=name, **options)
        return cls(table.assign(modality=modality.name), name, arrays)

    def choose_channels(self, channels: Sequence[str] | None = None, exclude: Sequence[str] = ()) -> Cohort:
        """The same rows, of which only some channels are read.

        Args:
            channels: Names of the channels that are read where a recording has them, in any spelling; None: all EEG.
            exclude: Names of channels that are not read, besides those that are excluded already (bad ones of channels.tsv).

        Raises:
            TypeError: A text is given in the place of a list.
            ValueError: No recording has a channel of that name, or the rows have no channels.

        Examples:
            >>> import numpy as np, pandas as pd, sslmed as sm
            >>> people = sm.Cohort.from_arrays(20 * np.random.randn(1, 3, 800), 100.0, ["Fp1", "Cz", "A1"], pd.DataFrame({"subject": ["a"]}))
            >>> sm.modalities.eeg.channels(people.choose_channels(exclude=["A1"]))
            [(['Fp1', 'Cz'], 100.0)]
        """
        return cohort_report.choose_channels([self], channels, exclude)[0]

    def qualified(self) -> Cohort:
        """The same rows with subjects named by cohort and id, "public/sub-01": for people of different data sets whose names are the same."""
        return self.with_columns(subject=[f"{self.name}/{subject}" for subject in self.table["subject"]])

    def report(self) -> pd.DataFrame:
        """What the cohort was read from: one line a modality that was found, and one a reason for which something was left out.

        Returns:
            Columns ``outcome`` ("read", "used", "not known" or "left out"), ``what``, ``count``, ``why``, ``example``.
        """
        return cohort_report.report(self)

    def channel_report(self) -> pd.DataFrame:
        """What each channel's name is taken for: one line a name and meaning, over all recordings.

        Returns:
            Columns ``channel``, ``name`` (of the 10-05 system), ``kind`` ("electrode", "derivation", "unplaced", "auxiliary"), ``reference``, ``used``, ``why``
            (it is not), ``recordings``.

        Raises:
            ValueError: The rows have no channels.
        """
        return cohort_report.channel_report(self)

    def joined(self, other: Cohort, *, name: str | None = None, same_people: bool | None = None) -> Cohort:
        """These rows and then those of another cohort, of any modality, in files or in memory.

        Columns that one cohort lacks are missing in its rows.

        Args:
            other: The other cohort.
            name: Name of the new cohort; by default of both names.
            same_people: Whether subjects of the same name are the same people. By default they are if their sites are the same, or if the cohorts hold
                different modalities; otherwise their names become those of :meth:`qualified`.

        Warns:
            OverlapWarning: Subjects of the same name were taken for different people.
        """
        return joining.joined(self, other, name, same_people)

    def index(self, out: _Path | None = None, *, threads: int | None = None, **options: Any) -> Cohort | None:
        """The same cohort with what its files hold in its table: it then opens without touching a file.

        Args:
            out: File to write the index to, for :meth:`from_table`.
            threads: Number of files that are read at a time; by default the modality's.
            **options: Options of the modality's index.

        Returns:
            The indexed cohort; None where another process has still to do its part.

        Raises:
            FormatError, ReadError: A file cannot be read.
            ValueError: The rows are in memory, or the modality needs no index.
        """
        kinds = self._listed()
        if len(kinds) != 1:
            raise ValueError(f"{self.name}: index: expected rows of one modality, found {' and '.join(kinds) or 'none'}")
        modality = registry.get(kinds[0])
        given = options if threads is None else options | {"threads": threads}
        if unknown := [name for name in given if name not in modality.index_options]:
            known = ", ".join(modality.index_options)
            raise TypeError(f"{self.name}: index: {', '.join(unknown)} is no option for modality {kinds[0]!r}, expected {known}")
        table = modality.index(self, out, **given)
        return None if table is None else Cohort(table, self.name)

    def epochs(self, *names: str, column: str = "trial_type", tmin: float = 0.0, tmax: float | None = None) -> Cohort:
        """The spans of recordings that events name, one a row, with their names as labels: for :func:`sslmed.transfer` to tell apart.

        Events are those of the nearest events.tsv of a BIDS folder, or else the annotations of the file. The rows keep the columns of their recordings,
        and folds keep all spans of a person together. Windows that cross the end of a span are left out.

        Args:
            *names: Names of events.
            column: Column of events.tsv with the names, and of the new table.
            tmin: Start of a span in s from the event's onset.
            tmax: End of a span in s from the event's onset; None: the end of the event. Events without a duration need it.

        Returns:
            A cohort with the columns ``column``, ``span_start`` and ``span_stop`` (s), and those of :meth:`index`. Its :meth:`report` says what is left out.

        Raises:
            FormatError, ReadError: An events.tsv or a recording cannot be read.
            ValueError: There is no such event (those that there are are named), the events have no duration, or the rows are arrays.

        Warns:
            LeftOutWarning: Recordings have no such events, or spans are left out.
            ValueWarning: Spans overlap.

        Examples:
            >>> import tempfile, numpy as np, pandas as pd, sslmed as sm
            >>> file = tempfile.mkdtemp() + "/a.edf"
            >>> sm.io.write_edf(file, 20 * np.random.randn(2, 2000), 100, ["Cz", "Pz"], annotations=[(0.0, 8.0, "rest"), (10.0, 9.0, "task")])
            >>> spans = sm.Cohort.from_table(pd.DataFrame({"path": [file], "subject": ["a"]})).epochs("rest", "task")
            >>> spans.table[["trial_type", "span_start", "span_stop"]].values.tolist()
            [['rest', 0.0, 8.0], ['task', 10.0, 19.0]]
        """
        table, left_out = registry.get(self.modality).epochs(self, names, column=column, tmin=tmin, tmax=tmax)
        found = Cohort(table, self.name)
        found.left_out = (*self.left_out, *left_out)
        return found

    def split(self, fraction: float = 0.2, *, stratify: str | None = None, seed: int = 0) -> tuple[Cohort, Cohort]:
        """Two cohorts without a shared subject; the second has ``fraction`` of the subjects, rounded up.

        Args:
            fraction: Share of subjects in the second cohort.
            stratify: Column whose values both sides get in the same shares, by each subject's first one; subjects without a value are left out.
            seed: Seed of the draw.

        Raises:
            ValueError: The fraction is out of range, only one subject has a value, or a file is listed for two subjects.
        """
        return splitting.split(self, fraction, stratify, seed)

    def folds(self, k: int | str = 5, *, stratify: str | None = None, seed: int = 0) -> Iterator[tuple[Array, Array]]:
        """(train, test) row positions with every subject on one side only; "loso" leaves one subject out at a time.

        Args:
            k: Number of folds, or "loso".
            stratify: Column whose values folds get in the same shares.
            seed: Seed of the draw.

        Raises:
            ValueError: There are fewer subjects than folds, or of one value of ``stratify``; or a file is listed for two subjects.
        """
        return splitting.folds(self, k, stratify, seed)
