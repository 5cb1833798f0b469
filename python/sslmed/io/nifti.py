"""NIfTI volumes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from sslmed._core import Array, C, tensor

__all__ = ["NiftiHeader", "Volume", "read_nifti", "read_nifti_header", "write_nifti"]

_Path = str | os.PathLike[str]

# NIfTI datatypes, by the names that torch and NumPy share.
_TYPES = {
    2: "uint8",
    4: "int16",
    8: "int32",
    16: "float32",
    64: "float64",
    128: "rgb24",
    256: "int8",
    512: "uint16",
    768: "uint32",
    1024: "int64",
    1280: "uint64",
    2304: "rgba32",
}
_CODES = {name: code for code, name in _TYPES.items()}
_SPACES = ("unknown", "scanner", "aligned", "talairach", "mni", "template")


@dataclass(eq=False, init=False)
class Volume:
    """An image in space: values, and where its cells are.

    Args:
        data: Values [X, Y, Z, …] in the file's axis order, of any dtype; further axes are time and others. Colors are a
            trailing axis of 3 (RGB) or 4 (RGBA) without a spacing.
        affine: [4, 4], from the index of a cell (its middle) to mm in RAS+ space: right, anterior, superior.
        spacing: Size of a cell along each axis: mm, and s along the fourth. By default the lengths of the affine's
            columns, and 1 along further axes.
        space: What the affine leads to: "scanner", "aligned" (to another image), "talairach", "mni", "template",
            or "unknown" (the file has no orientation, and left and right are a guess).
        extensions: (code, bytes) of a NIfTI file's extensions.

    Raises:
        ValueError: ``affine`` or ``spacing`` do not fit ``data``.

    Examples:
        >>> import torch
        >>> import sslmed as sm
        >>> volume = sm.io.Volume(torch.zeros(4, 5, 6), torch.diag(torch.tensor([2.0, 2.0, 3.0, 1.0])))
        >>> volume.spacing
        (2.0, 2.0, 3.0)
    """

    data: torch.Tensor
    affine: torch.Tensor
    spacing: tuple[float, ...]
    space: str
    extensions: tuple[tuple[int, bytes], ...]

    def __init__(
        self,
        data: Array,
        affine: Array,
        spacing: Sequence[float] | None = None,
        space: str = "aligned",
        extensions: Sequence[tuple[int, bytes]] = (),
    ) -> None:
        self.data = tensor(data)
        self.affine = torch.as_tensor(affine, dtype=torch.float64)
        if self.affine.shape != (4, 4):
            raise ValueError(f"Volume: affine must be [4, 4], got {list(self.affine.shape)}")
        if space not in _SPACES:
            raise ValueError(f"Volume: space={space!r} must be one of {', '.join(_SPACES)}")
        if spacing is None:
            lengths = self.affine[:3, :3].square().sum(0).sqrt().tolist()
            spacing = [lengths[axis] if axis < 3 else 1.0 for axis in range(self.data.dim())]
        self.spacing = tuple(float(size) for size in spacing)
        self.space, self.extensions = space, tuple(extensions)
        colors = self.data.dim() - len(self.spacing)
        if colors != 0 and not (colors == 1 and self.data.shape[-1] in (3, 4)):
            raise ValueError(
                f"Volume: spacing must have one value for each of the {self.data.dim()} axes of data, "
                f"got {len(self.spacing)} (only a trailing axis of 3 or 4 colors has none)"
            )

    @property
    def has_colors(self) -> bool:
        """Whether the last axis of ``data`` is RGB or RGBA."""
        return self.data.dim() > len(self.spacing)

    def labels(self, dtype: torch.dtype = torch.int64) -> torch.Tensor:
        """The values as integers, for label maps.

        Args:
            dtype: An integer dtype.

        Returns:
            A tensor of the shape of ``data``.

        Raises:
            ValueError: A value is no whole number, or does not fit ``dtype``.

        Examples:
            >>> import torch
            >>> import sslmed as sm
            >>> sm.io.Volume(torch.tensor([[[0.0, 2.0]]]), torch.eye(4)).labels()
            tensor([[[0, 2]]])
        """
        if dtype.is_floating_point or dtype.is_complex or dtype == torch.bool:
            raise ValueError(f"Volume.labels: dtype={dtype} must be an integer type")
        stored = _stored(self.data.detach().cpu().numpy(), np.dtype(_name(dtype)), 1.0, 0.0, "Volume.labels")
        return torch.from_numpy(stored)

    def to_ras(self) -> Volume:
        """The same volume with axes permuted and flipped so that they run closest to right, anterior, superior.

        Cells are moved, never interpolated; the affine moves with them.

        Raises:
            ValueError: ``data`` has fewer than three axes, or the affine is singular.

        Examples:
            >>> import torch
            >>> import sslmed as sm
            >>> volume = sm.io.Volume(torch.tensor([[[1, 2]]]), torch.diag(torch.tensor([1.0, 1.0, -1.0, 1.0])))
            >>> volume.to_ras().data
            tensor([[[2, 1]]])
        """
        if len(self.spacing) < 3:
            raise ValueError(f"Volume.to_ras: data must have three axes or more, got {len(self.spacing)}")
        axes, flipped = _closest_axes(self.affine.numpy())
        order = [axes.index(out) for out in range(3)]
        data = self.data.permute(*order, *range(3, self.data.dim()))
        data = data.flip([out for out in range(3) if flipped[order[out]]]) if any(flipped) else data
        back = np.zeros((4, 4))
        back[3, 3] = 1
        for out, axis in enumerate(order):
            back[axis, out] = -1 if flipped[axis] else 1
            back[axis, 3] = self.data.shape[axis] - 1 if flipped[axis] else 0
        spacing = [self.spacing[axis] for axis in order] + list(self.spacing[3:])
        return replace(self, data=data, affine=torch.from_numpy(self.affine.numpy() @ back), spacing=tuple(spacing))

    def __repr__(self) -> str:
        size = " x ".join(map(str, self.data.shape))
        sizes = " x ".join(f"{value:g}" for value in self.spacing)
        return f"<Volume {size} ({str(self.data.dtype).removeprefix('torch.')}), cells of {sizes}, {self.space}>"


@dataclass(frozen=True, eq=False)
class NiftiHeader:
    """What a NIfTI file says of its values. See :func:`read_nifti_header`."""

    shape: tuple[int, ...]
    """Cells along the file's axes, and a trailing 3 or 4 for colors."""
    affine: torch.Tensor
    """[4, 4] float64: index of a cell to mm, RAS+."""
    spacing: tuple[float, ...]
    """Size of a cell along each axis: mm, and s along the fourth."""
    space: str
    """What the affine leads to, as in :class:`Volume`."""
    stored: str
    """Type of the stored numbers: "int16", "float32", "rgb24" …"""
    slope: float
    """value = slope * stored + inter."""
    inter: float
    description: str


def read_nifti(path: _Path, *, dtype: torch.dtype | None = None) -> Volume:
    """Reads a NIfTI-1 or NIfTI-2 file: ``.nii``, ``.nii.gz``, or a pair of ``.hdr`` and ``.img`` (either name, also ``.gz``).

    The affine is the sform where the file has one, else the qform. A file with neither is taken as nibabel takes it, with
    a warning: left and right are then a guess. Lengths in m or µm become mm, times in ms or µs become s.

    Args:
        path: The file.
        dtype: Type of ``data``: float32 (rounded where it must be), float64, uint8, int8, int16, int32 or int64. Integers are
            for label maps: a value that is no whole number is refused. By default float32 where every value is exact in
            it, else float64.

    Returns:
        The volume. Slope and intercept are applied (computed in float64); ``data`` is in the file's axis order, a view
        whose first axis runs fastest in memory.

    Raises:
        FormatError: The file is damaged, cut, of complex or extended type, or has a value that ``dtype`` does not hold.
        ReadError: The file cannot be read.
        RuntimeError: The file is compressed, and this build has no libdeflate.

    Warns:
        FormatWarning: Something was wrong and could be repaired, or the orientation is a guess.

    Examples:
        >>> import tempfile, torch
        >>> import sslmed as sm
        >>> path = f"{tempfile.mkdtemp()}/brain.nii.gz"
        >>> sm.io.write_nifti(sm.io.Volume(torch.arange(24).view(2, 3, 4), torch.eye(4)), path)
        >>> volume = sm.io.read_nifti(path)
        >>> volume.data.shape, volume.data.dtype
        (torch.Size([2, 3, 4]), torch.float32)
        >>> sm.io.read_nifti(path, dtype=torch.int32).data.dtype
        torch.int32

    See Also:
        read_volume: Other formats as well.
        read_nifti_header: The header alone.
    """
    data, affine, spacing, code, extensions = C.read_nifti(os.fspath(path), dtype)
    return Volume(data, affine, spacing, _SPACES[code], extensions)


def read_nifti_header(path: _Path) -> NiftiHeader:
    """Reads the header of a NIfTI file; of a compressed one only the first KiB are decompressed.

    Args:
        path: The file, as :func:`read_nifti` takes it.

    Raises:
        FormatError: The header is damaged.
        ReadError: The file cannot be read.

    Warns:
        FormatWarning: Something was wrong and could be repaired.

    Examples:
        >>> import tempfile, torch
        >>> import sslmed as sm
        >>> path = f"{tempfile.mkdtemp()}/brain.nii.gz"
        >>> sm.io.write_nifti(sm.io.Volume(torch.zeros(2, 3, 4), torch.eye(4)), path)
        >>> sm.io.read_nifti_header(path).shape
        (2, 3, 4)
    """
    shape, affine, spacing, code, stored, slope, inter, description = C.read_nifti_header(os.fspath(path))
    return NiftiHeader(tuple(shape), affine, tuple(spacing), _SPACES[code], _TYPES[stored], slope, inter, description)


def write_nifti(
    volume: Volume,
    path: _Path,
    *,
    dtype: torch.dtype | None = None,
    slope: float = 1.0,
    inter: float = 0.0,
    version: int | None = None,
    compression: int = 6,
    description: str = "",
) -> None:
    """Writes a NIfTI file, atomically; equal volumes give equal bytes.

    The affine is written as sform, and as qform where it has no shears. Units are mm and s.

    Args:
        volume: What is written. Data that are not on the CPU are copied there.
        path: A name that ends in ``.nii`` or ``.nii.gz``.
        dtype: Type of the stored numbers, also torch.uint16, uint32 and uint64. By default that of ``volume.data``, with
            these exceptions: bool becomes uint8, float16 and bfloat16 become float32, and int64 becomes int32 where it
            fits, because few programs read int64. Colors are stored as RGB24 or RGBA32.
        slope: The file holds (value - inter) / slope, rounded for integer types.
        inter: See ``slope``.
        version: 1 or 2; by default 1 where the shape fits (32767 cells along an axis).
        compression: Level of ``.nii.gz``, 0 (stored) to 12 (slowest).
        description: Free text, at most 79 bytes.

    Raises:
        ValueError: The format or ``dtype`` cannot hold the values.
        OSError: The file cannot be written.

    Examples:
        >>> import tempfile, torch
        >>> import sslmed as sm
        >>> volume = sm.io.Volume(torch.tensor([[[0.0, 0.5]]]), torch.eye(4))
        >>> path = f"{tempfile.mkdtemp()}/half.nii"
        >>> sm.io.write_nifti(volume, path, dtype=torch.int16, slope=0.5)
        >>> sm.io.read_nifti(path).data
        tensor([[[0.0000, 0.5000]]])
    """
    where = f"write_nifti: {os.fspath(path)}"
    values = volume.data.detach().cpu()
    if values.dtype in (torch.float16, torch.bfloat16):
        values = values.float()
    array = values.numpy()
    if array.dtype == np.bool_:
        array = array.astype(np.uint8)
    if version is None:
        version = 2 if any(side > 32767 for side in array.shape) else 1
    if version == 1:  # the header of NIfTI-1 has float32
        with np.errstate(over="ignore"):  # inf is refused below
            slope, inter = float(np.float32(slope)), float(np.float32(inter))
    if not (np.isfinite(slope) and np.isfinite(inter)) or slope == 0:
        raise ValueError(f"{where}: slope and inter must be finite in the header and slope not 0, got slope={slope}, inter={inter}")
    colors = array.shape[-1] if volume.has_colors else 0
    if colors and (slope, inter, dtype) != (1.0, 0.0, None):
        raise ValueError(f"{where}: colors are stored as they are; leave out dtype, slope and inter")
    stored = _stored(array, np.dtype(np.uint8) if colors else _file_type(array, dtype), slope, inter, where)
    axes = list(range(len(volume.spacing)))[::-1] + ([len(volume.spacing)] if colors else [])
    C.write_nifti(
        os.fspath(path),
        torch.from_numpy(np.ascontiguousarray(stored.transpose(axes))),
        list(array.shape[: len(volume.spacing)]),
        _CODES[f"rgb{'a32' if colors == 4 else '24'}" if colors else stored.dtype.name],
        volume.affine,
        list(volume.spacing),
        max(_SPACES.index(volume.space), 1),
        slope,
        inter,
        list(volume.extensions),
        description,
        version,
        compression,
    )


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _file_type(array: np.ndarray[Any, Any], dtype: torch.dtype | None) -> np.dtype[Any]:
    name = str(array.dtype) if dtype is None else _name(dtype)
    if dtype is None and name == "int64":
        small = np.iinfo(np.int32)
        if array.size == 0 or (array.min() >= small.min and array.max() <= small.max):
            name = "int32"
    if name not in _CODES:
        raise ValueError(f"write_nifti: dtype={name} is no type of NIfTI that can be written")
    return np.dtype(name)


def _stored(values: np.ndarray[Any, Any], dtype: np.dtype[Any], slope: float, inter: float, where: str) -> np.ndarray[Any, Any]:
    """The numbers to store, or ValueError where ``dtype`` does not hold them."""
    scaled = (slope, inter) != (1.0, 0.0)
    if scaled:
        values = (values.astype(np.float64) - inter) / slope
    if dtype.kind == "f" or values.dtype == dtype:
        return values.astype(dtype, copy=False)
    if values.dtype.kind == "f":
        whole = np.rint(values)
        if not scaled and not np.array_equal(whole, values):
            found = values[whole != values][0]
            raise ValueError(f"{where}: dtype={dtype} holds whole numbers, found {found}; scale by slope or store float32")
        values = whole
    limits = np.iinfo(dtype)
    # Python compares an integer and a float exactly.
    low, high = (values.min().item(), values.max().item()) if values.size else (0, 0)
    if not (limits.min <= low and high <= limits.max):
        raise ValueError(f"{where}: dtype={dtype} holds {limits.min} to {limits.max}, found {low} to {high}")
    return values.astype(dtype)


def _closest_axes(affine: np.ndarray[Any, Any]) -> tuple[list[int], list[bool]]:
    """For each axis of a volume, the axis of RAS+ that it runs along, and whether it runs against it."""
    linear = affine[:3, :3]
    lengths = np.sqrt((linear**2).sum(axis=0))
    left, strengths, right = np.linalg.svd(linear / np.where(lengths == 0, 1, lengths))
    if strengths.min() <= strengths.max() * 3 * np.finfo(np.float64).eps:
        raise ValueError(f"Volume.to_ras: affine must not be singular, got {affine.tolist()}")
    rotation = left @ right  # the closest one without shears
    axes, flipped = [0, 0, 0], [False, False, False]
    # The axes that are clearest choose first.
    for axis in np.argsort((-(rotation**2)).min(axis=0), kind="stable"):
        out = int(np.abs(rotation[:, axis]).argmax())
        axes[axis], flipped[axis] = out, bool(rotation[out, axis] < 0)
        rotation[out] = 0
    return axes, flipped
