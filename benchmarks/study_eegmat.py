"""Not a benchmark of speed but of use, on real recordings: pretrain on EEGMAT, tell rest from arithmetic leaving one subject
out, then train on EEGMAT and test on another device. Every row beside the classical one; needs SSLMED_DATA.

    python benchmarks/study_eegmat.py 0 1 2

The settings are those that study_pretraining.py settled on with the embedded cohort; nothing was chosen on these recordings.
"""

import sys
import tempfile
import time
import warnings
from pathlib import Path

from common import data_root, write
from study_pretraining import PRE, spectrum_r2

import sslmed as sm
from sslmed.nn import Encoder

STEPS, BATCH = 4500, 16


def main() -> None:
    root = data_root()
    if root is None:
        sys.exit("SSLMED_DATA does not name a folder with the real recordings")
    warnings.simplefilter("ignore")
    preprocessing = sm.EegPreprocessing(**PRE)
    eegmat = sm.Cohort.from_bids(root / "eeg/eegmat")
    eegmat = eegmat.with_columns(condition=eegmat.table["task"])
    unicorn = sm.Cohort.from_npz(sorted((root / "eeg/unicorn8ch_npz").glob("*.npz")), columns=("subject", "condition"), name="unicorn")
    unicorn = unicorn.with_columns(condition=["rest" if c.startswith("R") else "arithmetic" for c in unicorn.table["condition"]])
    windows = len(eegmat.source(preprocessing))
    body: dict = {"windows": windows}
    for seed in [int(a) for a in sys.argv[1:]] or [0]:
        r2, rank = spectrum_r2(Encoder("vit_tiny", preprocessing, depth=4, seed=seed), eegmat)
        entry: dict = {"random encoder": {"r2": round(r2, 3), "rank": round(rank, 1)}}
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            run = sm.pretrain(
                eegmat, encoder="vit_tiny", out=Path(folder) / "run", depth=4, epochs=round(STEPS * BATCH / windows), batch_size=BATCH, target="spectrum",
                target_bins=3, decoder_depth=1, decoder_dim=64, preprocessing=preprocessing, seed=seed, progress=False, tensorboard=False,
            )  # fmt: skip
        r2, rank = spectrum_r2(run.encoder, eegmat)
        entry["pretrained encoder"] = {
            "r2": round(r2, 3), "rank": round(rank, 1), "steps": len(run.history), "last_loss": round(float(run.history["loss"].tail(50).mean()), 3),
            "seconds": round(time.perf_counter() - start),
        }  # fmt: skip
        print(f"seed {seed}: {entry}", flush=True)
        for name, kwargs in (("leave one subject out", {"folds": "loso"}), ("EEGMAT to Unicorn", {"test": unicorn})):
            table = sm.transfer(run.encoder, eegmat, "condition", seed=seed, **kwargs).table
            entry[name] = {f"{r.row}, {r.metric}": [round(r.value, 3), round(r.low, 3), round(r.high, 3)] for r in table.itertuples()}
            print(f"seed {seed}: {name}\n{table.to_string(index=False, float_format='%.3f')}\n", flush=True)
        body[f"seed {seed}"] = entry
    write("study_eegmat", body)


if __name__ == "__main__":
    main()
