"""Commands that read files once: ``index``, ``prepare``."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import typer

from sslmed.cli.arguments import extra, field_value, shard_of, value_of
from sslmed.cli.options import FIELDS, Threads, app, open_cohort


@app.command(context_settings=FIELDS)
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

    people = open_cohort(cohort) if subject is None else Cohort.from_folder(cohort, subject=subject)
    options: dict[str, Any] = {name: value_of(name, text, None) for name, text in extra(context.args).items()}
    known = registry.get(str(people.table["modality"].iloc[0])).index_options
    if (part := shard_of(shard)) and (shard or "shard" in known):
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


@app.command(context_settings=FIELDS)
def prepare(
    context: typer.Context,
    cohort: Annotated[Path, typer.Argument(help="A BIDS folder, another folder with files, or a table with path, subject and what else is known.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the prepared cohort.")],
    threads: Threads = 2,
    shard: Annotated[str | None, typer.Option(help="k/n: only this part; by default that of the SLURM array job, if it is one.")] = None,
) -> None:
    """Bring files to one orientation, grid and scale, once; the other commands take the folder.

    Options of the modality's preparation are options too: --spacing 2 --crop none --storage uint8 --on-error skip.
    """
    from sslmed.modalities import registry
    from sslmed.preparation import prepare as prepared

    people = open_cohort(cohort)
    texts = extra(context.args)
    known = registry.get(people.modality).prepare_options
    if unknown := [name for name in texts if name not in known]:
        raise ValueError(f"--{unknown[0].replace('_', '-')} is no option of this command, and none of the modality's preparation ({', '.join(known)})")
    typed = {field.name: field for field in fields(registry.get(people.modality).preprocessing)}
    options: dict[str, Any] = {name: field_value(name, text, typed[name]) if name in typed else value_of(name, text, None) for name, text in texts.items()}
    if (part := shard_of(shard)) and (shard or "shard" in known):
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
