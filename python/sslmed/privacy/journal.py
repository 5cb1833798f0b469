"""A file of entries that only grows: each is on the disk before :meth:`Journal.append` returns, none changes unseen."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import uuid
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sslmed._core import FormatError, FormatWarning, ReadError, regular

__all__ = ["Journal"]

FORMAT = "sslmed privacy ledger 1"
_DIGEST = 64  # characters of a SHA-256 in hexadecimal


def encoded(previous: str, entry: Mapping[str, Any]) -> tuple[bytes, str]:
    """The line of an entry, and its checksum, which covers the checksum of the line before it."""
    # ASCII, with tabs and newlines only as escapes.
    text = json.dumps(entry, separators=(",", ":"), allow_nan=False).encode()
    digest = hashlib.sha256(previous.encode() + text).hexdigest()
    return b"%s\t%s\n" % (text, digest.encode()), digest


def decoded(previous: str, line: bytes) -> tuple[dict[str, Any], str] | None:
    """The entry and the checksum of a line without its newline; None where the checksum does not match."""
    text, _, digest = line.partition(b"\t")
    if hashlib.sha256(previous.encode() + text).hexdigest().encode() != digest:
        return None
    return json.loads(text), digest.decode()


class Journal:
    """Entries (JSON objects) of one file, which several processes may append to.

    A line is the entry, a tab and the SHA-256 of the previous line's checksum and the entry. The first line is the
    header. Each access opens the file, takes the operating system's lock on it (``flock``, which ends with its holder)
    and reads what others appended in the meantime.

    Args:
        path: The file. Where it does not exist it is made with the header: written under another name, flushed, linked,
            and the folder flushed, so that a crash leaves no file without a header.
        header: What the first line of a new file holds, beside ``format`` and an ``id`` drawn for this file.

    Attributes:
        header: The first line of the file.
        entries: The lines after it, as far as they were read.

    Raises:
        FormatError: The file is no ledger, or a line does not match its checksum.
        ReadError: The file or its folder cannot be opened or locked.

    Warns:
        FormatWarning: The last line was written in part; it is cut off.
    """

    def __init__(self, path: str | os.PathLike[str], header: Mapping[str, Any]) -> None:
        self.path = Path(os.path.realpath(regular(path)))
        self.header: dict[str, Any] = {}
        self.entries: list[dict[str, Any]] = []
        self._end, self._digest, self._last = 0, "", b""
        self._file = -1
        if not self.path.exists():
            self._create({"format": FORMAT, "id": uuid.uuid4().hex, **header})
        # Always, because the process that made the file may have died before it did this.
        self._flush_folder()
        with self.locked():
            pass

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the file's lock, with all entries read that are in it. :meth:`append` needs this.

        Raises:
            FormatError: A line does not match its checksum, or lines that were read before have changed.
            ReadError: The file cannot be opened or locked.
        """
        try:
            self._file = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        except OSError as error:
            text = f"{self.path}: expected a ledger that can be read and written, found: {error.strerror}"
            raise ReadError(text) from error
        try:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX)
            except OSError as error:
                text = f"cannot be locked ({error.strerror}); keep the ledger on a file system that has locks"
                raise ReadError(f"{self.path}: {text}") from error
            self._catch_up()
            yield
        finally:
            # Closing is not enough: a process that was forked meanwhile has the file open too, and would hold the lock.
            fcntl.flock(self._file, fcntl.LOCK_UN)
            os.close(self._file)

    def append(self, entry: Mapping[str, Any]) -> None:
        """Writes an entry; it is on the disk when this returns.

        Raises:
            OSError: The disk is full or broken. The entry may be in the file all the same.
        """
        line, digest = encoded(self._digest, entry)
        written = 0
        try:
            while written < len(line):
                written += os.write(self._file, line[written:])
        except OSError as error:
            os.ftruncate(self._file, self._end)
            raise OSError(error.errno, f"entry could not be written: {error.strerror}", str(self.path)) from error
        # Where this fails nobody knows what is on the disk: the line stays, because counting too much harms nobody.
        os.fsync(self._file)
        self._take(line, dict(entry), digest)

    def _catch_up(self) -> None:
        """Reads the lines that are new, and deals with a last line that a crash left unfinished."""
        size = os.fstat(self._file).st_size
        if self._pread(self._end - len(self._last), self._end) != self._last:
            raise FormatError(
                f"{self.path}: line {self._number}: expected the line that was read before, found other bytes; "
                "the file was changed, shortened or replaced while it was open"
            )
        *lines, tail = self._pread(self._end, size).split(b"\n")
        for line in lines:
            found = decoded(self._digest, line)
            if found is None:
                raise self._damaged("the line, or one before it, was changed, moved or removed")
            self._take(line + b"\n", *found)
        if not self.header:
            raise self._damaged("no whole line")
        if tail:
            self._mend(tail)

    def _mend(self, tail: bytes) -> None:
        """The last line has no newline: either it is whole apart from that and counts, or its writing broke off."""
        found = decoded(self._digest, tail)
        if found is not None:
            os.write(self._file, b"\n")
            os.fsync(self._file)
            self._take(tail + b"\n", *found)
            return
        # A line whose writing was broken off is shorter than a whole one. Others were damaged later, and may be of a
        # spend that was reported as done.
        if len(tail.partition(b"\t")[2]) >= _DIGEST:
            raise self._damaged("the line was changed")
        os.ftruncate(self._file, self._end)
        os.fsync(self._file)
        text = f"was written in part ({len(tail)} bytes) as by a call that was killed before it returned; it was cut off"
        warnings.warn(f"{self.path}: line {self._number + 1}: {text}", FormatWarning, stacklevel=2)

    def _take(self, line: bytes, entry: dict[str, Any], digest: str) -> None:
        if not self.header:
            if entry.get("format") != FORMAT:
                text = f"expected format {FORMAT!r}, found {entry.get('format')!r}; use the sslmed that wrote it"
                raise FormatError(f"{self.path}: line 1: {text}")
            self.header = entry
        else:
            self.entries.append(entry)
        self._end, self._digest, self._last = self._end + len(line), digest, line

    @property
    def _number(self) -> int:
        """How many lines were read."""
        return len(self.entries) + bool(self.header)

    def _damaged(self, found: str) -> FormatError:
        if not self.header:
            text = "expected the header of a privacy ledger with its checksum, found other text or none"
            return FormatError(f"{self.path}: line 1: {text}; choose another path, or restore the file from a copy")
        text = f"expected a line whose checksum continues the ledger, found another: {found}"
        return FormatError(f"{self.path}: line {self._number + 1}: {text}; restore the file from a copy")

    def _pread(self, start: int, stop: int) -> bytes:
        parts = []
        while start < stop and (part := os.pread(self._file, stop - start, start)):
            parts.append(part)
            start += len(part)
        return b"".join(parts)

    def _create(self, header: Mapping[str, Any]) -> None:
        temporary = self.path.with_name(f".{self.path.name}.{uuid.uuid4().hex}")
        try:
            file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise ReadError(f"{self.path}: the ledger cannot be made in its folder: {error.strerror}") from error
        try:
            with os.fdopen(file, "wb") as stream:
                stream.write(encoded("", header)[0])
                stream.flush()
                os.fsync(stream.fileno())
            # Unlike a rename, a link replaces nothing: where another process was quicker, its ledger is taken.
            os.link(temporary, self.path)
        except FileExistsError:
            pass
        except OSError as error:
            text = f"the ledger cannot be made: {error.strerror}; its file system must have hard links"
            raise ReadError(f"{self.path}: {text}") from error
        finally:
            os.unlink(temporary)

    def _flush_folder(self) -> None:
        try:
            folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            text = f"{self.path.parent}: expected a folder that can be opened, found: {error.strerror}"
            raise ReadError(text) from error
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
