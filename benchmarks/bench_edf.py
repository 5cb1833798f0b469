"""Claim: random 4 s windows of all channels, one thread, at least 20 times MNE (lazy), pyedflib and edfio; whole files at
least 3 times each; within 4 times of converting the same integers in memory."""

import os
import random
import tempfile
import warnings
from pathlib import Path

import edfio
import mne
import numpy as np
import pyedflib
import torch
from common import data_root, paired, write

from sslmed.io import open_edf, write_edf

warnings.simplefilter("ignore")
mne.set_log_level("ERROR")
torch.set_num_threads(1)


def made(folder: Path, suffix: str) -> Path:
    rng = np.random.default_rng(0)
    path = folder / f"made.{suffix}"
    write_edf(path, rng.normal(size=(21, 500 * 62)) * 40, 500, [f"E{i}" for i in range(21)], bdf=suffix == "bdf")
    return path


def compare(path: Path) -> dict[str, dict[str, float]]:
    ours = open_edf(path)
    bdf = path.suffix == ".bdf"
    rate, seconds, channels = int(ours.sfreq[0]), int(ours.duration), len(ours.ch_names)
    lazy = (mne.io.read_raw_bdf if bdf else mne.io.read_raw_edf)(path, preload=False, stim_channel=None)
    reader = pyedflib.EdfReader(str(path))
    other = edfio.read_bdf(path) if bdf else edfio.read_edf(path)
    starts = [random.Random(0).randrange(seconds - 4) for _ in range(64)]
    turn = iter(range(10**12))

    def start() -> int:
        return starts[next(turn) % len(starts)]

    def by_pyedflib() -> np.ndarray:
        s = start()
        return np.stack([reader.readSignal(i, s * rate, 4 * rate) for i in range(channels)])

    def by_edfio() -> np.ndarray:
        s = start()
        return np.stack([signal.get_data_slice(s, s + 4) for signal in other.signals])

    def by_mne() -> np.ndarray:
        s = start()
        return lazy[:, s * rate : (s + 4) * rate][0]

    def by_us() -> torch.Tensor:
        s = start()
        return ours.read(s, s + 4)

    # The limit: copying the window's bytes out of the page cache, without looking at them.
    descriptor, header = os.open(path, os.O_RDONLY), int(path.read_bytes()[184:192])
    record = (path.stat().st_size - header) // seconds
    space = [bytearray(4 * record)]

    def by_copy() -> int:
        return os.preadv(descriptor, space, header + start() * record)

    stored = torch.randint(-30000, 30000, (channels, 4 * rate), dtype=torch.int32 if bdf else torch.int16)
    gain = torch.rand(channels, 1)
    # The same work: the first channel (in µV in every file here) has the same values.
    assert np.allclose(ours.read(3, 7).numpy()[0] * 1e-6, lazy[0, 3 * rate : 7 * rate][0][0], atol=1e-9)
    return paired(
        {
            "sslmed": by_us,
            "mne": by_mne,
            "pyedflib": by_pyedflib,
            "edfio": by_edfio,
            "convert in memory": lambda: stored.float().mul_(gain),
            "copy the bytes": by_copy,
        }
    )


def whole(path: Path) -> dict[str, dict[str, float]]:
    bdf = path.suffix == ".bdf"

    def by_pyedflib() -> np.ndarray:
        with pyedflib.EdfReader(str(path)) as reader:
            return np.stack([reader.readSignal(i) for i in range(reader.signals_in_file)])

    def by_edfio() -> np.ndarray:
        return np.stack([s.data for s in (edfio.read_bdf(path) if bdf else edfio.read_edf(path)).signals])

    def by_us() -> torch.Tensor:
        file = open_edf(path)
        return file.read(0, file.duration)

    read = mne.io.read_raw_bdf if bdf else mne.io.read_raw_edf
    return paired({"sslmed": by_us, "mne": lambda: read(path, preload=True, stim_channel=None).get_data(), "pyedflib": by_pyedflib, "edfio": by_edfio})


def main() -> None:
    body: dict[str, dict] = {"ratios": {}}
    with tempfile.TemporaryDirectory() as folder:
        files = {kind: made(Path(folder), kind) for kind in ("edf", "bdf")}
        root = data_root()
        if root is not None:
            files["edf, EEGMAT"] = root / "eeg/eegmat/sub-00/eeg/sub-00_task-rest_eeg.edf"
        for kind, path in files.items():
            body[f"windows, {kind}"] = times = compare(path)
            body[f"whole file, {kind}"] = files_times = whole(path)
            for peer in ("mne", "pyedflib", "edfio"):
                body["ratios"][f"windows, {kind}, against {peer}"] = times[peer]["median"] / times["sslmed"]["median"]
                body["ratios"][f"whole file, {kind}, against {peer}"] = files_times[peer]["median"] / files_times["sslmed"]["median"]
            body["ratios"][f"windows, {kind}, times converting in memory"] = times["sslmed"]["median"] / times["convert in memory"]["median"]
            body["ratios"][f"windows, {kind}, times copying the bytes"] = times["sslmed"]["median"] / times["copy the bytes"]["median"]
    write("edf", body)


if __name__ == "__main__":
    main()
