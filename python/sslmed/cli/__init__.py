"""The command ``sslmed``, a file a group of commands. Exit codes: 0 done, 2 bad usage or input, 130 interrupted after saving."""

from __future__ import annotations

import signal
import sys
import traceback
import warnings
from pathlib import Path

import typer

# Each adds its commands to the application; help lists them in this order.
# isort: off
from sslmed.cli import training, evaluating, segmenting, detecting, benchmarking, files, about  # noqa: F401

# isort: on
from sslmed.cli.options import app
from sslmed.cli.training import stop

__all__ = ["app", "main"]


def _is_refusal(error: Exception) -> bool:
    """Whether it is a TypeError that sslmed raised itself, such as of a method that cannot train the encoder."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return isinstance(error, TypeError) and Path(__file__).parent.parent in Path(last.filename).parents and (last.line or "").startswith("raise ")


def main() -> None:
    """Entry point: runs the command, and turns what a user can mend into one line on stderr."""

    def show(message: Warning | str, *_: object, **__: object) -> None:
        typer.echo(f"warning: {message}", err=True)

    warnings.showwarning = show
    try:
        # Without click's own handling, an Exit comes back as its code.
        code = app(standalone_mode=False) or 0
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is stop:
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
