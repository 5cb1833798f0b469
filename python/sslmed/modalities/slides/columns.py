"""Columns of an index of slides, and endings of slides' files."""

from __future__ import annotations

import pandas as pd

__all__ = ["COLUMNS", "KEPT", "SUFFIXES", "is_indexed"]

COLUMNS = {
    "width": "pixels of level 0",
    "height": "pixels of level 0",
    "mpp_x": "µm per pixel of level 0",
    "mpp_y": "µm per pixel of level 0",
    "cell_x": "pixels of level 0 that a cell of the tissue's grid is wide",
    "cell_y": "pixels of level 0 that a cell of the tissue's grid is high",
    "columns": "cells in a row of the grid",
    "rows": "rows of cells in the grid",
    "cells": "cells that have tissue",
    "tissue": "which cells: lengths of stretches without and with tissue by turns, row by row, 7 bits a byte, least first",
    "tissue_mm2": "area of the cells that have tissue",
}
"""Columns of an index beside ``path``, ``subject`` and what else was known."""

SUFFIXES = (".svs", ".tif", ".tiff", ".ndpi", ".scn", ".mrxs", ".vms", ".vmu", ".bif", ".svslide", ".czi")
"""Endings of files that count as slides in a folder. DICOM slides are many files each: list one of each in a table."""

KEPT = {
    "index_note": "what looks wrong with the slide, and what to try; empty where nothing does",
    "index_state": "what the row was made of: size and time of the file, the scale and the annotations that were given, and the options",
}
"""Further columns that an index has."""


def is_indexed(table: pd.DataFrame) -> bool:
    """Whether a cohort's table is an index of slides."""
    return set(COLUMNS) - {"tissue_mm2"} <= set(table.columns)
