"""The rows of a cohort: their table, their arrays, which modality each is of, parts of them, and their samples."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from sslmed import bids, tables, unpacking
from sslmed._checks import choice, is_text, readable
from sslmed._core import C
from sslmed.modalities import registry
from sslmed.modalities.base import Preprocessing
from sslmed.modalities.joined import parts_of, whole_of

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["CohortTable"]


class CohortTable:
    """Files or arrays with one row of ``table`` each, as :class:`sslmed.Cohort` describes them.

    Args:
        table: One row a file or array, with at least ``path`` and ``subject``.
        name: Name of the cohort.
        arrays: For each row what its modality keeps in memory, or None for a row that is a file; None: all rows are files.

    Raises:
        ValueError: A column is missing or has missing values, there is no row, or a modality is unknown.
    """

    def __init__(self, table: pd.DataFrame, name: str, arrays: Sequence[Any] | None = None) -> None:
        for column in ("path", "subject"):
            if column not in table:
                raise ValueError(f"{name}: a cohort's table needs a column {column!r}, found {list(table.columns)}")
        if len(table) == 0:
            raise ValueError(f"{name}: the table has no rows")
        for column in ("subject", "path"):
            if (missing := table[column].isna()).any():
                raise ValueError(f"{name}: every row needs a {column}; row {int(missing.argmax())} has none")
        if blank := [value for value in table["subject"].unique() if isinstance(value, str) and not value.strip()]:
            row = int(table["subject"].isin(blank).to_numpy().argmax())
            raise ValueError(f"{name}: every row needs a subject; that of row {row} ({table['path'].iloc[row]}) is blank: name whose it is")
        for column in ("subject", "path"):
            # Other types of columns hold UTF-8 alone.
            odd = [] if table[column].dtype != object else [value for value in table[column] if isinstance(value, str) and not is_text(value)]
            if odd:
                raise ValueError(f"{name}: expected a {column} in UTF-8, found other bytes in {readable(odd[0])}; rename the file")
        if arrays is not None and len(arrays) != len(table):
            raise ValueError(f"{name}: arrays has {len(arrays)} entries, expected one for each of the table's {len(table)} rows")
        table = tables.understood(table.reset_index(drop=True), name)
        self.table = _with_modality(table, name)
        self.name = name
        self.arrays = None if arrays is None or all(a is None for a in arrays) else list(arrays)
        """For each row what its modality keeps in memory, or None for a row that is a file; None: all rows are files."""
        self.cache: dict[str, Any] = {}
        self.left_out: tuple[bids.LeftOut, ...] = ()
        """What the folder holds besides, see :meth:`report`."""

    @classmethod
    def from_medmnist(
        cls, path: str | os.PathLike[str], out: str | os.PathLike[str], *, split: str | Sequence[str] = unpacking.SPLITS, name: str | None = None
    ) -> Self:
        """The pictures or volumes of a MedMNIST file, of any set and size, unpacked once to a folder, with the official split as a column.

        MedMNIST does not say whose the images are: each one counts as its own subject, so that nothing here can keep images of one patient on one side of a
        split or fold. :meth:`report` says so too. Voxels count as cubes of 1 mm, because the file has no sizes.

        Args:
            path: The .npz file, see :func:`sslmed.io.read_medmnist`.
            out: Folder for the files, PNG or NIfTI, and their table ``cohort.tsv``. A second call leaves them as they are, and one that was stopped is
                begun anew.
            split: Parts to keep: "train", "val", "test", or several of them.
            name: Name of the cohort; by default the file's.

        Returns:
            A cohort whose table has ``split`` and ``label``, the class as a number, or for several labels at a time ``label_0``, ``label_1`` …

        Raises:
            FormatError, ReadError: The file cannot be read, or is none of MedMNIST.
            ValueError: A part is unknown or has no images, or ``out`` holds something else.

        Examples:
            >>> import tempfile, numpy as np, sslmed as sm
            >>> sizes = {"train": 5, "val": 2, "test": 3}
            >>> parts = {f"{part}_images": np.random.randint(0, 256, (n, 28, 28), np.uint8) for part, n in sizes.items()}
            >>> parts |= {f"{part}_labels": np.arange(n, dtype=np.uint8)[:, None] % 2 for part, n in sizes.items()}
            >>> folder = tempfile.mkdtemp()
            >>> np.savez_compressed(folder + "/tinymnist.npz", **parts)
            >>> sm.Cohort.from_medmnist(folder + "/tinymnist.npz", folder + "/tiny", split=("train", "test"))
            <Cohort tinymnist: 8 images of 8 subjects>

        See Also:
            :func:`sslmed.metrics.medmnist`: MedMNIST's scores.
        """
        wanted = [split] if isinstance(split, str) else list(split)
        for part in wanted:
            choice("from_medmnist", "split", part, unpacking.SPLITS)
        if not wanted:
            raise ValueError(f"from_medmnist: split={split!r} must name at least one of {', '.join(unpacking.SPLITS)}")
        table = unpacking.unpacked(path, out)
        if none := [part for part in wanted if not (table["split"] == part).any()]:
            raise ValueError(f"from_medmnist: split={split!r}: the file has nothing in {', '.join(none)}")
        return cls(table[table["split"].isin(wanted)], name or Path(path).stem)

    def __len__(self) -> int:
        return len(self.table)

    def __repr__(self) -> str:
        kinds = self._listed()
        rows = registry.get(kinds[0]).rows if len(kinds) == 1 else "rows"
        several = f" ({', '.join(kinds)})" if len(kinds) > 1 else ""
        return f"<Cohort {self.name}: {len(self)} {rows}{several} of {self.table['subject'].nunique()} subjects>"

    @property
    def in_memory(self) -> bool:
        """Whether all rows are arrays, and ``path`` names no files."""
        return self.arrays is not None and all(a is not None for a in self.arrays)

    def _listed(self) -> list[str]:
        return [str(m) for m in self.table["modality"].dropna().unique()]

    @property
    def modalities(self) -> tuple[str, ...]:
        """The modalities of the rows, in the order of their first rows.

        Raises:
            ValueError: A row's file is of no modality, or cannot be used yet (slides without an index).
        """
        if (unknown := self.table["modality"].isna()).any():
            path = self.table["path"].iloc[int(unknown.argmax())]
            raise ValueError(f"{self.name}: {path}: no modality recognizes this file; add a column modality with one of {', '.join(registry.names())}")
        found = self._listed()
        for name in found:
            registry.get(name).refuse(self.table if len(found) == 1 else self.part(name).table, self.name)
        return tuple(found)

    @property
    def modality(self) -> str:
        """The one modality of all rows.

        Raises:
            ValueError: The rows have several, or one that cannot be used yet.
        """
        found = self.modalities
        if len(found) > 1:
            raise ValueError(f"{self.name}: has rows of several modalities, {' and '.join(found)}; take one with cohort.part(name)")
        return found[0]

    def part(self, modality: str) -> Self:
        """The rows of one modality.

        Raises:
            ValueError: There is none.
        """
        mask = (self.table["modality"] == modality).to_numpy()
        if not mask.any():
            raise ValueError(f"{self.name}: part: modality={modality!r}, expected one of {', '.join(self._listed())}")
        if mask.all():
            return self
        found = self.subset(mask)
        # Columns of other modalities' indices are empty here.
        found.table = found.table.dropna(axis="columns", how="all")
        return found

    @property
    def subjects(self) -> pd.DataFrame:
        """One row a subject: the first row that is theirs."""
        return self.table.drop_duplicates("subject").reset_index(drop=True)

    def subset(self, rows: Any) -> Self:
        """The rows at these positions, or where this mask is true."""
        index = np.arange(len(self))[np.asarray(rows)]
        arrays = None if self.arrays is None else [self.arrays[i] for i in index]
        return type(self)(self.table.iloc[index], self.name, arrays)

    def query(self, expression: str) -> Self:
        """The rows for which a pandas expression holds: ``cohort.query("age > 60 and sex == 'F'")``."""
        return self.subset(self.table.index.isin(self.table.query(expression).index))

    def with_columns(self, **columns: Any) -> Self:
        """The same rows with more columns."""
        return type(self)(self.table.assign(**columns), self.name, self.arrays)

    def source(
        self,
        preprocessing: Preprocessing | Mapping[str, Preprocessing],
        *,
        extra_channels: Sequence[str] = (),
        stride: float = 0.0,
        random: bool = False,
        targets: Mapping[str, Sequence[float]] | None = None,
    ) -> C.Source:
        """The samples of all rows, as a C++ source.

        Args:
            preprocessing: Applied to every sample; for a cohort of several modalities one each, by name.
            extra_channels: Channel names without a known position for which the encoder has a learned row.
            stride: Distance between samples in the modality's unit (s, µm); 0: they adjoin.
            random: Draw the places of samples at random, for training.
            targets: Numbers by name, one a row, that samples carry.

        Raises:
            FormatError, ReadError: A file cannot be opened.
            ValueError: There are no samples, or the preprocessing is for another modality.

        Warns:
            FormatWarning: Files were salvaged, or channels are left out.
        """
        options: dict[str, Any] = {"extra_channels": extra_channels, "stride": stride, "random": random}
        known = parts_of(whole_of(preprocessing))
        if missing := [name for name in self.modalities if name not in known]:
            found = " and ".join(known)
            raise ValueError(f"{self.name}: preprocessing is for {found}, but the cohort has rows of {' and '.join(missing)}")
        if len(self.modalities) == 1:
            name = self.modalities[0]
            return registry.get(name).source(self, known[name], targets=targets, **options)
        parts, part_of = [], np.zeros(len(self), np.int32)
        for number, name in enumerate(self.modalities):
            rows = np.flatnonzero((self.table["modality"] == name).to_numpy())
            part_of[rows] = number
            own = {column: [values[int(i)] for i in rows] for column, values in (targets or {}).items()}
            parts.append(registry.get(name).source(self.part(name), known[name], targets=own, **options))
        return C.JoinedSource(parts, torch.from_numpy(part_of))


def _with_modality(table: pd.DataFrame, name: str) -> pd.DataFrame:
    """The table with a column ``modality``: checked where there is one, recognized where it is missing."""
    if "modality" not in table:
        found = registry.recognize_rows(table)
        if not isinstance(found, str):
            return table.assign(modality=pd.Series(found or [None] * len(table), dtype=object))
        return table.assign(modality=pd.Categorical.from_codes(np.zeros(len(table), np.int8), pd.Index([found])))  # a byte a row
    for value in table["modality"].dropna().unique():
        if value not in registry.names():
            raise ValueError(f"{name}: column 'modality' has the value {str(value)!r}, expected one of {', '.join(registry.names())}; rename the column")
    missing = table["modality"].isna()
    if not missing.any() or (found := registry.recognize_rows(table[missing])) is None:
        return table
    known = table["modality"].astype(object)
    known[missing] = found
    return table.assign(modality=known)
