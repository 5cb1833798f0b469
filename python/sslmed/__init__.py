"""Self-supervised pretraining for medical data in C++, and honest transfer to small clinical cohorts under population shift.

The main line::

    import sslmed as sm

    public = sm.Cohort.from_bids("public-eeg")
    clinic = sm.Cohort.from_bids("pain-cohort")
    run = sm.pretrain(public, method="mae", encoder="vit_small", out="runs/eeg-mae")
    result = sm.transfer(run.encoder, clinic, target="diagnosis", protocol="linear")
    report = sm.shift.report(public, clinic, encoder=run.encoder, by=["age", "sex", "site"])
"""

from importlib.metadata import version as _version

from sslmed import (
    distributed,
    evaluation,
    grid,
    image,
    images,
    io,
    losses,
    masking,
    methods,
    nn,
    presets,
    shift,
    slides,
    stain,
    tissue,
    transforms,
)
from sslmed._core import (
    CollapseError,
    DistributedError,
    FormatError,
    FormatWarning,
    NonFiniteError,
    OverlapWarning,
    ReadError,
    SslmedWarning,
    UntestedWarning,
    WeakFitWarning,
)
from sslmed.cohort import Cohort
from sslmed.data import Loader
from sslmed.evaluation import TransferResult, few_shot, transfer, transfer_matrix
from sslmed.finetuning import FineTuned, FineTuning, finetune
from sslmed.preprocessing import Augmentation, EegPreprocessing, ImagePreprocessing, SlidePreprocessing, View
from sslmed.pretraining import Run, pretrain
from sslmed.training import Trainer

__version__ = _version("sslmed")

__all__ = [
    "Augmentation",
    "Cohort",
    "CollapseError",
    "DistributedError",
    "EegPreprocessing",
    "FineTuned",
    "FineTuning",
    "FormatError",
    "FormatWarning",
    "ImagePreprocessing",
    "Loader",
    "NonFiniteError",
    "OverlapWarning",
    "ReadError",
    "Run",
    "SlidePreprocessing",
    "SslmedWarning",
    "Trainer",
    "TransferResult",
    "UntestedWarning",
    "View",
    "WeakFitWarning",
    "__version__",
    "distributed",
    "evaluation",
    "few_shot",
    "finetune",
    "grid",
    "image",
    "images",
    "io",
    "losses",
    "masking",
    "methods",
    "nn",
    "presets",
    "pretrain",
    "shift",
    "slides",
    "stain",
    "tissue",
    "transfer",
    "transfer_matrix",
    "transforms",
]
