"""NumPy's .npz archives, and MedMNIST's files, which are such archives."""

from __future__ import annotations

import os
from collections.abc import Sequence

import torch

from sslmed._core import C, FormatError

__all__ = ["read_medmnist", "read_npz"]

_Path = str | os.PathLike[str]

SPLITS = ("train", "val", "test")
"""The parts of a MedMNIST file, in its order."""

_WHOLE = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


def read_npz(path: _Path, names: Sequence[str] | None = None) -> dict[str, torch.Tensor]:
    """Reads the arrays of a .npz file without pickle: nothing in the file can execute.

    Stored and compressed arrays (``numpy.savez``, ``numpy.savez_compressed``) of bool, integers, float16, float32, float64 and complex
    numbers are read, in both byte orders. Checksums are checked. Without libdeflate (:func:`sslmed.io.capabilities`) compressed arrays take long.

    Args:
        path: The file.
        names: Names of the arrays to read, whatever the others hold; None: all of them.

    Returns:
        A tensor for each name, with the array's shape and values, contiguous in C order; in the order of ``names``, or else of the file.

    Raises:
        FormatError: The file is no such archive, is damaged or encrypted, lacks one of ``names``, or an array to read is of objects, texts, dates or records.
        ReadError: The file cannot be read.

    Examples:
        >>> import tempfile, numpy as np, sslmed as sm
        >>> path = tempfile.mkdtemp() + "/a.npz"
        >>> np.savez_compressed(path, pixels=np.arange(6, dtype=np.uint8).reshape(2, 3), age=np.float32(61))
        >>> sm.io.read_npz(path)
        {'pixels': tensor([[0, 1, 2],
                [3, 4, 5]], dtype=torch.uint8), 'age': tensor(61.)}

    See Also:
        :func:`read_medmnist`: the six arrays of a MedMNIST file, checked.
    """
    if isinstance(names, str):
        raise TypeError(f"read_npz: names={names!r} must be a list of names, such as [{names!r}]")
    return dict(C.read_npz(os.fspath(path), None if names is None else list(names)))


def read_medmnist(path: _Path) -> dict[str, torch.Tensor]:
    """Reads a file of MedMNIST (Yang et al., Scientific Data 2023; https://medmnist.com), of any of its sets and sizes.

    Args:
        path: The .npz file, such as ``pneumoniamnist.npz`` or ``pathmnist_64.npz``.

    Returns:
        ``train_images``, ``train_labels``, ``val_images``, ``val_labels``, ``test_images`` and ``test_labels``. Images are uint8: gray
        [n, H, W], RGB [n, H, W, 3], or volumes [n, D, H, W]. Labels are whole numbers [n, L]: L is 1, or the number of labels that each
        image has at a time (ChestMNIST: 14 of 0 or 1).

    Raises:
        FormatError: The file lacks one of the six arrays, or one has another type or shape than those, or not that of the other parts.
        ReadError: The file cannot be read.

    Examples:
        >>> import tempfile, numpy as np, sslmed as sm
        >>> parts = {f"{part}_images": np.zeros((n, 28, 28), np.uint8) for part, n in (("train", 5), ("val", 2), ("test", 3))}
        >>> parts |= {f"{part}_labels": np.zeros((n, 1), np.uint8) for part, n in (("train", 5), ("val", 2), ("test", 3))}
        >>> path = tempfile.mkdtemp() + "/tinymnist.npz"
        >>> np.savez_compressed(path, **parts)
        >>> {name: tuple(values.shape) for name, values in sm.io.read_medmnist(path).items() if "train" in name}
        {'train_images': (5, 28, 28), 'train_labels': (5, 1)}

    See Also:
        :meth:`sslmed.Cohort.from_medmnist`: the same as a cohort. :func:`sslmed.metrics.medmnist`: MedMNIST's scores.
    """
    where = os.fspath(path)
    arrays = read_npz(where, [f"{part}_{what}" for part in SPLITS for what in ("images", "labels")])
    for part in SPLITS:
        images, labels = arrays[f"{part}_images"], arrays[f"{part}_labels"]
        _check_images(where, part, images)
        if labels.dtype not in _WHOLE or labels.dim() != 2 or labels.shape[1] == 0:
            raise FormatError(f"{where}: {part}_labels: expected whole numbers [n, L], found {labels.dtype} {list(labels.shape)}")
        if len(images) != len(labels):
            raise FormatError(f"{where}: {part}_labels: expected a row for each of {len(images)} images, found {len(labels)}")
        if labels.numel() and (least := int(labels.min())) < 0:
            raise FormatError(f"{where}: {part}_labels: expected labels from 0 on, found {least}")
        for what in ("images", "labels"):
            own, first = arrays[f"{part}_{what}"].shape[1:], arrays[f"{SPLITS[0]}_{what}"].shape[1:]
            if own != first:
                raise FormatError(f"{where}: {part}_{what}: expected {list(first)} an image as in {SPLITS[0]}_{what}, found {list(own)}")
    return arrays


def _check_images(where: str, part: str, images: torch.Tensor) -> None:
    if images.dtype != torch.uint8 or images.dim() not in (3, 4):
        raise FormatError(f"{where}: {part}_images: expected uint8 [n, H, W], [n, H, W, 3] or [n, D, H, W], found {images.dtype} {list(images.shape)}")
    if 0 in images.shape[1:]:
        raise FormatError(f"{where}: {part}_images: expected images with pixels, found {list(images.shape)}")
