"""Claim: random 4 s windows of all channels from BrainVision files, one thread, at least 20 times MNE (lazy); and how often as
fast as copying the window's bytes. 32 channels at 500 Hz, and 64 at 1000 Hz; INT_16 and IEEE_FLOAT_32, both orientations."""

import os
import random
import tempfile
import warnings
from pathlib import Path

import mne
import numpy as np
import torch
from common import paired, write

from sslmed.io import open_brainvision

warnings.simplefilter("ignore")
mne.set_log_level("ERROR")
torch.set_num_threads(1)
SECONDS = 120


def made(folder: Path, channels: int, rate: int, number: str, orientation: str) -> Path:
    stored = np.random.default_rng(0).integers(-2000, 2000, (SECONDS * rate, channels))
    header = folder / f"{channels}_{number}_{orientation}.vhdr"
    ordered = stored if orientation == "MULTIPLEXED" else stored.T
    np.ascontiguousarray(ordered, "<i2" if number == "INT_16" else "<f4").tofile(header.with_suffix(".eeg"))
    lines = ["Brain Vision Data Exchange Header File Version 1.0", "[Common Infos]", f"DataFile={header.stem}.eeg", "DataFormat=BINARY"]
    lines += [f"DataOrientation={orientation}", f"NumberOfChannels={channels}", f"SamplingInterval={1e6 / rate}", f"MarkerFile={header.stem}.vmrk"]
    lines += ["[Binary Infos]", f"BinaryFormat={number}", "[Channel Infos]", *(f"Ch{i + 1}=E{i + 1},,0.1,µV" for i in range(channels))]
    header.write_text("\n".join(lines) + "\n")
    header.with_suffix(".vmrk").write_text("Brain Vision Data Exchange Marker File, Version 1.0\n[Common Infos]\n[Marker Infos]\n")
    return header


def compare(path: Path, rate: int) -> dict[str, dict[str, float]]:
    ours, lazy = open_brainvision(path), mne.io.read_raw_brainvision(path, preload=False)
    starts = [random.Random(0).randrange(SECONDS - 4) for _ in range(64)]
    # Windows as MNE's users cut them: epochs that are read when they are asked for.
    epochs = mne.Epochs(lazy, np.array([[s * rate, 0, 1] for s in range(0, SECONDS - 4)]), tmin=0, tmax=4 - 1 / rate, baseline=None, preload=False)
    turn = iter(range(10**12))
    descriptor, frame = os.open(path.with_suffix(".eeg"), os.O_RDONLY), path.with_suffix(".eeg").stat().st_size // SECONDS
    space = [bytearray(4 * frame)]

    def start() -> int:
        return starts[next(turn) % len(starts)]

    def by_us() -> torch.Tensor:
        s = start()
        return ours.read(s, s + 4)

    def by_mne() -> np.ndarray:
        s = start()
        return lazy[:, s * rate : (s + 4) * rate][0]

    np.testing.assert_allclose(ours.read(7, 11).numpy() * 1e-6, lazy[:, 7 * rate : 11 * rate][0], rtol=1e-5)
    np.testing.assert_allclose(epochs[7].get_data(copy=False)[0], lazy[:, 7 * rate : 11 * rate][0])
    return paired(
        {
            "sslmed": by_us,
            "mne": by_mne,
            "mne epochs": lambda: epochs[start()].get_data(copy=False),
            "copy the bytes": lambda: os.preadv(descriptor, space, start() * frame),
        }
    )


def main() -> None:
    body: dict[str, dict] = {"ratios": {}}
    with tempfile.TemporaryDirectory() as folder:
        for channels, rate in ((32, 500), (64, 1000)):
            for number in ("INT_16", "IEEE_FLOAT_32"):
                for orientation in ("MULTIPLEXED", "VECTORIZED"):
                    kind = f"{channels} channels at {rate} Hz, {number}, {orientation}"
                    body[kind] = times = compare(made(Path(folder), channels, rate, number, orientation), rate)
                    for peer in ("mne", "mne epochs"):
                        body["ratios"][f"windows, {kind}, against {peer}"] = times[peer]["median"] / times["sslmed"]["median"]
                    body["ratios"][f"windows, {kind}, times copying the bytes"] = times["sslmed"]["median"] / times["copy the bytes"]["median"]
    write("brainvision", body)


if __name__ == "__main__":
    main()
