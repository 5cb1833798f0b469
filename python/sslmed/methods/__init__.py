"""The methods of self-supervised training, and supervised tasks: options and objective of each in one file, in one registry."""

from sslmed.methods.base import Method, get, names, options_of, register, resolve
from sslmed.methods.ijepa import IJepa, JointEmbeddingPredictor
from sslmed.methods.mae import Mae, MaskedAutoencoder
from sslmed.methods.python import Loss, PythonObjective, Step
from sslmed.methods.supervised import Supervised

__all__ = [
    "IJepa",
    "JointEmbeddingPredictor",
    "Loss",
    "Mae",
    "MaskedAutoencoder",
    "Method",
    "PythonObjective",
    "Step",
    "Supervised",
    "get",
    "names",
    "options_of",
    "register",
    "resolve",
]
