"""Commands that compare encoders: ``benchmark``, ``medmnist``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sslmed.cli.arguments import listed
from sslmed.cli.options import OnError, Out, Seed, Threads, app, open_cohort


@app.command()
def benchmark(
    encoders: Annotated[list[str], typer.Argument(help="Each a file, or vit_tiny … (untrained); NAME=… names it.")],
    cohort: Annotated[list[Path], typer.Option(help="A labelled BIDS folder or table; several times for several.")],
    out: Out,
    tasks: Annotated[str | None, typer.Option(help="Columns to predict, separated by commas.")] = None,
    protocols: Annotated[str, typer.Option(help="knn, linear, sweep, dinov2, fomo26, eva.")] = "knn,linear,sweep",
    cv: Annotated[str, typer.Option(help="A number, or loso to leave one subject out.")] = "5",
    repeats: Annotated[int, typer.Option(help="Draws of the folds.")] = 10,
    center: Annotated[str, typer.Option(help="Column of where a row was made, for the robustness index.")] = "site",
    card: Annotated[str, typer.Option(help="Columns of the card, separated by commas.")] = "sex,site,age",
    maps: Annotated[str, typer.Option(help="tsne, umap or none.")] = "tsne",
    random: Annotated[bool, typer.Option(help="Score untrained twins of the encoders, too.")] = True,
    baselines: Annotated[bool, typer.Option(help="Score classical features, too.")] = True,
    seed: Seed = 0,
    threads: Threads = 2,
    on_error: OnError = "raise",
) -> None:
    """Score encoders side by side: report.html, table.csv, cards. The same call goes on after a stop."""
    from sslmed.benchmarking.running import benchmark as run_benchmark

    if cv != "loso" and not cv.isdigit():
        raise ValueError(f"--cv must be a number or loso, got {cv!r}")
    found = run_benchmark(
        _named(encoders),
        [open_cohort(path) for path in cohort],
        None if tasks is None else listed(tasks),
        listed(protocols),
        out=out,
        cv=cv if cv == "loso" else int(cv),
        repeats=repeats,
        center=center,
        card=listed(card),
        maps=None if maps == "none" else maps,  # type: ignore[arg-type]
        random=random,
        baselines=baselines,
        seed=seed,
        threads=threads,
        on_error=on_error,  # type: ignore[arg-type]
        progress=lambda text: typer.echo(text, err=True),
    )
    typer.echo(found.overview().to_string())


def _named(encoders: list[str]) -> dict[str, str]:
    """Encoders by name: NAME=…, or the name that a list of them gives."""
    from sslmed.benchmarking.tasks import encoders_of

    out: dict[str, str] = {}
    for text in encoders:
        name, equals, value = text.partition("=")
        one = {name: value} if equals and name and value and not Path(text).exists() else encoders_of([text])
        for key, encoder in one.items():
            if key in out:
                raise ValueError(f"two encoders are called {key!r}; name them: NAME={encoder}")
            out[key] = str(encoder)
    return out


@app.command()
def medmnist(
    file: Annotated[Path, typer.Argument(help="A MedMNIST file, .npz.")],
    out: Out,
    encoders: Annotated[list[str] | None, typer.Argument(help="Each a file, or vit_tiny … (untrained); NAME=… names it. None: only rows without one.")] = None,
    protocol: Annotated[str, typer.Option(help="linear, knn, finetune, lora or attentive.")] = "linear",
    pooling: Annotated[str, typer.Option(help="mean, cls, or what else the modality has.")] = "mean",
    random: Annotated[bool, typer.Option(help="Score untrained twins of the encoders, too.")] = True,
    baselines: Annotated[bool, typer.Option(help="Score the dummy and classical features, too.")] = True,
    draws: Annotated[int, typer.Option(help="Draws of the test part for the intervals.")] = 1000,
    seed: Seed = 0,
    threads: Threads = 2,
    on_error: OnError = "raise",
) -> None:
    """Score encoders on a MedMNIST file's official split, as its evaluator does: table.csv, predictions.csv, report.html."""
    from sslmed.benchmarking.medmnist import score_medmnist

    found = score_medmnist(
        file,
        _named(encoders or []),
        out=out / "unpacked",
        protocol=protocol,  # type: ignore[arg-type]
        pooling=pooling,
        baselines=baselines,
        random=random,
        draws=draws,
        seed=seed,
        threads=threads,
        on_error=on_error,  # type: ignore[arg-type]
        progress=lambda text: typer.echo(text, err=True),
    )
    found.save(out)
    typer.echo(found.overview().to_string())
