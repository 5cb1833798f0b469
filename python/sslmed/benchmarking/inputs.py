"""What linear heads read of an encoder: class tokens of its last blocks, and the mean over the last block's patches."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from sslmed.benchmarking.sweep import Sweep
from sslmed.cohort import Cohort
from sslmed.encoders import CohortEncoder, Encoder
from sslmed.evaluation.features import encoder_features

__all__ = ["head_inputs", "inputs_of", "truncated"]

Array = np.ndarray[Any, Any]


def truncated(encoder: Encoder, depth: int) -> Encoder:
    """The first blocks of a vision transformer with its last norm: what DINOv2 calls an intermediate layer.

    Args:
        encoder: The transformer.
        depth: Number of blocks that are left.

    Raises:
        ValueError: ``depth`` is not within 1 and the number of its blocks.

    Examples:
        >>> import sslmed as sm
        >>> from sslmed.benchmarking.inputs import truncated
        >>> truncated(sm.Encoder("vit_tiny", depth=4), 3).config["depth"]
        3
    """
    state = encoder.state_dict()
    blocks = _depth(encoder)
    if not 1 <= depth <= blocks:
        raise ValueError(f"truncated: depth={depth} must be within 1 and {blocks}, the blocks of the encoder")
    config = encoder.config | {"depth": depth}
    twin = Encoder(preprocessing=encoder.preprocessing, extra_channels=encoder.extra_channels, **config)
    twin.load_state_dict({name: value for name, value in state.items() if _block(name) < depth})
    twin.provenance = encoder.provenance
    return twin


def inputs_of(encoder: CohortEncoder, sweep: Sweep) -> dict[str, tuple[int, str]]:
    """The inputs of a sweep's heads by name, as far as an encoder has them: number of blocks and tokens.

    An encoder without a class token, or without blocks, has one input: the mean over the cells of its last map.

    Args:
        encoder: Encoder.
        sweep: Options of the heads.

    Examples:
        >>> import sslmed as sm
        >>> from sslmed.benchmarking import Sweep
        >>> from sslmed.benchmarking.inputs import inputs_of
        >>> list(inputs_of(sm.Encoder("vit_tiny", depth=4), Sweep()))
        ['1 block, cls', '1 block, cls+avg', '4 blocks, cls', '4 blocks, cls+avg']
        >>> list(inputs_of(sm.Encoder("vit_tiny", depth=4, class_token=False), Sweep()))
        ['1 block, avg']
    """
    if not isinstance(encoder, Encoder) or not encoder.config["class_token"]:
        return {"1 block, avg": (1, "avg")}
    out: dict[str, tuple[int, str]] = {}
    for wanted in sweep.blocks:
        for tokens in sweep.tokens:
            n = 1 if tokens == "avg" else min(wanted, _depth(encoder))
            out[f"{n} block{'s' if n > 1 else ''}, {tokens}"] = (n, tokens)
    return out


def head_inputs(encoder: CohortEncoder, cohort: Cohort, sweeps: Iterable[Sweep], **how: Any) -> dict[str, Array]:
    """Features of recordings that the heads of sweeps read, each the mean over a recording's samples.

    Args:
        encoder: Encoder.
        cohort: Recordings.
        sweeps: Options of the heads.
        **how: ``threads`` and ``on_error`` of :func:`sslmed.evaluation.features.encoder_features`.

    Returns:
        [rows, D] by name (:func:`inputs_of`): class tokens of the last n blocks side by side, each after the last norm,
        and the mean over the last block's patches, as DINOv2 joins them.
    """
    wanted: dict[str, tuple[int, str]] = {}
    for sweep in sweeps:
        wanted |= inputs_of(encoder, sweep)
    if not wanted:
        return {}
    mean = encoder_features(encoder, cohort, pooling="mean", **how)
    class_tokens: list[Array] = []
    most = max((n for n, tokens in wanted.values() if tokens != "avg"), default=0)
    if most:
        assert isinstance(encoder, Encoder)
        blocks = _depth(encoder)
        for depth in range(blocks - most + 1, blocks + 1):
            model = encoder if depth == blocks else truncated(encoder, depth)
            class_tokens.append(encoder_features(model, cohort, pooling="cls", **how))
    out = {}
    for name, (n, tokens) in wanted.items():
        parts = ([] if tokens == "avg" else class_tokens[-n:]) + ([mean] if tokens != "cls" else [])
        out[name] = np.concatenate(parts, axis=1)
    return out


def _block(name: str) -> int:
    """Number of the block that a weight is of; -1 of none."""
    parts = name.split(".")
    return int(parts[parts.index("blocks") + 1]) if "blocks" in parts else -1


def _depth(encoder: Encoder) -> int:
    return 1 + max(_block(name) for name in encoder.state_dict())
