"""Losses that compare two views of the same samples."""

import torch

from sslmed._core import C

__all__ = ["byol", "info_nce", "l_exp", "nt_xent", "y_aware"]


def nt_xent(
    a: torch.Tensor,
    b: torch.Tensor,
    temperature: float,
    *,
    ranks: C.Comm | None = None,
) -> torch.Tensor:
    """NT-Xent, the loss of SimCLR (Chen et al., arXiv 2002.05709).

    Each of the 2B rows is compared with the 2B - 1 others by cosine / temperature; the right answer is its other view.
    The matrix of similarities is never held: memory is O(B·D) on the CPU and on CUDA.

    Args:
        a: [B, D], floating point: first views.
        b: [B, D], second views of the same samples in the same order.
        temperature: Divides the cosines; SimCLR uses 0.1 to 0.5.
        ranks: The processes of a distributed run, whose rows are compared too, with gradients. The result is then the
            mean over this process's rows.

    Returns:
        Scalar: the mean cross-entropy over the 2B rows.

    Raises:
        ValueError: Shapes do not match, the batch is empty, or temperature is not positive.
        TypeError: a or b is not floating point.

    Examples:
        >>> import torch
        >>> from sslmed.losses import nt_xent
        >>> a = torch.eye(4)
        >>> print(f"{nt_xent(a, a, 0.5):.4f}")
        0.5944

    See Also:
        :func:`info_nce`: against keys of another encoder (MoCo v3). :func:`y_aware`: with soft targets.
    """
    return C.nt_xent(a, b, temperature, ranks)


def info_nce(
    q: torch.Tensor,
    k: torch.Tensor,
    temperature: float,
    *,
    ranks: C.Comm | None = None,
) -> torch.Tensor:
    """InfoNCE, the loss of MoCo v3 (Chen et al., arXiv 2104.02057), in one direction.

    Each query is compared with all keys by cosine / temperature; the right answer for ``q[i]`` is ``k[i]``. The mean is
    multiplied by 2 · temperature, as in the paper's code. MoCo v3 adds both directions, and detaches the keys.

    Args:
        q: [B, D], floating point: queries, the predictor's output.
        k: [B, D], keys, the momentum encoder's output. Gradients reach them unless they are detached.
        temperature: Divides the cosines; MoCo v3 uses 0.2.
        ranks: The processes of a distributed run, whose keys are compared too.

    Returns:
        Scalar.

    Raises:
        ValueError: Shapes do not match, the batch is empty, or temperature is not positive.
        TypeError: q or k is not floating point.

    Examples:
        >>> import torch
        >>> from sslmed.losses import info_nce
        >>> q = torch.eye(4)
        >>> print(f"{info_nce(q, q, 0.2):.4f}")
        0.0080
    """
    return C.info_nce(q, k, temperature, ranks)


def y_aware(
    a: torch.Tensor,
    b: torch.Tensor,
    metadata: torch.Tensor,
    sigma: float,
    temperature: float,
    *,
    ranks: C.Comm | None = None,
) -> torch.Tensor:
    """NT-Xent whose targets are soft: samples with similar metadata attract each other (Dufumier et al., arXiv 2106.08808).

    The weight of a pair is exp(-|y_i - y_j|² / (2 sigma²)), zero for a row itself, and each row's weights are divided by
    their sum. (The published code divides by the sums of columns.) With sigma → 0 this is :func:`nt_xent`.

    Args:
        a: [B, D], floating point: first views.
        b: [B, D], second views.
        metadata: [B] or [B, m], for example ages in years. A sample with NaN has a weight for its other view alone.
        sigma: Width of the kernel in the metadata's unit; the paper uses 5 years.
        temperature: Divides the cosines; the paper uses 0.1.
        ranks: The processes of a distributed run, whose rows are compared too, with gradients.

    Returns:
        Scalar: the mean over the 2B rows.

    Raises:
        ValueError: Shapes do not match, the batch is empty, or sigma or temperature is not positive.
        TypeError: a or b is not floating point.

    Examples:
        >>> import torch
        >>> from sslmed.losses import nt_xent, y_aware
        >>> a, ages = torch.eye(4), torch.tensor([20.0, 30, 40, 50])
        >>> print(f"{y_aware(a, a, ages, 1e-3, 0.5) - nt_xent(a, a, 0.5):.4f}")
        0.0000
    """
    return C.y_aware(a, b, metadata, sigma, temperature, ranks)


def l_exp(
    a: torch.Tensor,
    b: torch.Tensor,
    metadata: torch.Tensor,
    sigma: float,
    temperature: float,
    *,
    ranks: C.Comm | None = None,
) -> torch.Tensor:
    """L^exp: contrastive regression, in which similar samples are repelled less (Barbano et al., arXiv 2211.08326).

    With s = cosine / temperature and w as in :func:`y_aware`, the loss of row i is
    -Σ_k w_ik / Σ_t w_it · log(exp(s_ik) / Σ_t exp(s_it (1 - w_it))), over k, t ≠ i. (Public code subtracts the row's
    largest s before it is weighed, which changes the value.)

    Args:
        a: [B, D], floating point: first views.
        b: [B, D], second views.
        metadata: [B] or [B, m], for example ages in years. A sample with NaN has a weight for its other view alone.
        sigma: Width of the kernel in the metadata's unit.
        temperature: Divides the cosines; the paper uses 0.1.
        ranks: The processes of a distributed run, whose rows are compared too, with gradients.

    Returns:
        Scalar: the mean over the 2B rows.

    Raises:
        ValueError: Shapes do not match, the batch is empty, or sigma or temperature is not positive.
        TypeError: a or b is not floating point.

    Examples:
        >>> import torch
        >>> from sslmed.losses import l_exp
        >>> a, ages = torch.eye(4), torch.tensor([20.0, 30, 40, 50])
        >>> print(f"{l_exp(a, a, ages, 5.0, 0.5):.4f}")
        0.5108
    """
    return C.l_exp(a, b, metadata, sigma, temperature, ranks)


def byol(p: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
    """Mean of 2 - 2 cos over rows, the loss of BYOL in one direction (Grill et al., arXiv 2006.07733).

    Nothing is detached: give ``z.detach()`` for a target. BYOL adds both directions.

    Args:
        p: [B, D], floating point: predictions.
        z: [B, D], projections of the target network.

    Returns:
        Scalar within [0, 4].

    Raises:
        ValueError: Shapes do not match, or the batch is empty.
        TypeError: p or z is not floating point.

    Examples:
        >>> import torch
        >>> from sslmed.losses import byol
        >>> p = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
        >>> print(f"{byol(p, p):.4f} {byol(p, -p):.4f}")
        0.0000 4.0000
    """
    return C.byol(p, z)
