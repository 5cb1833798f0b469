"""What a layout is: which tensors of a file make which tensor of a module, and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch

__all__ = ["COMMON_EXTRAS", "Entry", "Extra", "Facts", "Flavor", "identity"]

Role = Literal["plain", "input", "positions", "relative", "offsets", "class", "registers"]


@dataclass(frozen=True)
class Entry:
    """One tensor of a module, and the tensors of a file that hold it."""

    module: str
    """Its name in the module."""
    file: tuple[str, ...]
    """Names in the file; several are joined along the first axis, in this order."""
    role: Role = "plain"
    """What may differ from the file: channels of an "input" layer, the grid of "positions", the length of a "relative"
    table, the window of a table of "offsets"."""
    zeros: tuple[str, ...] = ()
    """Those of ``file`` that may be missing: zeros then. Where they are written out, they must be zero."""
    as_module: Callable[[torch.Tensor], torch.Tensor] | None = None
    """Brings what the file has into the module's shape; None: as it is."""
    as_file: Callable[[torch.Tensor], torch.Tensor] | None = None
    """The inverse of ``as_module``."""
    change: str = ""
    """What ``as_module`` does, in words."""


@dataclass(frozen=True)
class Extra:
    """Tensors that files of a layout have beside those of an encoder."""

    pattern: str
    """Regular expression that the start of the name matches, without the common prefix."""
    why: str
    """What they are."""


@dataclass(frozen=True)
class Facts:
    """What a layout must know of a module."""

    kind: str
    """"vit", or the family of a dense encoder."""
    shapes: Mapping[str, tuple[int, ...]]
    """Shape of each tensor of the module."""
    options: Mapping[str, object] = field(default_factory=dict)
    """Options that the module was built with."""
    grid: tuple[int, ...] = ()
    """Cells of the position table along each axis, or offsets (2 * window - 1) of the tables of windows; empty: no
    table."""

    def has(self, name: str) -> bool:
        """Whether the module has a tensor of this name."""
        return name in self.shapes

    def starting(self, start: str) -> list[str]:
        """Names of tensors that start so, in the module's order."""
        return [name for name in self.shapes if name.startswith(start)]


@dataclass(frozen=True)
class Flavor:
    """One way in which files of a layout name tensors."""

    name: str
    entries: Callable[[Facts], Sequence[Entry]]
    extras: Sequence[Extra] = ()
    fits: Callable[[Facts], bool] = field(default=lambda facts: True)
    """Whether a module can be written so; the first flavor that fits is written."""
    fills: Callable[[Facts], Mapping[str, tuple[int, ...]]] = field(default=lambda facts: {})
    """Tensors that files must have beside those of the module, by shape; zeros are written."""
    adds: Callable[[Facts], Mapping[str, torch.Tensor]] = field(default=lambda facts: {})
    """Tensors that files must have beside those of the module, by value."""
    refuses: Callable[[Facts], str] = field(default=lambda facts: "")
    """Why no file of this layout fits a module although names and shapes do; empty: it may fit."""


# Parts of a name in front of a head: none that is inside of the encoder, whose tensors are never left out.
_OUTSIDE = r"((?!((blocks|layers?\d*|stages?\d*)\.\d+|patch_embed\w*|embeddings?)\.)[^.]+\.)*"

# Of every layout. Training states hold more than weights.
COMMON_EXTRAS = (
    Extra(r"(.*\.)?num_batches_tracked$", "counter of batch normalization, not used"),
    Extra(_OUTSIDE + r"(optimizer|optim|lr_scheduler|scheduler|scaler|loss|criterion|fp16_scaler|dino_loss|ibot_patch_loss)\.", "state of the training"),
    Extra(r"(.*\.)?(mask_token|mask_embedding)$", "mask token of the pretraining"),
    Extra(_OUTSIDE + r"(head|fc|classifier|linear|head_dist|projector|projection_head|dino_head|ibot_head|prototypes|predictor)\.", "head"),
    Extra(r"(decoder|decoder_\w+)(\.|$)", "decoder of the pretraining"),
)


def identity(facts: Facts) -> list[Entry]:
    """The module's own names."""
    roles: dict[str, Role] = {"pos_embed": "positions", "cls_token": "class", "reg_token": "registers"}
    roles |= {"patch_embed.proj.weight": "input", "conv1.weight": "input"}
    return [Entry(name, (name,), roles.get(name, "plain")) for name in facts.shapes if not name.endswith("num_batches_tracked")]
