"""Layouts of residual networks: timm and torchvision, MONAI and MedicalNet, transformers."""

from __future__ import annotations

import re

from sslmed.nn.layouts.base import Entry, Extra, Facts, Flavor, identity

__all__ = ["FLAVORS"]

_LAYER = re.compile(r"layer(\d)\.(\d+)\.(conv|bn|downsample\.)(\d)\.(.+)$")
_STEM = {"conv1": "embedder.embedder.convolution", "bn1": "embedder.embedder.normalization", "fc": "classifier.1"}
_KINDS = {"conv": "convolution", "bn": "normalization"}


def _transformers(facts: Facts) -> list[Entry]:
    out = []
    for entry in identity(facts):
        match = _LAYER.match(entry.module)
        if match:
            stage, block, kind, number, leaf = match.groups()
            start = f"encoder.stages.{int(stage) - 1}.layers.{block}"
            if kind == "downsample.":
                file = f"{start}.shortcut.{'convolution' if number == '0' else 'normalization'}.{leaf}"
            else:
                file = f"{start}.layer.{int(number) - 1}.{_KINDS[kind]}.{leaf}"
        else:
            layer, _, leaf = entry.module.partition(".")
            file = f"{_STEM.get(layer, layer)}.{leaf}"
        out.append(Entry(entry.module, (file,), entry.role))
    return out


_HEADS = (Extra(r"(conv_seg|segm_layer|avgpool)\.", "head"),)

FLAVORS: dict[str, list[Flavor]] = {
    "timm": [Flavor("timm", identity)],
    "monai": [Flavor("MONAI's ResNet", identity, _HEADS)],
    "transformers": [Flavor("ResNetModel", _transformers)],
}
