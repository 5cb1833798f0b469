"""Metrics of segmentation, detection, anomaly maps and MedMNIST, under the definitions of the public libraries.

The same masks have an HD95 that differs by 10 mm between libraries, and a missed structure is NaN, 0, infinite or an
error. Each function here takes ``convention=``, the library whose definition is used, empty cases included;
:func:`evaluate` computes all of them at once, and :func:`summarize` puts the counts of empty and missed cases beside
every mean. ``docs/metrics.md`` has the definitions side by side.
"""

from sslmed.metrics.anomaly import aupro
from sslmed.metrics.inputs import Score
from sslmed.metrics.instances import aji, detection_f1, panoptic_quality
from sslmed.metrics.medmnist_scores import medmnist
from sslmed.metrics.overlap import dice, euler_difference, iou, volume_similarity
from sslmed.metrics.precision import average_precision
from sslmed.metrics.rosetta import CONVENTIONS, evaluate, summarize
from sslmed.metrics.shapes import connected_components, distance_transform
from sslmed.metrics.surfaces import average_surface_distance, hausdorff, surface_dice

__all__ = [
    "CONVENTIONS",
    "Score",
    "aji",
    "aupro",
    "average_precision",
    "average_surface_distance",
    "connected_components",
    "detection_f1",
    "dice",
    "distance_transform",
    "euler_difference",
    "evaluate",
    "hausdorff",
    "iou",
    "medmnist",
    "panoptic_quality",
    "summarize",
    "surface_dice",
    "volume_similarity",
]
