"""Positions of a grid that is not the table's: resampled as timm does."""

from __future__ import annotations

import pytest
import torch

import sslmed as sm
from sslmed._core import C


@pytest.mark.oracle
@pytest.mark.parametrize(("grid", "to"), [((14, 14), (16, 16)), ((14, 14), (7, 7)), ((14, 14), (6, 6)), ((12, 8), (5, 11)), ((3, 3), (30, 2))])
@pytest.mark.parametrize("first", [0, 1])
def test_resampled_positions_equal_timms(grid: tuple[int, int], to: tuple[int, int], first: int) -> None:
    timm = pytest.importorskip("timm.layers")
    table = (0.02 * torch.randn(1, first + grid[0] * grid[1], 12, dtype=torch.float64)).requires_grad_()
    ours = C.resample_positions(table, list(grid), list(to), first)
    theirs = timm.resample_abs_pos_embed(table, new_size=list(to), old_size=list(grid), num_prefix_tokens=first)
    assert ours.shape == (1, first + to[0] * to[1], 12)
    assert (ours - theirs).abs().max() <= 1e-6
    weights = 0.02 * torch.randn_like(ours)  # theirs is computed in float32
    mine, other = (torch.autograd.grad((out * weights).sum(), table)[0] for out in (ours, theirs))
    assert (mine - other).abs().max() <= 1e-6


def test_a_crop_has_a_grid_of_its_own() -> None:
    """Views of two sizes through one encoder: the small one takes the table's positions at its own grid."""
    encoder = sm.nn.create("vit_tiny", 8, 32, 3, depth=1).double()
    small, large = torch.randn(2, 3, 16, 16, dtype=torch.float64), torch.randn(2, 3, 32, 32, dtype=torch.float64)
    assert encoder.forward_features(large).shape == (2, 17, 192)
    alone = encoder.forward_features(small)
    assert alone.shape == (2, 5, 192)
    other = sm.nn.create("vit_tiny", 8, 16, 3, depth=1).double()
    state = dict(encoder.state_dict())
    state["pos_embed"] = C.resample_positions(state["pos_embed"], [4, 4], [2, 2], state["pos_embed"].shape[1] - 16)
    other.load_state_dict(state)
    assert (other.forward_features(small) - alone).abs().max() <= 1e-10
