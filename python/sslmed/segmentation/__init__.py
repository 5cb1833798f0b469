"""Segmentation: networks are trained on the label maps of a cohort by the C++ loop, and scored on people that they have
not seen.

``run.py`` goes through the folds, ``networks.py`` trains and predicts, ``cases.py`` reads label maps and scores, and
``tables.py`` sums up.
"""

from sslmed.segmentation.options import Segmentation
from sslmed.segmentation.result import SegmentationResult
from sslmed.segmentation.run import segment

__all__ = ["Segmentation", "SegmentationResult", "segment"]
