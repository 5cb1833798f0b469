"""Tables as files, and their columns as the C++ side takes them."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from sslmed._core import C, FormatError, ReadError, ValueWarning

__all__ = ["origins", "read", "read_table", "storable", "texts", "trim", "understood"]

# Not pandas' own list: "None" is a diagnosis.
_MISSING = ["n/a", "N/A", "NA", "nan", "NaN", ""]


def read_table(path: Path, separator: str) -> pd.DataFrame:
    """A table in a file: Parquet by its ending, otherwise text with this separator.

    Raises:
        FormatError: The file is not such a table.
        ReadError: There is no such file, or it is a folder.
    """
    try:
        if path.suffix.lower() == ".parquet":
            return read(path)
        # As texts: a subject "001" is not 1, whoever else is in the table, and session "01" is not "1".
        types = {"subject": str, "participant_id": str, "session": str, "session_id": str}
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            # Without index_col, rows longer than the header would have their first field taken for a name of the row, and all others moved.
            return pd.read_csv(path, sep=separator, na_values=_MISSING, keep_default_na=False, dtype=types, index_col=False)
    except FileNotFoundError:
        raise ReadError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise ReadError(f"{path}: is a folder without recordings in BIDS form") from None
    except pd.errors.ParserWarning:
        raise FormatError(f"{path}: expected rows as long as the header, found longer ones") from None
    except (pa.ArrowException, pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise FormatError(f"{path}: expected a table{'' if path.suffix.lower() == '.parquet' else f' separated by {separator!r}'}, found {error}") from error


def read(path: Path) -> pd.DataFrame:
    """A Parquet table, its texts in one piece each, so that the C++ side can use them where they lie."""
    with pa.memory_map(str(path)) as file:
        table: pd.DataFrame = pq.read_table(file, pre_buffer=False).combine_chunks().to_pandas(split_blocks=True, self_destruct=True)
    trim()
    return table


def storable(table: pd.DataFrame, where: str) -> pd.DataFrame:
    """The table as Parquet can hold it: columns of mixed or unknown types become texts; missing values stay missing.

    Args:
        table: Any table.
        where: Function and cohort, for messages.

    Raises:
        ValueError: The table cannot be written, such as one with two columns of the same name.

    Warns:
        ValueWarning: Columns became texts.
    """
    mixed = [column for column in table.columns[~table.columns.duplicated(keep=False)] if table[column].dtype == object and not _has_type(table[column])]
    if mixed:
        names = ", ".join(repr(column) for column in mixed)
        text = f"{where}: values of column{'s' if len(mixed) > 1 else ''} {names} are of different types, and are written as texts"
        warnings.warn(text, ValueWarning, stacklevel=4)
        table = table.assign(**{column: table[column].map(str, na_action="ignore") for column in mixed})
    try:
        pa.Table.from_pandas(table, preserve_index=False)
    except (pa.ArrowException, ValueError) as error:
        raise ValueError(f"{where}: table cannot be written as Parquet: {error}") from error
    return table


def _has_type(column: pd.Series[Any]) -> bool:
    try:
        pa.array(column, from_pandas=True)
    except (pa.ArrowException, OverflowError):
        return False
    return True


def trim() -> None:
    """Gives memory of large temporary columns back to the system."""
    pa.default_memory_pool().release_unused()
    C.trim_memory()


def origins(table: pd.DataFrame) -> tuple[Any, Any, Any, Any, list[str]]:
    """Paths, subjects and sites of a table's rows, as C++ sources take them."""
    subject_codes, subjects = pd.factorize(table["subject"])
    site_codes, sites = pd.factorize(table["site"].astype(str))
    whose = (torch.from_numpy(subject_codes), texts(pd.Series(subjects)), torch.from_numpy(site_codes), [str(s) for s in sites])
    return (texts(table["path"]), *whose)


def understood(table: pd.DataFrame, name: str) -> pd.DataFrame:
    """A copy with subjects as texts, a site for everybody, sex as F or M, and age as a number.

    Warns:
        ValueWarning: Values of sex or age are not understood, and count as missing.
    """
    out = table.assign(subject=table["subject"].astype(str))
    if "site" not in out:
        out["site"] = name
    if "sex" in out:
        letters = {value: str(value).strip().upper()[:1] for value in out["sex"].unique()}
        known = out["sex"].map({value: letter if letter in ("F", "M") else np.nan for value, letter in letters.items()})
        out["sex"] = _warned(name, out["sex"], known, "neither F nor M")
    if "age" in out:
        out["age"] = _warned(name, out["age"], pd.to_numeric(out["age"], errors="coerce"), "no numbers")
    return out


def _warned(name: str, column: pd.Series[Any], known: pd.Series[Any], what: str) -> pd.Series[Any]:
    if (lost := column.notna() & known.isna()).any():
        count = f"{int(lost.sum())} of {len(column)} values of {column.name!r}"
        warnings.warn(f"{name}: {count} are {what} and count as missing, such as {str(column[lost].iloc[0])!r}", ValueWarning, stacklevel=5)
    return known


def texts(column: pd.Series[Any], *, binary: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    """Arrow's own memory of a column of texts, or of bytes: int64 offsets and UTF-8 bytes, not copied where the column lies in one piece."""
    array = pa.array(column) if binary or isinstance(column.array, pd.arrays.ArrowStringArray) else pa.array(column.astype("str"))
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    array = array.cast(pa.large_binary() if binary else pa.large_string())
    _, offsets, data = array.buffers()
    at = np.frombuffer(offsets, np.int64, len(array) + 1, 8 * array.offset)
    text = np.frombuffer(data, np.uint8) if data is not None and data.size else np.zeros(0, np.uint8)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*not writable.*")  # and C++ only reads
        return torch.from_numpy(at), torch.from_numpy(text)
