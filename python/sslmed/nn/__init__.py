"""Encoders and layers: C++ modules that look, train and save like any ``torch.nn.Module``."""

from sslmed.nn.batch_norm import BatchNorm
from sslmed.nn.cnn import ConvNet
from sslmed.nn.create import create, list_models
from sslmed.nn.dense import DenseNet
from sslmed.nn.features import Features
from sslmed.nn.inflation import inflate
from sslmed.nn.mirror import Mirror
from sslmed.nn.segmenter import Segmenter
from sslmed.nn.slices import SliceNet
from sslmed.nn.vit import VisionTransformer, create_vit
from sslmed.nn.weights import load_weights, save_weights

__all__ = [
    "BatchNorm",
    "ConvNet",
    "DenseNet",
    "Features",
    "Mirror",
    "Segmenter",
    "SliceNet",
    "VisionTransformer",
    "create",
    "create_vit",
    "inflate",
    "list_models",
    "load_weights",
    "save_weights",
]
