"""Losses of times that may be censored."""

from __future__ import annotations

from typing import Literal

import torch

from sslmed._core import C

__all__ = ["cox"]


def cox(risk: torch.Tensor, time: torch.Tensor, event: torch.Tensor, *, ties: Literal["efron", "breslow"] = "efron") -> torch.Tensor:
    """Minus the partial log-likelihood of Cox (J. R. Stat. Soc. B 1972), divided by the number of events.

    Everybody whose time is that of an event or later is at risk at it, so the rows of a batch are compared with each
    other: a batch should hold many people, and is best the whole cohort.

    Args:
        risk: [B] log hazard ratios, floating point.
        time: [B] times of the event or of censoring, in any unit.
        event: [B] 1 where the event was seen, 0 where the time is censored.
        ties: How equal times of events are counted: "efron" (JASA 1977; R's and lifelines' default) or "breslow"
            (Biometrics 1974; statsmodels' default).

    Returns:
        Scalar; 0 with a gradient of zero where no event was seen.

    Raises:
        ValueError: Shapes differ, a time is not finite, or an event is neither 0 nor 1.
        TypeError: risk is not floating point.

    Examples:
        >>> import torch
        >>> from sslmed.losses import cox
        >>> time, event = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1, 1, 0])
        >>> right, wrong = torch.tensor([2.0, 0.0, -2.0]), torch.tensor([-2.0, 0.0, 2.0])
        >>> print(f"{cox(right, time, event):.3f} {cox(wrong, time, event):.3f}")
        0.135 3.135
    """
    return C.cox(risk, time, event, ties)
