"""Confounding: whether scores tell the disease, or what comes with it (age, sex, site, device).

- :func:`standardized_differences`: how different the classes are
- :func:`adjusted_auroc`: the area under the ROC curve with covariates held fixed
- :func:`partial_confounder_test`, :func:`full_confounder_test`: what predictions depend on
- :func:`design`, :func:`regress_out`, :class:`ConfoundRegression`: covariates as numbers, and features without them

Pairs and folds that hold a confounder fixed are in :mod:`sslmed.evaluation.matching`.
"""

from sslmed.evaluation.confounding.adjusted import adjusted_auroc, log_odds
from sslmed.evaluation.confounding.balance import IMBALANCED, standardized_differences
from sslmed.evaluation.confounding.covariates import Levels, covariate_levels, design
from sslmed.evaluation.confounding.permutation import ConfounderTest, full_confounder_test, partial_confounder_test
from sslmed.evaluation.confounding.regression import ConfoundRegression, regress_out

__all__ = [
    "IMBALANCED",
    "ConfoundRegression",
    "ConfounderTest",
    "Levels",
    "adjusted_auroc",
    "covariate_levels",
    "design",
    "full_confounder_test",
    "log_odds",
    "partial_confounder_test",
    "regress_out",
    "standardized_differences",
]
