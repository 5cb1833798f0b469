"""Colors of stained tissue: jitter in optical density, Macenko's and Reinhard's normalization.

Images are [H, W, 3] uint8 tensors or NumPy arrays; results are new tensors.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from sslmed._core import Array, C, tensor

__all__ = ["LabMoments", "Stains", "hed_jitter", "macenko_augment", "macenko_fit", "macenko_normalize", "reinhard_fit", "reinhard_normalize"]

Stains = C.Stains
LabMoments = C.LabMoments


def hed_jitter(rgb: Array, scale: Sequence[float], shift: Sequence[float]) -> torch.Tensor:
    """Each stain's density c becomes scale · c + shift, of haematoxylin, eosin and DAB (Tellez et al., 2018; matrix of Ruifrok and Johnston, 2001).

    Density is -ln(I + 1e-6) of intensities in [0, 1]. Light jitter draws scale from 1 ± .05 and shift from ± .05, strong from ± .2.
    """
    h, e, d = scale
    x, y, z = shift
    return C.hed_jitter(tensor(rgb), (h, e, d), (x, y, z))


def macenko_fit(rgb: Array) -> Stains | None:
    """The two stains of a picture (Macenko et al., 2009): of pixels darker than L* = 80 the first and 99th percentile of directions in optical density.

    Returns:
        Their colors and 99th percentiles of density, haematoxylin first; None where the picture has too little tissue (fewer than 100 such pixels,
        or 1 %), tissue of one color, or two stains less than 8 degrees apart, which are one and its noise.
    """
    return C.macenko_fit(tensor(rgb))


def macenko_normalize(rgb: Array, target: Stains, source: Stains | None = None) -> torch.Tensor:
    """A picture drawn with the stains of another. Without tissue it passes as it is.

    Args:
        rgb: [H, W, 3] uint8.
        target: Stains to draw with (:func:`macenko_fit` of a picture).
        source: Of this picture; found in it if not given. Those of a whole slide are steadier than those of a tile.
    """
    own = source or C.macenko_fit(tensor(rgb))
    return tensor(rgb).clone() if own is None else C.macenko_transform(tensor(rgb), own, target, (1.0, 1.0), (0.0, 0.0), False)


def macenko_augment(rgb: Array, scale: Sequence[float], shift: Sequence[float], source: Stains | None = None) -> torch.Tensor:
    """Each stain's density c becomes scale · c + shift (haematoxylin, eosin), on tissue only. Usual draws: scale 1 ± .4, shift ± .2.

    A picture without tissue passes as it is. What two stains do not explain goes.
    """
    own = source or C.macenko_fit(tensor(rgb))
    h, e = scale
    x, y = shift
    return tensor(rgb).clone() if own is None else C.macenko_transform(tensor(rgb), own, own, (h, e), (x, y), True)


def reinhard_fit(rgb: Array) -> LabMoments | None:
    """Mean and spread of L*, a* and b* (CIELAB, D65) of the tissue: of pixels darker than L* = 80, whatever share of the picture is glass.

    Returns:
        The moments; None where the picture has too little tissue (fewer than 100 such pixels, or 1 %).
    """
    return C.reinhard_fit(tensor(rgb))


def reinhard_normalize(rgb: Array, target: LabMoments, source: LabMoments | None = None) -> torch.Tensor:
    """A picture whose tissue has the means and spreads of another's colors (Reinhard et al., 2001). Glass stays, and a picture without tissue passes as it is.

    Args:
        rgb: [H, W, 3] uint8.
        target: Moments to bring the tissue to (:func:`reinhard_fit` of a picture).
        source: Of this picture; found in it if not given.

    Raises:
        TypeError: ``target`` is None: the picture that it was fitted on has no tissue.
    """
    if not isinstance(target, LabMoments):
        raise TypeError(f"reinhard_normalize: target={target!r}, expected the moments of a picture with tissue (reinhard_fit)")
    own = source or C.reinhard_fit(tensor(rgb))
    return tensor(rgb).clone() if own is None else C.reinhard_transform(tensor(rgb), own, target)
