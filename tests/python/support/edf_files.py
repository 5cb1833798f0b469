"""Hand-made EDF and BDF bytes: full control over every field, so that each oddity is one argument."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np


@dataclass
class Signal:
    label: str | bytes = "Fp1"
    unit: str | bytes = "uV"
    pmin: str = "-3276.8"
    pmax: str = "3276.7"
    dmin: str = "-32768"
    dmax: str = "32767"
    per_record: int = 10
    samples: np.ndarray | None = None


@dataclass
class Edf:
    signals: list[Signal] = field(default_factory=lambda: [Signal()])
    n_records: int = 4
    duration: str = "1"
    kind: str = ""
    version: bytes = b"0       "
    declared_records: str | None = None
    declared_header: str | None = None
    date: str = "02.03.04"
    time: str = "05.06.07"
    recording: str = ""
    onsets: list[float] | None = None
    notes: dict[int, bytes] = field(default_factory=dict)
    tail: bytes = b""
    cut: int = 0

    def bytes(self) -> bytes:
        def pad(value: str | bytes, width: int) -> bytes:
            raw = value if isinstance(value, bytes) else value.encode("latin-1")
            assert len(raw) <= width, value
            return raw.ljust(width)

        bdf = self.version.startswith(b"\xff")
        width = 3 if bdf else 2
        signals = list(self.signals)
        if self.kind:
            label = "BDF Annotations" if bdf else "EDF Annotations"
            signals.append(Signal(label, "", "-1", "1", "-32768", "32767", 40))
        ns = len(signals)
        head = self.version + pad("X", 80) + pad(self.recording, 80) + pad(self.date, 8) + pad(self.time, 8)
        head += pad(self.declared_header or str(256 * (ns + 1)), 8) + pad(self.kind, 44)
        head += pad(self.declared_records or str(self.n_records), 8) + pad(self.duration, 8) + pad(str(ns), 4)
        for width_, get in (
            (16, lambda s: s.label), (80, lambda s: ""), (8, lambda s: s.unit), (8, lambda s: s.pmin), (8, lambda s: s.pmax),
            (8, lambda s: s.dmin), (8, lambda s: s.dmax), (80, lambda s: ""), (8, lambda s: str(s.per_record)), (32, lambda s: ""),
        ):  # fmt: skip
            head += b"".join(pad(get(s), width_) for s in signals)
        body = b""
        for r in range(self.n_records):
            for i, s in enumerate(signals):
                n = s.per_record
                if self.kind and i == ns - 1:
                    onset = self.onsets[r] if self.onsets else r * float(self.duration)
                    tal = f"{onset:+g}".encode() + b"\x14\x14\x00" + self.notes.get(r, b"")
                    body += tal.ljust(n * width, b"\x00")
                    continue
                values = np.arange(r * n, (r + 1) * n) if s.samples is None else s.samples[r * n : (r + 1) * n]
                body += b"".join(int(v).to_bytes(width, "little", signed=True) for v in values)
        whole = head + body + self.tail
        return whole[: len(whole) - self.cut]

    def write(self, path: Path) -> Path:
        path.write_bytes(self.bytes())
        return path
