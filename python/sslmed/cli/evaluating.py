"""Commands that score: ``transfer``, ``card``, ``grid``, ``shift``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sslmed.cli.arguments import listed, shard_of
from sslmed.cli.options import Channels, Exclude, OnError, Out, Seed, Threads, app, open_cohort, open_cohorts


@app.command()
def transfer(
    encoder: Annotated[Path, typer.Argument(help="encoder.safetensors of a run.")],
    cohort: Annotated[Path, typer.Argument(help="A labelled BIDS folder or table.")],
    target: Annotated[str, typer.Option(help="Column to predict.")],
    out: Out,
    protocol: Annotated[str, typer.Option(help="linear, knn, finetune, lora or attentive.")] = "linear",
    pooling: Annotated[str, typer.Option(help="mean, cls, or what else the modality has.")] = "mean",
    cv: Annotated[str, typer.Option(help="A number, or loso to leave one subject out.")] = "5",
    test: Annotated[Path | None, typer.Option(help="Test on this cohort instead of folds.")] = None,
    regression: Annotated[bool | None, typer.Option("--regression/--classes", help="What the target is, instead of by its values.")] = None,
    seed: Seed = 0,
    threads: Threads = 2,
    on_error: OnError = "raise",
    transductive: Annotated[str, typer.Option(help="tell, exclude or raise: people whose signals the encoder was pretrained on.")] = "tell",
    channels: Channels = None,
    exclude: Exclude = None,
) -> None:
    """Score an encoder on a labelled cohort beside the baselines: transfer.csv and transfer.html."""
    from sslmed.evaluation.transfer import transfer as run_transfer

    if cv != "loso" and not cv.isdigit():
        raise ValueError(f"--cv must be a number or loso, got {cv!r}")
    people, *tested = open_cohorts([cohort, *([] if test is None else [test])], channels, exclude)
    result = run_transfer(
        encoder, people, target, protocol, pooling=pooling, cv=cv if cv == "loso" else int(cv),  # type: ignore[arg-type]
        test=tested[0] if tested else None, regression=regression, seed=seed, threads=threads, on_error=on_error,  # type: ignore[arg-type]
        transductive=transductive,  # type: ignore[arg-type]
    )  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    result.save(str(out / "transfer.csv"))
    result.save(str(out / "transfer.html"))
    typer.echo(result.table.to_string(index=False, float_format="%.3f"))


@app.command()
def card(
    encoder: Annotated[Path, typer.Argument(help="encoder.safetensors of a run.")],
    cohort: Annotated[Path, typer.Argument(help="A BIDS folder or table.")],
    out: Annotated[Path | None, typer.Option(help="Folder for card.csv, card.html and card.json; by default <encoder>.card.json beside the encoder.")] = None,
    columns: Annotated[str, typer.Option(help="Columns to predict, separated by commas.")] = "sex,site,age",
    session: Annotated[str | None, typer.Option(help="Column of the session: people are found again across sessions.")] = None,
    seed: Seed = 0,
    threads: Threads = 2,
    on_error: OnError = "raise",
) -> None:
    """Say what can be told from an encoder's features: who somebody is, sex, site, age, beside chance and an untrained encoder."""
    from sslmed.evaluation.card import card as make_card

    found = make_card(encoder, open_cohort(cohort), columns=listed(columns), session=session, seed=seed, threads=threads, on_error=on_error)  # type: ignore[arg-type]
    if out is None:
        found.save(encoder)
    else:
        out.mkdir(parents=True, exist_ok=True)
        for kind in ("csv", "html", "json"):
            found.save(out / f"card.{kind}")
    typer.echo("\n".join(found.sentences))


@app.command()
def grid(
    file: Annotated[Path, typer.Argument(help="A grid in YAML: cohorts, target, and lists of settings to be combined.")],
    out: Out,
    shard: Annotated[str | None, typer.Option(help="k/n: only this part; by default that of the SLURM array job, if it is one.")] = None,
    threads: Threads = 2,
) -> None:
    """Run what is not done yet of a grid of experiments: table.parquet and report.html."""
    from sslmed.grid import run

    table = run(file, out, shard=shard_of(shard), threads=threads)
    typer.echo(table.to_string(index=False, float_format="{:.3f}".format))


@app.command()
def shift(
    public: Annotated[Path, typer.Argument(help="A BIDS folder or table.")],
    clinic: Annotated[Path, typer.Argument(help="Another.")],
    out: Out,
    encoder: Annotated[Path | None, typer.Option(help="encoder.safetensors of a run.")] = None,
    by: Annotated[str | None, typer.Option(help="Columns to compare, separated by commas; by default those of age, sex and site that both know.")] = None,
    target: Annotated[str | None, typer.Option(help="Column for the cross-cohort score.")] = None,
    seed: Seed = 0,
    threads: Threads = 2,
    on_error: OnError = "raise",
    channels: Channels = None,
    exclude: Exclude = None,
) -> None:
    """Report how two cohorts differ: shift.csv and shift.html."""
    from sslmed import shift as shift_module

    here, there = open_cohorts([public, clinic], channels, exclude)
    report = shift_module.report(
        here, there, encoder,
        by=None if by is None else listed(by), target=target, seed=seed, threads=threads, on_error=on_error,  # type: ignore[arg-type]
    )  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    report.save(str(out / "shift.csv"))
    report.save(str(out / "shift.html"))
    typer.echo(report.table.to_string(index=False, float_format="%.3f"))
