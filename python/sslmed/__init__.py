"""Self-supervised pretraining for medical data in C++, and honest transfer to small clinical cohorts under population shift.

The main line::

    import sslmed as sm

    public = sm.Cohort.from_bids("public-eeg")
    clinic = sm.Cohort.from_bids("pain-cohort")
    run = sm.pretrain(public, method="mae", encoder="vit_small", out="runs/eeg-mae")
    result = sm.transfer(run.encoder, clinic, target="diagnosis", protocol="linear")
    report = sm.shift.report(public, clinic, encoder=run.encoder, by=["age", "sex", "site"])

Modules are loaded when they are first used, so ``import sslmed`` takes no longer than torch does.
"""

import importlib
from importlib.metadata import version as _version
from typing import TYPE_CHECKING, Any

from sslmed._core import (
    ChannelWarning,
    CollapseError,
    DistributedError,
    FormatError,
    FormatWarning,
    LeftOutWarning,
    NonFiniteError,
    OverlapWarning,
    ReadError,
    SslmedWarning,
    TransductiveWarning,
    UntestedWarning,
    ValueWarning,
    WeakFitWarning,
)

if TYPE_CHECKING:
    from sslmed import (
        anomaly,
        bags,
        benchmarking,
        detection,
        distributed,
        evaluation,
        federated,
        grid,
        inference,
        io,
        leakage,
        losses,
        masking,
        methods,
        metrics,
        modalities,
        nn,
        objects,
        presets,
        privacy,
        provenance,
        shift,
        training,
        transforms,
    )
    from sslmed.anomaly import AnomalyResult, detect_anomalies
    from sslmed.bags import BagTraining, FeatureStore, SlideLevelResult, slide_level, store_features
    from sslmed.benchmarking import BenchmarkResult, benchmark
    from sslmed.cohort import Cohort
    from sslmed.deployment import Deployment, deploy
    from sslmed.detection import Detection, DetectionResult, detect
    from sslmed.encoders import CohortEncoder, ConvEncoder, DenseEncoder, Encoder, FrozenEncoder, PythonEncoder, SliceEncoder
    from sslmed.evaluation import TransferResult, few_shot, transfer_matrix
    from sslmed.evaluation.card import Card, card
    from sslmed.evaluation.evaluate import evaluate
    from sslmed.evaluation.frames import features
    from sslmed.evaluation.transfer import transfer
    from sslmed.exporting import export
    from sslmed.finetuning import FineTuned, FineTuning, finetune
    from sslmed.lifting import to_volumes
    from sslmed.methods import PythonObjective
    from sslmed.modalities import Augmentation, View, slides
    from sslmed.modalities.eeg import EegAugmentation, EegPreprocessing, EegView
    from sslmed.modalities.images import ImagePreprocessing
    from sslmed.modalities.slides import SlidePreprocessing
    from sslmed.modalities.volumes import VolumeAugmentation, VolumePreprocessing, VolumeView
    from sslmed.preparation import prepare
    from sslmed.pretraining import PretrainConfig, Run, Runs, pretrain
    from sslmed.privacy import BudgetError
    from sslmed.segmentation import Segmentation, SegmentationResult, segment
    from sslmed.training import Loader, Trainer, encode
    from sslmed.transforms import volume

__version__ = _version("sslmed")

_HOMES = {
    "AnomalyResult": "anomaly",
    "Augmentation": "modalities",
    "BagTraining": "bags",
    "BenchmarkResult": "benchmarking",
    "BudgetError": "privacy",
    "Card": "evaluation.card",
    "Cohort": "cohort",
    "CohortEncoder": "encoders",
    "ConvEncoder": "encoders",
    "EegAugmentation": "modalities.eeg",
    "EegPreprocessing": "modalities.eeg",
    "EegView": "modalities.eeg",
    "DenseEncoder": "encoders",
    "Detection": "detection",
    "DetectionResult": "detection",
    "Deployment": "deployment",
    "Encoder": "encoders",
    "FeatureStore": "bags",
    "FineTuned": "finetuning",
    "FineTuning": "finetuning",
    "FrozenEncoder": "encoders",
    "ImagePreprocessing": "modalities.images",
    "Loader": "training",
    "PretrainConfig": "pretraining",
    "PythonEncoder": "encoders",
    "PythonObjective": "methods",
    "Run": "pretraining",
    "Runs": "pretraining",
    "Segmentation": "segmentation",
    "SegmentationResult": "segmentation",
    "SliceEncoder": "encoders",
    "SlideLevelResult": "bags",
    "SlidePreprocessing": "modalities.slides",
    "Trainer": "training",
    "TransferResult": "evaluation",
    "View": "modalities",
    "VolumeAugmentation": "modalities.volumes",
    "VolumePreprocessing": "modalities.volumes",
    "VolumeView": "modalities.volumes",
    "benchmark": "benchmarking",
    "card": "evaluation.card",
    "detect_anomalies": "anomaly",
    "detect": "detection",
    "deploy": "deployment",
    "encode": "training",
    "evaluate": "evaluation",
    "export": "exporting",
    "features": "evaluation.frames",
    "few_shot": "evaluation",
    "finetune": "finetuning",
    "prepare": "preparation",
    "pretrain": "pretraining",
    "slide_level": "bags",
    "segment": "segmentation",
    "slides": "modalities",
    "store_features": "bags",
    "to_volumes": "lifting",
    "transfer": "evaluation",
    "transfer_matrix": "evaluation",
    "volume": "transforms",
}
"""Modules of names that are not modules of their own."""

__all__ = [
    "AnomalyResult",
    "Augmentation",
    "BagTraining",
    "BenchmarkResult",
    "BudgetError",
    "Card",
    "ChannelWarning",
    "Cohort",
    "CohortEncoder",
    "CollapseError",
    "ConvEncoder",
    "DenseEncoder",
    "Deployment",
    "Detection",
    "DetectionResult",
    "DistributedError",
    "EegAugmentation",
    "EegPreprocessing",
    "EegView",
    "Encoder",
    "FeatureStore",
    "FineTuned",
    "FineTuning",
    "FormatError",
    "FormatWarning",
    "FrozenEncoder",
    "ImagePreprocessing",
    "LeftOutWarning",
    "Loader",
    "NonFiniteError",
    "OverlapWarning",
    "PretrainConfig",
    "PythonEncoder",
    "PythonObjective",
    "ReadError",
    "Run",
    "Runs",
    "Segmentation",
    "SegmentationResult",
    "SliceEncoder",
    "SlideLevelResult",
    "SlidePreprocessing",
    "SslmedWarning",
    "Trainer",
    "TransductiveWarning",
    "TransferResult",
    "UntestedWarning",
    "ValueWarning",
    "View",
    "VolumeAugmentation",
    "VolumePreprocessing",
    "VolumeView",
    "WeakFitWarning",
    "__version__",
    "anomaly",
    "bags",
    "benchmark",
    "benchmarking",
    "card",
    "deploy",
    "detect",
    "detect_anomalies",
    "detection",
    "distributed",
    "encode",
    "evaluate",
    "evaluation",
    "export",
    "features",
    "federated",
    "few_shot",
    "finetune",
    "grid",
    "inference",
    "io",
    "leakage",
    "losses",
    "masking",
    "methods",
    "metrics",
    "modalities",
    "nn",
    "objects",
    "prepare",
    "presets",
    "pretrain",
    "privacy",
    "provenance",
    "segment",
    "shift",
    "slide_level",
    "slides",
    "store_features",
    "to_volumes",
    "training",
    "transfer",
    "transfer_matrix",
    "transforms",
    "volume",
]


def __getattr__(name: str) -> Any:
    """Loads a name's module when the name is first used (PEP 562)."""
    if name in _HOMES:
        value = getattr(importlib.import_module(f"sslmed.{_HOMES[name]}"), name)
    elif name in __all__:
        value = importlib.import_module(f"sslmed.{name}")
    else:
        raise AttributeError(f"module 'sslmed' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
