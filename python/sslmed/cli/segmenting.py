"""Commands that train segmentation, and apply what was fitted to other cohorts: ``segment``, ``deploy``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sslmed.cli.arguments import chosen, extra, value_of
from sslmed.cli.options import FIELDS, OnError, Out, Seed, Threads, app, open_cohort

if TYPE_CHECKING:
    import pandas as pd


@app.command(context_settings=FIELDS)
def segment(
    context: typer.Context,
    cohort: Annotated[Path, typer.Argument(help="A cohort with label maps; a prepared one is fastest.")],
    out: Out,
    target: Annotated[str, typer.Option(help="Column of the label maps.")] = "path_labels",
    encoder: Annotated[str, typer.Option(help="unet, resnet18 …, or an encoder.safetensors.")] = "unet",
    decoder: Annotated[str, typer.Option(help="linear, unet, unetr or upernet.")] = "unet",
    size: Annotated[int | None, typer.Option(help="Cells of a training sample, of an encoder given by name.")] = None,
    folds: Annotated[int, typer.Option(help="Folds over people; 0: train on everybody, score nothing.")] = 5,
    values: Annotated[str | None, typer.Option(help="What each class is in the label maps, by commas.")] = None,
    seed: Seed = 0,
    threads: Threads = 2,
) -> None:
    """Train networks on label maps and score them on people that they have not seen, beside an atlas and a histogram.

    Writes table.csv, cases.csv, and the networks for deploy. An interrupted run goes on where it was. Fields of
    sslmed.Segmentation and of the preprocessing are options too: --epochs 100 --lr 1e-3 --spacing 2.
    """
    from sslmed.modalities import registry
    from sslmed.segmentation import Segmentation
    from sslmed.segmentation import segment as run_segment

    people = open_cohort(cohort)
    kind = registry.get(people.modality)
    own = {"size", "patch", "labels"}
    settings, changes = chosen(extra(context.args), Segmentation, kind.preprocessing, listed=own)
    how = None
    if not Path(encoder).is_file():
        if size is None:
            raise ValueError("--size is needed: the cells of a training sample along each axis, such as 96")
        how = replace(kind.dense(people, replace(kind.default(people), size=size)), **changes)
    elif changes or size is not None:
        raise ValueError(f"--{next(iter(changes), 'size')}: an encoder of a file brings its own preprocessing")
    result = run_segment(
        people, target, encoder, decoder, out=out, folds=folds or None, preprocessing=how,  # type: ignore[arg-type]
        values=None if values is None else value_of("values", values, (0,)),
        options=Segmentation(**settings), seed=seed, threads=threads,
    )  # fmt: skip
    if result.table.empty:
        typer.echo(f"{out}: trained on everybody, so there are no scores")
    else:
        _show(result.table)


@app.command()
def deploy(
    fitted: Annotated[Path, typer.Argument(help="Folder of segment, a fine-tuned network, or one over bags.")],
    cohort: Annotated[Path, typer.Argument(help="Another cohort; of a network over bags, the table of them.")],
    out: Out,
    features: Annotated[Path | None, typer.Option(help="Store of features, for a network over bags.")] = None,
    target: Annotated[str | None, typer.Option(help="Column to score against; by default the training's.")] = None,
    uncertainty: Annotated[bool, typer.Option("--uncertainty", help="Segmentation: write maps of it too.")] = False,
    threads: Threads = 2,
    on_error: OnError = "raise",
) -> None:
    """Apply what was fitted to a cohort of other people: predictions.csv, and scores.csv where the target is known.

    Nothing is fitted. People that were trained on are refused.
    """
    from sslmed.deployment import deploy as run_deploy

    found = run_deploy(
        fitted, cohort, out, features=features, target=target, uncertainty=uncertainty, threads=threads,
        on_error=on_error,  # type: ignore[arg-type]
    )  # fmt: skip
    typer.echo(f"{out / 'predictions.csv'}: {len(found.predictions)} rows")
    if found.table is None:
        typer.echo("the target is not known: no scores")
    else:
        _show(found.table)


def _show(table: pd.DataFrame) -> None:
    typer.echo(table.to_string(index=False, float_format="%.3f"))
