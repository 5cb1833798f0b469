"""MedMNIST's archives as folders: a picture or volume a file, and a table of them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from sslmed import digests, io, tables
from sslmed.io.npz import SPLITS
from sslmed.io.stores import whole

__all__ = ["SPLITS", "unpacked"]

_MARK, _TABLE = "medmnist.json", "cohort.tsv"


def unpacked(path: str | os.PathLike[str], out: str | os.PathLike[str]) -> pd.DataFrame:
    """The table of a MedMNIST file's images, which are written to a folder, unless they are there.

    Pictures become ``SPLIT/SPLIT-NUMBER.png`` and volumes ``SPLIT/SPLIT-NUMBER.nii``, bit for bit; the table is ``cohort.tsv``.

    Args:
        path: The .npz file.
        out: Folder; made where it is missing.

    Returns:
        A row an image with ``path``, ``subject``, ``modality``, ``split``, ``label`` (or ``label_0`` …) and ``subject_from``.

    Raises:
        FormatError, ReadError: The file cannot be read, see :func:`sslmed.io.read_medmnist`.
        ValueError: The folder holds something else.
    """
    folder, source = Path(out), os.fspath(path)
    digest = digests.of_file(source).hex() if os.path.isfile(source) else ""
    state = _state(folder)
    if state is None or digest != state["source"] or not state["whole"]:
        arrays = io.read_medmnist(source)  # also says what is wrong with a path
        _refuse_other(folder, state, digest)
        folder.mkdir(parents=True, exist_ok=True)
        _mark(folder, digest, False)
        _write_table(_write_images(arrays, folder), folder)
        _mark(folder, digest, True)
    table = tables.read_table(folder / _TABLE, "\t")
    return table.assign(path=[os.path.join(os.path.abspath(folder), name) for name in table["path"]])


def _state(folder: Path) -> dict[str, object] | None:
    """What the folder's mark says; None: it has none."""
    try:
        found = json.loads((folder / _MARK).read_text())
        return {"source": found["source"], "whole": found["whole"]}
    except FileNotFoundError:
        return None
    except (KeyError, TypeError, ValueError):
        return {"source": "damaged", "whole": False}


def _refuse_other(folder: Path, state: dict[str, object] | None, digest: str) -> None:
    if state is not None and state["source"] != digest:
        raise ValueError(f"from_medmnist: out={str(folder)!r} holds the images of another file ({_MARK}); choose another folder, or remove it")
    if state is None and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"from_medmnist: out={str(folder)!r} must be a new or empty folder, or one that this file was unpacked to before")


def _mark(folder: Path, digest: str, is_whole: bool) -> None:
    with whole(folder / _MARK) as part:
        part.write_text(json.dumps({"source": digest, "whole": is_whole}))


def _write_images(arrays: dict[str, torch.Tensor], folder: Path) -> pd.DataFrame:
    is_color = arrays["train_images"].shape[-1] == 3 and arrays["train_images"].dim() == 4
    is_volume = arrays["train_images"].dim() == 4 and not is_color
    parts = []
    for split in SPLITS:
        images, labels = arrays[f"{split}_images"], arrays[f"{split}_labels"]
        (folder / split).mkdir(exist_ok=True)
        names = [f"{split}-{number:0{max(5, len(str(len(images))))}d}" for number in range(len(images))]
        paths = [f"{split}/{name}{'.nii' if is_volume else '.png'}" for name in names]
        for image, name in zip(images, paths, strict=True):
            (_write_volume if is_volume else _write_picture)(image, folder / name)
        columns = ["label"] if labels.shape[1] == 1 else [f"label_{number}" for number in range(labels.shape[1])]
        rows = pd.DataFrame({"path": paths, "subject": names, "modality": "volumes" if is_volume else "images", "split": split})
        parts.append(pd.concat([rows, pd.DataFrame(labels.numpy(), columns=columns, dtype=np.int64)], axis=1))
    # Says to a cohort's report that nobody knows whose the images are.
    return pd.concat(parts, ignore_index=True).assign(subject_from="number in the archive")


def _write_picture(image: torch.Tensor, path: Path) -> None:
    from PIL import Image  # takes long to load

    Image.fromarray(image.numpy()).save(path)


def _write_volume(image: torch.Tensor, path: Path) -> None:
    # The archive says neither the size of a cell nor where left is: cubes of 1 mm, axes as they come.
    io.write_nifti(io.Volume(image, torch.eye(4)), path)


def _write_table(table: pd.DataFrame, folder: Path) -> None:
    with whole(folder / _TABLE) as part:
        table.to_csv(part, sep="\t", index=False)
