"""Reconstruction error: what an auto-encoder, or a masked one, does not restore of a scan."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch

from sslmed import io
from sslmed._checks import choice, number, whole
from sslmed._core import FormatError
from sslmed.anomaly.methods import Needs, State
from sslmed.anomaly.patches import padded
from sslmed.anomaly.scans import Detection, Scan, highest, smoothed
from sslmed.encoders import CohortEncoder
from sslmed.encoders.base import description_of, from_description, load
from sslmed.methods import MaskedAutoencoder, resolve
from sslmed.methods.pretext import Reconstruction as Restorer
from sslmed.runs import Run
from sslmed.sources import in_order
from sslmed.training.run_folder import checkpoints_of

__all__ = ["Reconstruction", "load_objective", "partitions"]


def load_objective(run: Run | str | os.PathLike[str], encoder: CohortEncoder | None = None) -> Any:
    """The objective of a pretraining run (encoder and decoder) with the weights of its last checkpoint.

    Args:
        run: A run, or its folder.
        encoder: The run's encoder, whose architecture is taken; None: that of ``run``, or ``encoder.safetensors``.

    Raises:
        FormatError: The folder has no checkpoint, or weights do not fit.

    Examples:
        >>> import sslmed as sm
        >>> objective = sm.anomaly.load_objective("runs/mae")  # doctest: +SKIP
        >>> method = sm.anomaly.Reconstruction(objective)  # doctest: +SKIP
    """
    folder = run.out if isinstance(run, Run) else Path(run)
    found = checkpoints_of(folder, True)
    if not found:
        raise FormatError(f"{folder}: expected checkpoints/step-*.safetensors of a pretraining run, found none")
    config = json.loads(io.load_metadata(found[-1], "sslmed-checkpoint-1")["config"])
    model: Any = encoder or (run.encoder if isinstance(run, Run) else load(folder / "encoder.safetensors"))
    method, _ = resolve(config["method"], config["options"] | {"augmentation": None})
    objective = method.objective(model, config["seed"])
    weights = {name.removeprefix("model."): value for name, value in io.load_safetensors(found[-1]).items() if name.startswith("model.")}
    try:
        objective.load_state_dict(weights)
    except RuntimeError as error:
        raise FormatError(f"{found[-1]}: expected the weights of a {config['method']!r} objective, found {error}") from error
    objective.eval()
    return objective


def partitions(n: int, ratio: float, passes: int, draws: np.random.Generator) -> list[torch.Tensor]:
    """Masks that together hide every token, each about equally often.

    Args:
        n: Number of tokens.
        ratio: Share of them that a mask hides, within (0, 1).
        passes: Number of times that each token is hidden at least.
        draws: Where the order comes from.

    Returns:
        Numbers of the hidden tokens of each mask, ascending.

    Examples:
        >>> import numpy as np
        >>> from sslmed.anomaly.reconstruction import partitions
        >>> masks = partitions(10, 0.75, 1, np.random.default_rng(0))
        >>> len(masks), len(masks[0]), sorted({int(i) for mask in masks for i in mask}) == list(range(10))
        (2, 8, True)
    """
    hidden = min(max(1, round(ratio * n)), n - 1)
    out = []
    for _ in range(passes):
        order = draws.permutation(n)
        for first in range(0, n, hidden):
            taken = order[np.arange(first, first + hidden) % n]  # the last one takes some again
            out.append(torch.from_numpy(np.sort(taken)))
    return out


@dataclass(frozen=True)
class Reconstruction:
    """Error of what a masked auto-encoder restores of hidden patches, or an auto-encoder of the whole scan.

    A masked one (He et al., arXiv 2111.06377) is asked several times, so that every patch is hidden; errors are averaged. It
    compares what it was trained to restore: with ``norm_target`` patches are standardized by their own mean and deviation,
    so that a lesion which is evenly bright is not seen; train it with ``norm_target=False`` to see those.

    Nothing is fitted here: the objective is trained before, on training people alone.

    Examples:
        >>> import sslmed as sm
        >>> encoder = sm.Encoder("vit_tiny", depth=1)
        >>> method = sm.anomaly.Reconstruction(sm.methods.Mae().objective(encoder, seed=0), encoder, passes=2)
    """

    needs: ClassVar[Needs] = "array"

    objective: Any = field(repr=False)
    """A :class:`sslmed.methods.MaskedAutoencoder`, or the objective of :class:`sslmed.methods.Autoencoder`, around an
    encoder with a preprocessing (:func:`load_objective`)."""
    encoder: CohortEncoder = field(repr=False)
    """Its encoder, which knows its channels and whom it has seen."""
    ratio: float = 0.75
    """Share of the patches that a mask hides."""
    passes: int = 2
    """Number of times that each patch is hidden at least."""
    distance: Literal["mse", "l1"] = "mse"
    """Square or absolute difference."""
    top: float = 0.01
    """Share of a scan's cells, the highest ones, whose mean error is the scan's score; 1: the mean error."""
    smooth: float = 1.0
    """Standard deviation in cells of a Gaussian filter over maps."""
    name: str = "reconstruction"
    """Row in tables."""

    def __post_init__(self) -> None:
        if not isinstance(self.objective, (MaskedAutoencoder, Restorer)):
            kind = type(self.objective).__name__
            raise TypeError(f"Reconstruction: objective must be one of 'mae' or 'autoencoder' (load_objective(run)), got {kind}")
        if isinstance(self.objective, MaskedAutoencoder) and self.objective.options.reconstruct != "signal":
            raise ValueError("Reconstruction: objective restores the 'spectrum', expected reconstruct='signal'")
        choice("Reconstruction", "distance", self.distance, ("mse", "l1"))
        number("Reconstruction", "ratio", self.ratio, 0, 1 - 1e-9, strict=True)
        number("Reconstruction", "top", self.top, 0, 1)
        number("Reconstruction", "smooth", self.smooth, 0)
        whole("Reconstruction", "passes", self.passes, 1)

    @classmethod
    def of(cls, run: Run | str | os.PathLike[str], **options: Any) -> Reconstruction:
        """The method with the objective of a pretraining run, or of its folder."""
        encoder = run.encoder if isinstance(run, Run) else load(Path(run) / "encoder.safetensors")
        return cls(load_objective(run, encoder), encoder, **options)

    def described(self) -> dict[str, Any]:
        """Options, objective and encoder as plain values; with the objective's weights, :meth:`from_described` makes it anew.

        Raises:
            TypeError: The encoder is written in Python.
        """
        own = {one.name: getattr(self, one.name) for one in fields(self) if one.name not in ("objective", "encoder")}
        options = asdict(self.objective.options) | {"augmentation": None}
        method = {"name": self.objective.options.name, "options": options}
        return own | {"method": method, "encoder": description_of(self.encoder)}

    @classmethod
    def from_described(cls, values: dict[str, Any], weights: dict[str, torch.Tensor]) -> Reconstruction:
        """The method that :meth:`described` was asked of."""
        given = dict(values)
        method, encoder = given.pop("method"), from_description(given.pop("encoder"))
        objective = resolve(method["name"], method["options"])[0].objective(encoder, 0)
        objective.load_state_dict(weights)
        return cls(objective.eval(), encoder, **given)

    def fit(self, scans: Sequence[Scan], seed: int) -> State:
        """Nothing: the objective is trained before."""
        return {}

    def detect(self, state: State, scan: Scan, seed: int) -> Detection:
        """Errors of the cells, and the mean of the highest."""
        self.objective.eval()
        with torch.no_grad():
            if isinstance(self.objective, Restorer):
                errors = self._restored(scan)
            elif self._by_coordinates:
                return self._of_tokens(scan, seed)
            else:
                errors = self._masked(scan, seed)
        inside = scan.inside()
        return Detection(highest(errors[inside], self.top), None, smoothed(errors, inside, self.smooth), inside)

    @property
    def _by_coordinates(self) -> bool:
        return bool(self.objective.preprocessing.embedding()["positions"] == "coordinates")

    def _error(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return (a - b).square() if self.distance == "mse" else (a - b).abs()

    def _restored(self, scan: Scan) -> torch.Tensor:
        """[spatial…] error of an auto-encoder, a mean over channels."""
        dense = padded(scan._maps().read(scan.row), [32] * len(scan.inside().shape))
        out = self.objective.reconstruct(dense)
        errors = self._error(out, _standardized(dense, self.objective.preprocessing)).mean(1)[0]
        return errors[tuple(slice(side) for side in scan.inside().shape)]

    def _masked(self, scan: Scan, seed: int) -> torch.Tensor:
        """[spatial…] error of a masked auto-encoder of dense inputs, a mean over channels."""
        how = self.objective.preprocessing.embedding()
        patch = [int(side) for side in how["patch_size"]]
        dense = padded(scan._maps().read(scan.row), patch)
        values = _cut(_standardized(dense, self.objective.preprocessing)[0], patch)
        errors, times = torch.zeros_like(values), torch.zeros(len(values), 1)
        every = torch.arange(len(values))
        for masked in partitions(len(values), self.ratio, self.passes, self._draws(seed)):
            visible = every[~torch.isin(every, masked)]
            _, restored, _ = self.objective(dense, visible[None], masked[None])
            errors[masked] += self._error(restored, self._target(values[masked]))
            times[masked] += 1
        cells = _pasted(errors / times, dense.shape[1:], patch).mean(0)
        return cells[tuple(slice(side) for side in scan.inside().shape)]

    def _of_tokens(self, scan: Scan, seed: int) -> Detection:
        """Errors of tokens that are placed by coordinates, and of the cells of the scan where it has a grid."""
        how = self.objective.preprocessing
        source = scan.cohort.subset([scan.row]).source(how, extra_channels=self.encoder.extra_channels)
        loader = in_order(source, how, threads=1, batch_size=1, on_error="raise")
        found: list[torch.Tensor] = []
        view: Any = None
        while (batch := loader.next()) is not None:
            view = batch.views[0]
            n = int(view.lengths[0])
            errors, times, every = torch.zeros_like(view.values), torch.zeros(n, 1), torch.arange(n)
            for masked in partitions(n, self.ratio, self.passes, self._draws(seed)):
                visible = every[~torch.isin(every, masked)]
                _, restored, _ = self.objective.forward_tokens(view.values, [n], visible, masked, [len(visible)], view.coords, view.extra)
                errors[masked] += self._error(restored, self._target(view.values[masked]))
                times[masked] += 1
            found.append(errors / times)
        if scan.maps is None:
            scores = torch.cat(found).mean(1)
            return Detection(highest(scores, self.top), scores)
        inside = scan.inside()
        cells = _placed(found[0], view.grid.long(), [int(side) for side in view.patch], inside.shape)
        return Detection(highest(cells[inside], self.top), None, smoothed(cells, inside, self.smooth), inside)

    def _target(self, values: torch.Tensor) -> torch.Tensor:
        """[M, P] patches as the objective was trained to restore them."""
        if self.objective.options.norm_target is False:
            return values
        return (values - values.mean(1, keepdim=True)) / (values.var(1, keepdim=True) + 1e-6).sqrt()

    def _draws(self, seed: int) -> np.random.Generator:
        return np.random.Generator(np.random.Philox(key=[seed, 4]))


def _standardized(dense: torch.Tensor, preprocessing: Any) -> torch.Tensor:
    """Inputs as an encoder sees them: bytes of pixels by the preprocessing's mean and deviation."""
    how = preprocessing.embedding()
    if dense.dtype != torch.uint8:
        return dense.float()
    mean, std = (torch.tensor(how[name]).view(1, -1, *[1] * (dense.ndim - 2)) for name in ("pixel_mean", "pixel_std"))
    return (dense.float() / 255 - mean) / std


def _cut(values: torch.Tensor, patch: Sequence[int]) -> torch.Tensor:
    """[C, spatial…] as [N, P] patches, row-major, whose values are in (p…, c) order."""
    rank = len(patch)
    shape = [values.shape[0]]
    for side, step in zip(values.shape[1:], patch, strict=True):
        shape += [side // step, step]
    order = [*range(1, 2 * rank + 1, 2), *range(2, 2 * rank + 2, 2), 0]
    return values.reshape(shape).permute(order).reshape(-1, int(np.prod(patch)) * values.shape[0])


def _pasted(patches: torch.Tensor, shape: Sequence[int], patch: Sequence[int]) -> torch.Tensor:
    """What :func:`_cut` took apart: [N, P] as [C, spatial…]."""
    rank, grid = len(patch), [side // step for side, step in zip(shape[1:], patch, strict=True)]
    values = patches.reshape([*grid, *patch, shape[0]])
    order = [2 * rank, *[axis for pair in zip(range(rank), range(rank, 2 * rank), strict=True) for axis in pair]]
    return values.permute(order).reshape(list(shape))


def _placed(patches: torch.Tensor, grid: torch.Tensor, patch: Sequence[int], shape: Sequence[int]) -> torch.Tensor:
    """[N, P] values of tokens around the middle of a scan as [spatial…], a mean where there are several."""
    sides, extents = torch.tensor(patch), torch.tensor(list(shape))
    window = (extents + sides - 1).div(sides, rounding_mode="floor") * sides
    total, count = torch.zeros(window.tolist()), torch.zeros(window.tolist())
    for values, at in zip(patches, (grid * sides).tolist(), strict=True):
        box = tuple(slice(a, a + side) for a, side in zip(at, patch, strict=True))
        total[box] += values.reshape(list(patch))
        count[box] += 1
    first = (window - extents + 1).div(2, rounding_mode="floor").tolist()
    ours = tuple(slice(a, a + side) for a, side in zip(first, shape, strict=True))
    return total[ours] / count[ours].clamp_min(1)
