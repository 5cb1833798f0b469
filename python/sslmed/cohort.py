"""Cohorts: recordings, and what is known of the people they come from."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from sslmed import arrays, images, index, slides, tables
from sslmed._core import C, FormatError, ReadError
from sslmed.leakage import refuse_overlap, refuse_shared_files
from sslmed.preprocessing import EegPreprocessing, ImagePreprocessing, Preprocessing, SlidePreprocessing

__all__ = ["Cohort"]

_Path = str | os.PathLike[str]


class Cohort:
    """Recordings with one row of ``table`` each: ``path``, ``subject``, and whatever is known (age, sex, site, diagnosis …).

    Use :meth:`from_bids`, :meth:`from_table`, :meth:`from_mne`, :meth:`from_npz` or :meth:`from_arrays`.
    """

    def __init__(self, table: pd.DataFrame, name: str, arrays: Sequence[tuple[torch.Tensor, float, list[str]]] | None = None) -> None:
        for column in ("path", "subject"):
            if column not in table:
                raise ValueError(f"{name}: a cohort's table needs a column {column!r}, found {list(table.columns)}")
        if len(table) == 0:
            raise ValueError(f"{name}: no recordings")
        for column in ("subject", "path"):
            if (missing := table[column].isna()).any():
                raise ValueError(f"{name}: every recording needs a {column}; row {int(missing.argmax())} has none")
        table = tables.understood(table.reset_index(drop=True), name)
        self.table = table
        self.name = name
        self._arrays = None if arrays is None else list(arrays)
        self._channels: list[tuple[list[str], float]] | None = None

    @classmethod
    def from_bids(cls, root: _Path, *, name: str | None = None, task: str | None = None) -> Cohort:
        """EEG of a BIDS folder: every ``*_eeg.edf`` or ``*_eeg.bdf``, joined with ``participants.tsv``.

        Args:
            root: The folder that holds participants.tsv.
            name: Of the cohort; the folder's name by default.
            task: Only this task.

        Raises:
            FormatError: No recordings, or a subject that participants.tsv does not have.
            ReadError: No such folder.
        """
        root = Path(root)
        if not root.is_dir():
            raise ReadError(f"{root}: no such folder")
        files = sorted(p for p in root.rglob("*_eeg.*") if p.suffix.lower() in (".edf", ".bdf"))
        rows = []
        for path in files:
            entities = dict(re.findall(r"(?:^|_)([a-zA-Z]+)-([a-zA-Z0-9+]+)", path.stem))
            if "sub" not in entities:
                raise FormatError(f"{path}: expected a BIDS name that starts with sub-…, found {path.name!r}")
            if task is None or entities.get("task") == task:
                row = {"path": str(path), "subject": "sub-" + entities["sub"]}
                row |= {key: entities[short] for key, short in (("session", "ses"), ("task", "task"), ("run", "run")) if short in entities}
                rows.append(row)
        if not rows:
            raise FormatError(f"{root}: expected *_eeg.edf or *_eeg.bdf files{f' of task {task}' if task else ''}, found none")
        table = pd.DataFrame(rows)
        people = root / "participants.tsv"
        if people.exists():
            participants = tables.read_table(people, "\t")
            if "participant_id" not in participants:
                raise FormatError(f"{people}: expected a column participant_id, found {list(participants.columns)}")
            if participants["participant_id"].duplicated().any():
                raise FormatError(f"{people}: expected one row a participant, found some twice")
            unknown = sorted(set(table["subject"]) - set(participants["participant_id"].astype(str)))
            if unknown:
                raise FormatError(f"{people}: expected a row for every subject, found none for {', '.join(unknown[:5])}")
            extra = [c for c in participants.columns if c not in table.columns]
            table = table.merge(participants[extra], left_on="subject", right_on="participant_id", how="left")
            table = table.drop(columns="participant_id")
        return cls(table, name or root.resolve().name)

    @classmethod
    def from_table(cls, table: _Path | pd.DataFrame, *, name: str | None = None) -> Cohort:
        """Recordings listed in a table (.tsv, .csv, .parquet or DataFrame) with at least ``path`` and ``subject``.

        Relative paths count from the table's folder (a DataFrame's: from the working directory). An index (:meth:`index`)
        opens without touching the recordings.
        """
        if isinstance(table, pd.DataFrame):
            return cls(table, name or "cohort")
        path = Path(table)
        frame = tables.read_table(path, "," if path.suffix.lower() == ".csv" else "\t")
        if "path" in frame:
            paths = frame["path"].astype(str)
            absolute = paths.str.startswith("/")
            if not absolute.all():
                frame["path"] = paths.where(absolute, f"{path.parent}/" + paths)
        return cls(frame, name or path.stem)

    @classmethod
    def from_arrays(
        cls,
        values: Any,
        sfreq: float | Sequence[float],
        ch_names: Sequence[str] | Sequence[Sequence[str]],
        table: pd.DataFrame,
        *,
        name: str = "arrays",
    ) -> Cohort:
        """Recordings in memory.

        Args:
            values: [R, C, T], or R arrays [C, T], in µV.
            sfreq: Hz; one for all, or one a recording.
            ch_names: One list for all, or one a recording.
            table: R rows with at least ``subject``.
            name: Of the cohort.

        Raises:
            ValueError: Counts do not match, or what is no number or no rate.

        Warns:
            FormatWarning: Signals so small that they are in V.
        """
        found = arrays.recordings(values, sfreq, ch_names, len(table), name)
        table = table.reset_index(drop=True).copy()
        if "path" not in table:
            table["path"] = [f"{name}[{i}]" for i in range(len(found))]
        return cls(table, name, found)

    @classmethod
    def from_mne(cls, raws: Sequence[Any], table: pd.DataFrame, *, name: str = "mne") -> Cohort:
        """MNE's Raw objects: their EEG channels that are not marked bad, in µV, as they are (filtered or not).

        Args:
            raws: R of them; only read.
            table: R rows with at least ``subject``.
            name: Of the cohort.

        Raises:
            ValueError: Counts do not match, or a Raw without a good EEG channel.
        """
        values, rates, names = [], [], []
        for i, raw in enumerate(raws):
            kinds = raw.get_channel_types()
            good = [c for c, kind in zip(raw.ch_names, kinds, strict=True) if kind == "eeg" and c not in raw.info["bads"]]
            if not good:
                raise ValueError(f"{name}: recording {i} has no good EEG channel; it has {', '.join(sorted(set(kinds)))}")
            values.append(raw.get_data(picks=good) * 1e6)
            rates.append(float(raw.info["sfreq"]))
            names.append(good)
        return cls.from_arrays(values, rates, names, table, name=name)

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
        """One recording a .npz file: ``data`` [C, T] in µV, ``sfreq`` and ``ch_names`` by their keys, and scalar ``columns``.

        Raises:
            FormatError: A key is missing, or the file needs pickle.
        """
        values, rates, names, rows = [], [], [], []
        for path in map(Path, paths):
            try:
                with np.load(path, allow_pickle=False) as archive:
                    missing = [k for k in (data, sfreq, ch_names, *columns) if k not in archive]
                    if missing:
                        raise FormatError(f"{path}: expected the keys {', '.join(missing)}, found {', '.join(archive.files)}")
                    values.append(archive[data])
                    rates.append(float(archive[sfreq]))
                    names.append([str(c) for c in archive[ch_names]])
                    rows.append({"path": str(path)} | {c: str(archive[c]) for c in columns})
            except FileNotFoundError:
                raise ReadError(f"{path}: no such file") from None
            except (ValueError, OSError) as error:
                if isinstance(error, FormatError):
                    raise
                raise FormatError(f"{path}: expected a .npz of plain arrays, found {error}") from error
        return cls.from_arrays(values, rates, names, pd.DataFrame(rows), name=name)

    def __len__(self) -> int:
        return len(self.table)

    def __repr__(self) -> str:
        kind = "slides" if slides.are_listed(self.table) else {"eeg": "recordings"}.get(self.modality, self.modality)
        return f"<Cohort {self.name}: {len(self)} {kind} of {self.table['subject'].nunique()} subjects>"

    @property
    def in_memory(self) -> bool:
        """Whether the recordings are arrays, and ``path`` names no files."""
        return self._arrays is not None

    @property
    def modality(self) -> str:
        """ "slides" of an index of slides (:func:`sslmed.slides.index`), "images" where the first file is a PNG or JPEG, otherwise "eeg".

        Raises:
            ValueError: Slides without an index.
        """
        if self._arrays is not None:
            return "eeg"
        if slides.are_listed(self.table):
            raise ValueError(f"{self.name}: slides are indexed first: sslmed.slides.index(table, 'index.parquet'), or `sslmed index` (docs/slides.md)")
        return "slides" if slides.is_indexed(self.table) else "images" if images.are_images(self.table) else "eeg"

    @property
    def subjects(self) -> pd.DataFrame:
        """One row a subject: the first recording's."""
        return self.table.drop_duplicates("subject").reset_index(drop=True)

    def subset(self, rows: Any) -> Cohort:
        """The recordings at these positions, or where this mask is true."""
        index = np.arange(len(self))[np.asarray(rows)]
        arrays = None if self._arrays is None else [self._arrays[i] for i in index]
        return Cohort(self.table.iloc[index], self.name, arrays)

    def query(self, expression: str) -> Cohort:
        """The recordings for which a pandas expression holds: ``cohort.query("age > 60 and sex == 'F'")``."""
        return self.subset(self.table.index.isin(self.table.query(expression).index))

    def with_columns(self, **columns: Any) -> Cohort:
        """The same recordings with more columns."""
        return Cohort(self.table.assign(**columns), self.name, self._arrays)

    def joined(self, other: Cohort, *, name: str | None = None) -> Cohort:
        """These recordings and then those of another cohort; columns that one of them lacks are missing there.

        Raises:
            ValueError: One cohort is in memory and the other in files.
        """
        if (self._arrays is None) != (other._arrays is None):
            raise ValueError(f"{self.name} and {other.name}: one is in memory and the other in files; they cannot be joined")
        arrays = None if self._arrays is None or other._arrays is None else self._arrays + other._arrays
        return Cohort(pd.concat([self.table, other.table], ignore_index=True), name or f"{self.name} and {other.name}", arrays)

    def channels(self) -> list[tuple[list[str], float]]:
        """(EEG channel names, Hz) of each recording; reads the headers once."""
        if self._channels is None:
            if self._arrays is not None:
                self._channels = [(names, rate) for _, rate, names in self._arrays]
            elif index.is_indexed(self.table):
                self._channels = index.channels(self.table)
            else:
                self._channels = [C.recording_info(path)[:2] for path in self.table["path"]]
        return self._channels

    def montages(self) -> list[tuple[list[str], float]]:
        """(EEG channel names, Hz) that occur, from an index each once."""
        return index.montages(self.table) if self._arrays is None and index.is_indexed(self.table) else self.channels()

    def unknown_channels(self) -> list[str]:
        """Channel names without a position in the 10-05 system, sorted."""
        return sorted({c for names, _ in self.montages() for c in names if C.standard_name(c) is None})

    def source(
        self,
        preprocessing: Preprocessing,
        *,
        extra_channels: Sequence[str] = (),
        stride: float = 0.0,
        jitter: bool = False,
        targets: Mapping[str, Sequence[float]] | None = None,
    ) -> C.EegSource | C.SlideSource | C.ImageSource:
        """Windows of all recordings, pictures of all slides, or all images, as a C++ source.

        Args:
            preprocessing: Applied to every window.
            extra_channels: Names without a known position that the encoder has a learned row for.
            stride: s between windows, µm between pictures of slides; 0: the window's length, the picture's side.
            jitter: Move window starts at random within the stride; draw pictures of slides evenly over the tissue instead of from a grid; leave images
                whole, to be cropped at random.
            targets: Numbers by name, one a recording, that its samples carry.

        Raises:
            FormatError, ReadError: A recording cannot be opened or has no usable channel.
            ValueError: No recording holds a window, no slide has tissue, or the cohort is of another modality.

        Warns:
            FormatWarning: Salvaged files, and channels that are left out.
        """
        columns = {name: [float(v) for v in values] for name, values in (targets or {}).items()}
        if preprocessing.modality != self.modality:
            raise ValueError(f"{self.name}: a preprocessing of {preprocessing.modality} for a cohort of {self.modality}")
        if isinstance(preprocessing, SlidePreprocessing):
            return slides.source(self.table, self.name, preprocessing, stride=stride, random=jitter, targets=columns)
        if isinstance(preprocessing, ImagePreprocessing):
            return images.source(self.table, preprocessing, random=jitter, targets=columns)
        assert isinstance(preprocessing, EegPreprocessing)
        if self._arrays is None and index.is_indexed(self.table):
            source = index.source(self.table, self.name, preprocessing.options(stride=stride, jitter=jitter), extra_channels, columns)
            tables.trim()
            return source
        specs = []
        for i, (path, subject, site) in enumerate(self.table[["path", "subject", "site"]].itertuples(index=False)):
            if self._arrays is None:
                specs.append(C.RecordingSpec(str(path), subject=str(subject), site=str(site)))
            else:
                values, rate, names = self._arrays[i]
                specs.append(C.RecordingSpec(str(path), values, rate, names, str(subject), str(site)))
        return C.EegSource(specs, preprocessing.options(stride=stride, jitter=jitter), list(extra_channels), columns)

    def index(self, out: _Path | None = None, *, threads: int = 8) -> Cohort:
        """The same cohort with what its files' headers say in its table: it then opens without touching a file.

        Args:
            out: Where to write it (.parquet, or .tsv), for :meth:`from_table`.
            threads: That read headers.

        Raises:
            FormatError, ReadError: A recording cannot be opened.
            ValueError: The recordings are in memory.
        """
        if self._arrays is not None:
            raise ValueError(f"{self.name}: recordings in memory have no files to index")
        if self.modality != "eeg":
            raise ValueError(f"{self.name}: a cohort of {self.modality} opens at once as it is")
        indexed = Cohort(index.describe(self.table, threads), self.name)
        if out is not None:
            path = Path(out)
            table = indexed.table.assign(path=[os.path.abspath(p) for p in indexed.table["path"]])
            if path.suffix.lower() == ".parquet":
                table.to_parquet(path, index=False, row_group_size=max(1, len(table)))
            else:
                table.to_csv(path, sep="\t", index=False)
        return indexed

    def split(self, fraction: float = 0.2, *, stratify: str | None = None, seed: int = 0) -> tuple[Cohort, Cohort]:
        """Two cohorts without a shared subject; the second has ``fraction`` of the subjects, rounded up.

        Args:
            fraction: Of all subjects.
            stratify: A column whose values both sides are to have alike, by each subject's first one; who has none is left out.
            seed: Of the draw.

        Raises:
            ValueError: A fraction out of range, a value that one subject alone has, or a file that is listed for two subjects.
        """
        if not 0 < fraction < 1:
            raise ValueError(f"fraction must be within (0, 1), got {fraction}")
        from sklearn.model_selection import train_test_split

        refuse_shared_files(self)
        people = self.subjects if stratify is None else self.table.dropna(subset=stratify).drop_duplicates("subject")
        values = None if stratify is None else people[stratify].astype(str)
        if values is not None and (counts := values.value_counts()).min() < 2:
            raise ValueError(f"{self.name}: {stratify} {str(counts.idxmin())!r} has one subject, who cannot be on both sides")
        train, test = train_test_split(people["subject"].to_numpy(), test_size=fraction, random_state=seed, stratify=values)
        refuse_overlap(train, test)
        return self.subset(self.table["subject"].isin(train)), self.subset(self.table["subject"].isin(test))

    def folds(self, k: int | str = 5, *, stratify: str | None = None, seed: int = 0) -> Iterator[tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]:
        """(train, test) row positions with every subject on one side only; "loso" leaves one subject out at a time.

        Raises:
            ValueError: Fewer subjects than folds, of a class too; or a file that is listed for two subjects.
        """
        from sklearn.model_selection import GroupKFold, LeaveOneGroupOut, StratifiedGroupKFold

        # By number, in the order of their names: NumPy looks for texts among texts one by one.
        groups = np.unique(self.table["subject"].to_numpy(), return_inverse=True)[1]
        n = int(groups.max()) + 1
        refuse_shared_files(self)
        rows = np.arange(len(self))
        if k != "loso" and (not isinstance(k, int) or k < 2 or k > n):
            raise ValueError(f"{self.name}: folds must be 'loso' or 2 to {n} (its subjects), got {k!r}")
        if stratify is not None:
            least = k if isinstance(k, int) else 2  # loso: one to be tested, one to learn from
            per_value = self.table.groupby(stratify, observed=True)["subject"].nunique()
            if per_value.min() < least:
                few = f"{stratify} {str(per_value.idxmin())!r} has {per_value.min()} subjects"
                raise ValueError(f"{self.name}: {few}, too few for {k} folds; ask for fewer" if k != "loso" else f"{self.name}: {few}, and 'loso' needs two")
        if k == "loso":
            splitter, y = LeaveOneGroupOut(), None
        elif stratify is None:
            splitter, y = GroupKFold(k, shuffle=True, random_state=seed), None
        else:
            splitter, y = StratifiedGroupKFold(k, shuffle=True, random_state=seed), self.table[stratify].astype(str)
        for train, test in splitter.split(rows, y, groups):
            refuse_overlap(groups[train], groups[test])
            yield train, test
