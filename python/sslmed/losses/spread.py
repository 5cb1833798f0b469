"""Losses of how the rows of a batch spread, on the sphere or over their dimensions: a collapsed batch costs more."""

import torch

from sslmed._core import C

__all__ = ["barlow_twins", "koleo", "uniformity", "vicreg"]


def koleo(x: torch.Tensor, *, ranks: C.Comm | None = None) -> torch.Tensor:
    """KoLeo: minus the mean log distance to the nearest neighbor on the sphere (Sablayrolles et al., arXiv 1806.03198).

    As in DINOv2: rows are normalized, neighbors are found by dot product, and 1e-8 keeps normalization, distance and
    logarithm finite. A row that is alone is its own neighbor, with a gradient of zero.

    Args:
        x: [B, D], floating point. DINOv2 takes class tokens before the head, one global crop at a time.
        ranks: The processes of a distributed run, among whose rows neighbors are found too, with gradients.

    Returns:
        Scalar: the mean over this process's rows.

    Raises:
        ValueError: x is not [B, D], or is empty.
        TypeError: x is not floating point.

    Examples:
        >>> import torch
        >>> from sslmed.losses import koleo
        >>> spread, collapsed = torch.eye(4), torch.ones(4, 4)
        >>> print(f"{koleo(spread):.3f} {koleo(collapsed):.3f}")
        -0.347 17.322
    """
    return C.koleo(x, ranks)


def uniformity(x: torch.Tensor, kappa: float = 5.0, *, ranks: C.Comm | None = None) -> torch.Tensor:
    """Mean log mean exp(kappa · cos) between a row and the others (Wang and Isola, arXiv 2005.10242).

    A kernel-density estimate of how crowded the sphere is around each row, the row itself excluded. A collapsed batch
    costs kappa, the most there is.

    Args:
        x: [B, D] with B >= 2 (over all processes), floating point.
        kappa: Concentration of the kernel.
        ranks: The processes of a distributed run, whose rows take part too, with gradients.

    Returns:
        Scalar: the mean over this process's rows.

    Raises:
        ValueError: x is not [B, D], has fewer than 2 rows, or kappa is not positive.
        TypeError: x is not floating point.

    Examples:
        >>> import torch
        >>> from sslmed.losses import uniformity
        >>> print(f"{uniformity(torch.eye(4)):.3f} {uniformity(torch.ones(4, 4)):.3f}")
        0.000 5.000
    """
    return C.uniformity(x, kappa, ranks)


def vicreg(
    a: torch.Tensor,
    b: torch.Tensor,
    invariance: float = 25.0,
    variance: float = 25.0,
    covariance: float = 1.0,
    *,
    ranks: C.Comm | None = None,
) -> torch.Tensor:
    """VICReg (Bardes et al., arXiv 2105.04906): two views alike, each dimension varied, dimensions uncorrelated.

    invariance · MSE(a, b) + variance · ½ Σ mean(relu(1 - sqrt(var + 1e-4))) + covariance · Σ (off-diagonal covariances²)
    / D, both sums over the two views, variances unbiased. The ½ is the paper's code's, not its text's.

    Args:
        a: [B, D] with B >= 2 (over all processes), floating point.
        b: [B, D], second views.
        invariance: Weight of the mean squared difference.
        variance: Weight of the standard deviations' distance to one.
        covariance: Weight of the covariances.
        ranks: The processes of a distributed run: means and covariances are those of all rows.

    Returns:
        Scalar.

    Raises:
        ValueError: Shapes do not match, or there are fewer than 2 rows.
        TypeError: a or b is not floating point.

    Examples:
        >>> import torch
        >>> from sslmed.losses import vicreg
        >>> a = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
        >>> print(f"{vicreg(a, a):.3f} {vicreg(0 * a, 0 * a):.3f}")
        0.000 24.750
    """
    return C.vicreg(a, b, invariance, variance, covariance, ranks)


def barlow_twins(
    a: torch.Tensor,
    b: torch.Tensor,
    off_diagonal: float = 5e-3,
    *,
    ranks: C.Comm | None = None,
) -> torch.Tensor:
    """Barlow Twins (Zbontar et al., arXiv 2103.03230): the cross-correlation of two views should be the identity.

    Dimensions are standardized over the batch (biased variance + 1e-5), C = aᵀb / B, and the loss is
    Σ (C_ii - 1)² + off_diagonal · Σ C_ij² over i ≠ j.

    Args:
        a: [B, D] with B >= 2 (over all processes), floating point.
        b: [B, D], second views.
        off_diagonal: Weight of the entries beside the diagonal.
        ranks: The processes of a distributed run: statistics are those of all rows.

    Returns:
        Scalar.

    Raises:
        ValueError: Shapes do not match, or there are fewer than 2 rows.
        TypeError: a or b is not floating point.

    Examples:
        >>> import torch
        >>> from sslmed.losses import barlow_twins
        >>> a = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
        >>> print(f"{barlow_twins(a, a):.3f} {barlow_twins(0 * a, 0 * a):.3f}")
        0.000 2.000
    """
    return C.barlow_twins(a, b, off_diagonal, ranks)
