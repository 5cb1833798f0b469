"""Encoders, layers and objectives: C++ modules that look, train and save like any ``torch.nn.Module``."""

from sslmed.nn.encoder import Encoder, save_encoder
from sslmed.nn.mirror import Mirror
from sslmed.nn.objectives import JointEmbeddingPredictor, MaskedAutoencoder, Supervised
from sslmed.nn.vit import BatchNorm, VisionTransformer, create

__all__ = [
    "BatchNorm",
    "Encoder",
    "JointEmbeddingPredictor",
    "MaskedAutoencoder",
    "Mirror",
    "Supervised",
    "VisionTransformer",
    "create",
    "save_encoder",
]
