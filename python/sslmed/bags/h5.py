"""Files of features as TRIDENT and CLAM write them (HDF5)."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import torch

from sslmed._core import FormatError
from sslmed.bags.features import SlideFeatures

__all__ = ["read_h5", "write_h5"]

_LEVEL0 = 10.0  # µm a pixel at a magnification of 1: 40x is .25


def _h5py() -> Any:
    try:
        import h5py
    except ImportError as error:
        raise ImportError("features in HDF5 need h5py: pip install 'sslmed[h5]'") from error
    return h5py


def read_h5(path: str | os.PathLike[str], *, mpp: float | None = None) -> SlideFeatures:
    """Reads a file with the datasets ``features`` [N, D] and ``coords`` [N, 2] of TRIDENT or CLAM.

    Args:
        path: File (.h5).
        mpp: µm of a pixel of level 0. None: the attribute ``mpp`` that :func:`write_h5` adds; magnifications are
            nominal (a slide of .2297 µm and one of .265 both call themselves 40x), so none is made of them.

    Raises:
        ImportError: h5py is not installed.
        FormatError: A dataset or the tiles' size is missing, or shapes do not fit.
        ValueError: The file does not say its scale, and ``mpp`` is not given.
    """
    h5py, where = _h5py(), os.fspath(path)
    try:
        file = h5py.File(where, "r")
    except OSError as error:
        raise FormatError(f"{where}: expected an HDF5 file, found {error}") from error
    with file:
        if missing := [name for name in ("features", "coords") if name not in file]:
            raise FormatError(f"{where}: expected the datasets 'features' and 'coords', found no {missing[0]!r}")
        features, coords = np.asarray(file["features"]), np.asarray(file["coords"])
        said = dict(file["coords"].attrs)
        encoder = str(file["features"].attrs.get("encoder", ""))
    if features.ndim == 3 and features.shape[0] == 1:
        features = features[0]
    if features.ndim != 2 or coords.shape != (len(features), 2):
        raise FormatError(f"{where}: expected features [N, D] and coords [N, 2], found {list(features.shape)} and {list(coords.shape)}")
    tile = _number(said, "patch_size_level0")
    if tile is None and not said.get("patch_level", 0):
        tile = _number(said, "patch_size")  # CLAM's, at level 0
    if tile is None:
        raise FormatError(f"{where}: expected the attribute 'patch_size_level0' (or CLAM's 'patch_size' at level 0) of coords, found {sorted(said)}")
    scale = mpp if mpp is not None else _number(said, "mpp")
    if scale is None:
        raise ValueError(f"read_h5: mpp=None, but {where} does not say its µm per pixel; give mpp (magnifications are nominal)")
    overlap = _number(said, "overlap") or 0.0
    per_pixel = tile / (_number(said, "patch_size") or tile)  # level-0 pixels of one of the tile's own
    size = tuple(int(v) for v in (_number(said, "level0_width"), _number(said, "level0_height")) if v is not None)
    values = torch.from_numpy(np.ascontiguousarray(features))
    places = torch.from_numpy(np.ascontiguousarray(coords.astype(np.int64)))
    return SlideFeatures(values, places, scale, tile, tile - overlap * per_pixel, encoder, size if len(size) == 2 else None)


def write_h5(slide: SlideFeatures, path: str | os.PathLike[str], *, name: str = "") -> None:
    """Writes features as TRIDENT does, with the attributes of ``coords`` that its readers ask for, and ``mpp`` beside them.

    Args:
        slide: Features.
        path: File (.h5).
        name: Name of the slide.

    Raises:
        ImportError: h5py is not installed.
    """
    h5py, where = _h5py(), os.fspath(path)
    magnification = round(_LEVEL0 / slide.mpp)
    width, height = slide.size if slide.size is not None else (int(v) for v in _reach(slide))
    said = {
        "patch_size": round(slide.tile),
        "patch_size_level0": round(slide.tile),
        "level0_magnification": magnification,
        "target_magnification": magnification,
        "overlap": round(slide.tile - slide.step),
        "name": name,
        "savetodir": os.path.dirname(os.path.abspath(where)),
        "level0_width": width,
        "level0_height": height,
        "mpp": slide.mpp,
    }
    temporary = f"{where}.part"
    with h5py.File(temporary, "w") as file:
        file.create_dataset("features", data=slide.features.numpy())
        file["features"].attrs["encoder"] = slide.encoder
        coords = file.create_dataset("coords", data=slide.coords.numpy())
        for key, value in said.items():
            coords.attrs[key] = value
    os.replace(temporary, where)


def _reach(slide: SlideFeatures) -> tuple[float, float]:
    """Right and lower end of the tiles."""
    if not len(slide):
        return 0.0, 0.0
    x, y = (slide.coords.max(0).values.double() + slide.tile).tolist()
    return x, y


def _number(said: dict[str, Any], name: str) -> float | None:
    value = said.get(name)
    try:
        return None if value is None else float(np.asarray(value).reshape(-1)[0])
    except (TypeError, ValueError, IndexError):
        return None
