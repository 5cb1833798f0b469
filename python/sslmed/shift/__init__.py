"""Population shift: how two cohorts differ, in their people and in an encoder's features, and what that costs."""

from sslmed.shift.distance import coral_distance, distance_from, frechet_distance, mmd
from sslmed.shift.identity import identity_variance
from sslmed.shift.labels import label_shift
from sslmed.shift.matching import Match, balance, match
from sslmed.shift.report import ShiftReport, report

__all__ = [
    "Match",
    "ShiftReport",
    "balance",
    "coral_distance",
    "distance_from",
    "frechet_distance",
    "identity_variance",
    "label_shift",
    "match",
    "mmd",
    "report",
]
