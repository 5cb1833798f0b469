"""What encoders are worth, side by side: :func:`sslmed.benchmark`, and its parts for analyses of your own.

- :class:`Task`: what is predicted of a cohort
- :class:`Linear`, :class:`Neighbors`, :class:`Sweep`: how features are scored
- :func:`knn_predict`: nearest neighbors by cosine similarity and softmax-weighted votes
- :func:`fit_sweep`: linear heads of many learning rates, trained at once and chosen on training people
- :func:`cka`, :func:`cka_table`: how alike two encoders see the same people
- :func:`robustness_index`: whether neighbors share the biology or the center
- :func:`embed`: features in the plane (t-SNE, UMAP)
- :func:`score_medmnist`: encoders on a MedMNIST file, by its official split and evaluator
"""

from sslmed.benchmarking.knn import best_k, knn_predict
from sslmed.benchmarking.maps import embed
from sslmed.benchmarking.medmnist import MedmnistResult, score_medmnist
from sslmed.benchmarking.protocols import NAMED, Linear, Neighbors
from sslmed.benchmarking.result import BenchmarkResult
from sslmed.benchmarking.robustness import robustness_index
from sslmed.benchmarking.running import benchmark
from sslmed.benchmarking.similarity import cka, cka_table
from sslmed.benchmarking.sweep import LEARNING_RATES, Sweep, fit_sweep
from sslmed.benchmarking.tasks import Task

__all__ = [
    "LEARNING_RATES",
    "NAMED",
    "BenchmarkResult",
    "Linear",
    "MedmnistResult",
    "Neighbors",
    "Sweep",
    "Task",
    "benchmark",
    "best_k",
    "cka",
    "cka_table",
    "embed",
    "fit_sweep",
    "knn_predict",
    "robustness_index",
    "score_medmnist",
]
