"""Classical features of images: the color."""

from __future__ import annotations

import numpy as np
import torch

from sslmed import sources
from sslmed.modalities.base import Array, OnError, Rows
from sslmed.modalities.images.preprocessing import ImagePreprocessing
from sslmed.modalities.images.source import source

__all__ = ["color"]


def color(rows: Rows, *, threads: int = 2, on_error: OnError = "raise") -> Array:
    """[images, 6]: mean and standard deviation of R, G and B in [0, 1], at 224 pixels. NaN where a file cannot be read (``on_error="skip"``).

    Raises:
        FormatError, ReadError: A file cannot be read (``on_error="raise"``).
    """
    out = np.full((len(rows.table), 6), np.nan)
    preprocessing = ImagePreprocessing()
    loader = sources.in_order(source(rows, preprocessing), preprocessing, threads=threads, batch_size=16, on_error=on_error)
    while (batch := loader.next()) is not None:
        if not batch.views:
            continue
        light = batch.views[0].values.view(len(batch), -1, 3).double() / 255  # pixels are in the patches' order
        images = [batch.sample_ids[slot] for slot in batch.views[0].slots]
        out[images] = torch.cat([light.mean(1), light.std(1, correction=0)], dim=1).numpy()
    return out
