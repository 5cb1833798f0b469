"""Whether SimCLR and DINO beat random weights on the embedded archives of slides and volumes: k-NN and linear probe, three seeds.

    python benchmarks/study_contrast.py --out study-contrast

Not a benchmark of speed. The generators are those of `sslmed demo`, as they were before these methods were written. For each seed an
archive and a clinic are written, the encoder (ViT-Ti) is pretrained on the archive, and the target is scored on the clinic's people, in
folds. Writes results/study_contrast.json.
"""

import argparse
import json
from pathlib import Path

from common import write

import sslmed as sm
from sslmed.demo import mri, slides

METHODS = ("simclr", "dino")
SHOWN = ("balanced_accuracy", "auroc")


def settings(method: str, kind: str, epochs: int) -> dict:
    how = {"slides": sm.SlidePreprocessing(mpp=0.5, size=64, patch=8, region=96), "mri": None}[kind]
    found = sm.presets.small(method) | {"epochs": epochs, "batch_size": 64 if kind == "slides" else 16, "lr": 5e-4}
    return found | ({"preprocessing": how} if how else {})


def rows(run: sm.pretraining.Run, cohort: sm.Cohort, target: str) -> dict[str, float]:
    out = {}
    for protocol in ("linear", "knn"):
        table = sm.transfer(run.encoder, cohort, target=target, protocol=protocol, repeats=3).table
        for line in table[table["metric"].isin(SHOWN)].itertuples(index=False):
            out[f"{protocol}, {line.row}: {line.metric}"] = round(float(line.value), 3)
    return out


def embedded(kind: str, seed: int, out: Path, epochs: int) -> dict[str, dict[str, float]]:
    maker = {"slides": slides, "mri": mri}[kind]
    folder = out / f"{kind}-{seed}"
    job = maker.make(folder, (24, 30) if kind == "slides" else (40, 30), seed, 1)
    found = {}
    for method in METHODS:
        keywords = settings(method, kind, epochs)
        keywords.setdefault("preprocessing", job.settings["preprocessing"])
        run = sm.pretrain(job.public, encoder="vit_tiny", out=folder / method, depth=6, seed=seed, threads=1, progress=False, tensorboard=False, **keywords)
        found[method] = rows(run, job.clinic, "diagnosis")
        print(kind, seed, method, json.dumps(found[method]), flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("study-contrast"))
    parser.add_argument("--seeds", type=int, nargs="*", default=[31, 32, 33])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--kinds", nargs="*", default=["slides", "mri"])
    arguments = parser.parse_args()
    body = {}
    for kind in arguments.kinds:
        for seed in arguments.seeds:
            body[f"{kind}, seed {seed}"] = embedded(kind, seed, arguments.out, arguments.epochs)
            write("study_contrast", body)


if __name__ == "__main__":
    main()
