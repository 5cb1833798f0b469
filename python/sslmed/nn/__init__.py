"""Encoders, layers and objectives: C++ modules that look, train and save like any ``torch.nn.Module``."""

from sslmed.nn.encoder import CohortEncoder, Encoder
from sslmed.nn.mirror import Mirror
from sslmed.nn.objectives import JointEmbeddingPredictor, MaskedAutoencoder, Supervised
from sslmed.nn.python import Loss, PythonEncoder, PythonObjective, Step
from sslmed.nn.vit import BatchNorm, VisionTransformer, create

__all__ = [
    "BatchNorm",
    "CohortEncoder",
    "Encoder",
    "JointEmbeddingPredictor",
    "Loss",
    "MaskedAutoencoder",
    "Mirror",
    "PythonEncoder",
    "PythonObjective",
    "Step",
    "Supervised",
    "VisionTransformer",
    "create",
]
