"""Evaluation: scores of encoders on labeled cohorts, with subject-level folds, baselines, intervals and tests.

:func:`sslmed.transfer`, :func:`sslmed.few_shot` and :func:`sslmed.transfer_matrix` are what most people call. The
modules below hold what they are made of, for analyses of your own:

- :mod:`~sslmed.evaluation.adaptation`: estimators that bring one population's features towards another's
- :mod:`~sslmed.evaluation.brain_age`: bias correction and brain-age gaps
- :mod:`~sslmed.evaluation.exposure`: what an encoder has seen of the people that it is scored on
- :mod:`~sslmed.evaluation.confounding`: whether scores tell the disease, or what comes with it
- :mod:`~sslmed.evaluation.features`: features of recordings, of encoders and of classical baselines
- :mod:`~sslmed.evaluation.feature_cache`: features kept for the next call
- :mod:`~sslmed.evaluation.checklist`: the reporting checklist TRIPOD+AI, as far as a result fills it
- :mod:`~sslmed.evaluation.learning`: learning curves
- :mod:`~sslmed.evaluation.manifest`: the same table again, from a manifest
- :mod:`~sslmed.evaluation.sample_size`: people that a model needs, and effects that a cohort can show
- :mod:`~sslmed.evaluation.stamps`: what a reviewer would reject a result for
- :mod:`~sslmed.evaluation.verdict`: what a small cohort can say
- :mod:`~sslmed.evaluation.matching`: pairs within a cohort, folds that keep them, folds that leave a site out
- :mod:`~sslmed.evaluation.metrics`: scores
- :mod:`~sslmed.evaluation.probes`: estimators on frozen features
- :func:`~sslmed.evaluation.openbhb_score`: brain age at other sites, and what features tell of the site
- :func:`~sslmed.evaluation.select`: the best of many candidates, chosen inside the training people
- :func:`~sslmed.evaluation.over_seeds`: results over seeds of the pretraining
- :mod:`~sslmed.evaluation.statistics`: bootstrap over subjects, permutation and DeLong tests, Holm's correction
"""

from sslmed.evaluation import (
    adaptation,
    brain_age,
    checklist,
    confounding,
    exposure,
    feature_cache,
    features,
    learning,
    manifest,
    matching,
    metrics,
    probes,
    sample_size,
    stamps,
    statistics,
    verdict,
)
from sslmed.evaluation.curves import few_shot, transfer_matrix
from sslmed.evaluation.evaluate import evaluate
from sslmed.evaluation.knn_probe import KnnProbe
from sslmed.evaluation.openbhb import openbhb_score
from sslmed.evaluation.result import TransferResult
from sslmed.evaluation.seeds import over_seeds
from sslmed.evaluation.selection import Selection, select
from sslmed.evaluation.splits import splits
from sslmed.evaluation.transfer import knn_score, plan, transfer

__all__ = [
    "KnnProbe",
    "Selection",
    "TransferResult",
    "adaptation",
    "brain_age",
    "checklist",
    "confounding",
    "evaluate",
    "exposure",
    "feature_cache",
    "features",
    "few_shot",
    "knn_score",
    "learning",
    "manifest",
    "matching",
    "metrics",
    "openbhb_score",
    "over_seeds",
    "plan",
    "probes",
    "sample_size",
    "select",
    "splits",
    "stamps",
    "statistics",
    "transfer",
    "transfer_matrix",
    "verdict",
]
