"""What a masked auto-encoder of real volumes is worth: brain age, sex, Alzheimer's disease, lesions, rescans; needs SSLMED_DATA.

    python benchmarks/study_real_mri.py --steps 500 --seeds 5

Not a benchmark of speed. Encoders are ViT-Ti with patches of 8 cells of 2 mm, pretrained on 136 people (IXI), or on all volumes there are: T1, FLAIR and
FDG-PET. Nothing was chosen on these volumes but the number of steps, by the time it takes. Writes results/study_real_mri.json.
"""

import argparse
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import real_mri
import torch
from common import data_root, write
from study_real_eeg import rounded

import sslmed as sm
from sslmed.training.inference import encode

HOW = sm.VolumePreprocessing(spacing=2.0, patch=8)
SESSIONS = sm.VolumePreprocessing(spacing=2.0, patch=8, sequences=("T1w", "FLAIR?"))
FLIPS = sm.VolumeAugmentation(p_flip=(0.5, 0.0, 0.0))
BATCH = 8
SHOWN = ("mae", "r2", "balanced_accuracy", "auroc")


def entry(result: sm.TransferResult) -> dict[str, object]:
    """Scores with intervals, and differences."""
    table = result.table[result.table["metric"].isin(SHOWN)]
    return {
        "scores": {f"{line.row}: {line.metric}": rounded(line.value, line.low, line.high) for line in table.itertuples(index=False)},
        "comparisons": {f"{c.row} - {c.against}: {c.metric}": rounded(c.difference, c.low, c.high, c.p) for c in result.comparisons.itertuples(index=False)},
        "stamps": result.stamps(),
    }


def encoders(arguments: argparse.Namespace, name: str, cohort: sm.Cohort, how: sm.VolumePreprocessing, seeds: int) -> list[sm.Encoder]:
    """Pretrained encoders of several seeds; a second call takes up what is there."""
    found = []
    for seed in range(seeds):
        out = arguments.runs / f"{name}-{seed}"
        if not (out / "encoder.safetensors").exists():
            epochs = max(1, round(arguments.steps * BATCH / len(cohort)))
            augmentation = sm.VolumeAugmentation(p_flip=FLIPS.p_flip, p_drop=0.3 if how.sequences else 0.0)
            sm.pretrain(
                cohort, "mae", "vit_tiny", out, preprocessing=how, epochs=epochs, batch_size=BATCH, lr=5e-4, augmentation=augmentation, seed=seed,
                decoder_depth=2, progress=False, tensorboard=False, resume=out.exists(),
            )  # fmt: skip
        found.append(sm.Encoder.load(out / "encoder.safetensors"))
    return found


def rescans(cohort: sm.Cohort, encoder: sm.Encoder) -> dict[str, float]:
    """How far apart two scans of one person lie, as a share of how far apart people lie (median)."""
    kind = sm.modalities.get("volumes")
    rows = dict(kind.features([cohort], ["tissue volumes", "smoothed"])[0])
    for name, model in {"random encoder": encoder.randomized(), "pretrained encoder": encoder}.items():
        rows[name] = encode(model, cohort, pooling="regions")[0].numpy()
    people = cohort.table["subject"].to_numpy()
    same = people[:, None] == people[None]
    upper = np.triu(np.ones_like(same), 1).astype(bool)
    out = {}
    for name, values in rows.items():
        z = (values - values.mean(0)) / np.maximum(values.std(0), 1e-9)
        distance = np.linalg.norm(z[:, None] - z[None], axis=2)
        out[name] = round(float(distance[same & upper].mean() / np.median(distance[~same & upper])), 3)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runs", type=Path, default=Path("study-real-mri"), help="folder of prepared volumes and encoders, which a second call takes up")
    parser.add_argument("--only", nargs="*", default=["pretrain", "ixi", "all", "pet", "elderly", "oasis"])
    arguments = parser.parse_args()
    root = data_root()
    if root is None:
        sys.exit("SSLMED_DATA does not name a folder with the real volumes")
    warnings.simplefilter("ignore")
    torch.set_num_threads(arguments.threads)
    cohorts = real_mri.prepared(root, arguments.runs / "prepared", spacing=2.0)
    people = cohorts["ixi"]
    everything = cohorts["ixi"]
    for name in list(real_mri.COHORTS)[1:]:
        everything = everything.joined(cohorts[name])
    sessions = cohorts["ixi"].joined(cohorts["elderly"]).joined(cohorts["oasis"])
    body: dict[str, object] = {"steps": arguments.steps, "seeds": arguments.seeds, "volumes": {name: len(c) for name, c in cohorts.items()}}

    def done(name: str, result: object) -> None:
        body[name] = result
        print(name, result, flush=True)
        write("study_real_mri", body)

    if "ixi" in arguments.only:
        of_ixi = encoders(arguments, "ixi", people, HOW, arguments.seeds)
        for target, positive in (("age", None), ("sex", "F")):
            for pooling in ("regions", "mean"):
                done(f"{target}, pretrained on IXI, {pooling}", entry(sm.transfer(of_ixi, people, target, pooling=pooling, positive=positive)))
    if "all" in arguments.only:
        of_all = encoders(arguments, "all", everything, HOW, 1)
        for target, positive in (("age", None), ("sex", "F")):
            done(f"{target}, pretrained on all", entry(sm.transfer(of_all, people, target, pooling="regions", positive=positive)))
    if "pet" in arguments.only:
        of_all = encoders(arguments, "all", everything, HOW, 1)
        result = sm.transfer(of_all, cohorts["fdg-pet"], "diagnosis", pooling="regions", positive="AD", covariates=["age", "sex"])
        done("Alzheimer's disease, FDG-PET", entry(result))
    if "elderly" in arguments.only:
        of_sessions = encoders(arguments, "sessions", sessions, SESSIONS, 1)
        done("white-matter lesions, T1 and FLAIR", entry(sm.transfer(of_sessions, cohorts["elderly"], "wmh_ml", pooling="regions", regression=True)))
    if "oasis" in arguments.only:
        of_ixi = encoders(arguments, "ixi", people, HOW, 1)
        done("rescans, distance within a person by that between people", rescans(cohorts["oasis"], of_ixi[0]))
        sites = pd.concat([cohorts[name].table.assign(cohort=name) for name in ("ixi", "oasis", "elderly")], ignore_index=True)
        joined = sm.Cohort(sites, "sites")
        result = sm.transfer(of_ixi[0], joined, "cohort", pooling="regions", baselines=["dummy", "acquisition", "random encoder"])
        done("site, of T1", entry(result))


if __name__ == "__main__":
    main()
