"""Claim: crops of prepared volumes come at least 20 times as fast as TorchIO's queue and MONAI's cached dataset give them of the same files, with as many
workers, in a quarter of the memory; memory stays flat over a thousand volumes.

The peers read the .nii.gz files, as their documentation has it; beside it, the physical limit: a copy of the crop's bytes.
"""

import argparse
import gc
import os
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from common import write

import sslmed as sm

SIDE, WORKERS, BATCH = 96, 2, 4


def volumes(folder: Path, n: int) -> sm.Cohort:
    """n textured balls of 160 x 190 x 160 cells of 1 mm."""
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, s) for s in (160, 190, 160)), indexing="ij")).astype(np.float32)
    ball = (grid**2).sum(0) < 0.95
    rows = []
    for i in range(n):
        values = (ball * (600 + 60 * rng.standard_normal(ball.shape, np.float32))).astype(np.int16)
        path = folder / f"p{i}_T1w.nii.gz"
        sm.io.write_nifti(sm.io.Volume(torch.from_numpy(values), torch.eye(4, dtype=torch.float64)), path)
        rows.append({"path": str(path), "subject": f"p{i}"})
    return sm.Cohort.from_table(pd.DataFrame(rows), name="balls")


def crops_of_ours(cohort: sm.Cohort, seconds: float) -> float:
    how = sm.VolumePreprocessing.from_settings(sm._core.C.VolumeStore(cohort.table["path"][0]).settings, patch=None, size=SIDE)
    loader = sm.Loader(cohort, how, batch_size=BATCH, threads=WORKERS, random=True, epochs=10**6)
    return rate(lambda: iter(loader), seconds, len)


def crops_of_torchio(cohort: sm.Cohort, seconds: float) -> float:
    import torchio as tio

    how = tio.Compose([tio.ToCanonical(), tio.ZNormalization(masking_method=tio.ZNormalization.mean)])
    dataset = tio.SubjectsDataset([tio.Subject(image=tio.ScalarImage(path)) for path in cohort.table["path"]], transform=how)
    queue = tio.Queue(dataset, max_length=16, samples_per_volume=4, sampler=tio.UniformSampler(SIDE), num_workers=WORKERS)
    loader = tio.SubjectsLoader(queue, batch_size=BATCH, num_workers=0)
    return rate(lambda: iter(loader), seconds, lambda batch: batch["image"][tio.DATA].shape[0])


def crops_of_monai(cohort: sm.Cohort, seconds: float, cached: bool) -> float:
    from monai.data import CacheDataset, DataLoader, Dataset
    from monai.transforms import Compose, EnsureChannelFirstd, LoadImaged, NormalizeIntensityd, Orientationd, RandSpatialCropd

    how = Compose(
        [
            LoadImaged("image"),
            EnsureChannelFirstd("image"),
            Orientationd("image", axcodes="RAS"),
            NormalizeIntensityd("image", nonzero=True),
            RandSpatialCropd("image", (SIDE,) * 3, random_size=False),
        ]
    )
    items = [{"image": path} for path in cohort.table["path"]]
    dataset = CacheDataset(items, how, progress=False) if cached else Dataset(items, how)
    loader = DataLoader(dataset, batch_size=BATCH, shuffle=True, num_workers=WORKERS)
    return rate(lambda: iter(loader), seconds, lambda batch: batch["image"].shape[0])


def rate(make, seconds: float, count) -> float:
    stream = make()
    next(stream)
    start, n = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        try:
            n += count(next(stream))
        except StopIteration:
            stream = make()
    return n / (time.perf_counter() - start)


CONTESTANTS = {
    "sslmed": crops_of_ours,
    "torchio queue": crops_of_torchio,
    "monai cached": lambda cohort, seconds: crops_of_monai(cohort, seconds, True),
    "monai": lambda cohort, seconds: crops_of_monai(cohort, seconds, False),
}


def child(name: str, table: str, seconds: float) -> None:
    """One contestant in a process of its own: crops a second, and MB resident beyond what was there before the data."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    cohort = sm.Cohort.from_table(table, name="balls")
    if name.startswith("monai"):
        import monai.transforms  # noqa: F401
    if name.startswith("torchio"):
        import torchio  # noqa: F401
    gc.collect()
    before = resident()
    found = CONTESTANTS[name](cohort, seconds)
    workers = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(found, resident() - before, workers)


def resident() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--volumes", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--child", nargs=2)
    arguments = parser.parse_args()
    if arguments.child:
        child(*arguments.child, arguments.seconds)
        return
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        raw = volumes(root, arguments.volumes)
        raw.table.to_csv(root / "raw.tsv", sep="\t", index=False)
        start = time.perf_counter()
        prepared = sm.prepare(raw, root / "prepared", spacing=1.0)
        seconds = time.perf_counter() - start
        assert prepared is not None
        # A thousand sessions: other names of the same files, each of which is mapped by itself.
        many = pd.DataFrame({"path": [str(root / f"many/{i}.smv") for i in range(1000)], "subject": [f"m{i}" for i in range(1000)]})
        (root / "many").mkdir()
        for i, path in enumerate(many["path"]):
            os.link(prepared.table["path"][i % len(prepared)], path)
        many.to_csv(root / "many.tsv", sep="\t", index=False)
        rates: dict[str, list[float]] = {}
        memory: dict[str, float] = {}
        runs = [(name, "raw.tsv") for name in CONTESTANTS if name != "sslmed"] + [("sslmed", "prepared/cohort.parquet"), ("sslmed", "many.tsv")]
        for _ in range(arguments.rounds):
            for name, table in runs:
                key = "sslmed, 1,000 volumes" if table == "many.tsv" else name
                command = [sys.executable, __file__, "--child", name, str(root / table), "--seconds", str(arguments.seconds)]
                found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
                rates.setdefault(key, []).append(float(found[-3]))
                memory[key] = max(memory.get(key, 0), float(found[-2]) + (WORKERS * float(found[-1]) if key != "sslmed" and "sslmed" not in key else 0))
    body = {
        "seconds to prepare one volume": seconds / arguments.volumes,
        "crops a second": {key: {"median": float(np.median(r)), "min": min(r), "max": max(r)} for key, r in rates.items()},
        "MB resident beyond the libraries": memory,
        "ratios": {f"crops a second, against {key}": float(np.median(rates["sslmed"]) / np.median(r)) for key, r in rates.items() if "sslmed" not in key},
    }
    write("volumes", body)


if __name__ == "__main__":
    main()
