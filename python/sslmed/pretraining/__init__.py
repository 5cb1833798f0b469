"""Pretraining: the C++ loop with a folder of results around it."""

from sslmed.pretraining.config import PretrainConfig, Probe
from sslmed.pretraining.run import pretrain
from sslmed.runs import Run, Runs

__all__ = ["PretrainConfig", "Probe", "Run", "Runs", "pretrain"]
