"""Encoders and layers: C++ modules that look, train and save like any ``torch.nn.Module``."""

from sslmed.nn.batch_norm import BatchNorm
from sslmed.nn.cnn import ConvNet
from sslmed.nn.create import create, list_models
from sslmed.nn.dense import DenseNet
from sslmed.nn.features import Features
from sslmed.nn.mirror import Mirror
from sslmed.nn.vit import VisionTransformer, create_vit

__all__ = ["BatchNorm", "ConvNet", "DenseNet", "Features", "Mirror", "VisionTransformer", "create", "create_vit", "list_models"]
