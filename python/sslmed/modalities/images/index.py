"""The index of DICOM images: what their headers say of people and how they were taken, as columns of a cohort's
table."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd

from sslmed import tables
from sslmed.io import dicom, picture_store
from sslmed.modalities.base import Rows

__all__ = ["describe", "write"]


def describe(rows: Rows, threads: int = 4) -> pd.DataFrame:
    """The table with :data:`sslmed.io.dicom.COLUMNS` where it does not have them: a column of the caller's stays as it
    is, with its missing values.

    Rows of other formats have no values there, and a column that no header has is left out. Files that need a copy get
    one.

    Args:
        rows: A cohort of images.
        threads: Number of headers that are read at a time.

    Raises:
        FormatError, ReadError: A file cannot be read.
        ValueError: No file is DICOM.
    """
    paths = [os.path.abspath(path) for path in rows.table["path"]]
    headed = [picture_store.foreign_kind(path) == "DICOM" for path in paths]
    if not any(headed):
        raise ValueError(f"{rows.name}: images need no index, the cohort opens as it is (an index takes age, sex, view and spacing from DICOM headers)")
    picture_store.prepare(paths)
    with ThreadPoolExecutor(threads) as pool:
        found = iter(pool.map(dicom.header, [path for path, dicom_file in zip(paths, headed, strict=True) if dicom_file]))
    filled: list[dict[str, Any]] = [next(found) if dicom_file else {} for dicom_file in headed]
    known = {name for one in filled for name, value in one.items() if value is not None}
    own = {name: pd.Series([one.get(name) for one in filled], index=rows.table.index) for name in dicom.COLUMNS if name in known and name not in rows.table}
    return rows.table.assign(path=paths, **own)


def write(table: pd.DataFrame, out: str | os.PathLike[str]) -> None:
    """Writes an index, as Parquet (.parquet) or as text separated by tabs, or by commas (.csv)."""
    if Path(out).suffix.lower() == ".parquet":
        tables.storable(table, "index").to_parquet(out, index=False)
    else:
        table.to_csv(out, sep="," if Path(out).suffix.lower() == ".csv" else "\t", index=False)
