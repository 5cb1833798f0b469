"""Losses of self-supervised methods, of segmentation and of survival, computed by the C++ core with their own gradients.

Every loss is a scalar to minimize. Half precision is computed, and returned, in float32. ``ranks`` of
:func:`sslmed.distributed.ranks` lets the rows of all processes take part.
"""

from sslmed.losses.contrastive import byol, info_nce, l_exp, nt_xent, y_aware
from sslmed.losses.distillation import dino, dino_pairs, gram, ibot, sinkhorn
from sslmed.losses.masked import ijepa, masked_mse
from sslmed.losses.segmentation import dice_ce
from sslmed.losses.spread import barlow_twins, koleo, uniformity, vicreg
from sslmed.losses.survival import cox

__all__ = [
    "barlow_twins",
    "byol",
    "cox",
    "dice_ce",
    "dino",
    "dino_pairs",
    "gram",
    "ibot",
    "ijepa",
    "info_nce",
    "koleo",
    "l_exp",
    "masked_mse",
    "nt_xent",
    "sinkhorn",
    "uniformity",
    "vicreg",
    "y_aware",
]
