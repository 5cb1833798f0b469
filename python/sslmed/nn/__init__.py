"""Encoders and layers: C++ modules that look, train and save like any ``torch.nn.Module``."""

from sslmed.nn.batch_norm import BatchNorm
from sslmed.nn.cnn import ConvNet
from sslmed.nn.features import Features
from sslmed.nn.mirror import Mirror
from sslmed.nn.vit import VisionTransformer, create, list_models

__all__ = ["BatchNorm", "ConvNet", "Features", "Mirror", "VisionTransformer", "create", "list_models"]
