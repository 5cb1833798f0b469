"""The folder of a run: one process writes to it, and nothing of a finished run is overwritten."""

from __future__ import annotations

import fcntl
import os
import re
import socket
import warnings
from pathlib import Path
from typing import IO

from sslmed._core import FormatError

__all__ = ["RunFolder", "checkpoints_of"]

_CHECKPOINT = re.compile(r"step-\d{9,}\.safetensors")


class RunFolder:
    """Holds a folder as long as it is entered: another run there, of this process or of another, is refused.

    The lock is one of the operating system on the file ``.lock``, so that it ends with its process, however that ends.

    Args:
        path: The folder, which is made where it does not exist.

    Raises:
        ValueError: Another run holds the folder.

    Warns:
        UserWarning: The file system has no locks.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder, RunFolder(folder):
        ...     pass
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._file: IO[str] | None = None

    def __enter__(self) -> RunFolder:
        self.path.mkdir(parents=True, exist_ok=True)
        self._file = (self.path / ".lock").open("a+")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.seek(0)
            holder = self._file.read().strip() or "another process"
            self._file.close()
            raise ValueError(f"{self.path}: {holder} is writing a run there; wait until it ends, or choose another folder") from None
        except OSError as error:
            text = f"{self.path}: cannot be locked ({error.strerror}), so that a second run in this folder would not be noticed"
            warnings.warn(text, UserWarning, stacklevel=2)
            return self
        self._file.truncate(0)
        self._file.write(f"process {os.getpid()} on {socket.gethostname()}")
        self._file.flush()
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()


def checkpoints_of(folder: Path, resume: bool) -> list[Path]:
    """The checkpoints of a run in the order of their steps; other files beside them are nobody's.

    Raises:
        ValueError: The folder holds a run, and ``resume`` is False.
        FormatError: There is nothing to resume from, in a folder that is not new.
    """
    checkpoints, encoder = folder / "checkpoints", folder / "encoder.safetensors"
    found = sorted(path for path in checkpoints.glob("step-*.safetensors") if _CHECKPOINT.fullmatch(path.name))
    if found and not resume:
        raise ValueError(f"{folder}: already holds a run; pass resume=True (--resume) to go on, or choose another folder")
    if not found and encoder.exists():
        raise ValueError(f"{folder}: holds the encoder of a finished run, {encoder.name}, and no checkpoints; choose another folder")
    if resume and not found and checkpoints.exists() and any(checkpoints.iterdir()):
        raise FormatError(f"{checkpoints}: expected step-*.safetensors to resume from, found none")
    return found
