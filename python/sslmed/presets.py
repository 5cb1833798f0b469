"""Settings as keywords of :func:`sslmed.pretrain`: those of published EEG models, of methods' papers, and of methods on small data.

``sm.pretrain(cohort, **sm.presets.labram())``, ``sm.pretrain(cohort, encoder="vit_tiny", **sm.presets.small("dino"))``.

A preset is the recipe, not the model: preprocessing, masks and schedule as published, around our encoder and masked auto-encoder. What a model has of its
own (tokeniser, embedding, positions) is named in each; weights of these models do not fit ours. Anything may be overridden:
``sm.pretrain(cohort, **(sm.presets.reve() | {"epochs": 30}))``.
"""

from __future__ import annotations

import math
from typing import Any

from sslmed.finetuning import FineTuning
from sslmed.methods import BarlowTwins, Byol, Dino, Mae, Moco, SimClr, VicReg
from sslmed.modalities.eeg import EegPreprocessing

__all__ = ["cbramod", "labram", "labram_finetuning", "published", "reve", "small"]


def labram(mains: float = 50.0) -> dict[str, Any]:
    """LaBraM (Jiang et al., arXiv 2405.18765): 0.1-75 Hz, 200 Hz, µV / 100, 1 s patches, half of them masked, and once more the other half.

    Not ours: it predicts the codes of a tokeniser that was trained first on Fourier amplitude and phase, and embeds by convolutions. Here the log
    spectrum itself is the target.

    Args:
        mains: Hz of the power line, notched out.
    """
    preprocessing = EegPreprocessing(sfreq=200, window=16, patch=1, l_freq=0.1, h_freq=75, notch=mains, average_reference=False, scale="none", unit=100, clip=0)
    return {"method": Mae(mask="random", ratio=0.5, complementary=True, reconstruct="spectrum"), "preprocessing": preprocessing}


def labram_finetuning() -> FineTuning:
    """LaBraM's fine-tuning, for :func:`sslmed.finetune` and :func:`sslmed.transfer`: layer decay .65."""
    return FineTuning(layer_decay=0.65)


def cbramod() -> dict[str, Any]:
    """CBraMod (Wang et al., arXiv 2412.07236): 30 s, µV / 100, each 1 s patch masked with probability .5, learning rate 5e-4 to 1e-5.

    Not ours: criss-cross attention over space and time apart, an embedding by convolutions beside the spectrum, positions by a convolution over the 19
    channels of its montage (ours come from electrode positions, so any montage goes). Filters are our default.
    """
    preprocessing = EegPreprocessing(sfreq=200, window=30, patch=1, average_reference=False, scale="none", unit=100, clip=0)
    method = Mae(mask="bernoulli", ratio=0.5, reconstruct="signal", norm_target=False)
    return {"method": method, "preprocessing": preprocessing, "lr": 5e-4, "min_lr": 1e-5, "weight_decay": 0.05, "clip_norm": 1.0}


def reve() -> dict[str, Any]:
    """REVE (El Ouahidi et al., arXiv 2510.21585): 200 Hz, 10 s, z-scores clipped at 15; regions of 3 cm over three patches hidden, .55 in all.

    1 s patches overlap by .1 s. Not ours: it has a second loss on a pooled token. Filters are our default.
    """
    preprocessing = EegPreprocessing(sfreq=200, window=10, patch=1, overlap=0.1, average_reference=False, scale="zscore", clip=15)
    return {"method": Mae(mask="space", ratio=0.55, radius=30, block=3, norm_target=False), "preprocessing": preprocessing}


def published(method: str, batch_size: int) -> dict[str, Any]:
    """The optimizer, learning rate and weight decay of a method's paper, scaled to a batch.

    Args:
        method: "simclr", "byol", "moco", "vicreg", "barlow_twins" or "dino".
        batch_size: Number of samples in a batch; learning rates grow with it (SimCLR's with its root).

    Raises:
        ValueError: There is no published setting of the method here.

    Examples:
        >>> import sslmed as sm
        >>> sm.presets.published("byol", 512)["lr"]
        0.9
    """
    share = batch_size / 256
    lars = {"optimizer": "lars", "clip_norm": 0.0}
    settings: dict[str, dict[str, Any]] = {
        "simclr": lars | {"lr": 0.075 * math.sqrt(batch_size), "weight_decay": 1e-6},
        "byol": lars | {"lr": 0.45 * share, "weight_decay": 1e-6},
        "vicreg": lars | {"lr": 0.2 * share, "weight_decay": 1e-6},
        "barlow_twins": lars | {"lr": 0.2 * share, "weight_decay": 1.5e-6},
        "moco": {"optimizer": "adamw", "lr": 1.5e-4 * share, "weight_decay": 0.1, "clip_norm": 0.0},
        "dino": {"optimizer": "adamw", "lr": 5e-4 * share, "weight_decay": 0.04, "final_weight_decay": 0.4, "clip_norm": 3.0},
    }
    if method not in settings:
        raise ValueError(f"published: method={method!r} must be one of {', '.join(settings)}")
    return {"method": method, "batch_size": batch_size} | settings[method]


def small(method: str) -> dict[str, Any]:
    """Heads and settings for some hundreds to thousands of samples, batches of 32 to 128 and a CPU.

    Narrow heads, AdamW at a constant scale, and a teacher that follows faster: papers' heads are wider than a small encoder, and
    their momenta are those of hundreds of thousands of steps.

    Args:
        method: "simclr", "byol", "moco", "vicreg", "barlow_twins" or "dino".

    Raises:
        ValueError: The method has no such setting.

    Examples:
        >>> import sslmed as sm
        >>> sm.presets.small("dino")["method"].prototypes
        1024
    """
    methods: dict[str, Any] = {
        "simclr": SimClr(hidden=256, out_dim=64),
        "byol": Byol(hidden=512, out_dim=128, momentum=0.97),
        "moco": Moco(hidden=512, out_dim=128, momentum=0.97),
        "vicreg": VicReg(hidden=512, out_dim=512),
        "barlow_twins": BarlowTwins(hidden=512, out_dim=512),
        "dino": Dino(prototypes=1024, hidden=256, bottleneck=64, local=4, momentum=0.98),
    }
    if method not in methods:
        raise ValueError(f"small: method={method!r} must be one of {', '.join(methods)}")
    return {"method": methods[method], "lr": 1e-3, "clip_norm": 1.0}
