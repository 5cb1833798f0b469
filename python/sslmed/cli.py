"""The command ``sslmed``. Exit codes: 0 done, 2 bad usage or input, 130 interrupted after saving."""

from __future__ import annotations

import signal
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)

_Out = Annotated[Path, typer.Option("--out", help="Folder for the results.")]
_Seed = Annotated[int, typer.Option(help="Of every random draw.")]
_OnError = Annotated[str, typer.Option(help="raise, or skip windows that cannot be read or carry no signal.")]
_Threads = Annotated[int, typer.Option(help="Loader threads; the result does not depend on them.")]


def _cohort(path: Path, name: str | None = None):  # type: ignore[no-untyped-def]
    from sslmed.cohort import Cohort

    return Cohort.from_bids(path, name=name) if path.is_dir() else Cohort.from_table(path, name=name)


def _shard(text: str | None) -> tuple[int, int] | None:
    from sslmed.grid import shard_of_this_job

    if text is None:
        return shard_of_this_job()
    numbers = text.split("/")
    if len(numbers) != 2 or not all(n.isdigit() for n in numbers):
        raise ValueError(f"--shard must be k/n, got {text!r}")
    return int(numbers[0]), int(numbers[1])


def _stop(*_: object) -> None:
    """A scheduler's SIGTERM is a Ctrl-C: save, and leave."""
    signal.raise_signal(signal.SIGINT)


@app.command()
def demo(
    out: _Out = Path("demo"),
    seed: _Seed = 0,
    modality: Annotated[str, typer.Option(help="eeg or slides.")] = "eeg",
    epochs: Annotated[int | None, typer.Option(help="Of the pretraining.")] = None,
    subjects: Annotated[tuple[int, int] | None, typer.Option(help="Of the public site and of the clinic.")] = None,
    threads: _Threads = 2,
) -> None:
    """Write two SYNTHETIC cohorts, pretrain, transfer, report the shift: report.html, transfer.csv, shift.csv."""
    from sslmed.demo import run_demo

    run_demo(out, modality=modality, seed=seed, epochs=epochs, subjects=subjects, threads=threads)


@app.command()
def pretrain(
    cohort: Annotated[Path, typer.Argument(help="A BIDS folder, a table with path and subject, or an index of slides.")],
    out: _Out,
    method: Annotated[str, typer.Option(help="mae or ijepa.")] = "mae",
    encoder: Annotated[str, typer.Option(help="vit_tiny, vit_small, vit_base or vit_large.")] = "vit_small",
    epochs: Annotated[int, typer.Option()] = 10,
    batch_size: Annotated[int, typer.Option()] = 64,
    seed: _Seed = 0,
    threads: _Threads = 2,
    checkpoint_every: Annotated[int, typer.Option(help="Steps; 0: each epoch.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the newest checkpoint.")] = False,
    lr: Annotated[float, typer.Option(help="Peak learning rate.")] = 1e-3,
    mask: Annotated[str | None, typer.Option(help="mae: random, time or channel; ijepa: multiblock or multiblock_exact.")] = None,
    ratio: Annotated[float | None, typer.Option(help="Of the tokens masked (mae).")] = None,
    target: Annotated[str | None, typer.Option(help="What is restored: signal or spectrum (mae).")] = None,
    target_bins: Annotated[int | None, typer.Option(help="Coefficients averaged to one band of the spectrum (mae).")] = None,
    sfreq: Annotated[float | None, typer.Option(help="Hz after resampling (EEG; 200).")] = None,
    window: Annotated[float | None, typer.Option(help="Seconds (EEG; 4).")] = None,
    mpp: Annotated[float | None, typer.Option(help="µm per pixel (slides; .5).")] = None,
    size: Annotated[int | None, typer.Option(help="Pixels of a picture's sides (slides; 224).")] = None,
    patch: Annotated[int | None, typer.Option(help="Pixels of a token's sides (slides; 16).")] = None,
    order: Annotated[str, typer.Option(help="shuffle, or a column whose values come equally often: subject, site, stain …")] = "shuffle",
    depth: Annotated[int, typer.Option(help="Encoder blocks; 0: the encoder's own.")] = 0,
    bf16: Annotated[bool, typer.Option("--bf16", help="Autocast to bfloat16.")] = False,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    on_error: _OnError = "raise",
    tensorboard: Annotated[bool, typer.Option(help="Write TensorBoard scalars.")] = True,
    timeout: Annotated[float, typer.Option(help="Seconds after which a rank that does not answer is given up.")] = 600.0,
) -> None:
    """Pretrain an encoder: history.csv, checkpoints/ and encoder.safetensors. Under torchrun, on all its processes."""
    from sslmed.distributed import is_first, under_torchrun
    from sslmed.methods import resolve
    from sslmed.preprocessing import default_preprocessing
    from sslmed.pretraining import pretrain as run_pretrain

    given = {"mask": mask, "ratio": ratio, "target": target, "target_bins": target_bins}
    options: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    try:
        resolve(method, options)
    except TypeError as error:
        raise ValueError(str(error)) from None
    recordings = _cohort(cohort)
    preprocessing = default_preprocessing(recordings.modality)
    asked = {"sfreq": sfreq, "window": window, "mpp": mpp, "size": size, "patch": patch}
    changes: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
    if foreign := [name for name in changes if not hasattr(preprocessing, name) or (name == "patch" and recordings.modality == "eeg")]:
        raise ValueError(f"--{foreign[0]} is not for a cohort of {recordings.modality}")
    signal.signal(signal.SIGTERM, _stop)
    with under_torchrun(device, timeout) as own_device:
        run = run_pretrain(
            recordings, method, encoder, out, epochs=epochs, batch_size=batch_size, seed=seed, threads=threads,
            checkpoint_every=checkpoint_every, resume=resume, lr=lr, depth=depth or None, bf16=bf16, device=own_device, on_error=on_error,
            tensorboard=tensorboard, preprocessing=replace(preprocessing, **changes), order=order, **options,
        )  # fmt: skip
        first = is_first()
    if run.interrupted:
        if first:
            typer.echo(f"interrupted after step {len(run.history)}; saved. Go on with --resume", err=True)
        raise typer.Exit(130)
    if not first:
        return
    for window_id, message in run.failures:
        typer.echo(f"skipped window {window_id}: {message}", err=True)
    typer.echo(f"{run.out / 'encoder.safetensors'}: loss {run.history['loss'].iloc[-1]:.4f} after {len(run.history)} steps")


@app.command()
def transfer(
    encoder: Annotated[Path, typer.Argument(help="encoder.safetensors of a run.")],
    cohort: Annotated[Path, typer.Argument(help="A labelled BIDS folder or table.")],
    target: Annotated[str, typer.Option(help="Column to predict.")],
    out: _Out,
    protocol: Annotated[str, typer.Option(help="linear, knn, finetune, lora or attentive.")] = "linear",
    pooling: Annotated[str, typer.Option(help="mean, cls or regions.")] = "mean",
    folds: Annotated[str, typer.Option(help="A number, or loso to leave one subject out.")] = "5",
    test: Annotated[Path | None, typer.Option(help="Test on this cohort instead of folds.")] = None,
    regression: Annotated[bool | None, typer.Option("--regression/--classes", help="What the target is, instead of by its values.")] = None,
    seed: _Seed = 0,
    threads: _Threads = 2,
    on_error: _OnError = "raise",
) -> None:
    """Score an encoder on a labelled cohort beside the baselines: transfer.csv and transfer.html."""
    from sslmed.evaluation.transfer import transfer as run_transfer
    from sslmed.nn import Encoder

    if folds != "loso" and not folds.isdigit():
        raise ValueError(f"--folds must be a number or loso, got {folds!r}")
    result = run_transfer(
        Encoder.load(encoder), _cohort(cohort), target, protocol, pooling=pooling, cv=folds if folds == "loso" else int(folds),  # type: ignore[arg-type]
        test=None if test is None else _cohort(test), regression=regression, seed=seed, threads=threads, on_error=on_error,  # type: ignore[arg-type]
    )  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    result.save(str(out / "transfer.csv"))
    result.save(str(out / "transfer.html"))
    typer.echo(result.table.to_string(index=False, float_format="%.3f"))


@app.command()
def grid(
    file: Annotated[Path, typer.Argument(help="A grid in YAML: cohorts, target, and lists of settings to be combined.")],
    out: _Out,
    shard: Annotated[str | None, typer.Option(help="k/n: only this part; by default that of the SLURM array job, if it is one.")] = None,
    threads: _Threads = 2,
) -> None:
    """Run what is not done yet of a grid of experiments: table.parquet and report.html."""
    from sslmed.grid import run

    table = run(file, out, shard=_shard(shard), threads=threads)
    typer.echo(table.to_string(index=False, float_format="%.3f"))


@app.command()
def shift(
    public: Annotated[Path, typer.Argument(help="A BIDS folder or table.")],
    clinic: Annotated[Path, typer.Argument(help="Another.")],
    out: _Out,
    encoder: Annotated[Path | None, typer.Option(help="encoder.safetensors of a run.")] = None,
    by: Annotated[str | None, typer.Option(help="Columns to compare, separated by commas; by default those of age, sex and site that both know.")] = None,
    target: Annotated[str | None, typer.Option(help="Column for the cross-cohort score.")] = None,
    seed: _Seed = 0,
    threads: _Threads = 2,
    on_error: _OnError = "raise",
) -> None:
    """Report how two cohorts differ: shift.csv and shift.html."""
    from sslmed import shift as shift_module
    from sslmed.nn import Encoder

    report = shift_module.report(
        _cohort(public), _cohort(clinic), None if encoder is None else Encoder.load(encoder),
        by=None if by is None else [c for c in by.split(",") if c], target=target, seed=seed, threads=threads, on_error=on_error,  # type: ignore[arg-type]
    )  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    report.save(str(out / "shift.csv"))
    report.save(str(out / "shift.html"))
    typer.echo(report.table.to_string(index=False, float_format="%.3f"))


@app.command()
def index(
    cohort: Annotated[Path, typer.Argument(help="A BIDS folder, a folder with slides, or a table with path, subject and what else is known.")],
    out: Annotated[Path, typer.Option("--out", help="The index: .parquet (of recordings also .tsv).")],
    threads: Annotated[int, typer.Option(help="Files at a time.")] = 8,
    subject: Annotated[str, typer.Option(help="Folder of slides: regular expression for the start of a name that says whose it is.")] = r"TCGA-\w\w-\w{4}|.+",
    mpp: Annotated[float, typer.Option(help="Slides: µm per pixel at which tissue is looked for.")] = 8.0,
    cell: Annotated[float, typer.Option(help="Slides: µm of a cell of the tissue's grid.")] = 32.0,
    method: Annotated[str, typer.Option(help="Slides: otsu, clam or luminance.")] = "otsu",
    shard: Annotated[str | None, typer.Option(help="Slides: k/n, only this part; by default that of the SLURM array job, if it is one.")] = None,
    on_error: Annotated[str, typer.Option(help="Slides: raise, or skip those that cannot be read.")] = "raise",
) -> None:
    """Keep what the files' headers say, and where slides have tissue, in a table that opens at once; the other commands take it as a cohort.

    Of slides it goes on where it was stopped, and shards may run anywhere.
    """
    from sslmed import slides

    if not slides.are_slides(cohort):
        indexed = _cohort(cohort).index(out, threads=threads)
        typer.echo(f"{out}: {len(indexed)} recordings of {indexed.table['subject'].nunique()} subjects, {len(indexed.montages())} montages")
        return
    part = _shard(shard) or (0, 1)
    found = slides.index(cohort, out, subject=subject, mpp=mpp, cell=cell, method=method, shard=part, threads=threads, on_error=on_error, progress=True)
    if found is None:
        typer.echo(f"{out}: other shards are not done yet")
    else:
        typer.echo(f"{out}: {len(found)} slides of {found.table['subject'].nunique()} subjects, {found.table['tissue_mm2'].sum():.2f} mm² of tissue")


@app.command()
def info() -> None:
    """Versions, build configuration and devices."""
    import os
    import platform

    import torch

    from sslmed import __version__, io
    from sslmed._core import C

    rows = {
        "sslmed": __version__,
        "python": platform.python_version(),
        "torch": f"{torch.__version__} (built for {C.TORCH_VERSION})",
        "build": f"{C.BUILD_TYPE}, {C.COMPILER}",
        "CUDA kernels": "yes" if C.HAS_CUDA else "no",
        "EDFlib": "yes" if C.HAS_EDFLIB else "no: EDF files can be read, not written",
        "PNG and JPEG": "yes" if C.have_images() else "no: images cannot be read, and slides are read through OpenSlide alone",
        "OpenSlide": io.openslide_version() or "none: slides cannot be read (pip install openslide-bin)",
        "CPU": f"{os.cpu_count()} cores, {torch.get_num_threads()} torch threads, {torch.backends.cpu.get_cpu_capability()}",
        "GPU": ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())) or "none",
    }
    for key, value in rows.items():
        typer.echo(f"{key:14}{value}")


def main() -> None:
    """Entry point: runs the command, and turns what a user can mend into one line on stderr."""

    def show(message: Warning | str, *_: object, **__: object) -> None:
        typer.echo(f"warning: {message}", err=True)

    warnings.showwarning = show
    try:
        # Without click's own handling, an Exit comes back as its code.
        sys.exit(app(standalone_mode=False) or 0)
    except (typer.Abort, KeyboardInterrupt):
        typer.echo("interrupted", err=True)
        sys.exit(130)
    except Exception as error:
        from sslmed import DistributedError

        if isinstance(error, DistributedError):
            # Not the user's mistake: torchrun sees a failed process, and may start the job again.
            typer.echo(f"error: {error}", err=True)
            sys.exit(1)
        usage = hasattr(error, "format_message")  # click's own: bad options and arguments
        if not usage and not isinstance(error, (ValueError, OSError, ArithmeticError)):
            raise
        text = error.format_message() if usage else str(error)  # type: ignore[attr-defined]
        if isinstance(error, OSError) and error.args and isinstance(error.args[0], int) and len(error.args) > 1:
            text = str(error.args[1])
        typer.echo("error: " + " ".join(text.split()), err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
