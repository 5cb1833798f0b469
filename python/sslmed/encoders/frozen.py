"""Networks of other libraries as encoders that are not trained."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch

from sslmed.encoders.dense import dense_inputs
from sslmed.encoders.python import PythonEncoder
from sslmed.modalities.base import Preprocessing

__all__ = ["FrozenEncoder"]

_Features = Callable[[torch.nn.Module, torch.Tensor], torch.Tensor]


class FrozenEncoder(PythonEncoder):
    """A network of timm, transformers, MONAI or any other library as an encoder with fixed weights.

    It works wherever an encoder is only asked for features: :func:`sslmed.encode`, :func:`sslmed.transfer` and
    ``sslmed.shift``. Whom it was trained on is not known, and results say so. Features are

    - of timm's models those before the classifier (``forward_head(forward_features(x), pre_logits=True)``);
    - of models of transformers that take ``pixel_values``: ``pooler_output``, or the mean of ``last_hidden_state``
      where there is none;
    - otherwise what the module returns: [B, D], the mean of a map [B, D, spatial…] or of tokens [B, N, D], the first of
      a tuple, the last of a list of maps.

    Args:
        module: The network. It is kept as it is, put into evaluation mode, and asked without gradients.
        preprocessing: How samples become dense views; one that gives patches is turned into one that gives dense views.
        dim: Width D of the features; None: found by a pass over noise.
        features: Function of module and views [B, C, spatial…] that gives features, for modules that are called in
            another way.
        mean: Mean of each channel of bytes in [0, 1]; None: that of timm's configuration, or of the preprocessing.
        std: Standard deviation of each channel of bytes; None: as ``mean``.

    Raises:
        TypeError: It is no module, or what it returns is neither [B, D], nor a map, nor tokens.
        ValueError: It does not take the views, its features are random, or they are of another width than ``dim``.

    Examples:
        >>> import sslmed as sm, torch
        >>> net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU())
        >>> encoder = sm.FrozenEncoder(net, sm.SlidePreprocessing(size=32))
        >>> encoder.dim
        8
    """

    _mean: torch.Tensor
    _std: torch.Tensor

    def __init__(
        self,
        module: torch.nn.Module,
        preprocessing: Preprocessing,
        *,
        dim: int | None = None,
        features: _Features | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> None:
        if not isinstance(module, torch.nn.Module):
            raise TypeError(f"FrozenEncoder: module={module!r} must be a torch.nn.Module")
        dense = preprocessing.dense() if preprocessing.embedding()["patch_size"] else preprocessing
        embedding = dense_inputs("FrozenEncoder", dense)
        super().__init__(dim or 1, dense)
        self.module = module
        self.requires_grad_(False)
        self.eval()
        self._features = features or _features_of(module)
        channels, rank = embedding["in_chans"], len(embedding["img_size"])
        self._shape = (channels, *embedding["img_size"])
        for name, given in (("mean", mean), ("std", std)):
            values = given or _configured(module, name) or embedding.get(f"pixel_{name}") or [float(name == "std")] * channels
            if len(values) != channels:
                raise ValueError(f"FrozenEncoder: {name}={list(values)} must have a number for each of {channels} channels")
            self.register_buffer(f"_{name}", torch.tensor(list(values), dtype=torch.float32).view(-1, *[1] * rank), persistent=False)
        self.dim = self._width(dim, bytes_of="pixel_mean" in embedding)
        self.config |= {"python": f"{type(self).__qualname__} of {type(module).__qualname__}", "dim": self.dim}

    def train(self, mode: bool = True) -> FrozenEncoder:
        """Stays in evaluation mode: batch statistics and dropout would change fixed features."""
        super().train(False)
        return self

    def encode_dense(self, values: torch.Tensor) -> torch.Tensor:
        """Features [B, D], or a map [B, D, spatial…], of views [B, C, spatial…].

        Raises:
            TypeError: The module returns something else.
        """
        weight = next(self.module.parameters(), values)
        kind = weight.dtype if weight.is_floating_point() else torch.float32
        if values.dtype == torch.uint8:
            values = (values.to(torch.float32) / 255 - self._mean) / self._std
        with torch.no_grad():
            found = self._features(self.module, values.to(kind))
        return _pooled(found, len(values), values.ndim - 2, type(self.module).__name__)

    def randomized(self) -> FrozenEncoder:
        """A copy with random weights: layers are reset by ``reset_parameters``, and the values of all other weights permuted."""
        twin = copy.deepcopy(self)
        twin.provenance = None
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(1_000_003)
            for layer in twin.module.modules():
                reset = getattr(layer, "reset_parameters", None)
                if callable(reset):
                    reset()
                    continue
                for weight in layer.parameters(recurse=False):
                    weight.copy_(weight.flatten()[torch.randperm(weight.numel())].view_as(weight))
        return twin.requires_grad_(False)

    def _width(self, dim: int | None, *, bytes_of: bool) -> int:
        """Width of the features of a batch of noise, which must be the same twice."""
        noise = torch.rand(2, *self._shape, generator=torch.Generator().manual_seed(0)).to(self._mean.device)
        views = (255 * noise).to(torch.uint8) if bytes_of else noise
        kind = type(self.module).__name__
        try:
            features, again = self.encode_dense(views).float(), self.encode_dense(views).float()
        except (RuntimeError, ValueError, AssertionError) as error:
            raise ValueError(f"FrozenEncoder: module={kind} does not take views {tuple(views.shape)} of the preprocessing: {error}") from error
        if not torch.allclose(features, again, rtol=1e-3, atol=1e-3 * float(features.abs().nan_to_num().max()), equal_nan=True):
            raise ValueError(f"FrozenEncoder: module={kind} gives other features each time: turn off what is random in it, such as masks (mask_ratio=0)")
        found = int(features.shape[1])
        if dim is not None and dim != found:
            raise ValueError(f"FrozenEncoder: dim={dim}, but {type(self.module).__name__} gives features of width {found}")
        return found


def _features_of(module: torch.nn.Module) -> _Features:
    """How a module is asked for features."""
    if hasattr(module, "forward_features") and hasattr(module, "forward_head"):
        return _timm
    if "pixel_values" in inspect.signature(module.forward).parameters:
        return _transformers
    return _plain


def _timm(module: Any, x: torch.Tensor) -> Any:
    return module.forward_head(module.forward_features(x), pre_logits=True)


def _transformers(module: Any, x: torch.Tensor) -> Any:
    out = module(pixel_values=x)
    pooled = getattr(out, "pooler_output", None)
    found = getattr(out, "last_hidden_state", None) if pooled is None else pooled
    if not isinstance(found, torch.Tensor):
        raise TypeError(f"FrozenEncoder: {type(module).__name__} returns neither pooler_output nor last_hidden_state; give features=")
    return found


def _plain(module: Any, x: torch.Tensor) -> Any:
    out = module(x)
    if isinstance(out, tuple) and out:
        return out[0]
    if isinstance(out, list) and out:
        return out[-1]
    return out


def _configured(module: Any, name: str) -> Sequence[float] | None:
    """Mean or standard deviation of timm's configuration of a model."""
    found = getattr(module, "pretrained_cfg", None) or getattr(module, "default_cfg", None) or {}
    value = found.get(name) if isinstance(found, dict) else getattr(found, name, None)
    return tuple(float(x) for x in value) if value is not None else None


def _pooled(found: Any, batch: int, rank: int, kind: str) -> torch.Tensor:
    """[B, D], or a map [B, D, spatial…], of whatever a module returns."""
    if not isinstance(found, torch.Tensor):
        raise TypeError(f"FrozenEncoder: {kind} returns a {type(found).__name__}, expected a tensor [B, D], a map or tokens; give features=")
    if found.ndim >= 2 and len(found) == batch:
        if found.ndim in (2, rank + 2):
            return found
        if found.ndim == 3:
            return found.mean(1)
        if found.shape[2:].numel() == 1:
            return found.flatten(1)
    raise TypeError(f"FrozenEncoder: {kind} returns {tuple(found.shape)}, expected [{batch}, D], a map [{batch}, D, spatial…] or tokens [{batch}, N, D]")
