"""Commands that find things: ``detect`` objects of pictures, ``anomalies`` among people."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from sslmed.cli.arguments import chosen, extra, listed
from sslmed.cli.options import FIELDS, Out, Seed, Threads, app, open_cohort


@app.command(context_settings=FIELDS)
def detect(
    context: typer.Context,
    cohort: Annotated[Path, typer.Argument(help="A cohort with a file of objects a row.")],
    out: Out,
    target: Annotated[str, typer.Option(help="Column of the files, or the path of one COCO file.")] = "path_objects",
    kind: Annotated[str, typer.Option(help="points, boxes or stars.")] = "points",
    encoder: Annotated[str, typer.Option(help="unet, resnet18 …, or an encoder.safetensors.")] = "unet",
    decoder: Annotated[str, typer.Option(help="linear, unet, unetr or upernet.")] = "unet",
    size: Annotated[int | None, typer.Option(help="Pixels of a training sample, of an encoder given by name.")] = None,
    folds: Annotated[int, typer.Option(help="Folds over people; 0: train on everybody, score nothing.")] = 5,
    classes: Annotated[str | None, typer.Option(help="Names of the classes, separated by commas; by default all that occur.")] = None,
    microns_per_pixel: Annotated[float | None, typer.Option(help="Size of a pixel where tables are in µm.")] = None,
    seed: Seed = 0,
    threads: Threads = 2,
) -> None:
    """Train networks to find objects and score them on people that they have not seen, beside random and classical ones.

    Writes table.csv, cases.csv and the networks. An interrupted run goes on where it was. Fields of sslmed.Detection and
    of the preprocessing are options too: --epochs 100 --radius 4 --region 256.
    """
    from sslmed.detection import Detection
    from sslmed.detection import detect as run_detect
    from sslmed.modalities import registry

    people = open_cohort(cohort)
    modality = registry.get(people.modality)
    settings, changes = chosen(extra(context.args), Detection, modality.preprocessing, listed={"size", "patch", "objects"})
    how: Any = None
    if not Path(encoder).is_file():
        if size is None:
            raise ValueError("--size is needed: the pixels of a training sample along each axis, such as 256")
        how = replace(modality.dense(people, replace(modality.default(people), size=size)), **changes)
    elif changes or size is not None:
        raise ValueError(f"--{next(iter(changes), 'size')}: an encoder of a file brings its own preprocessing")
    result = run_detect(
        people, target, kind, encoder, decoder, out=out, folds=folds or None,  # type: ignore[arg-type]
        classes=None if classes is None else listed(classes), microns_per_pixel=microns_per_pixel, preprocessing=how,
        options=Detection(**settings), seed=seed, threads=threads,
    )  # fmt: skip
    if result.table.empty:
        typer.echo(f"{out}: trained on everybody, so there are no scores")
    else:
        typer.echo(result.table.to_string(index=False, float_format="%.3f"))


@app.command()
def anomalies(
    healthy: Annotated[Path, typer.Argument(help="A cohort of healthy people.")],
    tested: Annotated[Path, typer.Argument(help="A cohort of other people, with and without anomalies.")],
    out: Out,
    encoder: Annotated[str | None, typer.Option(help="encoder.safetensors, or vit_tiny …; some methods need none.")] = None,
    methods: Annotated[str, typer.Option(help="Names, separated by commas.")] = "patchcore,mahalanobis,atlas,histogram,dummy",
    validation: Annotated[str, typer.Option(help="A cohort of healthy people who set thresholds, or the share of them.")] = "0.4",
    target: Annotated[str | None, typer.Option(help="Column that is true or 1 for anomalous scans; by default lesions say it.")] = None,
    lesions: Annotated[str | None, typer.Option(help="Values of label maps that are lesions; by default all above 0.")] = None,
    rate: Annotated[float, typer.Option(help="Promised rate of false alarms among people.")] = 0.1,
    groups: Annotated[str, typer.Option(help="Columns whose values have thresholds of their own.")] = "",
    covariates: Annotated[str, typer.Option(help="Columns of numbers that scores are adjusted by.")] = "",
    seed: Seed = 0,
    threads: Threads = 2,
) -> None:
    """Find anomalies at thresholds of healthy people, with a promised rate of false alarms: table.csv, scores.csv."""
    from sslmed.anomaly import detect_anomalies

    found = detect_anomalies(
        open_cohort(healthy),
        open_cohort(tested),
        encoder,
        methods=listed(methods),
        validation=_share_or_cohort(validation),
        target=target,
        lesions=None if lesions is None else _numbers("lesions", lesions),
        rate=rate,
        groups=listed(groups),
        covariates=listed(covariates),
        seed=seed,
        threads=threads,
        out=out,
    )
    typer.echo(found.table.to_string(index=False, float_format="%.3f"))


def _numbers(option: str, text: str) -> list[int]:
    parts = listed(text)
    if not parts or not all(part.isdigit() for part in parts):
        raise ValueError(f"--{option} {text}: expected whole numbers separated by commas, such as 1,2")
    return [int(part) for part in parts]


def _share_or_cohort(text: str) -> Any:
    try:
        return float(text)
    except ValueError:
        return open_cohort(Path(text))
