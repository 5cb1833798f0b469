"""All files that a listed path stands for: pairs, headers with their data elsewhere, DICOM series, folders."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from pathlib import Path

from sslmed._core import ReadError, regular
from sslmed.io.volumes import dicom_files
from sslmed.modalities.volumes.files import NIFTI

__all__ = ["content", "members", "stamps"]

_PAIR = re.compile(r"(?P<stem>.*)\.(?:hdr|img)(?:\.gz)?", re.IGNORECASE | re.DOTALL)
_ENDS = (".hdr", ".img", ".hdr.gz", ".img.gz")
_ONE_FILE = (".mgh", ".mgz", ".mgh.gz")
_META = (".mha", ".mhd")
_NRRD = (".nrrd", ".nhdr")
_HEADER = 1 << 20
"""Bytes in which a header must end."""


def members(path: str) -> list[Path]:
    """The files that are read for ``path``, in an order that depends on their names alone.

    Args:
        path: A file or folder of a session.

    Raises:
        FormatError: A folder holds no DICOM series, or several.
        ReadError: There is no such file, or it cannot be read.
    """
    start, name = Path(path), path.lower()
    try:
        if start.is_dir():
            return [Path(one) for one in dicom_files(start)]
        if pair := _PAIR.fullmatch(path):
            return list(_pair(start, pair["stem"]))
        if name.endswith((*NIFTI, *_ONE_FILE)):
            return [start]
        if name.endswith(_META):
            return [start, *_meta(start)]
        if name.endswith(_NRRD):
            return [start, *_nrrd(start)]
        return [Path(one) for one in dicom_files(start)]
    except FileNotFoundError as error:
        raise ReadError(f"{path}: no such file") from error
    except OSError as error:
        raise ReadError(f"{path}: cannot be read: {error}") from error


def content(path: str) -> bytes:
    """Digest of what all members hold.

    Raises:
        FormatError, ReadError: As for :func:`members`.
    """
    digest = blake2b(digest_size=16)
    for member in members(path):
        try:
            with open(regular(member), "rb") as file:
                while piece := file.read(1 << 20):
                    digest.update(piece)
        except FileNotFoundError as error:
            raise ReadError(f"{member}: no such file") from error
        except OSError as error:
            raise ReadError(f"{member}: cannot be read: {error}") from error
    return digest.digest()


def stamps(paths: Iterable[str]) -> list[list[int]]:
    """Size and time of change of all members: where they are as before, the content is too.

    Raises:
        FormatError, ReadError: As for :func:`members`.
    """
    out = []
    for path in paths:
        for member in members(path):
            try:
                found = member.stat()
            except OSError as error:
                raise ReadError(f"{member}: cannot be read: {error}") from error
            out.append([found.st_size, found.st_mtime_ns])
    return out


def _pair(start: Path, stem: str) -> Iterator[Path]:
    """Header and image, packed or not, in small or capital letters."""
    for end in _ENDS:
        if start.name.lower() == f"{Path(stem).name}{end}".lower():
            yield start
        elif found := next((Path(stem + case) for case in (end, end.upper()) if Path(stem + case).exists()), None):
            yield found


def _lines(path: Path) -> list[str]:
    """Lines of a header. What follows it in the same file, values, is cut off where it is not of use."""
    with open(regular(path), "rb") as file:
        return file.read(_HEADER).decode("latin-1").splitlines()


def _meta(path: Path) -> Iterator[Path]:
    """What ElementDataFile of a MetaImage header names."""
    lines = _lines(path)
    for number, line in enumerate(lines):
        key, _, value = line.partition("=")
        if key.strip().lower() != "elementdatafile":
            continue
        words = value.split()
        if not words or words[0].upper() == "LOCAL":
            return
        listed = lines[number + 1 :] if words[0].upper() == "LIST" else _numbered(value, path.parent)
        yield from _beside(path, listed)
        return


def _nrrd(path: Path) -> Iterator[Path]:
    """What "data file" of a NRRD header names."""
    lines = _lines(path)
    for number, line in enumerate(lines):
        if not line.strip():  # the end of the header
            return
        key, colon, value = line.partition(":")
        if not colon or key.strip().lower() not in ("data file", "datafile"):
            continue
        listed = lines[number + 1 :] if value.split()[:1] == ["LIST"] else _numbered(value, path.parent)
        yield from _beside(path, listed)
        return


def _numbered(value: str, folder: Path) -> list[str]:
    """One name, or those that "slice%03d.raw 1 20 1" stands for."""
    name = value.strip()
    words = name.split()
    if "%" not in name or len(words) < 3 or (folder / name).exists():
        return [name]
    at = next((i for i, word in enumerate(words) if "%" in word), 0)
    try:
        first, last, *step = (int(word) for word in words[at + 1 : at + 4])
        by = step[0] if step else 1
        return [" ".join(words[: at + 1]) % i for i in range(first, last + (1 if by > 0 else -1), by or 1)]
    except (ValueError, TypeError):
        return [name]


def _beside(path: Path, names: Iterable[str]) -> Iterator[Path]:
    """Files by names that count from the header's folder."""
    for name in names:
        if name.strip():
            yield path.parent / name.strip()
