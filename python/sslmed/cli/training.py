"""Commands that train: ``demo``, ``pretrain``."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from sslmed.cli.arguments import chosen, extra
from sslmed.cli.options import FIELDS, OnError, Out, Seed, Threads, app, open_cohort


def stop(*_: object) -> None:
    """A scheduler's SIGTERM, a closed terminal, and a Ctrl-C although the shell has it ignored: leave; while a run trains, after it has saved."""
    raise KeyboardInterrupt


@app.command()
def demo(
    out: Out = Path("demo"),
    seed: Seed = 0,
    modality: Annotated[str | None, typer.Option(help="Kind of data; by default the first that has a demo.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Epochs of the pretraining.")] = None,
    subjects: Annotated[tuple[int, int] | None, typer.Option(help="Subjects of the public site and of the clinic.")] = None,
    threads: Threads = 2,
) -> None:
    """Write two SYNTHETIC cohorts, pretrain, transfer, report the shift: report.html, transfer.csv, shift.csv."""
    from sslmed.demo import run_demo

    run_demo(out, modality=modality, seed=seed, epochs=epochs, subjects=subjects, threads=threads)


@app.command(context_settings=FIELDS)
def pretrain(
    context: typer.Context,
    cohort: Annotated[Path, typer.Argument(help="A BIDS folder, another folder with files, a table with path and subject, or an index.")],
    out: Out,
    method: Annotated[str, typer.Option(help="mae, simclr, dino, or another registered method.")] = "mae",
    encoder: Annotated[str, typer.Option(help="vit_small, resnet18 or another of sslmed.nn.list_models(), or an encoder.safetensors.")] = "vit_small",
    epochs: Annotated[int, typer.Option(help="Passes over the cohort.")] = 10,
    batch_size: Annotated[int, typer.Option(help="Samples in a batch.")] = 64,
    seed: Seed = 0,
    threads: Threads = 2,
    checkpoint_every: Annotated[int, typer.Option(help="Steps between checkpoints; 0: each epoch.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the newest checkpoint.")] = False,
    lr: Annotated[float, typer.Option(help="Peak learning rate.")] = 1e-3,
    order: Annotated[str, typer.Option(help="shuffle, or a column whose values come equally often: subject, site …")] = "shuffle",
    depth: Annotated[int, typer.Option(help="Encoder blocks; 0: the encoder's own.")] = 0,
    bf16: Annotated[bool, typer.Option("--bf16", help="Autocast to bfloat16.")] = False,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    on_error: OnError = "raise",
    tensorboard: Annotated[bool, typer.Option(help="Write TensorBoard scalars.")] = True,
    timeout: Annotated[float, typer.Option(help="Seconds after which a rank that does not answer is given up.")] = 600.0,
) -> None:
    """Pretrain an encoder: history.csv, checkpoints/ and encoder.safetensors. Under torchrun, on all its processes.

    Fields of the method and of the preprocessing are options too: --mask time --ratio 0.6 --window 2 --h-freq 45.
    """
    from sslmed import methods
    from sslmed.distributed import is_first, under_torchrun
    from sslmed.modalities import registry
    from sslmed.pretraining import PretrainConfig
    from sslmed.pretraining import pretrain as run_pretrain

    signal.signal(signal.SIGTERM, stop)
    for number in (signal.SIGINT, signal.SIGHUP):
        if number == signal.SIGINT or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, stop)
    people = open_cohort(cohort)
    kind = registry.get(people.modality).preprocessing
    listed = {"preprocessing", "probe_every", *(parameter.name or "" for parameter in context.command.params)}
    options, changes, settings = chosen(extra(context.args), methods.get(method), kind, PretrainConfig, listed=listed)
    with under_torchrun(device, timeout) as own_device:
        config = PretrainConfig(
            epochs=epochs,
            batch_size=batch_size,
            seed=seed,
            threads=threads,
            checkpoint_every=checkpoint_every,
            lr=lr,
            depth=depth or None,
            bf16=bf16,
            device=own_device,
            on_error=on_error,  # type: ignore[arg-type]
            tensorboard=tensorboard,
            preprocessing=replace(registry.get(people.modality).default(people), **changes),
            order=order,
            **settings,
        )
        run = run_pretrain(people, method, encoder, out, config=config, resume=resume, **options)
        first = is_first()
    if run.interrupted:
        if first:
            typer.echo(f"interrupted after step {len(run.history)}; saved. Go on with --resume", err=True)
        raise typer.Exit(130)
    if not first:
        return
    for sample, message in run.failures:
        typer.echo(f"skipped sample {sample}: {message}", err=True)
    typer.echo(f"{run.out / 'encoder.safetensors'}: loss {run.history['loss'].iloc[-1]:.4f} after {len(run.history)} steps")
