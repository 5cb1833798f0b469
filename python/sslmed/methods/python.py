"""Encoders and objectives written in Python: what an idea is tried with before it is worth C++. The loop, loader and checkpoints are the same."""

from __future__ import annotations

import copy
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch

from sslmed import io
from sslmed._core import C, FormatError
from sslmed.nn.encoder import CohortEncoder
from sslmed.preprocessing import Augmentation, EegPreprocessing, Preprocessing, described

__all__ = ["Loss", "PythonEncoder", "PythonObjective", "Step"]

Loss = C.Loss
Step = C.Step

_FORMAT = "sslmed-python-encoder-1"


class PythonEncoder(torch.nn.Module, CohortEncoder):
    """Base of encoders written in Python: for :func:`sslmed.finetune`, :func:`sslmed.transfer`, and objectives written in Python.

    Derive, make layers in ``__init__`` after ``super().__init__()``, and define :meth:`forward_tokens`. Buffers are to be changed in place, not replaced.

    Args:
        dim: D of the features.
        preprocessing: Applied to every recording; with ``patch`` as long as ``window`` a token is a channel's whole window.
        extra_channels: Channel names without a known position, by number in ``extra``.
    """

    def __init__(self, dim: int, preprocessing: Preprocessing | None = None, *, extra_channels: Sequence[str] = ()) -> None:
        super().__init__()
        self.dim = dim
        self.preprocessing = preprocessing or EegPreprocessing()
        self.extra_channels = tuple(extra_channels)
        self.config = {"python": type(self).__qualname__, "dim": dim}

    @abstractmethod
    def forward_tokens(self, values: torch.Tensor, lengths: list[int], coords: torch.Tensor | None, extra: torch.Tensor | None) -> torch.Tensor:
        """Features of packed tokens.

        Args:
            values: [ΣN, P] patches of one channel each, all of a window together: channel by channel, then in time. Of pictures uint8, row by row.
            lengths: Tokens N of each window.
            coords: [ΣN, 4] x, y, z in mm on the head (NaN where unknown) and t in s.
            extra: [ΣN] int64 number in ``extra_channels``, or -1.

        Returns:
            [ΣN, D].
        """

    @property
    def _handle(self) -> C.PythonEncoder:
        # Made anew for everybody who asks: kept here, the two would hold each other for ever.
        return C.PythonEncoder(self, self.dim)

    def _build(self) -> C.PythonEncoder:
        return copy.deepcopy(self)._handle

    def randomised(self) -> PythonEncoder:
        """A copy with fresh random weights, by ``reset_parameters`` of every layer: the baseline that pretraining has to beat.

        Raises:
            TypeError: A layer with parameters has no ``reset_parameters``; override this method.
        """
        twin = copy.deepcopy(self)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1_000_003)
            for name, layer in twin.named_modules():
                if hasattr(layer, "reset_parameters"):
                    layer.reset_parameters()
                elif any(True for _ in layer.parameters(recurse=False)):
                    raise TypeError(f"{name or type(self).__name__} has parameters but no reset_parameters(): override randomised()")
        return twin

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes weights and preprocessing to a safetensors file. The class is yours to keep."""
        metadata = {"format": _FORMAT, "encoder": json.dumps(self.config), "preprocessing": json.dumps(described(self.preprocessing))}
        io.save_safetensors(self.state_dict(), path, metadata)

    def load_weights(self, path: str | os.PathLike[str]) -> None:
        """Reads what :meth:`save` or a pretraining run of this class wrote.

        Raises:
            FormatError: It is of another class or preprocessing, or the weights do not fit.
        """
        metadata = io.load_metadata(path, _FORMAT)
        for key, mine in (("encoder", self.config), ("preprocessing", described(self.preprocessing))):
            if metadata.get(key) != json.dumps(mine):
                raise FormatError(f"{os.fspath(path)}: expected {key} {json.dumps(mine)}, found {metadata.get(key)}")
        try:
            self.load_state_dict(io.load_safetensors(path))
        except RuntimeError as error:
            raise FormatError(f"{os.fspath(path)}: expected weights that cover the encoder fully, found {error}") from error


class PythonObjective(torch.nn.Module, ABC):
    """Base of objectives written in Python: derive, make heads in ``__init__`` after ``super().__init__()``, and define :meth:`loss`.

    Give it to :class:`sslmed.Trainer`, or to :func:`sslmed.pretrain` through an options class (docs/adding.md). Parameters and buffers are its whole
    state, in checkpoints too; buffers are to be changed in place. What draws random numbers outside of the loader draws others after resuming, unless
    its seed is made from ``step.number``.

    May also define ``after_step(step)``, where an averaged teacher moves; ``parameter_groups()``: a list of (names, factor of the learning rate,
    whether weights decay); and, where :meth:`loss` calls ``step.all_gather``, ``absent(step)``: what a rank without samples gathers, so that the others
    do not wait for it.

    Args:
        encoder: Of ours or a :class:`PythonEncoder`; what the run is for. Shared, not copied.
        mask: What the loader's threads hide of a window: "none", "random", "bernoulli", "time", "channel", "space", "multiblock", "multiblock_exact".
        ratio: Of the tokens hidden; by default half of a window's, three quarters of a picture's.
        block: Steps or channels hidden together.
        radius: mm ("space").
        complementary: Each window twice, the second time with the other tokens hidden.
        augmentation: Of pictures.
        recipe: How samples are cut and masked, instead of all these: ``encoder.preprocessing.recipe(views=[…])``.
    """

    def __init__(
        self, encoder: CohortEncoder, *, mask: str = "none", ratio: float | None = None, block: int = 2, radius: float = 30.0, complementary: bool = False,
        augmentation: Augmentation | None = None, recipe: C.Recipe | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.encoder = encoder
        self._recipe = recipe or encoder.preprocessing.recipe(
            mask=mask, ratio=ratio, block=block, radius=radius, complementary=complementary, augmentation=augmentation
        )

    @abstractmethod
    def loss(self, batch: C.Batch, step: C.Step) -> torch.Tensor | C.Loss:
        """Of a batch, with gradients: a tensor [], the mean over the samples, or a :class:`Loss`.

        Args:
            batch: Its views are ``batch.patches``, on the run's device; ``batch.targets`` holds labels by name.
            step: Where the run is, and its other ranks.
        """

    @property
    def _handle(self) -> C.PythonObjective:
        return C.PythonObjective(self, self.encoder._handle, self._recipe)
