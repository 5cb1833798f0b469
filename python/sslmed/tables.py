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

from sslmed._core import C, FormatError, ReadError

__all__ = ["origins", "read", "read_table", "texts", "trim"]

_MISSING = ["n/a", "N/A", "NA", ""]


def read_table(path: Path, separator: str) -> pd.DataFrame:
    """A table of any of the kinds that cohorts come in: Parquet by its name, else text with this separator.

    Raises:
        FormatError: It is none.
        ReadError: No such file, or a folder.
    """
    try:
        if path.suffix.lower() == ".parquet":
            return read(path)
        return pd.read_csv(path, sep=separator, na_values=_MISSING, keep_default_na=False)
    except FileNotFoundError:
        raise ReadError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise ReadError(f"{path}: is a folder without recordings in BIDS form") from None
    except (pa.ArrowException, pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise FormatError(f"{path}: expected a table{'' if path.suffix.lower() == '.parquet' else f' separated by {separator!r}'}, found {error}") from error


def read(path: Path) -> pd.DataFrame:
    """A Parquet table, its texts in one piece each, so that the C++ side can use them where they lie."""
    with pa.memory_map(str(path)) as file:
        table: pd.DataFrame = pq.read_table(file, pre_buffer=False).combine_chunks().to_pandas(split_blocks=True, self_destruct=True)
    trim()
    return table


def trim() -> None:
    """Gives back what large temporary columns took."""
    pa.default_memory_pool().release_unused()
    C.trim_memory()


def origins(table: pd.DataFrame) -> tuple[Any, Any, Any, Any, list[str]]:
    """Paths, subjects and sites of a table's rows, as C++ sources take them."""
    subject_codes, subjects = pd.factorize(table["subject"])
    site_codes, sites = pd.factorize(table["site"].astype(str))
    whose = (torch.from_numpy(subject_codes), texts(pd.Series(subjects)), torch.from_numpy(site_codes), [str(s) for s in sites])
    return (texts(table["path"]), *whose)


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
