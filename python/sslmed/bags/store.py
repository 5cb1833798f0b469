"""Features of slides on disk: one file a slide, written once and read as often as training likes."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from sslmed import io
from sslmed._checks import choice, number
from sslmed._core import C, FormatError
from sslmed.bags.features import SlideFeatures
from sslmed.bags.h5 import read_h5, write_h5

__all__ = ["FeatureStore", "Precision"]

Array = np.ndarray[Any, Any]
Precision = Literal["float16", "float32"]

_FORMAT = "sslmed-features-1"
_SUFFIX = ".safetensors"
_TYPES = {"float16": torch.float16, "float32": torch.float32}
_NAME = re.compile(r"[^\x00-\x1f/\\]+")


class FeatureStore:
    """A folder of features: ``NAME.safetensors`` for each slide, complete or not there.

    Features of tiles are computed once and trained on many times. A file holds ``features`` [N, D] and ``coords``
    [N, 2], and as metadata the scale, the tiles' side and step, and the digest of the encoder.
    :func:`sslmed.store_features` fills a store from a cohort, and goes on where it was stopped; files of TRIDENT and
    CLAM come in by :meth:`import_h5`.

    Args:
        folder: Folder; made when the first slide is written.

    See Also:
        :func:`sslmed.store_features`, :func:`sslmed.slide_level`

    Examples:
        >>> import tempfile, torch
        >>> import sslmed as sm
        >>> store = sm.FeatureStore(tempfile.mkdtemp())
        >>> coords = torch.tensor([[0, 0], [512, 0], [0, 512]])
        >>> store.write("slide 1", torch.randn(3, 8), coords, mpp=0.25, tile=512).name
        'slide 1.safetensors'
        >>> store.names(), store.read("slide 1").mm[1].tolist()
        (['slide 1'], [0.192, 0.064])
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)

    def __repr__(self) -> str:
        return f"<FeatureStore {self.folder}: {len(self)} slides>"

    def __len__(self) -> int:
        return len(self.names())

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.path(name).is_file()

    def names(self) -> list[str]:
        """Names of the slides that are there, sorted."""
        if not self.folder.is_dir():
            return []
        return sorted(entry.name[: -len(_SUFFIX)] for entry in os.scandir(self.folder) if entry.name.endswith(_SUFFIX))

    def path(self, name: str) -> Path:
        """The file of a slide, whether or not it is there.

        Raises:
            ValueError: The name is empty or has a slash in it.
        """
        if not isinstance(name, str) or not _NAME.fullmatch(name) or name.startswith("."):
            raise ValueError(f"FeatureStore: name={name!r} must be a text without slashes that does not start with a dot")
        return self.folder / f"{name}{_SUFFIX}"

    def write(
        self,
        name: str,
        features: torch.Tensor | Array,
        coords: torch.Tensor | Array,
        *,
        mpp: float,
        tile: float,
        step: float | None = None,
        encoder: str = "",
        size: tuple[int, int] | None = None,
        source: str = "",
        dtype: Precision = "float16",
    ) -> Path:
        """Writes the features of one slide; a file of that name is replaced.

        Args:
            name: Name of the slide: a text without slashes.
            features: [N, D] finite numbers.
            coords: [N, 2] whole numbers: x, y of each tile's top left corner, in pixels of level 0.
            mpp: µm of a pixel of level 0.
            tile: Side of a tile in pixels of level 0.
            step: Pixels of level 0 from one tile to the next; None: the side, as without overlap.
            encoder: Digest or name of the encoder.
            size: Width and height of level 0.
            source: Which state of the slide's file they are of.
            dtype: Type in the file. Half precision halves files and reading, and keeps 3 to 4 digits.

        Returns:
            The file.

        Raises:
            ValueError: Shapes do not fit, a number is not finite or, in half precision, too large, or a scale is not
                positive.
            ReadError: The file cannot be written.
        """
        path = self.path(name)
        choice("FeatureStore.write", "dtype", dtype, tuple(_TYPES))
        for what, value in (("mpp", mpp), ("tile", tile), ("step", tile if step is None else step)):
            number("FeatureStore.write", what, value, 0, strict=True)
        values, places = _checked(name, features, coords)
        kept = values.to(_TYPES[dtype])
        if not bool(kept.isfinite().all()):
            raise ValueError(f"FeatureStore.write: features of {name!r} are not finite as {dtype}; leave bad tiles out, or use dtype='float32'")
        metadata = {
            "format": _FORMAT,
            "mpp": repr(float(mpp)),
            "tile": repr(float(tile)),
            "step": repr(float(tile if step is None else step)),
            "encoder": encoder,
            "source": source,
        }
        if size is not None:
            metadata["size"] = f"{int(size[0])} {int(size[1])}"
        self.folder.mkdir(parents=True, exist_ok=True)
        io.save_safetensors({"features": kept.contiguous(), "coords": places.contiguous()}, path, metadata)
        return path

    def read(self, name: str) -> SlideFeatures:
        """Reads the features of one slide.

        Raises:
            KeyError: There is no such slide.
            FormatError: The file is not one of features.
            ReadError: It cannot be read.
        """
        path = self.path(name)
        if not path.is_file():
            raise KeyError(f"{self.folder} has no features of {name!r}")
        tensors, metadata = C.load_safetensors(os.fspath(path))
        try:
            if metadata.get("format") != _FORMAT:
                raise ValueError(f"format {metadata.get('format')!r}")
            size = tuple(int(v) for v in metadata["size"].split()) if "size" in metadata else None
            scales = {key: float(metadata[key]) for key in ("mpp", "tile", "step")}
            return SlideFeatures(tensors["features"], tensors["coords"], encoder=metadata.get("encoder", ""), size=size, **scales)  # type: ignore[arg-type]
        except (KeyError, ValueError) as error:
            raise FormatError(f"{path}: expected features of a slide ({_FORMAT}), found {error}") from error

    def described(self, name: str) -> dict[str, str]:
        """The metadata of a slide's file: format, mpp, tile, step, encoder, and size if it is known.

        Raises:
            FormatError: The file is not one of features.
        """
        return io.load_metadata(self.path(name), _FORMAT)

    def import_h5(self, path: str | os.PathLike[str], name: str | None = None, *, mpp: float | None = None, **how: Any) -> Path:
        """Takes over a file of TRIDENT or CLAM (:func:`sslmed.bags.read_h5`).

        Args:
            path: File (.h5).
            name: Name of the slide; by default that of the file.
            mpp: µm of a pixel of level 0, where the file does not say it (files of TRIDENT give a magnification only).
            **how: ``dtype`` and ``encoder`` of :meth:`write`.

        Raises:
            ImportError: h5py is not installed.
            FormatError: The file has another layout.
            ValueError: The file does not say its scale, and ``mpp`` is not given.
        """
        found = read_h5(path, mpp=mpp)
        given = {"encoder": found.encoder} | how
        kept = {"mpp": found.mpp, "tile": found.tile, "step": found.step, "size": found.size}
        return self.write(Path(path).stem if name is None else name, found.features, found.coords, **kept, **given)  # type: ignore[arg-type]

    def export_h5(self, name: str, path: str | os.PathLike[str]) -> None:
        """Writes a slide as TRIDENT does (:func:`sslmed.bags.write_h5`).

        Args:
            name: Slide of this store.
            path: File (.h5) to write.

        Raises:
            ImportError: h5py is not installed.
            KeyError: There is no such slide.
        """
        write_h5(self.read(name), path, name=name)


def _checked(name: str, features: Any, coords: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Features and coords as tensors on the CPU."""
    values = torch.as_tensor(features).detach().cpu()
    if values.ndim != 2 or not values.is_floating_point() or values.shape[1] < 1:
        raise ValueError(f"FeatureStore.write: features of {name!r} must be [N, D] floating point, got {list(values.shape)} {values.dtype}")
    if not bool(values.isfinite().all()):
        raise ValueError(f"FeatureStore.write: features of {name!r} must be finite; leave bad tiles out")
    places = torch.as_tensor(coords).detach().cpu()
    if places.shape != (len(values), 2):
        raise ValueError(f"FeatureStore.write: coords of {name!r} must be [{len(values)}, 2], one a row of features, got {list(places.shape)}")
    whole = places.to(torch.int64)
    if places.is_floating_point() and not bool((whole == places).all()):
        raise ValueError(f"FeatureStore.write: coords of {name!r} must be whole pixels of level 0")
    return values, whole
