"""C++ modules that look, train and save like any ``torch.nn.Module``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from sslmed._world import own_settings

__all__ = ["Mirror"]


class Mirror(torch.nn.Module):
    """A C++ module as a Python one: its leaves are registered here under their C++ names, sharing their storage.

    ``state_dict``, ``load_state_dict``, ``to``, ``deepcopy`` and optimisers work, and what they change the C++ side sees.
    """

    def __init__(self, build: Callable[[], Any], first: Callable[[], Any] | None = None) -> None:
        """``build`` makes a module for each copy, ``first`` the one of this object, by default as well by ``build``."""
        super().__init__()
        self._build = own_settings()(build)  # weights are float32 whatever the caller's default is
        self._handle = self._build() if first is None else own_settings()(first)()
        for name, tensor in self._handle.named_parameters():
            tensor._is_param = True  # what makes a tensor a Parameter to torch, without a second tensor
            self._leaf(name).register_parameter(name.rpartition(".")[2], tensor)
        for name, tensor in self._handle.named_buffers():
            self._leaf(name).register_buffer(name.rpartition(".")[2], tensor)

    def layout_facts(self) -> tuple[str, tuple[int, ...]]:
        """Family of the layouts that name its tensors (:func:`sslmed.nn.load_weights`), and the grid of its position table, if it has one."""
        return "", ()

    def _leaf(self, name: str) -> torch.nn.Module:
        module: torch.nn.Module = self
        for part in name.split(".")[:-1]:
            if part not in module._modules:
                module.add_module(part, torch.nn.Module())
            module = module._modules[part]  # type: ignore[assignment]
        return module

    def _apply(self, fn: Any, recurse: bool = True) -> Mirror:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        # torch replaces buffers by new tensors; parameters keep theirs and change its data.
        for name, buffer in self.named_buffers():
            self._handle.set_buffer(name, buffer)
        return self

    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> Any:
        """As torch's; ``assign=True`` is refused, because it would cut the tie to the C++ module."""
        if assign:
            raise ValueError("load_state_dict(assign=True) would replace the tensors that the C++ module holds")
        return super().load_state_dict(state_dict, strict)

    def train(self, mode: bool = True) -> Mirror:
        """As torch's, on both sides."""
        self._handle.train(mode)
        return super().train(mode)

    def __deepcopy__(self, memo: dict[int, Any]) -> Mirror:
        twin = type(self).__new__(type(self))
        extras = {k: v for k, v in self.__dict__.items() if not k.startswith("_") and k != "training"}
        Mirror.__init__(twin, self._build)
        for key, value in extras.items():
            setattr(twin, key, value)
        reference = next(iter(self.parameters()))
        twin.to(reference.device, reference.dtype)
        twin.load_state_dict(self.state_dict())
        for mine, theirs in zip(self.parameters(), twin.parameters(), strict=True):
            theirs.requires_grad_(mine.requires_grad)
        twin.train(self.training)
        return twin

    def __reduce__(self) -> Any:
        raise TypeError("a C++ module is not pickled: save its state_dict() or use Encoder.save()")
