"""Claim: a BIDS folder of 100,000 files opens in at most 1.5 times the time of listing it."""

import contextlib
import io
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from common import interleaved, ratio_of, summary, write

import sslmed as sm
from sslmed._core import C

FILES = 100_000
CHANNELS = "name\ttype\tunits\tstatus\n" + "".join(f"E{i}\tEEG\tuV\t{'bad' if i == 7 else 'good'}\n" for i in range(64))
EVENTS = "onset\tduration\ttrial_type\n0\t1\trest\n"
SHAPES = {
    "recordings alone": {"_eeg.edf": "0"},
    "recordings with sidecars": {"_eeg.edf": "0", "_eeg.json": "{}", "_channels.tsv": CHANNELS, "_events.tsv": EVENTS},
    "one channels.tsv each": {"_eeg.edf": "0", "_eeg.json": "{}", "_channels.tsv": CHANNELS + "E64\tEEG\t{}\tgood\n", "_events.tsv": EVENTS},
}
"""By ending what is in the files of each recording; two sessions a person, five runs a session."""


def make(root: Path, contents: dict[str, str], n: int) -> None:
    """A folder with ``n`` files, and participants.tsv."""
    people = ["participant_id\tage\tsex"]
    for i in range(0, n // len(contents), 10):
        name = f"sub-{i // 10:05d}"
        people.append(f"{name}\t{20 + i % 60}\t{'FM'[i % 20 // 10]}")
        for k in range(10):
            session = f"ses-{k // 5 + 1}"
            folder = root / name / session / "eeg"
            folder.mkdir(parents=True, exist_ok=True)
            for ending, text in contents.items():
                (folder / f"{name}_{session}_task-rest_run-{k % 5 + 1}{ending}").write_text(text.replace("{}\t", f"{i}-{k}\t"))
    (root / "participants.tsv").write_text("\n".join(people) + "\n")


def listed(root: Path) -> int:
    """What the standard library takes to name all files."""
    return sum(len(files) for _, _, files in os.walk(root, followlinks=True))


def opened(root: Path) -> Any:
    with contextlib.redirect_stderr(io.StringIO()):
        return sm.Cohort.from_bids(root)


def main() -> None:
    n = int(sys.argv[1]) if len(sys.argv) > 1 else FILES
    rows: dict[str, Any] = {}
    ratios: dict[str, Any] = {}
    for shape, contents in SHAPES.items():
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            make(root, contents, n)
            calls = {
                "os.walk": lambda root=root: listed(root),
                "sslmed": lambda root=root: opened(root),
                "sslmed, names alone": lambda root=root, endings=list(contents): C.walk_folder(str(root), endings),
            }
            times = interleaved(calls, rounds=7, seconds=0.01)
        rows |= {f"{shape}: {name}": summary(values) for name, values in times.items()}
        inverse = ratio_of(times, "sslmed", "os.walk")
        ratios[f"{shape}: opening over os.walk"] = inverse
        print(f"bids: {shape}: opening {inverse['median']:.2f} ({inverse['min']:.2f}-{inverse['max']:.2f}) times os.walk")
    for name, row in rows.items():
        print(f"bids: {name}: {row['median']:.3g} s ({row['min']:.3g}-{row['max']:.3g})")
    if n == FILES:
        write("bids", {"rows": rows, "ratios": ratios})


if __name__ == "__main__":
    main()
