"""Claim: two processes train at 90 % or more of one process's rate with as many threads in all. Reads its own output under torchrun."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import write

ROUNDS, STEPS, WARM = 5, 40, 8


def job(root: str, out: str, threads: int) -> None:
    import torch

    import sslmed as sm
    from sslmed.distributed import is_first, under_torchrun
    from sslmed.encoders import Encoder
    from sslmed.methods import MaskedAutoencoder

    torch.set_num_threads(threads)
    preprocessing = sm.EegPreprocessing(sfreq=100, l_freq=0.5, h_freq=45)
    with under_torchrun():
        loader = sm.Loader(sm.Cohort.from_bids(root), preprocessing, batch_size=32, threads=threads, random=True, drop_last=True)
        objective = MaskedAutoencoder(Encoder("vit_small", preprocessing, depth=6), sm.methods.Mae(decoder_dim=128, decoder_depth=1, decoder_heads=4))
        epochs = -(-(STEPS + WARM) // loader.sampler.batches_per_epoch)
        seconds: list[float] = []

        def callback(rows: list[dict[str, float]]) -> None:
            seconds.extend(row["seconds"] for row in rows)

        sm.Trainer(objective, loader, epochs=epochs, lr=1e-4).fit(callback)
    if is_first():
        Path(out).write_text(json.dumps((seconds[WARM + STEPS - 1] - seconds[WARM - 1]) / STEPS))


def main() -> None:
    from sslmed.demo import eeg as demo

    cores = os.cpu_count() or 2
    with tempfile.TemporaryDirectory() as folder:
        demo.write_cohort(Path(folder) / "site", demo.PUBLIC, 16, seconds=62)
        launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
        contestants = {"one process": ([sys.executable], cores), "two processes": (launch, cores // 2)}
        times: dict[str, list[float]] = {name: [] for name in contestants}
        for r in range(ROUNDS):
            for name in list(contestants)[:: 1 if r % 2 == 0 else -1]:
                command, threads = contestants[name]
                out = Path(folder) / "seconds"
                subprocess.run([*command, __file__, f"{folder}/site", str(out), str(threads)], check=True, env=os.environ | {"OMP_NUM_THREADS": str(threads)})
                times[name].append(json.loads(out.read_text()))
                time.sleep(1)
    rows = {name: {"median": statistics.median(t), "min": min(t), "max": max(t)} for name, t in times.items()}
    body = {"seconds a step of 32 windows": rows, "threads in all": cores}
    write("distributed", body | {"ratios": {"two processes": rows["one process"]["median"] / rows["two processes"]["median"]}})


if __name__ == "__main__":
    if len(sys.argv) > 1:
        job(sys.argv[1], sys.argv[2], int(sys.argv[3]))
    else:
        main()
