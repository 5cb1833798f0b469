"""Settings of torch that belong to whoever calls: ours do not depend on them, and leave them as they were."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch

__all__ = ["own_settings"]


@contextmanager
def own_settings() -> Iterator[None]:
    """Float32, CPU, gradients on, no inference mode and no autocast, whatever the caller has set; the number of threads is put back.

    It is a decorator as well.

    Examples:
        >>> import torch
        >>> with torch.no_grad(), own_settings():
        ...     torch.is_grad_enabled()
        True
    """
    dtype, threads = torch.get_default_dtype(), torch.get_num_threads()
    torch.set_default_dtype(torch.float32)
    try:
        with (
            torch.inference_mode(False),
            torch.enable_grad(),
            torch.device("cpu") if torch.get_default_device().type != "cpu" else nullcontext(),
            torch.autocast("cpu", enabled=False),
            torch.autocast("cuda", enabled=False),
        ):
            yield
    finally:
        torch.set_default_dtype(dtype)
        torch.set_num_threads(threads)
