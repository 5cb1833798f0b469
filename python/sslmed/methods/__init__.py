"""The methods of self-supervised training, and supervised tasks: options and objective of each in one file, in one registry."""

from sslmed.methods.autoencoder import Autoencoder
from sslmed.methods.barlow_twins import BarlowTwins
from sslmed.methods.base import Method, get, names, options_of, register, resolve
from sslmed.methods.byol import Byol
from sslmed.methods.cross_sequence import CrossSequence
from sslmed.methods.detect import Detect
from sslmed.methods.dino import Dino
from sslmed.methods.dinov2 import DinoV2
from sslmed.methods.distill import Distill, Distillation
from sslmed.methods.ijepa import IJepa, JointEmbeddingPredictor
from sslmed.methods.inpainting import Inpainting
from sslmed.methods.jigsaw import Jigsaw
from sslmed.methods.joint_embedding import JointEmbedding
from sslmed.methods.mae import Mae, MaskedAutoencoder
from sslmed.methods.moco import Moco
from sslmed.methods.pretext import Pretext, Reconstruction
from sslmed.methods.python import Loss, PythonObjective, Step
from sslmed.methods.rotation import Rotation
from sslmed.methods.segment import Segment
from sslmed.methods.simclr import SimClr
from sslmed.methods.simmim import SimMim
from sslmed.methods.spark import Spark
from sslmed.methods.supervised import Supervised
from sslmed.methods.vicreg import VicReg
from sslmed.methods.voco import VoCo
from sslmed.methods.y_aware import YAware

__all__ = [
    "Autoencoder",
    "BarlowTwins",
    "Byol",
    "CrossSequence",
    "Detect",
    "Dino",
    "DinoV2",
    "Distill",
    "Distillation",
    "IJepa",
    "Inpainting",
    "Jigsaw",
    "JointEmbedding",
    "JointEmbeddingPredictor",
    "Loss",
    "Mae",
    "MaskedAutoencoder",
    "Method",
    "Moco",
    "Pretext",
    "PythonObjective",
    "Reconstruction",
    "Rotation",
    "Segment",
    "SimClr",
    "SimMim",
    "Spark",
    "Step",
    "Supervised",
    "VicReg",
    "VoCo",
    "YAware",
    "get",
    "names",
    "options_of",
    "register",
    "resolve",
]
