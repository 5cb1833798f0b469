"""Cells: what is known of one encoder, one cohort and one task, kept in files so that a stopped benchmark goes on."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sslmed._core import FormatError

__all__ = ["Cell", "digest_of", "kept", "plain_table", "table_from"]

Array = np.ndarray[Any, Any]

_FORMAT = "sslmed-benchmark-cell-1"


@dataclass
class Cell:
    """Tables and arrays by name."""

    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    arrays: dict[str, Array] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    """Sentences: what was left out, and why."""

    def add(self, name: str, lines: pd.DataFrame) -> None:
        """Adds lines to a table."""
        self.tables[name] = pd.concat([self.tables[name], lines], ignore_index=True) if name in self.tables else lines

    def save(self, path: Path) -> None:
        """Writes the cell to a file, whole or not at all.

        Args:
            path: File (.npz).
        """
        text = json.dumps(
            {
                "format": _FORMAT,
                "notes": self.notes,
                "tables": {name: plain_table(t) for name, t in self.tables.items()},
            }
        )
        values: dict[str, Any] = {f"array:{name}": value for name, value in self.arrays.items()}
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f"{path.stem}.tmp-{uuid.uuid4().hex}.npz")
        np.savez_compressed(temporary, text=np.frombuffer(text.encode(), np.uint8), **values)
        temporary.replace(path)

    @classmethod
    def load(cls, path: Path) -> Cell:
        """Reads what :meth:`save` wrote.

        Args:
            path: File (.npz).

        Raises:
            FormatError: The file is something else.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                found = json.loads(file["text"].tobytes().decode())
                if found["format"] != _FORMAT:
                    raise KeyError(found["format"])
                arrays = {name.removeprefix("array:"): file[name] for name in file.files if name.startswith("array:")}
            tables = {name: table_from(values) for name, values in found["tables"].items()}
            return cls(tables, arrays, list(found["notes"]))
        except FileNotFoundError:
            raise
        except Exception as error:  # numpy and zipfile raise errors of many classes
            text = f"expected a cell of a benchmark, found {error!r}; delete it to make it anew"
            raise FormatError(f"{path}: {text}") from error


def kept(folder: Path | None, key: str, make: Callable[[], Cell]) -> Cell:
    """The cell of a key: read where it was made before, made and written where it was not.

    Args:
        folder: Folder of the cells; None: made each time.
        key: Digest of all that it depends on; empty: made each time.
        make: Makes it.

    Raises:
        FormatError: The file of the key cannot be read.
    """
    if folder is None or not key:
        return make()
    path = folder / f"{key}.npz"
    if path.exists():
        return Cell.load(path)
    made = make()
    made.save(path)
    return made


def digest_of(values: Mapping[str, Any]) -> str:
    """A digest of plain values, for names of files."""
    text = json.dumps(values, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


def plain_table(table: pd.DataFrame) -> dict[str, Any]:
    """A table as JSON holds it, for :func:`table_from`."""
    columns = [[_plain(value) for value in table[name].to_numpy()] for name in table.columns]
    return {"columns": [str(name) for name in table.columns], "values": columns, "rows": len(table)}


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def table_from(values: Mapping[str, Any]) -> pd.DataFrame:
    """The table that :func:`plain_table` was given."""
    data = dict(zip(values["columns"], values["values"], strict=True))
    return pd.DataFrame(data, columns=values["columns"], index=range(values["rows"]))
