"""One call of sslmed.benchmark on real X-rays and brain volumes, natural-image, medical and random weights; needs SSLMED_DATA.

    python benchmarks/study_benchmark.py xrays --runs study-benchmark [--natural resnet18.safetensors]
    python benchmarks/study_benchmark.py ixi --runs study-benchmark

Not a benchmark of speed. Encoders are pretrained on one half of the people (every other name) and scored on the other half. Settings are those of
study_real_contrast.py; nothing was chosen here by a score. A second call goes on where the first was stopped. Writes results/study_benchmark.json and
RUNS/KIND/report.html.
"""

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import real_mri
import real_pictures
from common import data_root, known, write

import sslmed as sm

IMAGES = sm.ImagePreprocessing(size=64, patch=16)
BRAINS = sm.VolumePreprocessing(spacing=4.0, patch=8, size=40)
# Of encoders: method, learning rate, epochs, options.
RUNS: dict[str, dict[str, Any]] = {
    "xrays": {
        "ViT-Ti, MAE": ("vit_tiny", "mae", 5e-4, 60, {"depth": 4}),
        "ViT-Ti, SimCLR": ("vit_tiny", "simclr", 5e-4, 15, {"depth": 4}),
    },
    "ixi": {"ViT-Ti, MAE": ("vit_tiny", "mae", 5e-4, 100, {"depth": 4})},
}


def cohorts(kind: str, root: Path, out: Path) -> tuple[sm.Cohort, sm.Cohort, Any, list[str]]:
    """People to pretrain on, people to score, preprocessing, and what is predicted."""
    if kind == "xrays":
        first, second = real_pictures.xrays(root, out)
        return first, second, IMAGES, ["sex", "view"]
    prepared = sm.prepare(real_mri.ixi(root), out / "ixi", spacing=4.0, progress=False)
    assert prepared is not None
    rank = prepared.table["subject"].rank(method="dense").astype(int) % 2
    halves = [sm.Cohort(prepared.table[rank == half].reset_index(drop=True), f"ixi-{name}") for half, name in ((1, "a"), (0, "b"))]
    return halves[0], halves[1], BRAINS, ["sex", "age"]


def pretrained(kind: str, name: str, public: sm.Cohort, how: Any, runs: Path) -> Any:
    """The encoder of a run, which a second call takes up."""
    encoder, method, lr, epochs, options = RUNS[kind][name]
    place = runs / kind / name.replace(", ", "-")
    file = place / "encoder.safetensors"
    if not file.exists():
        start = time.perf_counter()
        fitted = how if encoder.startswith("vit") else how.dense()
        sm.pretrain(
            public, method, encoder, place, preprocessing=fitted, epochs=epochs, batch_size=64 if kind == "xrays" else 8, lr=lr, seed=0, threads=1,
            progress=False, tensorboard=False, resume=place.exists(), **options,
        )  # fmt: skip
        print(f"{kind}: {name}: {time.perf_counter() - start:.0f} s", flush=True)
    return file


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=list(RUNS))
    parser.add_argument("--runs", type=Path, default=Path("study-benchmark"))
    parser.add_argument("--only", help="Pretrain this encoder, and no more.")
    parser.add_argument("--natural", type=Path, help="A ResNet-18 of natural images in timm's layout.")
    arguments = parser.parse_args()
    root = data_root()
    if root is None:
        sys.exit("set SSLMED_DATA to the folder of the real data")
    kind = arguments.kind
    public, clinic, how, tasks = cohorts(kind, root, arguments.runs / "data")
    if arguments.only is not None:
        pretrained(kind, arguments.only, public, how, arguments.runs)
        return
    encoders: dict[str, Any] = {name: pretrained(kind, name, public, how, arguments.runs) for name in RUNS[kind]}
    encoders["ResNet-10, untrained"] = "resnet10"
    if arguments.natural is not None and kind == "xrays":
        encoders["ResNet-18, natural images"] = sm.DenseEncoder("resnet18", how.dense())
        sm.nn.load_weights(encoders["ResNet-18, natural images"], arguments.natural, "timm")
    start = time.perf_counter()
    result = sm.benchmark(
        encoders, {kind: clinic}, tasks, ["knn", "linear", "sweep", "fomo26"], repeats=3, card=["sex", "age"], center=None, threads=1,
        out=arguments.runs / kind / "benchmark", progress=lambda text: print(text, flush=True),
    )  # fmt: skip
    print(f"{kind}: {time.perf_counter() - start:.0f} s")
    shown = result.table[result.table["metric"].isin(["balanced_accuracy", "auroc", "mae", "r2", "map"])]
    body = known("study_benchmark")
    body[kind] = {
        "people": int(clinic.table["subject"].nunique()), "recordings": len(clinic), "pretrained_on": int(public.table["subject"].nunique()),
        "scores": shown.drop(columns=["cohort", "sd_folds", "sd_runs"]).round(4).astype(object).where(shown.notna(), None).to_dict("records"),
        "comparisons": result.comparisons.drop(columns=["cohort", "test"]).round(5).astype(object).where(result.comparisons.notna(), None).to_dict("records"),
        "card": result.card[["encoder", "what", "metric", "value", "low", "high", "chance", "random"]].round(4).to_dict("records"),
        "notes": result.notes,
    }  # fmt: skip
    write("study_benchmark", body)


if __name__ == "__main__":
    main()
