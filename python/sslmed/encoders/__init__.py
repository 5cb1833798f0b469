"""Encoders with the preprocessing of their inputs: what a pretraining run gives, and what is saved."""

from sslmed.encoders.base import CohortEncoder, SavedEncoder
from sslmed.encoders.dense import ConvEncoder, DenseEncoder
from sslmed.encoders.frozen import FrozenEncoder
from sslmed.encoders.python import PythonEncoder
from sslmed.encoders.resolving import EncoderLike, resolve
from sslmed.encoders.slices import SliceEncoder
from sslmed.encoders.transformer import Encoder

__all__ = [
    "CohortEncoder",
    "ConvEncoder",
    "DenseEncoder",
    "Encoder",
    "EncoderLike",
    "FrozenEncoder",
    "PythonEncoder",
    "SavedEncoder",
    "SliceEncoder",
    "resolve",
]
