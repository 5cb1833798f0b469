"""Classical features of slides: the color of the tissue."""

from __future__ import annotations

import errno

import numpy as np

from sslmed._core import FormatError, ReadError
from sslmed.io import open_slide
from sslmed.modalities.base import Array, OnError, Rows
from sslmed.modalities.slides.index import tissue_of

__all__ = ["color"]


def color(rows: Rows, *, on_error: OnError = "raise") -> Array:
    """[slides, 6]: mean and standard deviation over the tissue of the optical density in R, G and B, at the scale of the index's cells over four.

    NaN where a file cannot be read (``on_error="skip"``).

    Raises:
        ValueError: A slide has no tissue.
        FormatError, ReadError: A file cannot be read (``on_error="raise"``).
    """
    out = np.full((len(rows.table), 6), np.nan)
    for i, (_, row) in enumerate(rows.table.iterrows()):
        mask = tissue_of(row).mask
        if not mask.any():
            raise ValueError(f"{row['path']}: no tissue in the index; leave the slide out of the cohort")
        try:
            picture = open_slide(row["path"], mpp=(row["mpp_x"], row["mpp_y"])).thumbnail((4 * mask.shape[1], 4 * mask.shape[0]))
        except (FormatError, ReadError) as error:
            if on_error == "raise" or getattr(error, "errno", None) in (errno.EMFILE, errno.ENFILE):  # which says nothing of the slide
                raise
            continue
        height, width = picture.shape[:2]
        # The grid goes on beyond the slide's edge, the picture does not: each pixel looks up the cell that its middle is in.
        line = ((np.arange(height) + 0.5) * row["height"] / height / row["cell_y"]).astype(int)
        column = ((np.arange(width) + 0.5) * row["width"] / width / row["cell_x"]).astype(int)
        density = -np.log((picture.numpy()[mask.numpy()[line[:, None], column]] + 1.0) / 256)
        out[i] = np.concatenate([density.mean(0), density.std(0)])
    return out
