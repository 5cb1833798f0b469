"""What happens to images before an encoder sees them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from sslmed.io.dicom import Voi
from sslmed.io.picture_store import check_voi
from sslmed.modalities.pictures import Augmentation, PicturePreprocessing

__all__ = ["ImagePreprocessing"]


@dataclass(frozen=True)
class ImagePreprocessing(PicturePreprocessing):
    """Pictures out of image files (PNG, JPEG, TIFF, BMP, WebP, DICOM radiographs), brought to one size; gray ones get three equal channels."""

    modality: ClassVar[str] = "images"
    # Which side is which, and where up is, means something in most of medicine: nothing is flipped unless asked for.
    augmentation: ClassVar[Augmentation | None] = Augmentation(scale=(0.2, 1.0), p_flip=0.0, p_turn=0.0)
    changes: ClassVar[Augmentation] = Augmentation(
        p_flip=0.0, p_turn=0.0, brightness=0.4, contrast=0.4, saturation=0.2, hue=0.05, p_jitter=0.8, p_grayscale=0.2
    )

    fit: Literal["crop", "pad"] = "crop"
    """"crop": the shorter side gets the size, and of the longer one the middle is taken (in training any part); "pad": the longer side gets the size, and
    black is added beside the shorter one."""
    voi: Voi = "auto"
    """How gray values of DICOM radiographs become light: "lut" by the file's VOI LUT, "window" by its first window (center and
    width), "range" from the lowest to the highest value (of 8 bits: 0 to 255), "auto" by the first of these that a file has."""
    labels: bool = False
    """Whether views carry the label map of the column ``path_labels`` as the target "labels": PNG files of one channel, whose gray levels are the labels
    (two colors are 0 and 255); -1 beside the image and where a row has none."""

    def __post_init__(self) -> None:
        check_voi(type(self).__name__, self.voi)
