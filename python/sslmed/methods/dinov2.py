"""DINOv2: options and objective."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from sslmed._checks import whole
from sslmed._core import C
from sslmed.encoders import CohortEncoder
from sslmed.methods.base import at_least_one, needs_encoder, register
from sslmed.methods.joint_embedding import JointEmbedding
from sslmed.modalities.base import Mask
from sslmed.modalities.views import mask_options

__all__ = ["DinoV2"]


@register
@dataclass(frozen=True)
class DinoV2:
    """Options of DINOv2 (Oquab et al., arXiv 2304.07193): self-distillation of class tokens and of masked patches.

    A student sees two masked global crops and several local ones; a teacher, the average of the student over the run,
    sees the global crops whole. The student's class tokens answer as the teacher's do for another crop
    (:func:`sslmed.losses.dino_pairs`), its masked patches as the teacher's for the same patch
    (:func:`sslmed.losses.ibot`), and class tokens of a batch are spread. The run keeps the teacher.

    Of vision transformers with a class token. A callback's rows have the parts of the loss: ``dino_loss``,
    ``ibot_loss``, ``koleo_loss`` or ``uniformity_loss``, and ``gram_loss``.

    Examples:
        >>> import sslmed as sm
        >>> small = sm.methods.DinoV2(prototypes=1024, hidden=512, bottleneck=64, local=4)
        >>> anchored = sm.methods.DinoV2(gram_weight=1.0, gram_start=0.7, gram_refresh=10_000)

    See Also:
        :class:`Dino`: class tokens alone, also for convolutional encoders.
    """

    name: ClassVar[str] = "dinov2"
    class_token: ClassVar[bool] = True
    weight_decay: ClassVar[tuple[float, float]] = (0.04, 0.2)

    prototypes: int = 65536
    """Number of prototypes K of each head."""
    hidden: int = 2048
    """Width of the hidden layers of each head."""
    bottleneck: int = 256
    """Width of the unit vectors that are compared with prototypes."""
    shared_head: bool = False
    """Masked patches go through the head of the class tokens, instead of one of their own."""
    local: int = 8
    """Number of local crops of each sample."""
    local_size: int | None = None
    """Size of a local crop; by default the modality's."""
    mask: Mask = "block"
    """Which patches of the global crops are hidden from the student, as in the recipe of the modality."""
    mask_ratio: tuple[float, float] = (0.1, 0.5)
    """Lowest and highest share of a crop's patches that are hidden; each crop draws its own."""
    p_mask: float = 0.5
    """Probability that anything is hidden of a global crop."""
    dino_weight: float = 1.0
    """Weight of the loss of class tokens."""
    ibot_weight: float = 1.0
    """Weight of the loss of masked patches; 0: nothing is masked."""
    centering: Literal["sinkhorn", "softmax"] = "sinkhorn"
    """How the teacher's answers are kept apart: Sinkhorn-Knopp over a batch, or DINO's running mean, subtracted."""
    iterations: int = 3
    """Number of iterations of Sinkhorn-Knopp."""
    center_momentum: float = 0.9
    """Momentum of the running mean, with ``centering="softmax"``."""
    regularizer: Literal["koleo", "uniformity", "none"] = "koleo"
    """What spreads the class tokens of each global crop: the distance to the nearest neighbor
    (:func:`sslmed.losses.koleo`), or the density of all others (:func:`sslmed.losses.uniformity`)."""
    regularizer_weight: float = 0.1
    """Weight of the regularizer, which is summed over the two global crops."""
    kappa: float = 5.0
    """Concentration of the kernel of ``regularizer="uniformity"``."""
    student_temperature: float = 0.1
    """Temperature of the student's softmax over prototypes."""
    teacher_temperature_start: float = 0.04
    """Temperature of the teacher's answers at the start."""
    teacher_temperature: float = 0.07
    """Temperature of the teacher's answers after the warm-up."""
    teacher_warmup: float = 0.3
    """Share of the run in which the teacher's temperature rises."""
    momentum: float = 0.992
    """Momentum of the teacher at the start of a run; it rises to 1 by half a cosine. The published ViT-L has 0.994."""
    freeze_last: float = 0.01
    """Share of the run in which the prototypes stay as they were drawn."""
    layer_decay: float = 0.9
    """Factor of the learning rate from a block to the one before it; 1: none."""
    patch_embed_lr: float = 0.2
    """Further factor of the learning rate of the patch embedding."""
    drop_path: float = 0.0
    """Probability that a residual branch of the student's last block is left out for a crop; it rises in a line from 0
    at the first block."""
    gram_weight: float = 0.0
    """Weight of Gram anchoring (DINOv3, arXiv 2508.10104): cosines between the patches of a crop stay those of an earlier
    teacher; 0: none."""
    gram_start: float = 0.5
    """Share of the run after which patches are anchored, by a copy of the teacher of that step."""
    gram_refresh: int = 0
    """Number of steps after which the copy is made anew; 0: never."""
    views: Any = None
    """Views of each sample, whose global ones have masks; by default two global and ``local`` local crops with the
    modality's changes."""

    def __post_init__(self) -> None:
        at_least_one(self, "hidden", "bottleneck", "local_size")
        whole(self.name, "local", self.local)

    @property
    def least_batch(self) -> int:
        """Two where samples of a batch are spread."""
        return 1 if self.regularizer == "none" else 2

    def objective(self, encoder: CohortEncoder, seed: int) -> JointEmbedding:
        """Student and teacher with their heads, and the anchor where there is one.

        Raises:
            TypeError: The encoder is no :class:`sslmed.Encoder`.
            ValueError: The encoder has no class token, or an option is out of range.
        """
        needs_encoder(encoder, self.name)
        options = C.DinoV2Options(
            prototypes=self.prototypes,
            hidden=self.hidden,
            bottleneck=self.bottleneck,
            shared_head=self.shared_head,
            dino_weight=self.dino_weight,
            ibot_weight=self.ibot_weight,
            centering=self.centering,
            iterations=self.iterations,
            center_momentum=self.center_momentum,
            regularizer=self.regularizer,
            regularizer_weight=self.regularizer_weight,
            kappa=self.kappa,
            student_temperature=self.student_temperature,
            teacher_temperature_start=self.teacher_temperature_start,
            teacher_temperature=self.teacher_temperature,
            teacher_warmup=self.teacher_warmup,
            momentum=self.momentum,
            freeze_last=self.freeze_last,
            layer_decay=self.layer_decay,
            patch_embed_lr=self.patch_embed_lr,
            drop_path=self.drop_path,
            gram_weight=self.gram_weight,
            gram_start=self.gram_start,
            gram_refresh=self.gram_refresh,
            seed=seed,
        )
        how = encoder.preprocessing
        views = self._masked(how.contrast("dino", self.local, self.local_size)) if self.views is None else self.views
        recipe = how.recipe(views=views)

        def build(handle: Any, recipe: C.Recipe | None) -> Any:
            return C.DinoV2(handle, options, recipe)

        return JointEmbedding(encoder, self, build, recipe, twin=False)

    def _masked(self, views: Any) -> Any:
        """The views with the mask of the global ones; of several modalities by name."""
        if isinstance(views, Mapping):
            return {name: self._masked(own) for name, own in views.items()}
        assert isinstance(views, Sequence)
        return [self._hidden(view) if view.role == "global" and self.ibot_weight > 0 else view for view in views]

    def _hidden(self, view: Any) -> Any:
        if isinstance(view, C.GridView):  # of arrays in memory, whose views are the core's own
            view.mask = mask_options(self.mask, self.mask_ratio, 0.5, p_mask=self.p_mask)
            return view
        return replace(view, mask=self.mask, ratio=self.mask_ratio, p_mask=self.p_mask)
