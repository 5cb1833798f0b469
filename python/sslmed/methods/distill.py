"""Distillation: options and objective."""

from __future__ import annotations

import copy
import os
import warnings
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from typing import Any, ClassVar, Literal

import torch

from sslmed import digests
from sslmed._checks import choice, number, whole
from sslmed._core import C, LeftOutWarning
from sslmed.encoders.base import CohortEncoder, load
from sslmed.methods.base import register
from sslmed.modalities.registry import described
from sslmed.nn import Mirror

__all__ = ["Distill", "Distillation"]

_OF_THE_ENCODER = ("patch", "mean", "std")  # fields that say how an encoder cuts and scales what it is given


@register
@dataclass(frozen=True)
class Distill:
    """Options of distillation (Romero et al., arXiv 1412.6550): an encoder learns the features of a larger one.

    The teacher stays as it is, in evaluation, and is no part of checkpoints; a resumed run must have the same one. What
    it has seen becomes part of the provenance of a student without one.

    Examples:
        >>> import sslmed as sm
        >>> large = sm.Encoder("vit_small", sm.ImagePreprocessing(size=32, patch=8), depth=2)
        >>> method = sm.methods.Distill(teacher=large)
        >>> run = sm.pretrain(sm.Cohort.open("tiles"), method, "vit_tiny", "runs/small")  # doctest: +SKIP
    """

    name: ClassVar[str] = "distill"
    class_token: ClassVar[bool] = True
    weight_decay: ClassVar[tuple[float, float]] = (0.05, 0.05)

    teacher: Any = None
    """Encoder to learn from, or the path of one. Its patch may be of another size, and its views dense; all other fields
    of its preprocessing are those of the student's."""
    loss: Literal["cosine", "mse"] = "cosine"
    """"cosine" distance, or "mse": squared error, the teacher's features normalized to mean 0 and variance 1 each."""
    layers: int = 1
    """Number of layers of the projection from the student's width to the teacher's; 1: a matrix."""
    hidden: int = 2048
    """Width of the projection's hidden layers."""
    token_weight: float = 0.0
    """Weight of the same loss over tokens; the teacher's are resampled where grids differ. 0: summaries alone."""
    augmentation: Any = None
    """Random changes of samples, the same for both; by default those of the student's modality."""

    def __post_init__(self) -> None:
        choice("Distill", "loss", self.loss, ("cosine", "mse"))
        whole("Distill", "layers", self.layers, 1)
        whole("Distill", "hidden", self.hidden, 1)
        number("Distill", "token_weight", self.token_weight, 0)

    @cached_property
    def resolved(self) -> CohortEncoder:
        """The teacher itself, a copy that does not change."""
        if self.teacher is None:
            raise ValueError("Distill: teacher is missing: give an encoder, or the path of an encoder.safetensors")
        if isinstance(self.teacher, (str, os.PathLike)):
            return load(self.teacher)
        if not isinstance(self.teacher, CohortEncoder):
            raise TypeError(f"Distill: teacher={self.teacher!r} must be an encoder or the path of an encoder.safetensors")
        return copy.deepcopy(self.teacher)

    def described(self) -> dict[str, Any]:
        """The options as plain values, the teacher by its architecture, its preprocessing and a digest of its weights."""
        options = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "teacher"}
        if options["augmentation"] is not None:
            options = asdict(replace(self, teacher=None))
        return options | {"teacher": _known(self.resolved)}

    def objective(self, encoder: CohortEncoder, seed: int) -> Distillation:
        """Student, projection and the frozen teacher."""
        return Distillation(encoder, self.resolved, self, seed=seed)


class Distillation(Mirror):
    """A student with a projection to the features of a frozen teacher.

    Args:
        encoder: Student, whose weights are shared, not copied.
        teacher: Encoder to learn from. It is put into evaluation, and its weights take no gradient from here on.
        options: Options of the method.
        seed: Seed of the projection's initial weights.

    Raises:
        ValueError: The two see samples differently, or an option is out of range.

    Warns:
        LeftOutWarning: Student and teacher have seen people already: those of the teacher are not recorded.
    """

    def __init__(self, encoder: CohortEncoder, teacher: CohortEncoder, options: Distill | None = None, *, seed: int = 0) -> None:
        chosen = options or Distill(teacher)
        recipe = _recipe(encoder, teacher, chosen.augmentation)

        def build_on(handle: Any) -> C.Distill:
            plain = C.DistillOptions(loss=chosen.loss, layers=chosen.layers, hidden=chosen.hidden, token_weight=float(chosen.token_weight), seed=seed)
            return C.Distill(handle, teacher._handle, plain, recipe)

        super().__init__(lambda: build_on(encoder._build()), lambda: build_on(encoder._handle))
        self.preprocessing = encoder.preprocessing
        self.options = chosen
        self._recipe = recipe
        _inherit(encoder, teacher)

    def loss(self, batch: C.Batch, step: int = 0, total: int = 0) -> torch.Tensor:
        """The loss of a loader's batch at a step of ``total``."""
        out: torch.Tensor = self._handle.loss(batch, step, total)
        return out


def _known(teacher: CohortEncoder) -> dict[str, Any]:
    """What tells a teacher from another."""
    weights = teacher.state_dict()  # type: ignore[attr-defined]
    digest = digests.of_array(tuple(weights[name] for name in sorted(weights)))
    return {"encoder": teacher.config, "preprocessing": described(teacher.preprocessing), "weights": digest.hex() if digest else ""}


def _recipe(student: CohortEncoder, teacher: CohortEncoder, augmentation: Any) -> C.Recipe:
    """Views for both: the same ones where they cut samples alike, otherwise the teacher's own beside the student's."""
    mine, theirs = described(student.preprocessing), described(teacher.preprocessing)
    differ = [name for name in sorted(mine.keys() | theirs.keys()) if mine.get(name) != theirs.get(name) and name not in _OF_THE_ENCODER]
    if differ:
        told = "; ".join(f"{name}={theirs.get(name)!r} of the teacher, {mine.get(name)!r} of the student" for name in differ)
        raise ValueError(f"distill: both must see the same samples, but {told}")
    how = student.preprocessing.augmentation if augmentation is None else augmentation
    recipe = student.preprocessing.recipe(augmentation=how)
    if mine.get("patch") == theirs.get("patch"):
        return recipe
    return C.PairedRecipe(recipe, teacher.preprocessing.recipe(augmentation=how))


def _inherit(student: CohortEncoder, teacher: CohortEncoder) -> None:
    """What the teacher has seen, the student has seen too."""
    if teacher.provenance is None or student.provenance is teacher.provenance:
        return
    if student.provenance is None:
        student.provenance = teacher.provenance
        return
    text = "distill: people whom the teacher has seen are not recorded, because the student has seen others under another salt"
    warnings.warn(text, LeftOutWarning, stacklevel=4)
