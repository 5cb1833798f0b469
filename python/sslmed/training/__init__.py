"""Batches, the training loop, and what a trained network makes of a cohort."""

from sslmed.training.inference import encode, encode_samples, predict, recording_means
from sslmed.training.loader import Loader
from sslmed.training.reporter import COLUMNS, Interrupt, Reporter
from sslmed.training.trainer import Objective, Trainer

__all__ = ["COLUMNS", "Interrupt", "Loader", "Objective", "Reporter", "Trainer", "encode", "encode_samples", "predict", "recording_means"]
