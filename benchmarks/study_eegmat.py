"""Not a benchmark of speed but of use, on real recordings: pretrain on EEGMAT, tell rest from arithmetic leaving one subject
out, then train on EEGMAT and test on another device. Every row beside the classical one; needs SSLMED_DATA."""

import sys
import tempfile
import warnings
from pathlib import Path

import torch
from common import data_root, write

import sslmed as sm

PRE = sm.EegPreprocessing(sfreq=100, window=4, patch=1, low=0.5, high=45)


def main() -> None:
    root = data_root()
    if root is None:
        sys.exit("SSLMED_DATA does not name a folder with the real recordings")
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    eegmat = sm.Cohort.from_bids(root / "eeg/eegmat")
    eegmat = eegmat.with_columns(condition=eegmat.table["task"])
    unicorn = sm.Cohort.from_npz(sorted((root / "eeg/unicorn8ch_npz").glob("*.npz")), columns=("subject", "condition"), name="unicorn")
    unicorn = unicorn.with_columns(condition=["rest" if c.startswith("R") else "arithmetic" for c in unicorn.table["condition"]])
    body: dict = {}
    for target, epochs in (("spectrum", 15), ("signal", 15)):
        with tempfile.TemporaryDirectory() as folder:
            run = sm.pretrain(
                eegmat,
                encoder="vit_tiny",
                depth=4,
                target=target,
                epochs=epochs,
                batch_size=8,
                preprocessing=PRE,
                out=Path(folder) / "run",
                progress=False,
                tensorboard=False,
                order="subject",
            )
        for name, kwargs in (("leave one subject out", {"folds": "loso"}), ("EEGMAT to Unicorn", {"test": unicorn})):
            table = sm.transfer(run.encoder, eegmat, "condition", **kwargs).table
            body[f"{target}: {name}"] = {f"{r.row}, {r.metric}": [round(r.value, 3), round(r.low, 3), round(r.high, 3)] for r in table.itertuples()}
            print(f"\n{target}: {name}\n{table.to_string(index=False, float_format='%.3f')}", flush=True)
    write("study_eegmat", body)


if __name__ == "__main__":
    main()
