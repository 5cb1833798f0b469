"""The methods of self-supervised training, and supervised tasks: options and objective of each in one file, in one registry."""

from sslmed.methods.barlow_twins import BarlowTwins
from sslmed.methods.base import Method, get, names, options_of, register, resolve
from sslmed.methods.byol import Byol
from sslmed.methods.dino import Dino
from sslmed.methods.dinov2 import DinoV2
from sslmed.methods.ijepa import IJepa, JointEmbeddingPredictor
from sslmed.methods.joint_embedding import JointEmbedding
from sslmed.methods.mae import Mae, MaskedAutoencoder
from sslmed.methods.moco import Moco
from sslmed.methods.python import Loss, PythonObjective, Step
from sslmed.methods.simclr import SimClr
from sslmed.methods.supervised import Supervised
from sslmed.methods.vicreg import VicReg
from sslmed.methods.y_aware import YAware

__all__ = [
    "BarlowTwins",
    "Byol",
    "Dino",
    "DinoV2",
    "IJepa",
    "JointEmbedding",
    "JointEmbeddingPredictor",
    "Loss",
    "Mae",
    "MaskedAutoencoder",
    "Method",
    "Moco",
    "PythonObjective",
    "SimClr",
    "Step",
    "Supervised",
    "VicReg",
    "YAware",
    "get",
    "names",
    "options_of",
    "register",
    "resolve",
]
