"""Image files as a C++ source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sslmed import tables
from sslmed._core import C
from sslmed.io import picture_store
from sslmed.modalities.base import Rows
from sslmed.modalities.images.preprocessing import ImagePreprocessing

__all__ = ["label_paths", "source"]


def source(rows: Rows, preprocessing: ImagePreprocessing, *, random: bool = False, targets: Mapping[str, Sequence[Any]] | None = None) -> C.ImageSource:
    """One picture of each image. A file that cannot be read is a FormatError or ReadError when its turn comes.

    No file is opened but those of formats that are converted once (DICOM, WebP …, see :func:`sslmed.io.convert_pictures`).
    JPEG files that are more than twice as large as needed are decoded at a half, a quarter or an eighth, as Pillow's ``draft`` does.

    Args:
        rows: A cohort of images.
        preprocessing: Size, and how images are brought to it.
        random: For recipes that crop at random: the shorter side gets the region's size, and the longer one stays whole.
        targets: Numbers by name, one an image. Under "objects" a dictionary an image, which follows the picture's geometry: "shape" (rows and columns of
            the file) and "objects", see ``C.ImageSource``.

    Raises:
        ValueError: A number is out of range, or label maps are asked for and no column lists them.
        FormatError, ReadError: A file cannot be converted.
        ImportError: There are DICOM files, and pydicom is not installed.

    Warns:
        FormatWarning: How gray values of radiographs became light, where they were converted.
    """
    numbers = dict(targets or {})
    objects = list(numbers.pop("objects", ()))
    picture_store.prepare(rows.table["path"], preprocessing.voi)
    return C.ImageSource(
        modality=preprocessing.modality,
        origins=tables.origins(rows.table),
        size=preprocessing.training_size if random else preprocessing.size,
        fit=preprocessing.fit,
        whole=random,
        voi=preprocessing.voi,
        targets={name: [float(v) for v in values] for name, values in numbers.items()},
        labels=label_paths(rows) if preprocessing.labels else [],
        objects=objects,
    )


def label_paths(rows: Rows) -> list[str]:
    """The label map of each row; "" where a row has none.

    Raises:
        ValueError: The table has no column ``path_labels``.
    """
    if "path_labels" not in rows.table:
        raise ValueError(f"{rows.name}: labels=True needs a column path_labels of label maps")
    return ["" if path is None or path != path else str(path) for path in rows.table["path_labels"]]
