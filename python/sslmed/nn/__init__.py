"""Encoders and layers: C++ modules that look, train and save like any ``torch.nn.Module``."""

from sslmed.nn.batch_norm import BatchNorm
from sslmed.nn.mirror import Mirror
from sslmed.nn.vit import Features, VisionTransformer, create, list_models

__all__ = ["BatchNorm", "Features", "Mirror", "VisionTransformer", "create", "list_models"]
