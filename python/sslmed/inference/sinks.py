"""Files that a slide's map is written to band by band: OME-TIFF of classes, probabilities or uncertainty, and GeoJSON
of outlines."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from sslmed._checks import choice
from sslmed.inference.objects import ObjectStream
from sslmed.io import ObjectWriter, OmeTiffWriter, SlideObject
from sslmed.io.qupath import ObjectKind

__all__ = ["Extra", "MapBand", "Sinks"]

Extra = Literal["none", "probabilities", "uncertainty"]
"""What is kept beside the class of each cell."""

_FILES = (".ome.tif", ".ome.tiff", ".geojson")


@dataclass(frozen=True)
class MapBand:
    """Finished rows of a slide's map."""

    row: int
    """The first row."""
    classes: torch.Tensor
    """[rows, W] uint8: the class with the highest blended prediction."""
    extra: torch.Tensor | None
    """uint8 of 255 times the value: probabilities [classes, rows, W], or uncertainty [1, rows, W], the entropy of the
    probabilities as a share of the largest possible one."""


class Sinks:
    """Files that bands are written to while they come. Nothing is left of them where one fails."""

    def __init__(
        self,
        paths: Sequence[str | os.PathLike[str]],
        shape: tuple[int, int],
        downsample: tuple[float, float],
        mpp: tuple[float, float] | None,
        names: dict[int, str],
        extra: str,
        outside: int,
        objects: ObjectKind,
        min_area: float,
    ) -> None:
        choice("tiled", "objects", objects, get_args(ObjectKind))
        self.written: list[str] = []
        self.objects = 0
        self._shape, self._downsample, self._mpp, self._names = shape, downsample, mpp, names
        self._extra, self._outside, self._kind, self._least = extra, outside, objects, min_area
        self._paths = [Path(path) for path in paths]
        if len(set(self._paths)) < len(self._paths):
            raise ValueError(f"tiled: out={[os.fspath(path) for path in paths]} must be different files")
        if extra != "none" and self._paths and all(path.name.lower().endswith(".geojson") for path in self._paths):
            raise ValueError(f"tiled: extra={extra!r} is written beside an OME-TIFF, and out= has none")
        for path in self._paths:
            if not path.name.lower().endswith(_FILES):
                raise ValueError(f"tiled: out={os.fspath(path)!r} must end in {', '.join(_FILES)}")
            if mpp is None and not path.name.lower().endswith(".geojson"):
                raise ValueError(f"tiled: out={os.fspath(path)!r}: an OME-TIFF needs the slide's scale; give it to open_slide (mpp=)")
        self._stack = ExitStack()
        self._maps: list[OmeTiffWriter] = []
        self._extras: list[tuple[Path, OmeTiffWriter | None]] = []
        self._outlines: list[ObjectWriter] = []
        self._stream: ObjectStream | None = None

    def __enter__(self) -> Sinks:
        try:
            self._open()
        except BaseException as error:  # of those that were opened before, nothing is left
            self._stack.__exit__(type(error), error, error.__traceback__)
            raise
        return self

    def _open(self) -> None:
        for path in self._paths:
            if path.name.lower().endswith(".geojson"):
                self._outlines.append(self._stack.enter_context(ObjectWriter(path, self._kind)))
                self.written.append(os.fspath(path))
                continue
            assert self._mpp is not None
            self._maps.append(self._stack.enter_context(OmeTiffWriter(path, self._shape, self._mpp, classes=self._names)))
            self.written.append(os.fspath(path))
            if self._extra != "none":
                stem, ending = (
                    path.name[: path.name.lower().rindex(".ome")],
                    path.name[path.name.lower().rindex(".ome") :],
                )
                self._extras.append((path.with_name(f"{stem}.{self._extra}{ending}"), None))
        if self._outlines:
            self._stream = ObjectStream(
                self._shape[1], downsample=self._downsample, mpp=None if self._mpp is None else self._own(), background=self._outside, names=self._names,
                min_area=self._least,
            )  # fmt: skip

    def __exit__(self, kind: Any, value: Any, trace: Any) -> None:
        try:
            if kind is None and self._stream is not None:
                self._outlined(self._stream.finish())
        except BaseException as error:
            self._stack.__exit__(type(error), error, error.__traceback__)
            raise
        self._stack.__exit__(kind, value, trace)
        self.objects = self._outlines[0].count if self._outlines else 0

    def add(self, band: MapBand) -> None:
        """Writes a band."""
        for writer in self._maps:
            writer.write(band.classes)
        if band.extra is not None:
            self._write_extra(band.extra)
        if self._stream is not None:
            self._outlined(self._stream.add(band.classes))

    def _outlined(self, found: list[SlideObject]) -> None:
        for writer in self._outlines:
            writer.write(found)

    def _write_extra(self, values: torch.Tensor) -> None:
        assert self._mpp is not None or not self._extras
        for i, (path, known) in enumerate(self._extras):
            writer = known
            if writer is None:
                channels = [self._names.get(c, str(c)) for c in range(len(values))] if self._extra == "probabilities" else ["uncertainty"]
                assert self._mpp is not None
                writer = self._stack.enter_context(OmeTiffWriter(path, self._shape, self._mpp, channels=channels, labels=False))
                self._extras[i] = (path, writer)
                self.written.append(os.fspath(path))
            writer.write(values)

    def _own(self) -> tuple[float, float]:
        """µm per pixel of level 0."""
        assert self._mpp is not None
        return self._mpp[0] / self._downsample[0], self._mpp[1] / self._downsample[1]
