"""Anomaly detection on real volumes: healthy IXI, lesions of other data sets, and healthy people of another one as a
control.

T1w at 4 mm. Training, validation and held-out people are IXI's. Lesions: multiple sclerosis (3 people, consensus
masks), white-matter lesions of the elderly (17, automatic masks), tumors (2; their only image is a FLAIR, another
contrast). OASIS (10 people) is healthy and from other scanners: what tells it from IXI is acquisition and age, not
disease. docs/anomaly.md has the table.

    python benchmarks/study_anomaly.py --runs study-anomaly
"""

import argparse
import json
import os
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import real_mri
import torch
from common import write

import sslmed as sm
from sslmed.anomaly import Mahalanobis, PatchCore, Reconstruction

SPACING, SEED, RATE = 4.0, 7, 0.1
DENSE = sm.VolumePreprocessing(spacing=SPACING, patch=None, size=32)
WIDTHS = (16, 32, 64, 64)  # of a small convolutional network, whose map of stride 2 has the patches
METRICS = (
    "AUROC of scans",
    "AUROC of cells",
    "AUPRC of cells",
    "best Dice",
    "Dice",
    "AUPRO",
    "lesion sensitivity",
    "false alarms a scan, healthy",
)


def cohorts(root: Path, runs: Path) -> dict[str, sm.Cohort]:
    """Prepared cohorts by name; lesions are labels, and every row says whether it is anomalous."""
    made = {name: real_mri.COHORTS[name](root) for name in ("ixi", "oasis", "elderly", "ms", "brats")}
    made["elderly"] = real_mri.elderly(root)
    found = {}
    for name, cohort in made.items():
        others = [column for column in cohort.table if column.startswith("path_") and column != "path_mask"]
        table = cohort.table.drop(columns=others)
        table = table.assign(sequence="T1w", source=name, anomalous=name in ("elderly", "ms", "brats"))
        table["subject"] = [f"{name}/{subject}" for subject in table["subject"]]
        if labels := _lesions(name, root, cohort, runs / "masks"):
            table["path_labels"] = labels
        prepared = sm.prepare(
            sm.Cohort.from_table(table, name=name),
            runs / "prepared" / name,
            spacing=SPACING,
            progress=False,
        )
        assert prepared is not None
        found[name] = prepared
    return found


def _lesions(name: str, root: Path, cohort: sm.Cohort, out: Path) -> list[str]:
    """Masks of lesions on the grid of the images."""
    people = cohort.table["subject"]
    if name == "elderly":
        return [str(root / f"mri/nichart_elderly/{subject}_wmh.nii.gz") for subject in people]
    if name == "brats":
        return [str(root / f"mri/brats2015/{subject}_OTMultiClass.nii.gz") for subject in people]
    if name != "ms":
        return []
    out.mkdir(parents=True, exist_ok=True)
    paths = []
    for subject, image in zip(people, cohort.table["path"], strict=True):
        fine = sm.io.read_nifti(root / f"mri/open_ms_mni2mm/{subject}_lesion1mm.nii.gz")  # at 1 mm, the images at 2 mm
        share = torch.nn.functional.avg_pool3d(fine.data.float()[None, None], 2)[0, 0]
        paths.append(str(out / f"{subject}.nii.gz"))
        sm.io.write_nifti(sm.io.Volume((share >= 0.5).to(torch.uint8), sm.io.read_nifti(image).affine), paths[-1])
    return paths


def together(*parts: sm.Cohort) -> sm.Cohort:
    out = parts[0]
    for part in parts[1:]:
        out = out.joined(part, same_people=True, name="tested")
    return out


def _padim(weights: str) -> Mahalanobis:
    return Mahalanobis("place", ridge=0.01, name=f"Mahalanobis at each place, {weights}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--rows", nargs="+", default=["random", "trained"])
    parser.add_argument("--tested", nargs="+", default=["all", "ms", "elderly", "brats"])
    parser.add_argument("--epochs", type=int, default=3)
    options = parser.parse_args()
    start = time.time()
    found = cohorts(Path(os.environ["SSLMED_DATA"]), options.runs)
    rest, held_out = found["ixi"].split(0.25, seed=SEED)
    training, validation = rest.split(0.4, seed=SEED)
    random = sm.DenseEncoder("convnet", DENSE, widths=WIDTHS, seed=SEED)
    folder = options.runs / "autoencoder"
    if not (folder / "encoder.safetensors").exists():
        sm.pretrain(
            training, "autoencoder", sm.DenseEncoder("convnet", DENSE, widths=WIDTHS, seed=SEED), folder,
            epochs=options.epochs, batch_size=8, lr=3e-3, progress=False, tensorboard=False, resume=folder.exists(),
        )  # fmt: skip
    print("trained", f"{time.time() - start:.0f} s", flush=True)
    trained = sm.DenseEncoder.load(folder / "encoder.safetensors")
    patchcore = PatchCore(coreset=0.002, name="PatchCore, random weights")
    tables, pairs, alarmed = [], [], []
    for label, encoder, methods in (
        ("random", random, [_padim("random weights"), patchcore, "atlas", "histogram", "dummy"]),
        ("trained", trained, [_padim("autoencoder"), Reconstruction.of(folder)]),
    ):
        if label not in options.rows:
            continue
        for name in options.tested:
            others = ("ms", "elderly", "brats", "oasis") if name == "all" else (name,)
            tested = together(*(found[one] for one in others), held_out)
            result = sm.detect_anomalies(
                training,
                tested,
                encoder,
                methods=methods,
                levels=[0],
                validation=validation,
                target="anomalous",
                rate=RATE,
                seed=SEED,
            )
            shown = result.table[result.table["metric"].isin((*METRICS, "false-alarm rate", "sensitivity"))]
            print(shown.drop(columns="note").to_string(), flush=True)
            if name == "all":
                pairs.append(result.between(tested, "source"))
                pairs[-1]["encoder"] = label
                print(pairs[-1].to_string(), flush=True)
                alarms = result.scores[result.scores["part"] == "tested"].merge(
                    tested.table[["path", "source"]],
                    on="path",
                )
                alarms = (
                    alarms.groupby(["method", "source", "subject"])["alarm"]
                    .max()
                    .groupby(["method", "source"])
                    .agg(
                        ["sum", "count"],
                    )
                )
                print(alarms.to_string(), flush=True)
                alarmed.append(alarms.reset_index().assign(encoder=label))
                tables.append(result.table.assign(tested=name, encoder=label))
            else:
                tables.append(result.table.assign(tested=name, encoder=label))
            print(label, name, f"{time.time() - start:.0f} s", flush=True)
    table, between, alarms = (pd.concat(parts) if parts else pd.DataFrame() for parts in (tables, pairs, alarmed))
    ages = by_age(training, validation, held_out)
    print(ages.to_string())
    parts = {"table": table, "between": between, "alarms": alarms, "age": ages}
    body = {name: json.loads(part.to_json(orient="records")) for name, part in parts.items()}
    write("study_anomaly", body | {"rows": options.rows, "epochs": options.epochs, "seconds": round(time.time() - start)})


def by_age(training: sm.Cohort, validation: sm.Cohort, held_out: sm.Cohort) -> pd.DataFrame:
    """False alarms of healthy held-out people by age, with and without a regression on it, by the atlas and the
    histogram."""
    lines = []
    for covariates in ([], ["age"]):
        tested = held_out.with_columns(anomalous=False)
        result = sm.detect_anomalies(
            training, tested, methods=["atlas", "histogram"], validation=validation, target="anomalous", rate=0.2,
            covariates=covariates, seed=SEED,
        )  # fmt: skip
        scores = result.scores[result.scores["part"] == "tested"]
        for method, part in scores.groupby("method"):
            old = tested.table["age"].to_numpy() >= np.median(training.table["age"])
            alarm = part["alarm"].to_numpy()
            lines.append(
                {
                    "method": method,
                    "covariates": ", ".join(covariates),
                    "young": alarm[~old].mean(),
                    "old": alarm[old].mean(),
                    "n": len(alarm),
                }
            )
    return pd.DataFrame(lines)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main()
