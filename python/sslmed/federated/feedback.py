"""Error feedback: what a biased method leaves out is added to the next update."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from sslmed._core import Array
from sslmed._core import tensor as as_tensor
from sslmed.federated.codec import compress, decompress
from sslmed.federated.compressed import Compressed

__all__ = ["ErrorFeedback", "check_feedback"]


def check_feedback(where: str, method: str, options: Mapping[str, Any]) -> None:
    """Raises ValueError unless the method never enlarges an error: else residuals would grow without bound."""
    if method in ("topk", "lowrank") or (method == "drive" and options.get("scale") == "least_error"):
        return
    raise ValueError(
        f"{where}: error feedback needs method='topk', 'lowrank' or 'drive' with scale='least_error', got {method!r}: the errors of "
        "unbiased methods can be larger than the update, so that residuals would grow; they average out over clients and rounds instead"
    )


class ErrorFeedback:
    """Keeps what compression left out, and adds it before the next compression (Seide et al., Interspeech 2014; Stich et al., NeurIPS 2018).

    The sum of what arrives is the sum of what was given, minus the one residual that is still held. The residual is a
    secret of the client as its gradients are, and must outlive the process: save :meth:`state_dict` with each round. A
    message that did not arrive is taken back by loading the state of before.

    Examples:
        >>> import torch
        >>> from sslmed.federated import ErrorFeedback, decompress
        >>> feedback = ErrorFeedback()
        >>> given = [torch.randn(1000) for _ in range(5)]
        >>> arrived = [decompress(feedback.compress("layer", update, "topk", fraction=0.1)) for update in given]
        >>> torch.allclose(sum(arrived) + feedback.residual("layer"), sum(given), atol=1e-5)
        True

    See Also:
        :func:`sslmed.federated.compress_update`, which takes one as ``feedback=``.
    """

    def __init__(self) -> None:
        self._residuals: dict[str, torch.Tensor] = {}

    def compress(self, name: str, tensor: Array, method: str, bits: int | None = None, seed: int | None = None, **options: Any) -> Compressed:
        """Compresses a tensor plus what was left out of it before.

        Args:
            name: Name under which the residual is kept.
            tensor: Values, float32 on the CPU, of one shape for a name.
            method: ``"topk"``, ``"lowrank"``, or ``"drive"`` with ``scale="least_error"``.
            bits: Bits of a code, as :func:`sslmed.federated.compress` takes them.
            seed: Seed of all draws.
            **options: Options of the method.

        Returns:
            The compressed sum.

        Raises:
            TypeError: As :func:`sslmed.federated.compress`.
            ValueError: A method whose errors may grow, another shape than before, or as :func:`sslmed.federated.compress`.
        """
        check_feedback("ErrorFeedback.compress", method, options)
        total = self.added(name, tensor)
        made = compress(total, method, bits, seed, **options)
        self._residuals[name] = total - decompress(made)
        return made

    def added(self, name: str, tensor: Array) -> torch.Tensor:
        """The tensor plus its residual; the residual stays as it is.

        Raises:
            ValueError: Another shape than before.
        """
        values, residual = as_tensor(tensor), self._residuals.get(name)
        if residual is None:
            return values
        if residual.shape != values.shape:
            raise ValueError(f"ErrorFeedback: {name!r} has shape {tuple(values.shape)}, and its residual {tuple(residual.shape)}: a name has one shape")
        return values.detach() + residual

    def keep(self, residuals: Mapping[str, torch.Tensor]) -> None:
        """Replaces the residuals of these names."""
        self._residuals.update(residuals)

    def residual(self, name: str) -> torch.Tensor:
        """What was left out under a name so far, float32.

        Raises:
            KeyError: Nothing was compressed under this name.
        """
        return self._residuals[name].clone()

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Residuals by name, as copies; save them as any state dictionary."""
        return {name: residual.clone() for name, residual in self._residuals.items()}

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Replaces all residuals by those of :meth:`state_dict`.

        Raises:
            ValueError: A residual that is not float32 on the CPU, or not finite.
        """
        for name, residual in state.items():
            if not isinstance(residual, torch.Tensor) or residual.dtype != torch.float32 or residual.device.type != "cpu":
                raise ValueError(f"ErrorFeedback.load_state_dict: state[{name!r}] must be a float32 tensor on the CPU, got {_kind(residual)}")
            if not residual.isfinite().all():
                raise ValueError(f"ErrorFeedback.load_state_dict: state[{name!r}] must be finite, found NaN or infinity")
        self._residuals = {name: residual.detach().clone() for name, residual in state.items()}


def _kind(value: object) -> str:
    return f"{value.dtype} on {value.device}" if isinstance(value, torch.Tensor) else type(value).__name__
