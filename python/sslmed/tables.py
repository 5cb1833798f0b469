"""Tables as files, and their columns as the C++ side takes them."""

from __future__ import annotations

import csv
import io
import itertools
import os
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from sslmed._core import C, FormatError, ReadError, ValueWarning, regular

__all__ = [
    "Texts",
    "origins",
    "read",
    "read_many",
    "read_table",
    "refuse_missing_folder",
    "spelled",
    "storable",
    "texts",
    "trim",
    "typed",
    "understood",
    "without_marks",
]

# Not pandas' own list: "None" is a diagnosis.
_MISSING = ["n/a", "N/A", "NA", "nan", "NaN", ""]


def read_table(path: Path, separator: str) -> pd.DataFrame:
    """A table in a file: Parquet by its ending, otherwise text with this separator.

    Raises:
        FormatError: The file is not such a table.
        ReadError: There is no such file, or it is a folder.
    """
    try:
        if path.is_dir():
            raise IsADirectoryError
        regular(path)
        if path.suffix.lower() == ".parquet":
            return read(path)
        # As texts: a subject "001" is not 1, whoever else is in the table, and session "01" is not "1".
        types = {"subject": str, "participant_id": str, "session": str, "session_id": str}
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            # Without index_col, rows longer than the header would have their first field taken for a name of the row, and all others moved.
            found = pd.read_csv(path, sep=separator, na_values=_MISSING, keep_default_na=False, dtype=types, index_col=False)
        return found.rename(columns=str.strip)
    except FileNotFoundError:
        raise ReadError(f"{path}: no such file") from None
    except ReadError:
        raise
    except IsADirectoryError:
        raise ReadError(f"{path}: is a folder without recordings in BIDS form") from None
    except pd.errors.ParserWarning:
        raise FormatError(f"{path}: expected rows as long as the header, found longer ones") from None
    except OSError as error:
        if error.errno is None:  # Arrow's own, of a file that is damaged
            raise FormatError(f"{path}: expected a table, found {error}") from error
        raise ReadError(f"{path}: cannot be read: {error.strerror}") from None
    except (pa.ArrowException, pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise FormatError(f"{path}: expected a table{'' if path.suffix.lower() == '.parquet' else f' separated by {separator!r}'}, found {error}") from error


_Value = TypeVar("_Value")


class Texts(NamedTuple):
    """A small table of texts, separated by tabs."""

    columns: list[str]
    """Names, without blanks around them."""
    rows: list[dict[str, str | None]]
    """Texts by column; None where they are missing."""

    def named(self, *names: str) -> Texts:
        """The same table, with columns of these names in whatever case ("Onset") under these names."""
        other = spelled(self.columns, names)
        if not other:
            return self
        columns = [other.get(column, column) for column in self.columns]
        return Texts(columns, [{other.get(column, column): value for column, value in row.items()} for row in self.rows])


def spelled(columns: Sequence[Any], names: Sequence[str]) -> dict[Any, str]:
    """Of names that are no column the one column that differs from them by case and blanks only: which name it has then."""
    found: dict[Any, str] = {}
    for name in names:
        near = [column for column in columns if str(column).strip().casefold() == name.casefold()]
        if name not in columns and len(near) == 1:
            found[near[0]] = name
    return found


def read_many(paths: Sequence[str], of: Callable[[Texts, str], _Value]) -> Iterator[_Value]:
    """What many small tables separated by tabs say, in the order of the paths. Those of equal bytes are looked at once.

    Args:
        paths: The files.
        of: What a table says, by its texts and its path.

    Raises:
        FormatError: A file is not such a table.
        ReadError: A file cannot be read.
    """
    for first in range(0, len(paths), _AT_ONCE):
        some = paths[first : first + _AT_ONCE]
        codes, contents = C.read_distinct(os.fsencode("\0".join(some)).split(b"\0"))
        known: dict[int, _Value] = {}
        for path, code in zip(some, codes, strict=True):
            if code not in known:
                known[code] = of(_texts_of(contents[code], path), path)
            yield known[code]


_AT_ONCE = 4096


def _texts_of(content: bytes, path: str) -> Texts:
    try:
        lines = list(csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), delimiter="\t"))
    except (UnicodeDecodeError, csv.Error) as error:
        raise FormatError(f"{path}: expected a table separated by tabs, found {error}") from error
    lines = [line for line in lines if line]
    if not lines:
        raise FormatError(f"{path}: expected a table separated by tabs, found no header")
    header = [name.strip() for name in lines[0]]
    if longer := [line for line in lines[1:] if len(line) > len(header) and any(line[len(header) :])]:
        raise FormatError(f"{path}: expected rows as long as the header, found longer ones, such as {longer[0]}")
    rows = [{name: None if value in _MISSING else value for name, value in itertools.zip_longest(header, line[: len(header)])} for line in lines[1:]]
    return Texts(header, rows)


def typed(values: Sequence[str | None], name: str) -> pd.Series[Any]:
    """Texts as a column of numbers, where all of them are; those of names (subjects, sessions) stay texts."""
    column: pd.Series[Any] = pd.Series(list(values), name=name, dtype=object if not any(values) else None)
    if name in ("subject", "participant_id", "session", "session_id"):
        return column
    try:
        return pd.to_numeric(column)
    except (ValueError, TypeError):
        return column


def read(path: Path) -> pd.DataFrame:
    """A Parquet table, its texts in one piece each, so that the C++ side can use them where they lie."""
    with pa.memory_map(str(path)) as file:
        table: pd.DataFrame = pq.read_table(file, pre_buffer=False).combine_chunks().to_pandas(split_blocks=True, self_destruct=True)
    trim()
    return table


def refuse_missing_folder(out: str | os.PathLike[str]) -> None:
    """ReadError for a file in a folder that is not there, before hours of work are lost with it."""
    folder = Path(out).absolute().parent
    if not folder.is_dir():
        raise ReadError(f"{os.fspath(out)}: there is no folder {folder} to write it to; make it first")


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
    out = table.assign(subject=_people(table["subject"], name))
    for column, names in (("age", ("age",)), ("sex", ("sex", "gender"))):
        if column not in out and len(found := [c for c in out if str(c).strip().casefold() in names]) == 1:
            out[column] = out[found[0]]
    if "site" not in out:
        out["site"] = name
    if "sex" in out:
        out["sex"] = _warned(name, out["sex"], _sexes(out["sex"]), "neither F nor M")
    if "age" in out:
        numbers = _ages(out["age"], name)
        out["age"] = _warned(name, out["age"], numbers, "no numbers")
    return out


def _people(column: pd.Series[Any], name: str) -> pd.Series[Any]:
    """Subjects as texts: without blanks around them, and in one spelling where others differ by case only."""
    if pd.api.types.is_float_dtype(column.dtype) and (column == column.round()).all():
        column = column.astype("int64")
    texts_ = column.astype(str)
    unique = pd.Series(texts_.unique(), dtype=object)
    stripped = unique.str.strip()
    key = stripped.str.casefold()
    first = stripped.groupby(key).transform("first")
    changed = first != unique
    if not changed.any():
        return texts_
    where = int(np.flatnonzero(changed)[0])
    others = f"{int(changed.sum())} names of subjects differ from others, or from the usual spelling, by blanks or case only, and are the same person's"
    warnings.warn(f"{name}: {others}, such as {str(unique[where])!r}, which is {str(first[where])!r}", ValueWarning, stacklevel=5)
    return texts_.map(dict(zip(unique, first, strict=True)))


_SEXES = {"f": "F", "female": "F", "woman": "F", "girl": "F", "m": "M", "male": "M", "man": "M", "boy": "M"}


def _sexes(column: pd.Series[Any]) -> pd.Series[Any]:
    """F and M by whole words; where there is an H but no F, an M may be a mujer and counts as missing."""
    words = {value: str(value).strip().casefold() for value in column.unique()}
    spanish = "h" in words.values() and "f" not in words.values()
    return column.map({value: np.nan if spanish and word == "m" else _SEXES.get(word, np.nan) for value, word in words.items()})


def _ages(column: pd.Series[Any], name: str) -> pd.Series[Any]:
    """Ages as numbers; of texts that are none, what :func:`_age` reads in them, which is told."""
    numbers = pd.to_numeric(column, errors="coerce")
    unread = column.notna() & numbers.isna()
    if not unread.any():
        return numbers
    numbers = numbers.where(~unread, column.astype(object).map(_age, na_action="ignore")).astype(float)
    if (known := unread & numbers.notna()).any():
        told = f"such as {str(column[known].iloc[0])!r} as {numbers[known].iloc[0]:g}"
        text = f"{name}: {int(known.sum())} of {len(column)} ages are texts that are read as numbers (bins by their middle), {told}"
        warnings.warn(text, ValueWarning, stacklevel=5)
    return numbers


def _age(value: Any) -> float:
    """The number of an age that is no plain number: the middle of a bin, the limit of "89+", "035Y", "35,5"; NaN of anything else."""
    text = str(value).strip().lower()
    if found := re.fullmatch(r"[\[(]?\s*(\d+(?:\.\d+)?)\s*(?:-|\u2013|to|,\s)\s*(\d+(?:\.\d+)?)\s*[\])]?", text):
        low, high = float(found[1]), float(found[2])
        return (low + high) / 2 if low <= high else float("nan")
    if found := re.fullmatch(r"(\d+(?:\.\d+)?)\s*\+|(?:>=?|\u2265)\s*(\d+(?:\.\d+)?)", text):
        return float(found[1] or found[2])
    if found := re.fullmatch(r"(\d+(?:[.,]\d+)?)\s*(?:y|yr|yrs|years?)?(?: old)?", text):
        return float(found[1].replace(",", "."))
    return float("nan")


_MARKS = frozenset({"-", "--", "?", "n/a", "na", "none", "nan", "null", ".", "unknown", "missing", "not available", ""})
_NAMES = frozenset({"path", "subject", "site", "modality", "session", "task", "run", "participant_id", "session_id", "channels", "stretches", "sex", "age"})


def without_marks(table: pd.DataFrame, name: str) -> pd.DataFrame:
    """The table with marks of missing values ("-", "?", "n/a") as missing in columns of numbers, and "n/a" in all.

    Warns:
        ValueWarning: A column had such marks, or holds numbers and texts.
    """
    changed: dict[str, Any] = {}
    for column in table.columns[~table.columns.duplicated(keep=False)]:
        values = table[column]
        is_text = values.dtype.kind in "OUT" or pd.api.types.is_string_dtype(values.dtype)
        if str(column) in _NAMES or str(column).startswith("path_") or not is_text:
            continue
        kinds = values.dropna().unique()
        written = [value for value in kinds if isinstance(value, str)]
        if not written or not _mostly_numbers(kinds):
            if lost := values.isin(["n/a", "N/A"]).sum():
                _tell_marks(name, column, int(lost), len(values), "n/a")
                changed[column] = values.mask(values.isin(["n/a", "N/A"]))
            continue
        numbers = pd.to_numeric(values, errors="coerce")
        stray = values.notna() & numbers.isna()
        marks = stray & values.astype(str).str.strip().str.casefold().isin(_MARKS)
        if not stray.any():
            continue
        if not (stray & ~marks).any():
            _tell_marks(name, column, int(marks.sum()), len(values), str(values[marks].iloc[0]))
            changed[column] = numbers
        else:
            counts = f"column {column!r} holds numbers and {int((stray & ~marks).sum())} texts, such as {str(values[stray & ~marks].iloc[0])!r}"
            warnings.warn(f"{name}: {counts}: all of it counts as text; mend or drop them to have numbers", ValueWarning, stacklevel=4)
    return table.assign(**changed) if changed else table


def _mostly_numbers(kinds: Any) -> bool:
    """Whether most different values are numbers, none of them one of a name such as "01"."""
    some = pd.Series(kinds[:1000], dtype=object)
    numbers = pd.to_numeric(some, errors="coerce").notna()
    names = some.astype(str).str.fullmatch(r"0\d+")
    return bool(numbers.sum() * 2 > len(some) and not names.any())


def _tell_marks(name: str, column: Any, count: int, n: int, mark: str) -> None:
    warnings.warn(f"{name}: column {column!r}: {count} of {n} values are {mark!r} or the like and count as missing", ValueWarning, stacklevel=5)


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
