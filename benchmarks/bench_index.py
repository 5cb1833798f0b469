"""Claim: a cohort of a million recordings opens in less than 2 s and 200 bytes a recording; an item costs the same as of a thousand."""

import gc
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from common import write

SIZES = (1_000, 1_000_000)


def make(path: Path, n: int) -> None:
    """Entries as a BIDS archive names them, 20 recordings a subject, three devices."""
    rng = np.random.default_rng(0)
    subject = np.arange(n) // 20
    montages = [f'["{a}", "C3", "Cz", "C4", "O1", "O2"]' for a in ("Fp1", "Fz", "F3")]
    table = pd.DataFrame(
        {
            "path": [f"/data/eeg/sub-{s:06d}/eeg/sub-{s:06d}_ses-{i % 20:02d}_task-rest_eeg.edf" for i, s in enumerate(subject)],
            "subject": [f"sub-{s:06d}" for s in subject],
            "age": rng.uniform(18, 90, n).round(1),
            "sex": pd.Categorical(rng.choice(["F", "M"], n)),
            "site": pd.Categorical(rng.choice(["a", "b", "c"], n)),
            "sfreq": rng.choice([250.0, 500.0], n),
            "n_samples": rng.integers(100_000, 400_000, n),
            "channels": pd.Categorical(rng.choice(montages, n)),
        }
    )
    table.to_parquet(path, index=False, row_group_size=n)


def resident() -> int:
    return int(next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS")).split()[1]) * 1024


def measure(path: str) -> None:
    """In a process of its own: seconds to open, bytes an entry, seconds an item in each order."""
    import sslmed as sm
    from sslmed._core import C

    small = Path(path).with_name("warm.parquet")
    preprocessing = sm.EegPreprocessing(sfreq=100, h_freq=45)
    sm.Cohort.from_table(small).source(preprocessing)  # imports, and what allocators keep
    gc.collect()
    before = resident()
    start = time.perf_counter()
    cohort = sm.Cohort.from_table(path)
    source = cohort.source(preprocessing)
    opened = time.perf_counter() - start
    gc.collect()
    size = (resident() - before) / len(cohort)
    items = []
    for order in ("shuffle", "subject"):
        sampler = C.Sampler(source, order, 64, True, 0)
        sampler.batch(0)
        start = time.perf_counter()
        for b in range(200):
            for sample in sampler.batch(b * 7 % sampler.batches_per_epoch):
                source.describe(sample)
        items.append((time.perf_counter() - start) / (200 * 64))
    print(opened, size, *items, len(source))


def main() -> None:
    rows: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder) / "warm.parquet", 1_000)
        for n in SIZES:
            make(Path(folder) / f"{n}.parquet", n)
        runs: dict[int, list[list[float]]] = {n: [] for n in SIZES}
        for _ in range(5):
            for n in SIZES:
                out = subprocess.run([sys.executable, __file__, f"{folder}/{n}.parquet"], check=True, capture_output=True, text=True).stdout
                runs[n].append([float(v) for v in out.split()])
        for n in SIZES:
            for i, what in enumerate(("seconds to open", "resident bytes an entry", "seconds an item, shuffled", "seconds an item, by subject", "windows")):
                values = [run[i] for run in runs[n]]
                rows[f"{n}: {what}"] = {"median": statistics.median(values), "min": min(values), "max": max(values)}
    few, many = SIZES
    ratios = {
        what: rows[f"{many}: seconds an item, {what}"]["median"] / rows[f"{few}: seconds an item, {what}"]["median"] for what in ("shuffled", "by subject")
    }
    write("index", {"rows": rows, "ratios": {f"an item of {many} entries, {k}, over one of {few}": v for k, v in ratios.items()}})
    for name, row in rows.items():
        print(f"index: {name}: {row['median']:.3g} ({row['min']:.3g}-{row['max']:.3g})")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        measure(sys.argv[1])
    else:
        main()
