"""Anomaly detection: what healthy people do not have, with thresholds that promise a rate of false alarms."""

from sslmed.anomaly.classical import Atlas, Dummy, Histogram
from sslmed.anomaly.conformal import conformal_threshold, least_people, share_threshold
from sslmed.anomaly.detect import METHODS, detect_anomalies
from sslmed.anomaly.gaussian import Mahalanobis, shrunk_covariance
from sslmed.anomaly.methods import AnomalyMethod, LatentSvm, PatchCore, knn
from sslmed.anomaly.neighbors import k_center_greedy, nearest
from sslmed.anomaly.patches import Patches, patch_features
from sslmed.anomaly.reconstruction import Reconstruction, load_objective
from sslmed.anomaly.result import AnomalyResult, FittedMethod
from sslmed.anomaly.scans import Detection, Scan, paint

__all__ = [
    "METHODS",
    "AnomalyMethod",
    "AnomalyResult",
    "Atlas",
    "Detection",
    "Dummy",
    "FittedMethod",
    "Histogram",
    "LatentSvm",
    "Mahalanobis",
    "PatchCore",
    "Patches",
    "Reconstruction",
    "Scan",
    "conformal_threshold",
    "detect_anomalies",
    "k_center_greedy",
    "knn",
    "least_people",
    "load_objective",
    "nearest",
    "paint",
    "patch_features",
    "share_threshold",
    "shrunk_covariance",
]
