"""DINO: options and objective."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from sslmed._checks import whole
from sslmed._core import C
from sslmed.encoders import CohortEncoder
from sslmed.methods.base import at_least_one, register
from sslmed.methods.joint_embedding import JointEmbedding, views_of

__all__ = ["Dino"]


@register
@dataclass(frozen=True)
class Dino:
    """Options of DINO (Caron et al., arXiv 2104.14294): all crops of a sample agree with a teacher's answer to its global crops.

    The run keeps the teacher, the average of the encoder over the run.

    Examples:
        >>> import sslmed as sm
        >>> small = sm.methods.Dino(prototypes=1024, hidden=512, bottleneck=64, local=4)
    """

    name: ClassVar[str] = "dino"
    class_token: ClassVar[bool] = True
    weight_decay: ClassVar[tuple[float, float]] = (0.04, 0.4)

    prototypes: int = 65536
    """Number of prototypes K."""
    hidden: int = 2048
    """Width of the hidden layers of the head."""
    bottleneck: int = 256
    """Width of the unit vectors that are compared with prototypes."""
    local: int = 8
    """Number of local crops of each sample."""
    local_size: int | None = None
    """Size of a local crop; by default the modality's."""
    student_temperature: float = 0.1
    """Temperature of the student's softmax over prototypes."""
    teacher_temperature_start: float = 0.04
    """Temperature of the teacher's softmax at the start."""
    teacher_temperature: float = 0.04
    """Temperature of the teacher's softmax after the warm-up."""
    teacher_warmup: float = 0.0
    """Share of the run in which the teacher's temperature rises."""
    center_momentum: float = 0.9
    """Momentum of the mean of the teacher's answers, which is subtracted from them."""
    momentum: float = 0.996
    """Momentum of the teacher at the start of a run; it rises to 1 by half a cosine."""
    freeze_last: float = 0.01
    """Share of the run in which the prototypes stay as they were drawn."""
    views: Any = None
    """Views of each sample; by default two global and ``local`` local crops with the modality's changes."""

    def __post_init__(self) -> None:
        at_least_one(self, "hidden", "bottleneck", "local_size")
        whole(self.name, "local", self.local)

    def objective(self, encoder: CohortEncoder, seed: int) -> JointEmbedding:
        """Student and teacher, each with its head."""
        options = C.DinoOptions(
            prototypes=self.prototypes,
            hidden=self.hidden,
            bottleneck=self.bottleneck,
            student_temperature=self.student_temperature,
            teacher_temperature_start=self.teacher_temperature_start,
            teacher_temperature=self.teacher_temperature,
            teacher_warmup=self.teacher_warmup,
            center_momentum=self.center_momentum,
            momentum=self.momentum,
            freeze_last=self.freeze_last,
            seed=seed,
        )
        recipe = views_of(encoder, "dino", self.views, local=self.local, local_size=self.local_size)
        return JointEmbedding(encoder, self, lambda handle, twin, how: C.Dino(handle, twin, options, how), recipe, twin=True)
