"""The server's part of a round: updates of clients become the next model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, get_args

import torch

from sslmed._checks import choice, number
from sslmed.federated.updates import CompressedUpdate, decompress_update, refuse_other

__all__ = ["Aggregator", "Rule", "ServerOptimizer"]

Rule = Literal["mean", "median", "trimmed_mean"]
"""How updates become one: weighted mean (FedAvg, McMahan et al., AISTATS 2017), or by coordinate (Yin et al., ICML 2018)."""
ServerOptimizer = Literal["sgd", "adagrad", "adam", "yogi"]
"""The server's step: FedAvg and FedAvgM ("sgd"; Hsu et al., 2019), FedAdagrad, FedAdam, FedYogi (Reddi et al., ICLR 2021)."""


class Aggregator:
    """Collects a round's updates and takes the server's step.

    An update is the difference of a client's weights to the model that it was sent. Floating tensors are aggregated in
    float64; the others are counters such as ``num_batches_tracked``, of which clients send the value, and the model takes
    the largest. What shall stay with clients, such as their normalization (FedBN, Li et al., ICLR 2021), is left out of
    ``model`` and of the updates. A mean is a sum that grows update by update; the other rules keep all updates of a round.

    The adaptive steps are the paper's: without correction for the start, ``v`` starts at ``tau`` squared. Flower's FedAdam
    corrects, and gives other numbers in the first rounds.

    Args:
        model: Tensors by name, as the first model is sent; copied.
        rule: How updates become one.
        trim: Share of the updates that "trimmed_mean" leaves out at each end of each coordinate, within [0, .5).
        optimizer: The server's step.
        lr: Its learning rate; with "sgd" 1 adds the aggregated update as it is.
        momentum: Of "sgd", within [0, 1).
        betas: Decay of the means of updates and of their squares, of "adam" and "yogi".
        tau: Least size of the denominator, of the adaptive ones.

    Raises:
        TypeError: ``model`` is not a mapping of names to tensors.
        ValueError: An option is out of range or belongs to another rule or optimizer, or the model is not finite.

    Examples:
        >>> import torch
        >>> from sslmed.federated import Aggregator, compress_update
        >>> server = Aggregator({"w": torch.zeros(2048)})
        >>> for client, weight in ((1.0, 30), (4.0, 60)):
        ...     server.add(compress_update({"w": torch.full((2048,), client)}, "qsgd", bits=8, seed=weight), weight)
        >>> bool((server.step()["w"] - 3.0).abs().max() < 0.2)
        True

    See Also:
        :func:`sslmed.federated.compress_update`
    """

    def __init__(
        self,
        model: Mapping[str, torch.Tensor],
        *,
        rule: Rule = "mean",
        trim: float | None = None,
        optimizer: ServerOptimizer = "sgd",
        lr: float = 1.0,
        momentum: float | None = None,
        betas: tuple[float, float] | None = None,
        tau: float | None = None,
    ) -> None:
        where = "Aggregator"
        choice(where, "rule", rule, get_args(Rule))
        choice(where, "optimizer", optimizer, get_args(ServerOptimizer))
        _belongs("trim", trim, rule == "trimmed_mean", f"rule={rule!r}")
        _belongs("momentum", momentum, optimizer == "sgd", f"optimizer={optimizer!r}")
        _belongs("betas", betas, optimizer in ("adam", "yogi"), f"optimizer={optimizer!r}")
        _belongs("tau", tau, optimizer != "sgd", f"optimizer={optimizer!r}")
        self._rule, self._optimizer, self._lr = rule, optimizer, lr
        self._trim = 0.1 if trim is None else trim
        self._momentum = 0.0 if momentum is None else momentum
        self._betas = (0.9, 0.99) if betas is None else betas
        self._tau = 1e-3 if tau is None else tau
        number(where, "lr", lr, 0, strict=True)
        number(where, "trim", self._trim, 0, 0.5 - 1e-9)
        number(where, "momentum", self._momentum, 0, 1 - 1e-9)
        number(where, "tau", self._tau, 0, strict=True)
        for name, value in zip(("betas[0]", "betas[1]"), self._betas, strict=True):
            number(where, name, value, 0, 1 - 1e-9)
        self._model = {name: values.detach().clone() for name, values in _checked(where, "model", model).items()}
        self._first = self._zeros()
        self._second = {} if optimizer == "sgd" else {name: torch.full_like(values, self._tau**2) for name, values in self._zeros().items()}
        self._rounds = 0
        self._count, self._weight, self._common = 0, 0.0, 0.0
        self._sum: dict[str, torch.Tensor] = {}
        self._clear()

    @property
    def model(self) -> dict[str, torch.Tensor]:
        """A copy of the model that the next round starts from."""
        return {name: values.clone() for name, values in self._model.items()}

    @property
    def rounds(self) -> int:
        """Number of steps that were taken."""
        return self._rounds

    @property
    def updates(self) -> int:
        """Number of updates that the next step is made of."""
        return self._count

    def add(self, update: CompressedUpdate | Mapping[str, torch.Tensor], weight: float = 1.0) -> None:
        """Adds the update of one client; after an error nothing of it counts.

        Args:
            update: Difference to :attr:`model`, of the same names, shapes and dtypes; counters are values.
            weight: Its weight in the mean, such as the number of its samples. The rules by coordinate weigh all clients
                alike.

        Raises:
            TypeError: ``update`` is not an update.
            ValueError: It does not fit the model, holds NaN or infinity, or the weight is not above 0 or not that of the others
                where all count alike.
            FormatError: A payload is damaged.
        """
        where = "Aggregator.add"
        number(where, "weight", weight, 0, strict=True)
        if self._rule != "mean" and self._count and weight != self._common:
            raise ValueError(f"{where}: weight={weight!r}: rule={self._rule!r} weighs all clients alike, the others have {self._common:g}")
        if isinstance(update, CompressedUpdate):
            given: Mapping[str, torch.Tensor] = decompress_update(update, like=self._model)
        else:
            refuse_other(where, {name: (tuple(of.shape), of.dtype) for name, of in _tensors(where, "update", update).items()}, self._model)
            given = update
        given = _checked(where, "update", given)
        for name, values in given.items():
            if not values.is_floating_point():
                self._counters[name] = torch.maximum(self._counters[name], values) if name in self._counters else values.clone()
            elif self._rule == "mean":
                self._sum[name].add_(values.double(), alpha=weight)
            else:
                self._kept[name].append(values.detach().clone())
        self._common = weight
        self._weight += weight
        self._count += 1

    def step(self) -> dict[str, torch.Tensor]:
        """Takes the server's step with the round's updates, and starts the next round.

        Returns:
            The new model, a copy.

        Raises:
            ValueError: There is no update, "trimmed_mean" would leave none, or the step gave a value that is not finite; the
                round stays as it is.
        """
        where = "Aggregator.step"
        if not self._count:
            raise ValueError(f"{where}: no client has sent an update")
        made: dict[str, torch.Tensor] = {}
        first: dict[str, torch.Tensor] = {}
        second: dict[str, torch.Tensor] = {}
        for name, old in self._model.items():
            if not old.is_floating_point():
                made[name] = self._counters[name]
                continue
            delta = self._one(name)
            if self._optimizer == "sgd":
                first[name] = change = self._momentum * self._first[name] + delta
            else:
                first[name], second[name] = self._means(name, delta)
                change = first[name] / (second[name].sqrt() + self._tau)
            made[name] = (old.double() + self._lr * change).to(old.dtype)
            if not made[name].isfinite().all():
                raise ValueError(f"{where}: {name!r} would not be finite")
        self._model, self._first, self._second = made, first, second
        self._rounds += 1
        self._clear()
        return self.model

    def state_dict(self) -> dict[str, Any]:
        """Model and means of the optimizer between rounds, for :func:`torch.save`.

        Raises:
            ValueError: A round has begun.
        """
        if self._count:
            raise ValueError(f"Aggregator.state_dict: the round has {self._count} updates; save before the first or after the step")
        return {"model": self.model, "first": dict(self._first), "second": dict(self._second), "rounds": self._rounds}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from what :meth:`state_dict` gave; updates of a round that had begun are dropped.

        Raises:
            ValueError: The state is of another model.
        """
        where = "Aggregator.load_state_dict"
        if not isinstance(state, Mapping) or set(state) != {"model", "first", "second", "rounds"}:
            raise ValueError(f"{where}: state must be what Aggregator.state_dict gave")
        for key, like in (("model", self._model), ("first", self._first), ("second", self._second)):
            refuse_other(where, {name: (tuple(of.shape), of.dtype) for name, of in _tensors(where, key, state[key]).items()}, like)
        self._model, self._first, self._second = ({name: of.clone() for name, of in state[key].items()} for key in ("model", "first", "second"))
        self._rounds = int(state["rounds"])
        self._clear()

    def _zeros(self) -> dict[str, torch.Tensor]:
        return {name: torch.zeros(of.shape, dtype=torch.float64) for name, of in self._model.items() if of.is_floating_point()}

    def _clear(self) -> None:
        self._count, self._weight, self._common = 0, 0.0, 0.0
        self._sum = self._zeros() if self._rule == "mean" else {}
        self._kept: dict[str, list[torch.Tensor]] = {name: [] for name, of in self._model.items() if of.is_floating_point()}
        self._counters: dict[str, torch.Tensor] = {}

    def _one(self, name: str) -> torch.Tensor:
        """The round's updates of a tensor as one."""
        if self._rule == "mean":
            return self._sum[name] / self._weight
        ordered = torch.stack(self._kept[name]).double().sort(dim=0).values
        n = len(ordered)
        # The median is the mean of the one or two in the middle.
        cut = (n - 1) // 2 if self._rule == "median" else math.floor(self._trim * n)
        return ordered[cut : n - cut].mean(dim=0)

    def _means(self, name: str, delta: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The adaptive optimizers' means of updates and of their squares, after an update."""
        m, v, square = self._first[name], self._second[name], delta.square()
        if self._optimizer == "adagrad":
            return delta, v + square
        b1, b2 = self._betas
        m = b1 * m + (1 - b1) * delta
        return m, b2 * v + (1 - b2) * square if self._optimizer == "adam" else v - (1 - b2) * square * torch.sign(v - square)


def _belongs(name: str, value: object, fits: bool, chosen: str) -> None:
    if value is not None and not fits:
        raise ValueError(f"Aggregator: {name}={value!r} is no option of {chosen}")


def _tensors(where: str, name: str, given: object) -> Mapping[str, torch.Tensor]:
    if not isinstance(given, Mapping) or not all(isinstance(key, str) and isinstance(of, torch.Tensor) for key, of in given.items()):
        raise TypeError(f"{where}: {name} must be a mapping of names to tensors, got {type(given).__name__}")
    return given


def _checked(where: str, name: str, given: object) -> Mapping[str, torch.Tensor]:
    """Tensors by name, all finite."""
    found = _tensors(where, name, given)
    for key, values in found.items():
        if values.device.type != "cpu" or values.layout != torch.strided or values.is_complex():
            raise ValueError(f"{where}: {name}[{key!r}] must be a dense real tensor on the CPU, got {values.dtype} on {values.device}")
        if values.is_floating_point() and not values.isfinite().all():
            raise ValueError(f"{where}: {name}[{key!r}] must be finite, found NaN or infinity")
    return found
