"""What encoders are worth, side by side: the parts of :func:`sslmed.benchmark`, for analyses of your own.

- :func:`knn_predict`: nearest neighbors by cosine similarity and softmax-weighted votes
- :class:`Sweep`, :func:`fit_sweep`: linear heads of many learning rates, trained at once and chosen on training people
- :func:`cka`, :func:`cka_table`: how alike two encoders see the same people
- :func:`robustness_index`: whether neighbors share the biology or the center
"""

from sslmed.benchmarking.knn import best_k, knn_predict
from sslmed.benchmarking.robustness import robustness_index
from sslmed.benchmarking.similarity import cka, cka_table
from sslmed.benchmarking.sweep import LEARNING_RATES, Sweep, fit_sweep

__all__ = ["LEARNING_RATES", "Sweep", "best_k", "cka", "cka_table", "fit_sweep", "knn_predict", "robustness_index"]
