"""What an encoder is worth on four real cohorts, each scored by an encoder that was pretrained on the other three; needs SSLMED_DATA.

    python benchmarks/study_real_eeg.py --steps 1500

Not a benchmark of speed. The settings of the pretraining are those that study_pretraining.py settled on with the embedded cohort; nothing was
chosen on these recordings. Writes results/study_real_eeg.json.
"""

import argparse
import math
import sys
import warnings
from pathlib import Path

from common import data_root, write
from study_pretraining import PRE

import sslmed as sm

COHORTS = {"eegmat": "task", "msu_schizophrenia": "diagnosis", "gb_epilepsy": "diagnosis", "fsu_alzheimer": "diagnosis"}
POSITIVE = {"eegmat": "arithmetic", "msu_schizophrenia": "schizophrenia", "gb_epilepsy": "epilepsy", "fsu_alzheimer": "alzheimer"}
SHOWN = ("balanced_accuracy", "auroc")
BATCH = 16


def rounded(*values: float) -> list[float | None]:
    return [round(float(v), 4) if math.isfinite(v) else None for v in values]


def entry(result: sm.TransferResult) -> dict[str, object]:
    table = result.table[result.table["metric"].isin(SHOWN)]
    compared = result.comparisons.itertuples(index=False)
    return {
        "scores": {f"{line.row}: {line.metric}": rounded(line.value, line.low, line.high) for line in table.itertuples(index=False)},
        "comparisons": {f"{c.row} - {c.against}: {c.metric}": rounded(c.difference, c.low, c.high, c.p) for c in compared},
        "stamps": result.stamps(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", type=Path, default=Path("study-real-eeg"), help="folder of the pretrained encoders, which a second call takes up")
    parser.add_argument("--pretrain-only", action="store_true")
    arguments = parser.parse_args()
    root = data_root()
    if root is None:
        sys.exit("SSLMED_DATA does not name a folder with the real recordings")
    warnings.simplefilter("ignore")
    preprocessing = sm.EegPreprocessing(**PRE)
    cohorts = {name: sm.Cohort.from_bids(root / "eeg" / name, name=name) for name in COHORTS}
    # The sets name their people alike.
    cohorts = {name: c.with_columns(subject=[f"{name}/{s}" for s in c.table["subject"]], site=name) for name, c in cohorts.items()}
    body: dict[str, object] = {"steps": arguments.steps, "seed": arguments.seed}
    for name, target in COHORTS.items():
        others = [c for other, c in cohorts.items() if other != name]
        public = others[0].joined(others[1]).joined(others[2], name="public")
        windows = len(public.source(preprocessing))
        out = arguments.runs / name
        if not (out / "encoder.safetensors").exists():
            sm.pretrain(
                public, encoder="vit_tiny", out=out, depth=4, epochs=max(1, round(arguments.steps * BATCH / windows)), batch_size=BATCH,
                preprocessing=preprocessing, reconstruct="spectrum", reconstruct_bins=3, decoder_depth=1, decoder_dim=64, seed=arguments.seed, progress=False,
                tensorboard=False,
            )  # fmt: skip
        encoder = sm.Encoder.load(out / "encoder.safetensors")
        if arguments.pretrain_only:
            continue
        result = sm.transfer(encoder, cohorts[name], target, positive=POSITIVE[name], pooling="regions", seed=arguments.seed)
        body[name] = {"people": int(cohorts[name].table["subject"].nunique()), "windows": windows} | entry(result)
        print(name, body[name], flush=True)
        write("study_real_eeg", body)


if __name__ == "__main__":
    main()
