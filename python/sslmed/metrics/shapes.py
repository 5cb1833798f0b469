"""What masks are made of: distances to their edge, and connected components."""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch

from sslmed._checks import choice
from sslmed._core import Array, C
from sslmed.metrics.inputs import Spacing, cell_size, label_map

__all__ = ["connected_components", "distance_transform"]

Touch: TypeAlias = Literal["faces", "edges", "full"]
_TOUCH = {"faces": 1, "edges": 2, "full": 3}


def distance_transform(mask: Array, spacing: Spacing = None) -> torch.Tensor:
    """Computes the exact Euclidean distance from each cell to the nearest cell that is 0.

    One pass an axis (Felzenszwalb and Huttenlocher, Theory of Computing 2012), with as many threads as torch has.

    Args:
        mask: Mask or label map, bool or whole numbers [H, W] or [D, H, W].
        spacing: Size of a cell along each axis, mm; None: 1.

    Returns:
        Distances between the centers of cells, mm, float64, of the shape of the mask; infinite where no cell is 0.

    Raises:
        TypeError: A mask that is not an array of whole numbers.
        ValueError: A shape or a spacing that does not fit.

    Examples:
        >>> import torch
        >>> from sslmed.metrics import distance_transform
        >>> mask = torch.tensor([[0, 1, 1, 1], [0, 1, 1, 1]], dtype=torch.bool)
        >>> distance_transform(mask, spacing=(1.0, 0.5))[0]
        tensor([0.0000, 0.5000, 1.0000, 1.5000], dtype=torch.float64)
    """
    found = label_map("distance_transform", "mask", mask)
    return C.distance_transform(found, cell_size("distance_transform", spacing, found.ndim), torch.get_num_threads())


def connected_components(mask: Array, connectivity: Touch = "full") -> torch.Tensor:
    """Numbers the connected components of a mask.

    Args:
        mask: Mask or label map, bool or whole numbers [H, W] or [D, H, W]; what is not 0 is inside.
        connectivity: Cells that touch: at ``"faces"`` (4 neighbors, or 6), at ``"edges"`` too (8, or 18), or
            ``"full"``, at corners too (8, or 26).

    Returns:
        Numbers from 1 on in the order of the components' first cells, 0 outside; int32, of the shape of the mask.

    Raises:
        TypeError: A mask that is not an array of whole numbers.
        ValueError: A shape or a connectivity that is not known.

    Examples:
        >>> import torch
        >>> from sslmed.metrics import connected_components
        >>> connected_components(torch.eye(3, dtype=torch.bool)).max(), connected_components(torch.eye(3).int(), "faces").max()
        (tensor(1, dtype=torch.int32), tensor(3, dtype=torch.int32))
    """
    choice("connected_components", "connectivity", connectivity, _TOUCH)
    return C.connected_components(label_map("connected_components", "mask", mask), _TOUCH[connectivity])
