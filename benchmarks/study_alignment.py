"""Not a benchmark of speed but of use, on real recordings: does aligning each subject's windows help a random encoder's linear probe?

Rest or arithmetic within EEGMAT, leaving one subject out, and trained on EEGMAT and tested on another device. Needs SSLMED_DATA.
"""

import sys
import warnings

from common import data_root, write
from study_eegmat import cohorts
from study_pretraining import PRE

import sslmed as sm
from sslmed.encoders import Encoder


def main() -> None:
    root = data_root()
    if root is None:
        sys.exit("SSLMED_DATA does not name a folder with the real recordings")
    warnings.simplefilter("ignore")
    eegmat, unicorn = cohorts(root)
    body: dict = {}
    for seed in range(4):
        for align in ("none", "subject"):
            encoder = Encoder("vit_tiny", sm.EegPreprocessing(**PRE, align=align), depth=4, seed=seed)
            entry = body[f"seed {seed}, {'aligned' if align == 'subject' else 'as it is'}"] = {}
            for name, options in (("leave one subject out", {"cv": "loso"}), ("EEGMAT to Unicorn", {"test": unicorn})):
                table = sm.transfer(encoder, eegmat, "condition", seed=seed, baselines=False, **options).table
                entry[name] = {r.metric: [round(r.value, 3), round(r.low, 3), round(r.high, 3)] for r in table.itertuples()}
            print(seed, align, {name: {m: scores[m] for m in ("balanced_accuracy", "auroc")} for name, scores in entry.items()}, flush=True)
    write("study_alignment", body)


if __name__ == "__main__":
    main()
