"""Evaluation of encoders."""

from sslmed.evaluation.knn_probe import KnnProbe

__all__ = ["KnnProbe"]
