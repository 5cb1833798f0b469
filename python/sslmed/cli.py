"""The command ``sslmed``. Exit codes: 0 done, 2 bad usage or input, 130 interrupted after saving."""

from __future__ import annotations

import signal
import sys
import traceback
import warnings
from collections.abc import Collection
from dataclasses import Field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from sslmed.cohort import Cohort

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)

_Out = Annotated[Path, typer.Option("--out", help="Folder for the results.")]
_Seed = Annotated[int, typer.Option(help="Seed of every random draw.")]
_OnError = Annotated[str, typer.Option(help="raise, or skip samples that cannot be read or carry no signal.")]
_Threads = Annotated[int, typer.Option(help="Loader threads; the result does not depend on them.")]


_FIELDS = {"allow_extra_args": True, "ignore_unknown_options": True}
"""Of commands that take fields of dataclasses as options: ``--name value``."""


_Channels = Annotated[str | None, typer.Option(help="Names of the channels that are read, separated by commas; by default all.")]
_Exclude = Annotated[str | None, typer.Option(help="Names of channels that are not read, separated by commas.")]


def _cohort(path: Path) -> Cohort:
    from sslmed.cohort import Cohort

    return Cohort.open(path)


def _cohorts(paths: list[Path], channels: str | None, exclude: str | None) -> list[Cohort]:
    """Cohorts, of which only some channels are read; each name is one of a channel of some of them."""
    from sslmed import cohort_report

    names = [None if text is None else [name.strip() for name in text.split(",") if name.strip()] for text in (channels, exclude)]
    return cohort_report.choose_channels([_cohort(path) for path in paths], names[0], names[1] or ())


def _extra(arguments: list[str]) -> dict[str, str]:
    """Options that a command does not list: texts by name."""
    out, rest = {}, list(arguments)
    while rest:
        name, equals, value = rest.pop(0).partition("=")
        if not name.startswith("--") or len(name) < 3:
            raise ValueError(f"unexpected argument {name}")
        if not equals:
            if not rest or rest[0].startswith("--"):
                raise ValueError(f"{name} needs a value")
            value = rest.pop(0)
        out[name[2:].replace("-", "_")] = value
    return out


def _value(option: str, text: str, default: Any) -> Any:
    """A text as what the default of its field is: a flag, a number, a text, or several separated by commas."""
    try:
        if isinstance(default, bool):
            return {"true": True, "false": False}[text.lower()]
        if isinstance(default, (int, float, str)):
            return type(default)(text)
        if isinstance(default, (tuple, list)):
            return tuple(_value(option, part, default[0] if default else "") for part in text.split(","))
    except (KeyError, ValueError):
        raise ValueError(f"--{option.replace('_', '-')} {text}: expected {type(default).__name__}, such as {default}") from None
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return {"true": True, "false": False, "none": None}.get(text.lower(), text)


def _field_value(option: str, text: str, field: Field[Any]) -> Any:
    """A text as what the field of a dataclass takes: none and several values where its type has them, otherwise what its default is."""
    kind, default = str(field.type), field.default
    if text.lower() == "none" and "None" in kind and not isinstance(default, str):
        return None
    if "," in text and "tuple" in kind and not isinstance(default, tuple):
        return _value(option, text, (default,))
    return _value(option, text, default)


def _chosen(texts: dict[str, str], *places: Any, listed: Collection[str] = ()) -> list[dict[str, Any]]:
    """The fields of each dataclass out of texts by name, the first that has one taking it; a name that none has is refused.

    ``listed`` are fields that are options of the command under their own names.
    """
    known = [{field.name: field for field in fields(place) if field.name not in listed} for place in places]
    for name in texts:
        if not any(name in names for names in known):
            where = " and ".join(f"{place.__name__} ({', '.join(names)})" for place, names in zip(places, known, strict=True))
            raise ValueError(f"--{name.replace('_', '-')} is no option of this command, and no field of {where}")
    out: list[dict[str, Any]] = []
    for names in known:
        out.append({name: _field_value(name, text, names[name]) for name, text in texts.items() if name in names and not any(name in done for done in out)})
    return out


def _shard(text: str | None) -> tuple[int, int] | None:
    from sslmed.grid import shard_of_this_job

    if text is None:
        return shard_of_this_job()
    numbers = text.split("/")
    if len(numbers) != 2 or not all(n.isdigit() for n in numbers):
        raise ValueError(f"--shard must be k/n, got {text!r}")
    return int(numbers[0]), int(numbers[1])


def _stop(*_: object) -> None:
    """A scheduler's SIGTERM, a closed terminal, and a Ctrl-C although the shell has it ignored: leave; while a run trains, after it has saved."""
    raise KeyboardInterrupt


@app.command()
def demo(
    out: _Out = Path("demo"),
    seed: _Seed = 0,
    modality: Annotated[str | None, typer.Option(help="Kind of data; by default the first that has a demo.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Epochs of the pretraining.")] = None,
    subjects: Annotated[tuple[int, int] | None, typer.Option(help="Subjects of the public site and of the clinic.")] = None,
    threads: _Threads = 2,
) -> None:
    """Write two SYNTHETIC cohorts, pretrain, transfer, report the shift: report.html, transfer.csv, shift.csv."""
    from sslmed.demo import run_demo

    run_demo(out, modality=modality, seed=seed, epochs=epochs, subjects=subjects, threads=threads)


@app.command(context_settings=_FIELDS)
def pretrain(
    context: typer.Context,
    cohort: Annotated[Path, typer.Argument(help="A BIDS folder, another folder with files, a table with path and subject, or an index.")],
    out: _Out,
    method: Annotated[str, typer.Option(help="mae, simclr, dino, or another registered method.")] = "mae",
    encoder: Annotated[str, typer.Option(help="vit_small, resnet18 or another of sslmed.nn.list_models(), or an encoder.safetensors.")] = "vit_small",
    epochs: Annotated[int, typer.Option(help="Passes over the cohort.")] = 10,
    batch_size: Annotated[int, typer.Option(help="Samples in a batch.")] = 64,
    seed: _Seed = 0,
    threads: _Threads = 2,
    checkpoint_every: Annotated[int, typer.Option(help="Steps between checkpoints; 0: each epoch.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the newest checkpoint.")] = False,
    lr: Annotated[float, typer.Option(help="Peak learning rate.")] = 1e-3,
    order: Annotated[str, typer.Option(help="shuffle, or a column whose values come equally often: subject, site …")] = "shuffle",
    depth: Annotated[int, typer.Option(help="Encoder blocks; 0: the encoder's own.")] = 0,
    bf16: Annotated[bool, typer.Option("--bf16", help="Autocast to bfloat16.")] = False,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    on_error: _OnError = "raise",
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

    signal.signal(signal.SIGTERM, _stop)
    for number in (signal.SIGINT, signal.SIGHUP):
        if number == signal.SIGINT or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _stop)
    people = _cohort(cohort)
    kind = registry.get(people.modality).preprocessing
    listed = {"preprocessing", "probe_every", *(parameter.name or "" for parameter in context.command.params)}
    options, changes, settings = _chosen(_extra(context.args), methods.get(method), kind, PretrainConfig, listed=listed)
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


@app.command()
def transfer(
    encoder: Annotated[Path, typer.Argument(help="encoder.safetensors of a run.")],
    cohort: Annotated[Path, typer.Argument(help="A labelled BIDS folder or table.")],
    target: Annotated[str, typer.Option(help="Column to predict.")],
    out: _Out,
    protocol: Annotated[str, typer.Option(help="linear, knn, finetune, lora or attentive.")] = "linear",
    pooling: Annotated[str, typer.Option(help="mean, cls, or what else the modality has.")] = "mean",
    cv: Annotated[str, typer.Option(help="A number, or loso to leave one subject out.")] = "5",
    test: Annotated[Path | None, typer.Option(help="Test on this cohort instead of folds.")] = None,
    regression: Annotated[bool | None, typer.Option("--regression/--classes", help="What the target is, instead of by its values.")] = None,
    seed: _Seed = 0,
    threads: _Threads = 2,
    on_error: _OnError = "raise",
    transductive: Annotated[str, typer.Option(help="tell, exclude or raise: people whose signals the encoder was pretrained on.")] = "tell",
    channels: _Channels = None,
    exclude: _Exclude = None,
) -> None:
    """Score an encoder on a labelled cohort beside the baselines: transfer.csv and transfer.html."""
    from sslmed.evaluation.transfer import transfer as run_transfer

    if cv != "loso" and not cv.isdigit():
        raise ValueError(f"--cv must be a number or loso, got {cv!r}")
    people, *tested = _cohorts([cohort, *([] if test is None else [test])], channels, exclude)
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
    seed: _Seed = 0,
    threads: _Threads = 2,
    on_error: _OnError = "raise",
) -> None:
    """Say what can be told from an encoder's features: who somebody is, sex, site, age, beside chance and an untrained encoder."""
    from sslmed.evaluation.card import card as make_card

    listed = [c for c in columns.split(",") if c]
    found = make_card(encoder, _cohort(cohort), columns=listed, session=session, seed=seed, threads=threads, on_error=on_error)  # type: ignore[arg-type]
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
    out: _Out,
    shard: Annotated[str | None, typer.Option(help="k/n: only this part; by default that of the SLURM array job, if it is one.")] = None,
    threads: _Threads = 2,
) -> None:
    """Run what is not done yet of a grid of experiments: table.parquet and report.html."""
    from sslmed.grid import run

    table = run(file, out, shard=_shard(shard), threads=threads)
    typer.echo(table.to_string(index=False, float_format="{:.3f}".format))


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
    channels: _Channels = None,
    exclude: _Exclude = None,
) -> None:
    """Report how two cohorts differ: shift.csv and shift.html."""
    from sslmed import shift as shift_module

    here, there = _cohorts([public, clinic], channels, exclude)
    report = shift_module.report(
        here, there, encoder,
        by=None if by is None else [c for c in by.split(",") if c], target=target, seed=seed, threads=threads, on_error=on_error,  # type: ignore[arg-type]
    )  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    report.save(str(out / "shift.csv"))
    report.save(str(out / "shift.html"))
    typer.echo(report.table.to_string(index=False, float_format="%.3f"))


@app.command(context_settings=_FIELDS)
def index(
    context: typer.Context,
    cohort: Annotated[Path, typer.Argument(help="A BIDS folder, another folder with files, or a table with path, subject and what else is known.")],
    out: Annotated[Path, typer.Option("--out", help="The index to write, .parquet.")],
    threads: Annotated[int, typer.Option(help="Files at a time.")] = 8,
    subject: Annotated[str | None, typer.Option(help="Folder: regular expression for the start of a file's name that says whose it is.")] = None,
    shard: Annotated[str | None, typer.Option(help="k/n: only this part; by default that of the SLURM array job, if it is one.")] = None,
) -> None:
    """Keep what the files hold in a table that opens at once; the other commands take it as a cohort.

    Options of the modality's index are options too, for slides: --mpp 8 --cell 32 --method otsu --on-error skip.
    """
    from sslmed.cohort import Cohort
    from sslmed.modalities import registry

    people = _cohort(cohort) if subject is None else Cohort.from_folder(cohort, subject=subject)
    options: dict[str, Any] = {name: _value(name, text, None) for name, text in _extra(context.args).items()}
    known = registry.get(str(people.table["modality"].iloc[0])).index_options
    if (part := _shard(shard)) and (shard or "shard" in known):
        options["shard"] = part
    if unknown := [name for name in options if name not in known]:
        raise ValueError(f"--{unknown[0].replace('_', '-')} is no option of this command, and none of the modality's index ({', '.join(known)})")
    if "progress" in known:
        options["progress"] = True
    indexed = people.index(out, threads=threads, **options)
    if indexed is None:
        typer.echo(f"{out}: other shards are not done yet")
        return
    modality = registry.get(indexed.modality)
    held = modality.summary(indexed.table)
    typer.echo(f"{out}: {len(indexed)} {modality.rows} of {indexed.table['subject'].nunique()} subjects{', ' if held else ''}{held}")


@app.command(context_settings=_FIELDS)
def prepare(
    context: typer.Context,
    cohort: Annotated[Path, typer.Argument(help="A BIDS folder, another folder with files, or a table with path, subject and what else is known.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the prepared cohort.")],
    threads: _Threads = 2,
    shard: Annotated[str | None, typer.Option(help="k/n: only this part; by default that of the SLURM array job, if it is one.")] = None,
) -> None:
    """Bring files to one orientation, grid and scale, once; the other commands take the folder.

    Options of the modality's preparation are options too: --spacing 2 --crop none --storage uint8 --on-error skip.
    """
    from sslmed.modalities import registry
    from sslmed.preparation import prepare as prepared

    people = _cohort(cohort)
    texts = _extra(context.args)
    known = registry.get(people.modality).prepare_options
    if unknown := [name for name in texts if name not in known]:
        raise ValueError(f"--{unknown[0].replace('_', '-')} is no option of this command, and none of the modality's preparation ({', '.join(known)})")
    typed = {field.name: field for field in fields(registry.get(people.modality).preprocessing)}
    options: dict[str, Any] = {name: _field_value(name, text, typed[name]) if name in typed else _value(name, text, None) for name, text in texts.items()}
    if (part := _shard(shard)) and (shard or "shard" in known):
        options["shard"] = part
    if "progress" in known:
        options["progress"] = True
    done = prepared(people, out, threads=threads, **options)
    if done is None:
        typer.echo(f"{out}: other shards are not done yet")
        return
    modality = registry.get(done.modality)
    typer.echo(
        f"{out}: {len(done)} {modality.rows} of {done.table['subject'].nunique()} subjects{(', ' + held) if (held := modality.summary(done.table)) else ''}"
    )


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
        **io.capabilities(),
        "CPU": f"{os.cpu_count()} cores, {torch.get_num_threads()} torch threads, {torch.backends.cpu.get_cpu_capability()}",
        "GPU": ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())) or "none",
    }
    for key, value in rows.items():
        typer.echo(f"{key:14}{value}")


def _is_refusal(error: Exception) -> bool:
    """Whether it is a TypeError that sslmed raised itself, such as of a method that cannot train the encoder."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return isinstance(error, TypeError) and Path(__file__).parent in Path(last.filename).parents and (last.line or "").startswith("raise ")


def main() -> None:
    """Entry point: runs the command, and turns what a user can mend into one line on stderr."""

    def show(message: Warning | str, *_: object, **__: object) -> None:
        typer.echo(f"warning: {message}", err=True)

    warnings.showwarning = show
    try:
        # Without click's own handling, an Exit comes back as its code.
        code = app(standalone_mode=False) or 0
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is _stop:
                signal.signal(number, signal.SIG_IGN)  # everything is done
        sys.exit(code)
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
        if not usage and not isinstance(error, (ValueError, OSError, ArithmeticError)) and not _is_refusal(error):
            raise
        text = error.format_message() if usage else str(error)  # type: ignore[attr-defined]
        if isinstance(error, OSError) and error.args and isinstance(error.args[0], int) and len(error.args) > 1:
            text = str(error.args[1])
        typer.echo("error: " + " ".join(text.split()), err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
