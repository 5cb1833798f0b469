"""Losses of a student that learns from a teacher."""

import torch

from sslmed._core import C

__all__ = ["dino", "dino_pairs", "gram", "ibot", "sinkhorn"]


def dino(
    student: torch.Tensor,
    teacher: torch.Tensor,
    center: torch.Tensor,
    student_temp: float,
    teacher_temp: float,
) -> torch.Tensor:
    """The loss of DINO (Caron et al., arXiv 2104.14294): cross-entropy between prototypes of pairs of views.

    The targets are softmax((teacher - center) / teacher_temp), without gradients. The first student views are the
    teacher's; equal indices are not paired.

    Args:
        student: [V, B, K] logits, floating point: global views first, then local ones.
        teacher: [2, B, K] logits of the global views.
        center: [K], the running mean of the teacher's logits. Move it after the loss.
        student_temp: DINO uses 0.1.
        teacher_temp: DINO uses 0.04 to 0.07.

    Returns:
        Scalar: the mean over pairs and batch. A loss that stays at ln K is a collapse.

    Raises:
        ValueError: Shapes do not match, are empty, have one view each, or a temperature is not positive.
        TypeError: A tensor is not floating point.

    Examples:
        >>> import torch
        >>> from sslmed.losses import dino
        >>> student, teacher, center = torch.zeros(4, 3, 8), torch.randn(2, 3, 8), torch.zeros(8)
        >>> print(f"{dino(student, teacher, center, 0.1, 0.04):.4f}")  # ln 8: the student knows nothing yet
        2.0794
    """
    return C.dino(student, teacher, center, student_temp, teacher_temp)


def dino_pairs(student: torch.Tensor, teacher: torch.Tensor, student_temp: float) -> torch.Tensor:
    """As :func:`dino`, from the teacher's probabilities, for example those of :func:`sinkhorn` (DINOv2, arXiv 2304.07193).

    Args:
        student: [V, B, K] logits, floating point.
        teacher: [G, B, K] probabilities; no gradients reach them.
        student_temp: Divides the student's logits.

    Returns:
        Scalar: the mean over pairs of unequal indices and batch.

    Raises:
        ValueError: Shapes do not match, are empty, have one view each, or student_temp is not positive.
        TypeError: A tensor is not floating point.

    Examples:
        >>> import torch
        >>> from sslmed.losses import dino_pairs, sinkhorn
        >>> targets = sinkhorn(torch.randn(6, 8), 0.07).view(2, 3, 8)
        >>> print(f"{dino_pairs(torch.zeros(4, 3, 8), targets, 0.1):.4f}")
        2.0794
    """
    return C.dino_pairs(student, teacher, student_temp)


def ibot(student: torch.Tensor, teacher: torch.Tensor, weights: torch.Tensor, student_temp: float) -> torch.Tensor:
    """The loss of iBOT (Zhou et al., arXiv 2111.07832): cross-entropy between prototypes of masked patches.

    Args:
        student: [M, K] logits of the masked patches of all images, floating point.
        teacher: [M, K] probabilities of the same patches; no gradients reach them.
        weights: [M]. iBOT and DINOv2 weigh a patch by 1 / (masked patches of its image · images).
        student_temp: Divides the student's logits; 0.1 in both.

    Returns:
        Scalar: Σ weight · cross-entropy.

    Raises:
        ValueError: Shapes do not match, are empty, or student_temp is not positive.
        TypeError: student or teacher is not floating point.

    Examples:
        >>> import torch
        >>> from sslmed.losses import ibot
        >>> teacher = torch.softmax(torch.randn(5, 8), -1)
        >>> print(f"{ibot(torch.zeros(5, 8), teacher, torch.full((5,), 1 / 5), 0.1):.4f}")
        2.0794
    """
    return C.ibot(student, teacher, weights, student_temp)


def sinkhorn(
    logits: torch.Tensor,
    temperature: float,
    iterations: int = 3,
    *,
    ranks: C.Comm | None = None,
) -> torch.Tensor:
    """Teacher probabilities by Sinkhorn-Knopp, as in SwAV (arXiv 2006.09882) and DINOv2 (arXiv 2304.07193).

    exp(logits / temperature) is scaled in turn so that every prototype has 1 / K of all samples and every sample 1 / B,
    ending with samples. Computed with logarithms, so that no temperature under- or overflows.

    Args:
        logits: [B, K], floating point.
        temperature: DINOv2 uses 0.04 to 0.07.
        iterations: How often both are done.
        ranks: The processes of a distributed run: prototypes are shared out over the samples of all of them.

    Returns:
        [B, K] probabilities, float32 at least; each row sums to one. No gradients.

    Raises:
        ValueError: logits is not [B, K] or is empty, temperature is not positive, or iterations < 1.
        TypeError: logits is not floating point.

    Examples:
        >>> import torch
        >>> from sslmed.losses import sinkhorn
        >>> sinkhorn(torch.tensor([[1.0, 0.0], [2.0, 0.0]]), 1.0, 100).round(decimals=2)
        tensor([[0.3800, 0.6200],
                [0.6200, 0.3800]])
    """
    return C.sinkhorn(logits, temperature, iterations, ranks)


def gram(student: torch.Tensor, teacher: torch.Tensor, clip_negatives: bool = False) -> torch.Tensor:
    """Gram anchoring of DINOv3 (arXiv 2508.10104): cosines between an image's patches should stay an earlier teacher's.

    Args:
        student: [B, N, D] patch features, floating point.
        teacher: [B, N, D'] features of the same patches; no gradients reach them.
        clip_negatives: Cosines below zero in the teacher count as zero, and so do the student's where both are below.

    Returns:
        Scalar: the mean squared difference of the [B, N, N] cosines.

    Raises:
        ValueError: Shapes do not match, or are empty.
        TypeError: student or teacher is not floating point.

    Examples:
        >>> import torch
        >>> from sslmed.losses import gram
        >>> patches = torch.randn(2, 9, 16)
        >>> print(f"{gram(3 * patches, patches):.4f}")
        0.0000
    """
    return C.gram(student, teacher, clip_negatives)
