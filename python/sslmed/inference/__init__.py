"""Prediction of what is larger than a network takes at once: windows of arrays, tiles of whole slides, and the objects in what was predicted."""

from sslmed.inference.objects import ObjectStream, outline
from sslmed.inference.sinks import MapBand
from sslmed.inference.slides import SlideMap, tiled, tiled_bands
from sslmed.inference.windows import sliding_window

__all__ = ["MapBand", "ObjectStream", "SlideMap", "outline", "sliding_window", "tiled", "tiled_bands"]
