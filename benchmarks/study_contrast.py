"""Whether SimCLR and DINO beat random weights on embedded slides and volumes: k-NN and linear probe, three seeds.

    python benchmarks/study_contrast.py --runs study-contrast

Not a benchmark of speed. The generators are those of `sslmed demo`, as they were before these methods were written. For
each seed an archive and a clinic are written, an encoder is pretrained on the archive without labels, and frozen;
targets are scored on the clinic's people, in folds. Settings were chosen on seed 30. Writes
results/study_contrast.json.
"""

import argparse
import time
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from common import known, write

import sslmed as sm
from sslmed.demo import mri, slides

METHODS = ("simclr", "dino")
TARGETS = {"diagnosis": ("balanced_accuracy", "auroc"), "age": ("mae",)}
HOW: dict[str, Any] = {
    "slides": sm.SlidePreprocessing(mpp=0.5, size=64, patch=16, region=96),
    "mri": sm.VolumePreprocessing(spacing=mri.SPACING, patch=8, size=40),
}
RUN = {"slides": {"epochs": 8, "batch_size": 64}, "mri": {"epochs": 20, "batch_size": 8}}
LR = {"slides": {"simclr": 1e-3, "dino": 5e-4}, "mri": {"simclr": 3e-4, "dino": 2e-4}}
TEMPERATURE = {"slides": 0.1, "images": 0.1, "volumes": 0.2}
"""Of SimCLR, by modality."""
POOLING = {"slides": "cls", "mri": "mean"}
DRAWS = 3
"""Random encoders, whose scores are averaged."""


def cohorts(kind: str, folder: Path, seed: int) -> tuple[sm.Cohort, sm.Cohort]:
    """An archive to pretrain on and a clinic of 45 or 48 people.

    The clinic's slides are small: of large ones an untrained encoder knows all already.
    """
    if kind == "mri":
        job = mri.make(folder, (48, 48), seed, 1)
        return job.public, job.clinic
    public = slides.write_archive(folder / "public", slides.PUBLIC, 16, seed=seed, threads=1)
    return public, slides.write_archive(folder / "clinic", slides.CLINIC, 45, millimeters=0.3, seed=seed, threads=1)


def views(how: Any, style: Any, local: int = 0) -> list[Any]:
    """The modality's views.

    Of slides without gray pictures, and with crops that change the size of nuclei little: color and size are what a
    diagnosis is made of.
    """
    found: list[Any] = how.contrast(style, local)
    if how.modality != "slides":
        return found
    scales = {"global": (0.4, 0.6), "local": (0.1, 0.15)}
    weak = {"hed": 0.05, "p_grayscale": 0.0, "p_blur": 0.0}
    return [replace(v, augmentation=replace(v.augmentation, **weak, scale=scales[v.role])) for v in found]


def method(name: str, how: Any) -> Any:
    """The preset of small data, with fewer prototypes and two local crops."""
    preset = sm.presets.small(name)["method"]
    if name == "dino":
        return replace(preset, prototypes=256, local=2, views=views(how, "dino", 2))
    return replace(preset, temperature=TEMPERATURE[how.modality], views=views(how, "simclr"))


def scores(encoders: list[Any], cohort: sm.Cohort, row: str, pooling: str) -> dict[str, float]:
    """By protocol, target and score the mean over encoders; without a row of that name nothing."""
    found: dict[str, list[float]] = {}
    for encoder in encoders:
        for protocol in ("linear", "knn"):
            for target, shown in TARGETS.items():
                given = {"baselines": [row]} if encoder is None else {"baselines": False}
                table = sm.transfer(encoder, cohort, target, protocol, pooling=pooling, repeats=3, permutations=0, threads=1, **given).table
                for line in table[table["metric"].isin(shown) & (table["row"] == row)].itertuples(index=False):
                    found.setdefault(f"{protocol}, {target}: {line.metric}", []).append(float(line.value))
    return {name: round(sum(values) / len(values), 3) for name, values in found.items()}


def embedded(kind: str, seed: int, runs: Path, methods: list[str]) -> dict[str, Any]:
    """All rows of one seed."""
    folder = runs / f"{kind}-{seed}"
    public, clinic = cohorts(kind, folder, seed)
    random = [sm.Encoder("vit_tiny", HOW[kind], depth=4, seed=1000 * seed + draw) for draw in range(DRAWS)]
    out: dict[str, Any] = {}
    classical = [name for name in sm.modalities.get(clinic.modality).baselines if name != "acquisition"]
    for row in ("dummy", *classical):
        out[row] = scores([None], clinic, row, "mean")
    out["random encoder"] = scores(random, clinic, "random encoder", POOLING[kind])
    for name in methods:
        start = time.perf_counter()
        run = sm.pretrain(
            public, method(name, HOW[kind]), encoder="vit_tiny", out=folder / name, depth=4, preprocessing=HOW[kind], seed=seed, threads=1,
            progress=False, tensorboard=False, clip_norm=1.0, lr=LR[kind][name], resume=(folder / name).exists(), **RUN[kind],
        )  # fmt: skip
        loss = run.history["loss"]
        tenth = max(1, len(loss) // 10)
        out[f"{name}, run"] = {
            "steps": len(loss),
            "loss": [round(float(part.mean()), 3) for part in (loss[:tenth], loss[-tenth:])],
            "effective_rank": round(float(run.history["effective_rank"].dropna().iloc[-1]), 1),
        }
        out[name] = scores([run.encoder], clinic, "pretrained encoder", POOLING[kind])
        print(kind, seed, name, f"{time.perf_counter() - start:.0f} s", out[f"{name}, run"], flush=True)
    for row, found in out.items():
        print(f"  {row}: {found}", flush=True)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--runs",
        type=Path,
        default=Path("study-contrast"),
        help="folder of cohorts and runs, which a second call takes up",
    )
    parser.add_argument("--seeds", type=int, nargs="*", default=[31, 32, 33])
    parser.add_argument("--kinds", nargs="*", default=["slides", "mri"])
    parser.add_argument("--methods", nargs="*", default=list(METHODS))
    parser.add_argument("--name", default="study_contrast", help="name of the file of results")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    body = known(arguments.name)
    for kind in arguments.kinds:
        for seed in arguments.seeds:
            body.setdefault(f"{kind}, seed {seed}", {}).update(embedded(kind, seed, arguments.runs, arguments.methods))
            write(arguments.name, body)


if __name__ == "__main__":
    main()
