"""Hand-made BrainVision files: full control over every line, so that each oddity is one argument."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

TYPES = {"INT_16": "<i2", "UINT_16": "<u2", "INT_32": "<i4", "IEEE_FLOAT_32": "<f4"}


@dataclass
class BrainVision:
    stored: np.ndarray
    """[C, T] numbers as they are stored."""
    number: str = "INT_16"
    orientation: str = "MULTIPLEXED"
    names: Sequence[str] = ()
    resolutions: Sequence[str] = ("0.1",)
    units: Sequence[str] = ("µV",)
    interval: str = "2000"
    markers: Sequence[str] = ("New Segment,,1,1,0,20200102030405678901",)
    encoding: str = "utf-8"
    data_file: str | None = None
    marker_file: str | None = None
    points: str | None = None
    common: dict[str, str] = field(default_factory=dict)
    title: str = "Brain Vision Data Exchange Header File Version 1.0"
    newline: str = "\r\n"

    def header(self, stem: str) -> str:
        c = len(self.stored)
        names = self.names or [f"E{i + 1}" for i in range(c)]
        common = {
            "Codepage": "UTF-8" if self.encoding == "utf-8" else "ANSI",
            "DataFile": self.data_file or f"{stem}.eeg",
            "MarkerFile": self.marker_file or f"{stem}.vmrk",
            "DataFormat": "BINARY",
            "DataOrientation": self.orientation,
            "DataType": "TIMEDOMAIN",
            "NumberOfChannels": str(c),
            "SamplingInterval": self.interval,
        } | self.common
        if self.points is not None:
            common["DataPoints"] = self.points
        lines = [self.title, "; made by a test", "", "[Common Infos]", *(f"{k}={v}" for k, v in common.items() if v)]
        lines += ["", "[Binary Infos]", f"BinaryFormat={self.number}", "", "[Channel Infos]"]
        for i in range(c):
            resolution, unit = self.resolutions[i % len(self.resolutions)], self.units[i % len(self.units)]
            lines.append(f"Ch{i + 1}={names[i].replace(',', chr(92) + '1')},,{resolution}" + (f",{unit}" if unit else ""))
        return self.newline.join([*lines, "", "[Comment]", "A free text = with [anything]", ""])

    def marker_text(self, stem: str) -> str:
        lines = ["Brain Vision Data Exchange Marker File, Version 1.0", "[Common Infos]", f"DataFile={stem}.eeg", "[Marker Infos]"]
        return self.newline.join([*lines, *(f"Mk{i + 1}={text}" for i, text in enumerate(self.markers)), ""])

    def samples(self) -> bytes:
        ordered = self.stored.T if self.orientation == "MULTIPLEXED" else self.stored
        return np.ascontiguousarray(ordered.astype(TYPES[self.number])).tobytes()

    def write(self, header: Path) -> Path:
        header.parent.mkdir(parents=True, exist_ok=True)
        header.write_bytes(self.header(header.stem).encode(self.encoding))
        header.with_suffix(".vmrk").write_bytes(self.marker_text(header.stem).encode(self.encoding))
        header.with_suffix(".eeg").write_bytes(self.samples())
        return header
