"""``compress`` and ``decompress``: a tensor in fewer bytes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from sslmed._checks import choice, number, whole
from sslmed._core import Array, C, FormatError
from sslmed._core import tensor as as_tensor
from sslmed.federated.compressed import DTYPES, NONE, Compressed, matrix_rows

__all__ = ["METHODS", "compress", "decompress"]

Options = dict[str, Any]


class Settings(NamedTuple):
    """What the options of a method come to."""

    parameter: int
    least_error: bool = False
    iterations: int = 1


class Method(NamedTuple):
    """A row of the table of methods."""

    bits: int
    options: Options
    seeded: bool
    unbiased: bool
    settings: Callable[[tuple[int, ...], Options], Settings]


def _bucket(shape: tuple[int, ...], options: Options) -> Settings:
    if options["bucket"] is None:
        return Settings(0)
    whole("compress", "bucket", options["bucket"], 1)
    return Settings(options["bucket"])


def _block(shape: tuple[int, ...], options: Options) -> Settings:
    whole("compress", "block", options["block"], 1)
    if "scale" not in options:
        return Settings(options["block"])
    choice("compress", "scale", options["scale"], ("unbiased", "least_error"))
    return Settings(options["block"], options["scale"] == "least_error")


def _count(shape: tuple[int, ...], options: Options) -> Settings:
    n, k, fraction = math.prod(shape), options["k"], options["fraction"]
    if (k is None) == (fraction is None):
        raise ValueError(f"compress: k={k!r} and fraction={fraction!r}: exactly one of them must be given, the other one is None")
    if k is None:
        number("compress", "fraction", fraction, 0, 1, strict=True)
        return Settings(min(n, math.ceil(fraction * n)))
    whole("compress", "k", k, 1)
    if n and k > n:
        raise ValueError(f"compress: k={k} must be at most the {n} values of the tensor")
    return Settings(min(n, k))


def _chance(shape: tuple[int, ...], options: Options) -> Settings:
    number("compress", "fraction", options["fraction"], 0, 1, strict=True)
    return Settings(max(1, round(options["fraction"] * 2**32)))


def _rank(shape: tuple[int, ...], options: Options) -> Settings:
    if len(shape) < 2:
        raise ValueError(f"compress: method='lowrank' needs a tensor of at least two axes, got shape {shape}")
    whole("compress", "rank", options["rank"], 1)
    whole("compress", "iterations", options["iterations"], 1)
    return Settings(options["rank"], iterations=options["iterations"])


TABLE = {
    "qsgd": Method(4, {"bucket": 512}, True, True, _bucket),
    "drive": Method(1, {"block": 4096, "scale": "unbiased"}, True, False, _block),
    "hadamard": Method(4, {"block": 4096}, True, True, _block),
    "topk": Method(32, {"fraction": 0.01, "k": None}, False, False, _count),
    "randmask": Method(32, {"fraction": 0.1}, True, True, _chance),
    "lowrank": Method(32, {"rank": 4, "iterations": 1}, True, False, _rank),
}

METHODS = tuple(TABLE)
"""Names of the methods."""


def compress(tensor: Array, method: str, bits: int | None = None, seed: int | None = None, **options: Any) -> Compressed:
    """Compresses a tensor of float32 for sending.

    The bytes depend on the values, the settings and the seed alone, not on the number of threads.

    * ``"qsgd"``: each value becomes a level between 0 and the norm of its bucket, rounded up or down at random (Alistarh et
      al., NeurIPS 2017, arXiv 1610.02132). Unbiased. Options: ``bucket`` (512; values that share a norm, a power of two from
      8 on; None: all of them).
    * ``"hadamard"``: blocks are rotated at random, then rounded at random to 2^bits levels between their least and largest
      value (Suresh et al., ICML 2017, arXiv 1611.00429). Unbiased. Options: ``block`` (4096; a power of two from 8 to 65536).
    * ``"drive"``: blocks are rotated at random, then only signs and a scale are sent, 1 bit a value (Vargaftik et al.,
      NeurIPS 2021, arXiv 2105.08339). Options: ``block``, and ``scale``: ``"unbiased"`` (no bias along the tensor itself,
      and next to none for dense tensors; sparse ones can be biased) or ``"least_error"`` (biased, smaller error).
    * ``"topk"``: the values of the largest magnitude and their places; of equal ones the first. Biased: use
      :class:`ErrorFeedback`. Options: ``fraction`` (0.01) or ``k`` with ``fraction=None``.
    * ``"randmask"``: each place is sent with the chance ``fraction`` (0.1), which the seed decides, divided by the chance on
      arrival (Konečný et al., 2016, arXiv 1610.05492). Unbiased; no index travels.
    * ``"lowrank"``: two thin factors of the tensor as a matrix [first axis, the others], by power iterations from a start
      that the seed gives (PowerSGD, Vogels et al., NeurIPS 2019, arXiv 1905.13727, without its warm start). Biased. Options:
      ``rank`` (4), ``iterations`` (1).

    Args:
        tensor: Values of any shape, float32 on the CPU, all finite; strides may be any.
        method: One of the names above.
        bits: Bits of a code: 2 to 8 (``"qsgd"``, default 4), 1 to 8 (``"hadamard"``, default 4). The other methods have
            one choice: 1 (``"drive"``) and 32.
        seed: Seed of all draws, from 0 to 2⁶⁴ - 1; needed by every method but ``"topk"``. Another one for every client,
            round and tensor: errors of equal seeds do not average out.
        **options: Options of the method, as listed.

    Returns:
        The compressed tensor. Its ``nbytes`` count the header too.

    Raises:
        TypeError: ``tensor`` is not an array, or the method has no such option.
        ValueError: A setting that is not possible, another dtype or device, or values that are not finite or whose
            norms are beyond float32.

    Examples:
        >>> import torch
        >>> from sslmed.federated import compress, decompress
        >>> update = torch.randn(1000, 1000)
        >>> small = compress(update, "qsgd", bits=4, seed=7)
        >>> round(small.ratio, 1)
        7.9
        >>> mean = sum(decompress(compress(update, "qsgd", bits=4, seed=s)) for s in range(20)) / 20
        >>> bool((mean - update).norm() < (decompress(small) - update).norm() / 4)
        True

    See Also:
        :func:`decompress`, :func:`compress_update`, :class:`ErrorFeedback`.
    """
    choice("compress", "method", method, METHODS)
    values = _checked(tensor)
    row = TABLE[method]
    unknown = [name for name in options if name not in row.options]
    if unknown:
        raise TypeError(f"compress: method={method!r} has no option {unknown[0]!r}; its options are {', '.join(row.options)}")
    if bits is None:
        bits = row.bits
    whole("compress", "bits", bits, 1)
    if bits > 32:
        raise ValueError(f"compress: bits={bits} must be at most 32")
    if seed is None and row.seeded:
        raise ValueError(f"compress: method={method!r} draws at random and needs seed=, another one for every client, round and tensor")
    whole("compress", "seed", seed or 0)
    if (seed or 0) >= 2**64:
        raise ValueError(f"compress: seed={seed} must be below 2**64")
    shape = tuple(values.shape)
    settings = row.settings(shape, {**row.options, **options})
    draws = (seed or 0) if row.seeded else 0
    args = (method, matrix_rows(shape), bits, draws, settings.parameter, settings.least_error, settings.iterations)
    try:
        payload = C.encode_update(values.reshape(-1), *args, torch.get_num_threads())
    except ValueError as error:
        raise ValueError(f"compress: {error}") from None
    return Compressed(method, shape, payload, bits, draws, settings.parameter)


def _checked(tensor: Array) -> torch.Tensor:
    values = as_tensor(tensor)
    if not isinstance(values, torch.Tensor):
        raise TypeError(f"compress: tensor must be a torch.Tensor or a NumPy array, got {type(tensor).__name__}")
    if values.dtype != torch.float32 or values.device.type != "cpu" or values.layout != torch.strided:
        raise ValueError(
            f"compress: tensor must be a dense float32 tensor on the CPU, got {values.dtype} on {values.device} ({values.layout}); "
            "convert it with .float().cpu(), and keep what that rounds off in mind"
        )
    return values.detach()


def as_it_is(values: torch.Tensor) -> Compressed:
    """A tensor of any dtype in the format, without compression."""
    held = values.detach().contiguous().reshape(-1)
    return Compressed(NONE, tuple(values.shape), held.view(torch.uint8).clone(), 0, 0, DTYPES[values.dtype])


def decompress(compressed: Compressed) -> torch.Tensor:
    """Gives the tensor back that was compressed, as far as the method kept it.

    Args:
        compressed: What :func:`compress` or :meth:`Compressed.from_bytes` returned.

    Returns:
        A new tensor of the shape that was compressed, on the CPU: float32, or the dtype of a tensor that was sent as it is.

    Raises:
        TypeError: ``compressed`` is not a :class:`Compressed`.
        FormatError: The payload cannot come from :func:`compress`: another size, codes, places or scales that do not exist,
            or values that are not finite.

    Examples:
        >>> import torch
        >>> from sslmed.federated import compress, decompress
        >>> decompress(compress(torch.tensor([0.5, -3.0, 2.0]), "topk", k=2, fraction=None))
        tensor([ 0., -3.,  2.])
    """
    if not isinstance(compressed, Compressed):
        raise TypeError(f"decompress: compressed must be a Compressed, got {type(compressed).__name__}; read bytes with Compressed.from_bytes")
    compressed.check("decompress")
    shape, payload = compressed.shape, compressed.payload
    if compressed.method == NONE:
        if compressed.dtype == torch.bool and payload.numel() and int(payload.max()) > 1:
            raise FormatError("decompress: expected 0 and 1 for a tensor of bool, found another byte")
        values = payload.clone().view(compressed.dtype).reshape(shape)
        # One NaN of a client would be in every average that it enters.
        if values.is_floating_point() and not values.isfinite().all():
            raise FormatError(f"decompress: expected finite values of {compressed.dtype}, found NaN or infinity")
        return values
    args = (compressed.method, compressed.numel, matrix_rows(shape), compressed.bits, compressed.seed, compressed.parameter)
    try:
        return C.decode_update(payload, *args, torch.get_num_threads()).reshape(shape)
    except FormatError as error:
        raise FormatError(f"decompress: {error}") from None
