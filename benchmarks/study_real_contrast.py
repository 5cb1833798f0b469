"""Short runs of contrastive methods on real pictures and volumes, and distillation; needs SSLMED_DATA.

    python benchmarks/study_real_contrast.py --runs study-real-contrast

Not a benchmark of speed. Tissue: pretrained on one slide, scored on tiles of 13 other people. X-rays: pretrained on one
half of the patients, scored on the other half. Volumes: pretrained on the 11 scans of OASIS, scored on the 136 people
of IXI. Nobody who is scored was in a pretraining. ``--weights`` adds a ResNet-18 of natural images from a local file of timm's layout. Writes
results/study_real_contrast.json.
"""

import argparse
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import real_mri
import real_pictures
import study_contrast
import torch
from common import data_root, known, write
from study_real_eeg import rounded

import sslmed as sm

SEED = 0
PICTURES = {"batch_size": 64}
VOLUMES = {"batch_size": 8}
TILES = sm.SlidePreprocessing(mpp=0.5, size=64, patch=16, region=96)
IMAGES = sm.ImagePreprocessing(size=64, patch=16)
BRAINS = sm.VolumePreprocessing(spacing=3.0, patch=8, size=40)
SHOWN = ("balanced_accuracy", "auroc", "mae", "r2")
DEPTH = {"vit_tiny": 4, "vit_small": 4}


def settings(method: str, how: Any) -> dict[str, Any]:
    """Methods and learning rates of study_contrast.py; jigsaw with 24 orders of 8 boxes."""
    if method == "jigsaw":
        return {"method": sm.methods.Jigsaw(grid=2, permutations=24), "lr": 3e-4}
    kind = "mri" if how.modality == "volumes" else "slides"
    return {"method": study_contrast.method(method, how), "lr": study_contrast.LR[kind][method]}


def pretrained(
    runs: Path, name: str, cohort: sm.Cohort, how: Any, encoder: str, epochs: int, options: dict[str, Any]
) -> tuple[sm.encoders.CohortEncoder, dict[str, Any]]:
    """The encoder of a run, which a second call takes up, and what the run was."""
    run = sm.pretrain(
        cohort, encoder=encoder, out=runs / name, preprocessing=how, epochs=epochs, depth=DEPTH.get(encoder), seed=SEED, threads=1,
        progress=False, tensorboard=False, resume=(runs / name).exists(), **options,
    )  # fmt: skip
    history = run.history
    tenth = max(1, len(history) // 10)
    told = {
        "epochs": epochs,
        "steps": len(history),
        "loss": [round(float(part.mean()), 3) for part in (history["loss"][:tenth], history["loss"][-tenth:])],
    }
    return run.encoder, told


def moved(encoder: Any, how: Any) -> Any:
    """The same weights with another preprocessing of pictures."""
    fitted = how if encoder.preprocessing.patch else how.dense()
    other = type(encoder)(preprocessing=fitted, **encoder.described())
    other.load_state_dict(encoder.state_dict())
    other.provenance = encoder.provenance
    return other


def scores(encoder: Any, cohort: sm.Cohort, target: str, **options: Any) -> dict[str, Any]:
    """By protocol and row the shown scores with their intervals; the classical rows too."""
    out: dict[str, Any] = {}
    for protocol in ("linear", "knn"):
        result = sm.transfer(encoder, cohort, target, protocol, repeats=3, permutations=0, threads=1, **options)
        for line in result.table[result.table["metric"].isin(SHOWN)].itertuples(index=False):
            out.setdefault(f"{protocol}: {line.row}", {})[line.metric] = rounded(line.value, line.low, line.high)
        for line in result.comparisons.itertuples(index=False):
            if line.against == "random encoder" and line.metric in SHOWN:
                key = f"{protocol}: {line.row} - random encoder"
                out.setdefault(key, {})[line.metric] = rounded(line.difference, line.low, line.high, line.p)
    return out


def rows(kind: str, encoder: Any, cohorts: dict[str, sm.Cohort]) -> dict[str, Any]:
    """All targets of a kind of data."""
    if kind == "tissue":
        return {"nuclei": scores(moved(encoder, IMAGES), cohorts["tissue"], "nuclei", level="recording", regression=True)}
    if kind == "xrays":
        return {target: scores(encoder, cohorts["xrays"], target, positive=positive) for target, positive in (("sex", "F"), ("view", "AP"))}
    return {target: scores(encoder, cohorts["ixi"], target, positive=positive) for target, positive in (("age", None), ("sex", "F"))}


def natural(path: Path, how: Any) -> Any:
    """A ResNet-18 of natural images."""
    encoder = sm.DenseEncoder("resnet18", how.dense())
    sm.nn.load_weights(encoder, path, "timm")
    return encoder


def seconds_a_sample(encoder: Any, cohort: sm.Cohort) -> float:
    """Of encoding, least of three times."""
    times = []
    for _ in range(3):
        start = time.perf_counter()
        features = sm.encode(encoder, cohort, threads=1)[0]
        times.append((time.perf_counter() - start) / len(features))
    return min(times)


def distilled(arguments: argparse.Namespace, public: sm.Cohort, cohorts: dict[str, sm.Cohort]) -> dict[str, Any]:
    """A ViT-S that SimCLR trained, and small encoders: taught by it, trained alone, untrained. On X-rays."""
    runs, epochs = arguments.runs / "distill", arguments.epochs
    teacher, told = pretrained(runs, "teacher", public, IMAGES, "vit_small", epochs, settings("simclr", IMAGES) | PICTURES)
    body: dict[str, Any] = {"teacher, vit_small": described(teacher, told, cohorts)}
    for name in arguments.encoders:
        how = IMAGES if name == "vit_tiny" else IMAGES.dense()
        taught, told = pretrained(
            runs,
            name,
            public,
            how,
            name,
            epochs,
            {"method": sm.methods.Distill(teacher=teacher), "lr": 1e-3} | PICTURES,
        )
        alone, alone_told = pretrained(arguments.runs, f"xrays-simclr-{name}", public, how, name, epochs, settings("simclr", how) | PICTURES)
        body[f"student, {name}"] = described(taught, told, cohorts)
        body[f"alone, {name}"] = described(alone, alone_told, cohorts)
    return body


def described(encoder: Any, told: dict[str, Any], cohorts: dict[str, sm.Cohort]) -> dict[str, Any]:
    parameters = sum(value.numel() for value in encoder.parameters())
    timing = {"parameters": parameters, "ms_a_sample": round(1e3 * seconds_a_sample(encoder, cohorts["xrays"]), 2)}
    return told | timing | rows("xrays", encoder, cohorts)


def kinds(arguments: argparse.Namespace, root: Path) -> dict[str, tuple[sm.Cohort, dict[str, sm.Cohort], Any, dict[str, Any]]]:
    """By kind: what is pretrained on, what is scored, the preprocessing, and settings."""
    out = arguments.runs / "data"
    first, second = real_pictures.xrays(root, out)
    oasis = sm.prepare(real_mri.oasis(root), out / "oasis", spacing=3.0)
    ixi = sm.prepare(real_mri.ixi(root), out / "ixi", spacing=3.0)
    assert oasis is not None
    assert ixi is not None
    return {
        "tissue": (
            real_pictures.slide(root, out / "slide"),
            {"tissue": real_pictures.tissue(root, out)},
            TILES,
            PICTURES,
        ),
        "xrays": (first, {"xrays": second}, IMAGES, PICTURES),
        "volumes": (oasis, {"ixi": ixi}, BRAINS, VOLUMES),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--runs",
        type=Path,
        default=Path("study-real-contrast"),
        help="folder of data and runs, which a second call takes up",
    )
    parser.add_argument("--epochs", type=int, default=40, help="epochs of pictures; volumes have five times as many")
    parser.add_argument("--encoders", nargs="*", default=["vit_tiny", "resnet18"])
    parser.add_argument("--only", nargs="*", default=["tissue", "xrays", "volumes", "distill"])
    parser.add_argument("--weights", type=Path, help="a local file with a ResNet-18 of natural images, in timm's layout")
    arguments = parser.parse_args()
    root = data_root()
    if root is None:
        sys.exit("SSLMED_DATA does not name a folder with the real files")
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    data = kinds(arguments, root)
    body = known("study_real_contrast")

    def done(kind: str, name: str, found: dict[str, Any]) -> None:
        body.setdefault(kind, {})[name] = found
        print(kind, name, found, flush=True)
        write("study_real_contrast", body)

    for kind in [name for name in data if name in arguments.only]:
        public, cohorts, how, common = data[kind]
        epochs = arguments.epochs * (5 if kind == "volumes" else 1)
        # Jigsaw needs boxes that are full, which tokens of the brain alone are not: dense views.
        for encoder in ["vit_tiny", "resnet10"] if kind == "volumes" else arguments.encoders:
            for method in ["jigsaw"] if encoder == "resnet10" else ["simclr", "dino"]:
                seen = how if encoder == "vit_tiny" else how.dense()
                model, told = pretrained(
                    arguments.runs,
                    f"{kind}-{method}-{encoder}",
                    public,
                    seen,
                    encoder,
                    epochs,
                    settings(method, seen) | common,
                )
                done(kind, f"{method}, {encoder}", told | rows(kind, model, cohorts))
        if arguments.weights and kind != "volumes":
            done(
                kind,
                "natural images, resnet18",
                rows(kind, natural(arguments.weights, how if kind == "xrays" else IMAGES), cohorts),
            )
    if "distill" in arguments.only:
        body["distill"] = distilled(arguments, *data["xrays"][:2])
        print(body["distill"])
        write("study_real_contrast", body)


if __name__ == "__main__":
    main()
