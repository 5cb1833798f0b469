"""The command ``info``."""

from __future__ import annotations

import typer

from sslmed.cli.options import app


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
