"""What this build of the core can read and write."""

from __future__ import annotations

from sslmed._core import C
from sslmed.io.slide import openslide_version

__all__ = ["capabilities"]


def capabilities() -> dict[str, str]:
    """Which libraries of file formats are there, and what does not work without them."""
    return {
        "EDFlib": "yes" if C.HAS_EDFLIB else "no: EDF files can be read, not written",
        "PNG and JPEG": "yes" if C.have_images() else "no: images cannot be read, and slides are read through OpenSlide alone",
        "libdeflate": "yes" if C.have_deflate() else "no: .nii can be read and written, .nii.gz cannot",
        "OpenSlide": openslide_version() or "none: slides cannot be read (pip install openslide-bin)",
    }
