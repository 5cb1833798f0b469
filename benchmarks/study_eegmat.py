"""Not a benchmark of speed but of use, on real recordings: pretrain on EEGMAT, tell rest from arithmetic leaving one subject
out, then train on EEGMAT and test on another device. Every row beside the classical ones; needs SSLMED_DATA.

    python benchmarks/study_eegmat.py 3 --methods mae ijepa --finetune

The settings are those that study_pretraining.py settled on with the embedded cohort (I-JEPA: as many steps, and its defaults); nothing was
chosen on these recordings.
"""

import argparse
import json
import sys
import tempfile
import time
import warnings
from pathlib import Path

from common import RESULTS, data_root, write
from study_pretraining import PRE, spectrum_r2

import sslmed as sm
from sslmed.encoders import Encoder

STEPS, BATCH = 4500, 16
OPTIONS = {"mae": {"reconstruct": "spectrum", "reconstruct_bins": 3, "decoder_depth": 1, "decoder_dim": 64}, "ijepa": {}}


def cohorts(root: Path) -> tuple[sm.Cohort, sm.Cohort]:
    """EEGMAT, and the same task from another device; the column ``condition`` says rest or arithmetic."""
    eegmat = sm.Cohort.from_bids(root / "eeg/eegmat")
    eegmat = eegmat.with_columns(condition=eegmat.table["task"])
    unicorn = sm.Cohort.from_npz(sorted((root / "eeg/unicorn8ch_npz").glob("*.npz")), columns=("subject", "condition"), name="unicorn")
    unicorn = unicorn.with_columns(condition=["rest" if c.startswith("R") else "arithmetic" for c in unicorn.table["condition"]])
    return eegmat, unicorn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("seeds", type=int, nargs="+")
    parser.add_argument("--methods", nargs="+", default=["mae"], choices=list(OPTIONS))
    parser.add_argument("--finetune", action="store_true", help="also fine-tune, over five folds")
    arguments = parser.parse_args()
    root = data_root()
    if root is None:
        sys.exit("SSLMED_DATA does not name a folder with the real recordings")
    warnings.simplefilter("ignore")
    preprocessing = sm.EegPreprocessing(**PRE)
    eegmat, unicorn = cohorts(root)
    windows = len(eegmat.source(preprocessing))
    # Earlier seeds stay.
    path = RESULTS / "study_eegmat.json"
    body: dict = {k: v for k, v in json.loads(path.read_text()).items() if k != "machine"} if path.exists() else {}
    body["windows"] = windows
    for seed in arguments.seeds:
        r2, rank = spectrum_r2(Encoder("vit_tiny", preprocessing, depth=4, seed=seed), eegmat)
        random = {"r2": round(r2, 3), "rank": round(rank, 1)}
        for method in arguments.methods:
            entry: dict = {"random encoder": random}
            start = time.perf_counter()
            with tempfile.TemporaryDirectory() as folder:
                run = sm.pretrain(
                    eegmat, method=method, encoder="vit_tiny", out=Path(folder) / "run", depth=4, epochs=round(STEPS * BATCH / windows), batch_size=BATCH,
                    preprocessing=preprocessing, seed=seed, progress=False, tensorboard=False, **OPTIONS[method],
                )  # fmt: skip
            r2, rank = spectrum_r2(run.encoder, eegmat)
            entry["pretrained encoder"] = {
                "r2": round(r2, 3), "rank": round(rank, 1), "steps": len(run.history), "last_loss": round(float(run.history["loss"].tail(50).mean()), 3),
                "seconds": round(time.perf_counter() - start),
            }  # fmt: skip
            print(f"{method}, seed {seed}: {entry}", flush=True)
            tasks: list[tuple[str, dict]] = [
                ("leave one subject out", {"cv": "loso"}),
                ("leave one subject out, regions", {"cv": "loso", "pooling": "regions"}),
                ("EEGMAT to Unicorn", {"test": unicorn}),
                ("EEGMAT to Unicorn, normalized", {"test": unicorn, "adaptation": "normalize"}),
            ]
            if arguments.finetune:
                tasks.append(("fine-tuning, five folds", {"protocol": "finetune"}))
            for name, options in tasks:
                result = sm.transfer(run.encoder, eegmat, "condition", seed=seed, **options)
                entry[name] = {f"{r.row}, {r.metric}": [round(r.value, 3), round(r.low, 3), round(r.high, 3)] for r in result.table.itertuples()}
                shown = result.table[result.table["metric"].isin(["balanced_accuracy", "auroc"])]
                print(f"{method}, seed {seed}: {name}\n{shown.to_string(index=False, float_format='%.3f')}\n", flush=True)
            body[f"{method}, seed {seed}"] = entry
            write("study_eegmat", body)


if __name__ == "__main__":
    main()
