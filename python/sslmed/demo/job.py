"""What the demos of all modalities share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sslmed.cohort import Cohort

__all__ = ["STAMP", "Job"]

STAMP = "SYNTHETIC: generated data, nothing of any person. The figures show that the tools work, not a clinical finding."


@dataclass(frozen=True)
class Job:
    """A modality's synthetic cohorts, and what is done with them."""

    public: Cohort
    clinic: Cohort
    settings: dict[str, Any]
    """Settings of the pretraining."""
    pooling: str
    """Pooling of the encoder's features for the transfer."""
    by: list[str]
    """Columns in which the cohorts are compared."""
    note: str
    """What the report says of the job."""
