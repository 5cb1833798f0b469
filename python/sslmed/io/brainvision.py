"""BrainVision recordings."""

from __future__ import annotations

import os

from sslmed._core import C

__all__ = ["BrainVisionFile", "open_brainvision"]


class BrainVisionFile(C.BrainVisionFile):
    """An open BrainVision recording: a header (.vhdr), samples (.eeg) and markers (.vmrk). See :func:`open_brainvision`.

    ``ch_names``, ``units`` and ``resolutions`` are lists with one entry a channel; ``sfreq`` (Hz) and ``n_samples`` are of
    all channels.
    """

    def __repr__(self) -> str:
        return f"<BrainVisionFile {self.path}: {len(self.ch_names)} channels, {self.duration:g} s>"


def open_brainvision(path: str | os.PathLike[str]) -> BrainVisionFile:
    """Opens a BrainVision recording by its header.

    Continuous binary recordings of any orientation (``MULTIPLEXED``, ``VECTORIZED``) and any number format (``INT_16``,
    ``UINT_16``, ``INT_32``, ``IEEE_FLOAT_32``) are read; texts are UTF-8 or Latin-1. A data or marker file that the header
    names and that is not there may have been renamed with the header: the one beside it with the header's own name is read.

    Args:
        path: The ``.vhdr`` file.

    Returns:
        The open recording. Reading takes only the wanted samples from the file.

    Raises:
        FormatError: The header is malformed, or the recording is not a continuous binary one (text, averages, segments,
            spectra, big-endian).
        ReadError: A file cannot be read, or the data file is missing.

    Warns:
        FormatWarning: Something was wrong and could be salvaged.

    Examples:
        >>> import tempfile
        >>> from pathlib import Path
        >>> import numpy as np
        >>> import sslmed as sm
        >>> header = Path(tempfile.mkdtemp()) / "rest.vhdr"
        >>> np.arange(2000, dtype="<i2").reshape(1000, 2).tofile(header.with_suffix(".eeg"))
        >>> _ = header.write_text('''Brain Vision Data Exchange Header File Version 1.0
        ... [Common Infos]
        ... DataFile=$b.eeg
        ... DataOrientation=MULTIPLEXED
        ... NumberOfChannels=2
        ... SamplingInterval=2000
        ... [Binary Infos]
        ... BinaryFormat=INT_16
        ... [Channel Infos]
        ... Ch1=Cz,,0.5,µV
        ... Ch2=Pz,,0.5,µV
        ... ''')
        >>> sm.io.open_brainvision(header).read(0.0, 0.004)
        tensor([[0.0000, 1.0000],
                [0.5000, 1.5000]])

    See Also:
        open_edf: The same for EDF and BDF.
    """
    return BrainVisionFile(os.fspath(path))
