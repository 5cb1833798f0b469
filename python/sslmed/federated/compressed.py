"""A compressed tensor, and its bytes."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass

import torch

from sslmed._checks import whole
from sslmed._core import C, FormatError

__all__ = ["DTYPES", "MAX_ELEMENTS", "NONE", "Buffer", "Compressed", "checked_body", "matrix_rows"]

Buffer = bytes | bytearray | memoryview

NONE = "none"
"""The method of tensors that are sent as they are."""

MAX_ELEMENTS = 2**28
"""Values that are accepted from bytes unless a caller says otherwise: 1 GiB of float32."""

# Numbers of the format: append, never renumber.
CODES = {NONE: 0, "qsgd": 1, "drive": 2, "hadamard": 3, "topk": 4, "randmask": 5, "lowrank": 6}
NAMES = {code: name for name, code in CODES.items()}
DTYPES = {
    torch.float32: 0,
    torch.float64: 1,
    torch.float16: 2,
    torch.bfloat16: 3,
    torch.int64: 4,
    torch.int32: 5,
    torch.int16: 6,
    torch.int8: 7,
    torch.uint8: 8,
    torch.bool: 9,
}
KINDS = {code: dtype for dtype, code in DTYPES.items()}

# Magic, version, method, bits, number of axes, seed, parameter, bytes of the payload. Then the shape (8 bytes an axis), the
# payload, and a checksum of all before it.
HEADER = struct.Struct("<4sBBBBQQQ")
MAGIC, VERSION, MAX_AXES = b"SMFC", 1, 32
CHECKSUM = struct.Struct("<Q")


@dataclass(frozen=True, eq=False)
class Compressed:
    """A tensor as :func:`sslmed.federated.compress` makes it.

    Attributes:
        method: Name of the method, or ``"none"`` for a tensor that is sent as it is.
        shape: Shape of the tensor.
        payload: What the method needs to give the tensor back, uint8 [B], on the CPU.
        bits: Bits of a code (32: values travel as float32; 0: method ``"none"``).
        seed: Seed that the receiver draws the same signs and places from. It travels with the payload.
        parameter: The method's own number: values of a bucket (qsgd, 0: one bucket) or of a block (drive, hadamard),
            k (topk), the chance of a place times 2³² (randmask), the rank (lowrank), the code of the dtype (none).

    Examples:
        >>> import torch
        >>> from sslmed.federated import Compressed, compress, decompress
        >>> update = torch.randn(64, 300)
        >>> sent = compress(update, "hadamard", bits=4, seed=1).to_bytes()
        >>> received = Compressed.from_bytes(sent)
        >>> received.method, received.shape, len(sent) == received.nbytes
        ('hadamard', (64, 300), True)
        >>> decompress(received).shape
        torch.Size([64, 300])
    """

    method: str
    shape: tuple[int, ...]
    payload: torch.Tensor
    bits: int
    seed: int
    parameter: int

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the tensor: float32 unless it is sent as it is."""
        return KINDS[self.parameter] if self.method == NONE else torch.float32

    @property
    def numel(self) -> int:
        """Number of values of the tensor."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Length of :meth:`to_bytes`: the payload, the header and the checksum."""
        return HEADER.size + 8 * len(self.shape) + self.payload.numel() + CHECKSUM.size

    @property
    def ratio(self) -> float:
        """How many times smaller than the tensor's own bytes: above 1 is smaller. NaN for a tensor without values."""
        return self.numel * self.dtype.itemsize / self.nbytes if self.numel else math.nan

    def to_bytes(self) -> bytes:
        """Serializes the payload with its header and a checksum; little-endian.

        Returns:
            :attr:`nbytes` bytes.
        """
        head = HEADER.pack(MAGIC, VERSION, CODES[self.method], self.bits, len(self.shape), self.seed, self.parameter, self.payload.numel())
        body = head + struct.pack(f"<{len(self.shape)}Q", *self.shape) + self.payload.numpy().tobytes()
        return body + CHECKSUM.pack(C.bytes_checksum(body))

    @classmethod
    def from_bytes(cls, data: Buffer, *, max_elements: int = MAX_ELEMENTS) -> Compressed:
        """Reads what :meth:`to_bytes` wrote. Nothing is allocated from a size that the bytes claim.

        Args:
            data: All bytes of one tensor, and no others.
            max_elements: Most values that the tensor may have. A payload of a few bytes can stand for a very large
                tensor (``"topk"``), so the receiver sets the limit.

        Returns:
            The compressed tensor.

        Raises:
            TypeError: ``data`` is not bytes.
            ValueError: ``max_elements`` is not a whole number.
            FormatError: The bytes are damaged, cut, of another version, or larger than ``max_elements``.

        Examples:
            >>> import torch
            >>> from sslmed import FormatError
            >>> from sslmed.federated import Compressed, compress
            >>> sent = bytearray(compress(torch.ones(100), "topk").to_bytes())
            >>> sent[50] ^= 1
            >>> try:
            ...     Compressed.from_bytes(sent)
            ... except FormatError as error:
            ...     print("checksum" in str(error))
            True
        """
        where = "Compressed.from_bytes"
        whole(where, "max_elements", max_elements)
        view = checked_body(where, data, HEADER.size, MAGIC, VERSION)
        _, _, code, bits, axes, seed, parameter, size = HEADER.unpack_from(view)
        if code not in NAMES:
            raise FormatError(f"{where}: expected a method from 0 to {max(NAMES)}, found {code}")
        start = HEADER.size + 8 * axes
        if axes > MAX_AXES or start > len(view):
            raise FormatError(f"{where}: expected at most {MAX_AXES} axes and their sizes, found {axes} axes in {len(view)} bytes")
        shape = struct.unpack_from(f"<{axes}Q", view, HEADER.size)
        # Axes of size 0 do not excuse the others: torch multiplies them for strides.
        if math.prod(max(n, 1) for n in shape) > max_elements:
            raise FormatError(f"{where}: expected at most max_elements={max_elements} values, found shape {shape}")
        if size != len(view) - start:
            raise FormatError(f"{where}: expected a payload of {size} bytes, found {len(view) - start}")
        body = bytearray(view[start:])
        payload = torch.frombuffer(body, dtype=torch.uint8) if body else torch.empty(0, dtype=torch.uint8)
        found = cls(NAMES[code], shape, payload, bits, seed, parameter)
        found.check(where)
        return found

    def check(self, where: str) -> None:
        """Raises FormatError unless the settings are possible and the payload has the size that follows from them."""
        if self.method == NONE:
            if self.parameter not in KINDS or self.bits or self.seed:
                raise FormatError(f"{where}: expected a known dtype and neither bits nor a seed, found {self.parameter}, {self.bits}, {self.seed}")
            least = most = self.numel * self.dtype.itemsize
        else:
            try:
                most = C.update_size(self.method, self.numel, matrix_rows(self.shape), self.bits, self.parameter)
            except ValueError as error:
                raise FormatError(f"{where}: {error}") from None
            least = 0 if self.method == "randmask" else most
        if not least <= self.payload.numel() <= most:
            raise FormatError(f"{where}: expected a payload of {'at most ' * (least < most)}{most} bytes for {self.method}, found {self.payload.numel()}")


def matrix_rows(shape: tuple[int, ...]) -> int:
    """Rows of a tensor as a matrix: its first axis, the others side by side."""
    return shape[0] if shape else 1


def checked_body(where: str, data: Buffer, least: int, magic: bytes, version: int) -> memoryview:
    """The bytes before the checksum, if that and the first five are right."""
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise TypeError(f"{where}: data must be bytes, got {type(data).__name__}")
    view = memoryview(data).cast("B") if memoryview(data).contiguous else memoryview(bytes(data))
    if len(view) < least + CHECKSUM.size:
        raise FormatError(f"{where}: expected at least {least + CHECKSUM.size} bytes, found {len(view)}")
    if bytes(view[:4]) != magic:
        raise FormatError(f"{where}: expected bytes that start with {magic!r}, found {bytes(view[:4])!r}")
    if view[4] != version:
        raise FormatError(f"{where}: expected version {version}, found {view[4]}; install the sslmed that wrote it")
    body = view[: -CHECKSUM.size]
    (told,) = CHECKSUM.unpack(view[-CHECKSUM.size :])
    found = C.bytes_checksum(body)
    if told != found:
        raise FormatError(f"{where}: expected checksum {told:016x}, found {found:016x}: the bytes are damaged or cut")
    return body
