"""Frozen encoders as files that run without sslmed: TorchScript and ONNX."""

from __future__ import annotations

import copy
import importlib
import importlib.util
import json
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch

from sslmed._world import own_settings
from sslmed.modalities.registry import described
from sslmed.nn import DenseNet, VisionTransformer

__all__ = ["export"]

_Network = VisionTransformer | DenseNet
_TOLERANCE = 1e-4  # of the largest feature, and at least of 1: other kernels add up in another order


class _Pooled(torch.nn.Module):
    """An encoder as a function of dense inputs [B, C, spatial…] to features [B, D]."""

    def __init__(self, encoder: _Network, pooling: str) -> None:
        super().__init__()
        self.encoder = encoder
        self.prefix = encoder.prefix if isinstance(encoder, VisionTransformer) else -1
        self.pooling = pooling

    def forward(self, dense: torch.Tensor) -> torch.Tensor:
        if not isinstance(self.encoder, VisionTransformer):
            return self.encoder.features(dense).pooled
        tokens = self.encoder.forward_features(dense)
        return tokens[:, 0] if self.pooling == "cls" else tokens[:, self.prefix :].mean(1)


class _OneByOne(torch.nn.Module):
    """Runs a network of one sample on each sample of a batch: traced C++ code has a batch of fixed size."""

    def __init__(self, net: torch.nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, dense: torch.Tensor) -> torch.Tensor:
        out: list[torch.Tensor] = []
        for i in range(dense.shape[0]):
            out.append(self.net(dense[i : i + 1]))
        return torch.cat(out)


@own_settings()
def export(
    encoder: _Network,
    path: str | os.PathLike[str],
    *,
    size: Sequence[int] | None = None,
    pooling: Literal["mean", "cls"] = "mean",
) -> None:
    """Writes a frozen encoder to a file that runs without sslmed, and checks that it gives the same features.

    The file takes float32 inputs "dense" [B, C, spatial…] of one size and any number of samples, scaled and standardized as the encoder sees them, and gives
    "features" [B, D]. The preprocessing is in the file as JSON: under ``preprocessing.json`` of TorchScript's extra files, or the key ``preprocessing`` of
    ONNX's metadata. Before the file has its name, it is read back and compared on random inputs.

    Args:
        encoder: An :class:`sslmed.Encoder` of dense inputs, an :class:`sslmed.DenseEncoder`, or an encoder of :func:`sslmed.nn.create`.
        path: A ".pt" (TorchScript) or ".onnx" file. ONNX needs the extra ``sslmed[export]``; it is compared where onnxruntime is installed.
        size: Size of the inputs along each axis; None: the encoder's own, where it has one.
        pooling: The mean over patches or cells ("mean"), or the class token ("cls").

    Raises:
        TypeError: It is not an encoder of dense inputs.
        ValueError: The ending, ``size`` or ``pooling`` does not fit.
        RuntimeError: The file's features differ from the encoder's by more than 1e-4 of the largest.
        ImportError: ONNX is asked for, and the package onnx is not installed.

    Examples:
        >>> import tempfile
        >>> import torch
        >>> import sslmed as sm
        >>> vit = sm.nn.create("vit_tiny", patch_size=8, img_size=32, depth=1)
        >>> folder = tempfile.TemporaryDirectory()
        >>> sm.export(vit, folder.name + "/vit.pt")
        >>> torch.jit.load(folder.name + "/vit.pt")(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 192])
    """
    if not isinstance(encoder, (VisionTransformer, DenseNet)):
        raise TypeError(f"export: encoder={type(encoder).__name__}, expected an sslmed.Encoder, an sslmed.DenseEncoder or one of sslmed.nn.create()")
    where = Path(path)
    if where.suffix not in (".pt", ".onnx"):
        raise ValueError(f"export: path={os.fspath(path)!r}, expected an ending .pt or .onnx")
    if where.suffix == ".onnx" and importlib.util.find_spec("onnx") is None:
        raise ImportError("export: ONNX needs the package onnx, which is not installed; install sslmed[export]")
    if pooling not in ("mean", "cls"):
        raise ValueError(f"export: pooling={pooling!r}, expected 'mean' or 'cls'")
    if pooling == "cls" and "cls_token" not in encoder.state_dict():
        raise ValueError("export: pooling='cls' needs an encoder with a class token; use 'mean'")
    channels, extents = _input_shape(encoder, size)
    frozen = _frozen(encoder, pooling)
    inputs = torch.randn(3, channels, *extents, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = torch.cat([frozen(one[None]) for one in inputs])
    preprocessing = getattr(encoder, "preprocessing", None)
    metadata = json.dumps(described(preprocessing) if preprocessing is not None else {})
    unfinished = where.with_name(f".{where.name}.{os.getpid()}")
    try:
        if where.suffix == ".pt":
            _write_torchscript(frozen, unfinished, metadata, inputs, expected)
        else:
            _write_onnx(frozen, unfinished, metadata, inputs, expected)
        unfinished.replace(where)
    finally:
        unfinished.unlink(missing_ok=True)


def _input_shape(encoder: _Network, size: Sequence[int] | None) -> tuple[int, tuple[int, ...]]:
    """Channels, and the extent along each axis."""
    if isinstance(encoder, VisionTransformer):
        weight = encoder.state_dict()["patch_embed.proj.weight"]
        channels, patch = int(weight.shape[1]), tuple(weight.shape[2:])
        if "pos_embed.proj.weight" in encoder.state_dict():
            raise TypeError("export: encoder takes tokens placed by coordinates, expected one of dense inputs")
        grid = encoder._handle.grid
        own: tuple[int, ...] = tuple(int(cells * side) for cells, side in zip(grid, patch, strict=True))
    else:
        channels, patch = encoder.in_chans, (1,) * encoder.rank
        preprocessing = getattr(encoder, "preprocessing", None)
        sizes = encoder.config.get("img_size", ()) if preprocessing is None else preprocessing.embedding()["img_size"]
        own = tuple(sizes) if isinstance(sizes, (list, tuple)) else (sizes,) * encoder.rank
    extents = own if size is None else tuple(size)
    if not extents:
        raise ValueError(f"export: size=None, expected {len(patch)} numbers: this encoder takes inputs of any size")
    if len(extents) != len(patch) or any(extent <= 0 or extent % side for extent, side in zip(extents, patch, strict=True)):
        raise ValueError(f"export: size={list(extents)}, expected {len(patch)} multiples of {list(patch)}")
    return channels, extents


def _frozen(encoder: _Network, pooling: str) -> _Pooled:
    """A copy in evaluation, in float32 on the CPU, without gradients."""
    return _Pooled(copy.deepcopy(encoder).to("cpu", torch.float32), pooling).eval().requires_grad_(False)


def _write_torchscript(frozen: _Pooled, path: Path, metadata: str, inputs: torch.Tensor, expected: torch.Tensor) -> None:
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # what tracing says of constants, which are meant, and that there is torch.export, which cannot follow C++
        jit: Any = torch.jit
        traced = jit.trace(frozen, inputs[:1], check_trace=False)
        # Numerics are left alone: folded norms would change the last digit.
        scripted = jit.freeze(jit.script(_OneByOne(traced)).eval(), optimize_numerics=False)
        jit.save(scripted, path, _extra_files={"preprocessing.json": metadata})
        found = jit.load(path)(inputs)
    _compare("TorchScript", found, expected)


def _write_onnx(frozen: _Pooled, path: Path, metadata: str, inputs: torch.Tensor, expected: torch.Tensor) -> None:
    onnx = importlib.import_module("onnx")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that this exporter is the older one: the newer one cannot follow C++
        torch.onnx.export(frozen, (inputs[:1],), path, dynamo=False, input_names=["one"], output_names=["found"])
    model = _over_samples(onnx, onnx.load(path), tuple(inputs.shape[1:]), expected.shape[1])
    entry = model.metadata_props.add()
    entry.key, entry.value = "preprocessing", metadata
    onnx.checker.check_model(model)
    onnx.save(model, path)
    if importlib.util.find_spec("onnxruntime") is None:
        return
    session = importlib.import_module("onnxruntime").InferenceSession(os.fspath(path), providers=["CPUExecutionProvider"])
    found = torch.from_numpy(session.run(None, {"dense": inputs.numpy()})[0])
    _compare("ONNX", found, expected)


def _compare(kind: str, found: torch.Tensor, expected: torch.Tensor) -> None:
    error = float((found - expected).abs().max())
    limit = _TOLERANCE * max(float(expected.abs().max()), 1.0)
    if not error <= limit:
        raise RuntimeError(f"export: features of the {kind} file differ from the encoder's by up to {error:.2g}, expected at most {limit:.2g}")


def _over_samples(onnx: Any, one: Any, shape: tuple[int, ...], dim: int) -> Any:
    """A model of one sample ("one" to "found") as a model of any number ("dense" to "features"): a Scan over the first axis."""
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    first = helper.make_tensor("first_axis", onnx.TensorProto.INT64, [1], [0])
    nodes = [helper.make_node("Unsqueeze", ["sample", "first_axis"], ["one"]), *one.graph.node]
    nodes.append(helper.make_node("Squeeze", ["found", "first_axis"], ["feature"]))
    body = helper.make_graph(nodes, "sample", [helper.make_tensor_value_info("sample", kind, shape)], [helper.make_tensor_value_info("feature", kind, [dim])])
    scan = helper.make_node("Scan", ["dense"], ["features"], num_scan_inputs=1, body=body)
    graph = helper.make_graph(
        [scan],
        "encoder",
        [helper.make_tensor_value_info("dense", kind, ["batch", *shape])],
        [helper.make_tensor_value_info("features", kind, ["batch", dim])],
        [*one.graph.initializer, first],
    )
    return helper.make_model(graph, opset_imports=one.opset_import, ir_version=one.ir_version, producer_name="sslmed")
