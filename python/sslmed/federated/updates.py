"""Whole updates: a state dictionary in fewer bytes."""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import torch

from sslmed._checks import choice, whole
from sslmed._core import C, FormatError
from sslmed.federated.codec import METHODS, TABLE, as_it_is, compress, decompress
from sslmed.federated.compressed import CHECKSUM, DTYPES, MAX_ELEMENTS, Buffer, Compressed, checked_body
from sslmed.federated.feedback import ErrorFeedback, check_feedback

__all__ = ["CompressedUpdate", "compress_update", "decompress_update"]

# Magic, version, number of tensors; then a name's length, the name, a record's length and the record for each, and a checksum.
HEADER = struct.Struct("<4sB3xI")
NAME, RECORD = struct.Struct("<H"), struct.Struct("<Q")
MAGIC, VERSION = b"SMFU", 1


@dataclass(frozen=True, eq=False)
class CompressedUpdate:
    """A compressed state dictionary, as :func:`sslmed.federated.compress_update` makes it.

    Attributes:
        tensors: Compressed tensors by name, in the order of the update.
        reasons: For each tensor that is sent as it is, why. Empty for an update that was read from bytes.
    """

    tensors: dict[str, Compressed]
    reasons: dict[str, str] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        """Length of :meth:`to_bytes`: payloads, headers, names and checksums."""
        records = sum(NAME.size + len(name.encode()) + RECORD.size + each.nbytes for name, each in self.tensors.items())
        return HEADER.size + records + CHECKSUM.size

    @property
    def ratio(self) -> float:
        """How many times smaller than the bytes of the tensors alone; NaN for an update without values."""
        before = sum(each.numel * each.dtype.itemsize for each in self.tensors.values())
        return before / self.nbytes if before else math.nan

    @property
    def table(self) -> pd.DataFrame:
        """A row for each tensor: name, shape, dtype, method, why it is sent as it is, bytes before and after, ratio."""
        rows = [
            {
                "name": name,
                "shape": each.shape,
                "dtype": str(each.dtype).removeprefix("torch."),
                "method": each.method,
                "reason": self.reasons.get(name, ""),
                "nbytes_before": each.numel * each.dtype.itemsize,
                "nbytes": each.nbytes,
                "ratio": each.ratio,
            }
            for name, each in self.tensors.items()
        ]
        return pd.DataFrame(rows, columns=["name", "shape", "dtype", "method", "reason", "nbytes_before", "nbytes", "ratio"])

    def to_bytes(self) -> bytes:
        """Serializes all tensors with their names and a checksum.

        Returns:
            :attr:`nbytes` bytes.
        """
        parts = [HEADER.pack(MAGIC, VERSION, len(self.tensors))]
        for name, each in self.tensors.items():
            text = name.encode()
            parts += [NAME.pack(len(text)), text, RECORD.pack(each.nbytes), each.to_bytes()]
        body = b"".join(parts)
        return body + CHECKSUM.pack(C.bytes_checksum(body))

    @classmethod
    def from_bytes(cls, data: Buffer, *, max_elements: int = MAX_ELEMENTS) -> CompressedUpdate:
        """Reads what :meth:`to_bytes` wrote. Nothing is allocated from a size that the bytes claim.

        Args:
            data: All bytes of one update, and no others.
            max_elements: Most values that all tensors together may have.

        Returns:
            The compressed update.

        Raises:
            TypeError: ``data`` is not bytes.
            ValueError: ``max_elements`` is not a whole number.
            FormatError: The bytes are damaged, cut, of another version, or larger than ``max_elements``.
        """
        where = "CompressedUpdate.from_bytes"
        whole(where, "max_elements", max_elements)
        view = checked_body(where, data, HEADER.size, MAGIC, VERSION)
        _, _, count = HEADER.unpack_from(view)
        at, left = HEADER.size, max_elements
        tensors: dict[str, Compressed] = {}

        def take(size: int) -> memoryview:
            nonlocal at
            if size > len(view) - at:
                raise FormatError(f"{where}: expected {size} more bytes for tensor {len(tensors)} of {count}, found {len(view) - at}")
            at += size
            return view[at - size : at]

        for _ in range(count):
            text = bytes(take(*NAME.unpack(take(NAME.size))))
            record = take(*RECORD.unpack(take(RECORD.size)))
            try:
                name = text.decode()
            except UnicodeDecodeError:
                raise FormatError(f"{where}: expected names in UTF-8, found {text[:40]!r}") from None
            if name in tensors:
                raise FormatError(f"{where}: expected each name once, found {name!r} twice")
            tensors[name] = Compressed.from_bytes(record, max_elements=left)
            left -= tensors[name].numel
        if at != len(view):
            raise FormatError(f"{where}: expected no bytes after {count} tensors, found {len(view) - at}")
        return cls(tensors)


def compress_update(
    update: Mapping[str, torch.Tensor],
    method: str,
    bits: int | None = None,
    seed: int | None = None,
    *,
    min_size: int = 1024,
    feedback: ErrorFeedback | None = None,
    **options: Any,
) -> CompressedUpdate:
    """Compresses a state dictionary: large tensors of float32 by a method, all others as they are.

    Give it differences to the model that was received, not weights: methods keep what is large, and weights are large
    where nothing changed. Tensors that are not float32 (counters, indices, half precision), that have fewer than
    ``min_size`` values (biases, normalizations), or that the method would not make smaller are sent as they are, and the
    result's ``table`` says which and why.

    Args:
        update: Tensors by name, on the CPU; floating ones are finite.
        method: A name of :data:`METHODS`.
        bits: Bits of a code, as :func:`compress` takes them.
        seed: Seed of the update: another one for every client and round. Each tensor draws from a seed of its own,
            which its name and this number give.
        min_size: Values below which a tensor is sent as it is.
        feedback: Residuals of the client, which are added and replaced; all of them or, after an error, none.
        **options: Options of the method.

    Returns:
        The compressed update.

    Raises:
        TypeError: ``update`` is not a mapping of names to tensors, or the method has no such option.
        ValueError: A setting that is not possible, or a tensor that cannot be sent, by name.

    Examples:
        >>> import torch
        >>> from sslmed.federated import compress_update, decompress_update
        >>> model = torch.nn.Sequential(torch.nn.Linear(256, 128), torch.nn.BatchNorm1d(128))
        >>> sent = compress_update(model.state_dict(), "hadamard", bits=4, seed=3)
        >>> sent.table[["name", "method", "reason"]].iloc[[0, 1, 6]].to_string(index=False, header=False).split("\\n")[0].split()
        ['0.weight', 'hadamard']
        >>> sent.reasons["1.num_batches_tracked"]
        'not float32'
        >>> received = decompress_update(sent, like=model.state_dict())
        >>> torch.equal(received["0.bias"], model.state_dict()["0.bias"])
        True

    See Also:
        :func:`decompress_update`, :class:`ErrorFeedback`.
    """
    where = "compress_update"
    choice(where, "method", method, METHODS)
    whole(where, "min_size", min_size)
    if seed is None and TABLE[method].seeded:
        raise ValueError(f"{where}: method={method!r} draws at random and needs seed=, another one for every client and round")
    whole(where, "seed", seed or 0)
    if (seed or 0) >= 2**64:
        raise ValueError(f"{where}: seed={seed} must be below 2**64")
    if feedback is not None:
        check_feedback(where, method, options)
    if not isinstance(update, Mapping):
        raise TypeError(f"{where}: update must be a mapping of names to tensors, got {type(update).__name__}")
    tensors: dict[str, Compressed] = {}
    reasons: dict[str, str] = {}
    residuals: dict[str, torch.Tensor] = {}
    for name, given in update.items():
        values = _sendable(where, name, given)
        if feedback is not None and values.dtype == torch.float32:
            values = feedback.added(name, values)
        reason = _reason(values, method, min_size)
        made = as_it_is(values)
        if not reason:
            try:
                smaller = compress(values, method, bits, seed_of(seed or 0, name), **options)
            except ValueError as error:
                raise ValueError(f"{where}: update[{name!r}]: {error}") from None
            if smaller.nbytes < made.nbytes:
                made = smaller
            else:
                reason = f"{method} does not make it smaller"
        tensors[name] = made
        if reason:
            reasons[name] = reason
        if feedback is not None and values.dtype == torch.float32:
            residuals[name] = values - decompress(made)
    if feedback is not None:
        feedback.keep(residuals)
    return CompressedUpdate(tensors, reasons)


def decompress_update(update: CompressedUpdate, like: Mapping[str, torch.Tensor] | None = None) -> dict[str, torch.Tensor]:
    """Gives a state dictionary back, as far as the methods kept it.

    Args:
        update: What :func:`compress_update` or :meth:`CompressedUpdate.from_bytes` returned.
        like: Tensors by name that the update must fit, as the receiver's ``model.state_dict()``: the same names, shapes
            and dtypes, compared before any memory is asked for. None: nothing is compared.

    Returns:
        New tensors by name, in the order of the update.

    Raises:
        TypeError: ``update`` is not a :class:`CompressedUpdate`.
        ValueError: The update does not fit ``like``; says what is missing, too much or different.
        FormatError: A payload that cannot come from :func:`compress`, by name.
    """
    where = "decompress_update"
    if not isinstance(update, CompressedUpdate):
        raise TypeError(f"{where}: update must be a CompressedUpdate, got {type(update).__name__}; read bytes with CompressedUpdate.from_bytes")
    if like is not None:
        refuse_other(where, {name: (each.shape, each.dtype) for name, each in update.tensors.items()}, like)
    found: dict[str, torch.Tensor] = {}
    for name, each in update.tensors.items():
        try:
            found[name] = decompress(each)
        except FormatError as error:
            raise FormatError(f"{where}: update[{name!r}]: {error}") from None
    return found


def seed_of(seed: int, name: str) -> int:
    """The seed of a tensor: a digest of the update's seed and the name, so that it does not depend on the other tensors."""
    digest = hashlib.blake2b(name.encode(), digest_size=8, key=int(seed).to_bytes(8, "little"))
    return int.from_bytes(digest.digest(), "little")


def _sendable(where: str, name: object, values: object) -> torch.Tensor:
    if not isinstance(name, str) or not isinstance(values, torch.Tensor):
        raise TypeError(f"{where}: update must map names to tensors, got {type(name).__name__} to {type(values).__name__} at {name!r}")
    if len(name.encode()) >= 2**16:
        raise ValueError(f"{where}: names must have fewer than 65536 bytes, got one of {len(name.encode())}: {name[:40]!r}…")
    if values.dtype not in DTYPES or values.device.type != "cpu" or values.layout != torch.strided:
        known = ", ".join(str(dtype).removeprefix("torch.") for dtype in DTYPES)
        raise ValueError(
            f"{where}: update[{name!r}] must be a dense tensor on the CPU of one of {known}, got {values.dtype} on {values.device} ({values.layout})"
        )
    if values.is_floating_point() and not values.isfinite().all():
        raise ValueError(f"{where}: update[{name!r}] must be finite, found NaN or infinity")
    return values.detach()


def _reason(values: torch.Tensor, method: str, min_size: int) -> str:
    """Why a tensor is sent as it is, or nothing."""
    if values.dtype != torch.float32:
        return "not float32"
    if values.numel() < max(min_size, 1):
        return f"fewer than {max(min_size, 1)} values"
    if method == "lowrank" and values.ndim < 2:
        return "fewer than two axes"
    return ""


def refuse_other(where: str, given: Mapping[str, tuple[tuple[int, ...], torch.dtype]], like: Mapping[str, torch.Tensor]) -> None:
    """Raises ValueError unless shapes and dtypes by name are those of ``like``; says what is missing, too much or different."""
    missing = [name for name in like if name not in given]
    more = [name for name in given if name not in like]
    if missing or more:
        raise ValueError(f"{where}: update must have the names of like: {len(missing)} are missing {missing[:3]}, {len(more)} are unknown {more[:3]}")
    for name, (shape, dtype) in given.items():
        wanted = like[name]
        if shape != tuple(wanted.shape) or dtype != wanted.dtype:
            raise ValueError(f"{where}: update[{name!r}] must be {tuple(wanted.shape)} in {wanted.dtype}, got {shape} in {dtype}")
