"""Walks through folders: links are followed, what systems leave beside people's files is passed over."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["files_in"]


def files_in(root: Path) -> Iterator[Path]:
    """Files in a folder and in folders within, by any link, each folder once.

    Hidden files and folders are passed over, among them the ``._`` files that a Mac writes beside others on foreign disks. A folder that links lead to
    a second time, or around in a circle, is walked once.
    """
    seen = set()
    for folder, folders, names in os.walk(root, followlinks=True):
        there = os.stat(folder)
        if (there.st_dev, there.st_ino) in seen:
            folders.clear()
            continue
        seen.add((there.st_dev, there.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith("."):
                yield Path(folder, name)
