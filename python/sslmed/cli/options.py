"""The application, and the options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sslmed.cohort import Cohort

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)

Out = Annotated[Path, typer.Option("--out", help="Folder for the results.")]
Seed = Annotated[int, typer.Option(help="Seed of every random draw.")]
OnError = Annotated[str, typer.Option(help="raise, or skip samples that cannot be read or carry no signal.")]
Threads = Annotated[int, typer.Option(help="Loader threads; the result does not depend on them.")]

FIELDS = {"allow_extra_args": True, "ignore_unknown_options": True}
"""Of commands that take fields of dataclasses as options: ``--name value``."""

Channels = Annotated[str | None, typer.Option(help="Names of the channels that are read, separated by commas; by default all.")]
Exclude = Annotated[str | None, typer.Option(help="Names of channels that are not read, separated by commas.")]


def open_cohort(path: Path) -> Cohort:
    """The cohort at a path. What is imported is imported in functions, so that --help is there at once."""
    from sslmed.cohort import Cohort

    return Cohort.open(path)


def open_cohorts(paths: list[Path], channels: str | None, exclude: str | None) -> list[Cohort]:
    """Cohorts, of which only some channels are read; each name is one of a channel of some of them."""
    from sslmed import cohort_report

    names = [None if text is None else [name.strip() for name in text.split(",") if name.strip()] for text in (channels, exclude)]
    return cohort_report.choose_channels([open_cohort(path) for path in paths], names[0], names[1] or ())
