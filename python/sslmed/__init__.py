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

from sslmed import adaptation, brain_age, distributed, io, losses, masking, methods, nn, shift, stats, transforms
from sslmed._core import CollapseError, DistributedError, FormatError, FormatWarning, NonFiniteError, ReadError
from sslmed.cohort import Cohort
from sslmed.data import EegPreprocessing, Loader
from sslmed.pretraining import Run, Trainer, pretrain
from sslmed.transfer import TransferResult, transfer

__version__ = _version("sslmed")

__all__ = [
    "Cohort",
    "CollapseError",
    "DistributedError",
    "EegPreprocessing",
    "FormatError",
    "FormatWarning",
    "Loader",
    "NonFiniteError",
    "ReadError",
    "Run",
    "Trainer",
    "TransferResult",
    "__version__",
    "adaptation",
    "brain_age",
    "distributed",
    "io",
    "losses",
    "masking",
    "methods",
    "nn",
    "pretrain",
    "shift",
    "stats",
    "transfer",
    "transforms",
]
