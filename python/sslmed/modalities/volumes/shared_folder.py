"""What processes that prepare into one folder tell each other: its settings, sessions that failed, names of stores."""

from __future__ import annotations

import json
import os
import re
import time
import uuid
from pathlib import Path
from typing import Any

from sslmed._core import FormatError

__all__ = ["SETTINGS", "SharedFolder", "temporary_name"]

SETTINGS = "prepare.json"
_VERSION = 2
_FAILED = "failed"
_TEMPORARY = re.compile(r".*\.tmp-(\d+)-\w+")
_DAY = 24 * 3600.0
_WHILE = 15 * 60.0
"""Seconds that a process of another machine, whose number says nothing here, may take to write one file."""


class SharedFolder:
    """A folder of prepared sessions.

    ``failed/KEY.json`` says that a session could not be read, which counts as done; ``names-K-of-N.json`` is what a shard
    leaves for the one that finishes, which then need not hash all files again.

    Args:
        out: The folder; it is made.
        settings: JSON of how its volumes are prepared.
        alone: Whether no other process is expected at work.

    Raises:
        ValueError: The folder was made with other settings.
    """

    def __init__(self, out: Path, settings: str, *, alone: bool) -> None:
        self.out = out
        out.mkdir(parents=True, exist_ok=True)
        self._claim(json.dumps({"version": _VERSION, "settings": json.loads(settings)}, indent=1) + "\n")
        self._clean(alone)

    def _claim(self, text: str) -> None:
        """The first one writes its settings, in one piece; all others compare theirs."""
        path = self.out / SETTINGS
        if not path.exists():
            temporary = temporary_name(path)
            temporary.write_text(text)
            try:
                os.link(temporary, path)
                return
            except FileExistsError:
                pass
            except OSError:  # a file system without hard links
                try:
                    with path.open("x") as file:
                        file.write(text)
                    return
                except FileExistsError:
                    pass
            finally:
                temporary.unlink()
        if (found := path.read_text()) != text:
            where = f"prepare: out={str(self.out)!r}"
            raise ValueError(f"{where} holds volumes prepared with {' '.join(found.split())}, not {' '.join(text.split())}")

    def _clean(self, alone: bool) -> None:
        """Removes files that killed processes left half written."""
        for path in [*self.out.glob(".*.tmp-*"), *self.out.glob("*.tmp-*")]:
            if not (found := _TEMPORARY.fullmatch(path.name)):
                continue
            try:
                age = time.time() - path.stat().st_mtime
                if age > _DAY or (not _runs(int(found[1])) and (alone or age > _WHILE)):
                    path.unlink()
            except FileNotFoundError:  # its owner, or another cleaner, was faster
                continue

    def fail(self, key: str, message: str) -> None:
        """Notes that a session cannot be read."""
        (self.out / _FAILED).mkdir(exist_ok=True)
        self.write(self._failure(key), json.dumps({"message": message}) + "\n")

    def try_again(self, key: str) -> None:
        """Takes the note of :meth:`fail` away."""
        self._failure(key).unlink(missing_ok=True)

    def failure(self, key: str) -> str | None:
        """Why a session cannot be read; None: nobody found that it cannot."""
        try:
            return str(_json(self._failure(key))["message"])
        except FileNotFoundError:
            return None

    def tell(self, shard: tuple[int, int], names: dict[str, Any]) -> None:
        """Leaves what is known of the sessions of a shard."""
        self.write(self.out / f"names-{shard[0]}-of-{shard[1]}.json", json.dumps(names) + "\n")

    def told(self) -> dict[str, Any]:
        """What all shards have left."""
        out: dict[str, Any] = {}
        for path in sorted(self.out.glob("names-*-of-*.json")):
            try:
                out.update(_json(path))
            except FileNotFoundError:  # another one has finished meanwhile
                continue
        return out

    def finish(self) -> None:
        """Removes what was needed on the way only. Notes of failed sessions stay."""
        for path in self.out.glob("names-*-of-*.json"):
            path.unlink(missing_ok=True)
        try:
            (self.out / _FAILED).rmdir()
        except OSError:  # not there, or not empty
            return

    def write(self, path: Path, text: str) -> None:
        """Writes a file that is there whole or not at all."""
        temporary = temporary_name(path)
        temporary.write_text(text)
        temporary.replace(path)

    def _failure(self, key: str) -> Path:
        return self.out / _FAILED / f"{key}.json"


def temporary_name(path: Path) -> Path:
    """Where a file is written before it gets its name: beside it, with the number of the process."""
    return path.with_name(f".{path.name}.tmp-{os.getpid()}-{uuid.uuid4().hex}")


def _runs(process: int) -> bool:
    """Whether a process of this machine is there."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except ValueError as error:
        raise FormatError(f"{path}: expected JSON of a preparation, found {error}; remove the file") from error
    if not isinstance(found, dict):
        raise FormatError(f"{path}: expected an object of a preparation, found {type(found).__name__}; remove the file")
    return found
