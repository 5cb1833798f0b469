"""Claim: windows with band-pass, resampling, average reference, scaling and mask at least 10 times braindecode's windows in a
torch DataLoader with as many workers doing the same steps with SciPy; resident memory with 8 threads at most a quarter of 8 workers."""

import os
import subprocess
import sys
import tempfile
import time
import types
import warnings
from pathlib import Path

import numpy as np
import torch
from common import paired, write
from scipy import signal

import sslmed as sm
from sslmed.demo import eeg as demo

warnings.simplefilter("ignore")
PRE = sm.EegPreprocessing(sfreq=200, window=4, patch=1, l_freq=0.5, h_freq=75)


def stub_torchaudio() -> None:
    """braindecode imports torchaudio, which has no CPU build; only names are needed."""

    class Anything(types.ModuleType):
        def __getattr__(self, name: str) -> type:
            if name.startswith("__"):
                raise AttributeError(name)
            return type(name, (), {})

    for name in ("torchaudio", "torchaudio.functional", "torchaudio.transforms"):
        module = Anything(name)
        module.__path__ = []
        sys.modules[name] = module
        if "." in name:
            setattr(sys.modules["torchaudio"], name.rpartition(".")[2], module)


class Transformed(torch.utils.data.Dataset):
    """The same steps, in NumPy and SciPy, on braindecode's windows with a margin of one second on each side."""

    def __init__(self, windows) -> None:
        self.windows = windows
        self.sos = signal.butter(4, [0.5, 75], "bandpass", fs=250, output="sos")

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, i: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        x, _, _ = self.windows[i]
        x = signal.sosfiltfilt(self.sos, np.asarray(x, dtype=np.float64) * 1e6)
        x = signal.resample_poly(x, 4, 5, axis=1)[:, 200:1000]
        x -= x.mean(0)
        x = np.clip((x - x.mean(1, keepdims=True)) / x.std(1, keepdims=True), -15, 15).astype(np.float32)
        tokens = x.reshape(-1, 200)
        order = np.argsort(np.random.default_rng(i).random(len(tokens)))
        return tokens, np.sort(order[: len(order) // 2]), np.sort(order[len(order) // 2 :])


def peer(paths: list[str]) -> Transformed:
    stub_torchaudio()
    import mne
    from braindecode.datasets import BaseConcatDataset, RawDataset
    from braindecode.preprocessing import create_fixed_length_windows

    mne.set_log_level("ERROR")
    recordings = BaseConcatDataset([RawDataset(mne.io.read_raw_edf(p, preload=False), {"target": 0}, target_name="target") for p in paths])
    windows = create_fixed_length_windows(recordings, window_size_samples=1500, window_stride_samples=1000, drop_last_window=True, preload=False)
    return Transformed(windows)


def theirs(dataset: Transformed, workers: int) -> int:
    loader = torch.utils.data.DataLoader(dataset, batch_size=32, shuffle=True, num_workers=workers, collate_fn=lambda items: items)
    return sum(len(batch) for batch in loader)


def ours(cohort: sm.Cohort, threads: int) -> int:
    return sum(len(batch) for batch in sm.Loader(cohort, PRE, batch_size=32, mask="random", threads=threads, random=True))


def resident(process: int) -> int:
    """Proportional set size of a process and its children, in bytes: shared pages are counted once."""
    total = 0
    for pid in [process, *map(int, Path(f"/proc/{process}/task/{process}/children").read_text().split())]:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1]) * 1024
    return total


def memory(kind: str, root: str) -> int:
    """Largest resident memory while eight threads or workers run, over that of the process before."""
    child = subprocess.Popen([sys.executable, __file__, kind, root], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    child.stdout.readline()
    before, peak = resident(child.pid), 0
    while child.poll() is None:
        try:
            peak = max(peak, resident(child.pid))
        except (FileNotFoundError, ProcessLookupError, ValueError):
            break
        time.sleep(0.05)
    child.wait()
    return peak - before


def child(kind: str, root: str) -> None:
    cohort = sm.Cohort.from_bids(root)
    dataset = peer(list(cohort.table["path"])) if kind == "workers" else None
    print("ready", flush=True)
    time.sleep(0.3)
    for _ in range(3):
        _ = theirs(dataset, 8) if dataset is not None else ours(cohort, 8)


def main() -> None:
    torch.set_num_threads(1)
    body: dict[str, dict] = {"ratios": {}}
    with tempfile.TemporaryDirectory() as folder:
        cohort = demo.write_cohort(Path(folder) / "site", demo.PUBLIC, 12, seconds=62)
        dataset = peer(list(cohort.table["path"]))
        n_ours, n_theirs = len(cohort.source(PRE)), len(dataset)
        for workers in (1, 2):
            times = paired({"sslmed": lambda w=workers: ours(cohort, w), "braindecode": lambda w=workers: theirs(dataset, w)}, rounds=5, seconds=1.0)
            body[f"{workers} threads or workers, s an epoch"] = times
            rates = {"sslmed": n_ours / times["sslmed"]["median"], "braindecode": n_theirs / times["braindecode"]["median"]}
            body[f"{workers} threads or workers, windows/s"] = rates
            body["ratios"][f"windows/s, {workers} threads against workers"] = rates["sslmed"] / rates["braindecode"]
        used = {kind: memory(kind, str(Path(folder) / "site")) for kind in ("threads", "workers")}
        body["bytes added by 8"] = used
        body["ratios"]["memory added, 8 threads of 8 workers"] = used["threads"] / used["workers"]
    write("loader", body)


if __name__ == "__main__":
    if len(sys.argv) > 2:
        os.environ["OMP_NUM_THREADS"] = "1"
        child(sys.argv[1], sys.argv[2])
    else:
        main()
