"""Small models of other libraries with random weights, and encoders of ours of the same architecture."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

import sslmed as sm

SMALL = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 96, "image_size": 32, "patch_size": 8}


def ours(name: str = "vit_tiny", **options: Any) -> sm.nn.VisionTransformer:
    """An encoder of ours of the sizes of SMALL."""
    return sm.nn.create(name, **({"patch_size": 8, "img_size": 32, "dim": 48, "depth": 2, "heads": 4, "mlp_dim": 96, "seed": 5} | options))


def shaken(model: torch.nn.Module) -> torch.nn.Module:
    """The model with every weight moved, those too that start at zero or one."""
    with torch.no_grad():
        for tensor in model.state_dict().values():  # which leaves out what is computed, such as DINOv3's frequencies
            if tensor.is_floating_point():
                tensor.add_(0.1 * torch.randn_like(tensor)).abs_() if tensor.min() >= 0.9 else tensor.add_(0.1 * torch.randn_like(tensor))
    return model.eval()


def _tokens(model: Any, x: torch.Tensor) -> torch.Tensor:
    return model(pixel_values=x).last_hidden_state


def _clip_tokens(model: Any, x: torch.Tensor) -> torch.Tensor:
    return model.post_layernorm(model(pixel_values=x).last_hidden_state)


Reader = Callable[[Any, torch.Tensor], torch.Tensor]


def transformers_models() -> dict[str, tuple[Callable[[], torch.nn.Module], dict[str, Any], Reader]]:
    """By name: how a model is made, the arguments of ours, and what the features are."""
    import transformers as tr

    dinov3 = SMALL | {"num_register_tokens": 2, "layerscale_value": 0.5, "attn_implementation": "sdpa"}
    dinov2 = SMALL | {"mlp_ratio": 2, "layerscale_value": 0.5}
    scaled = {"layer_scale": 1.0}
    return {
        "ViTModel": (lambda: tr.ViTModel(tr.ViTConfig(**SMALL)), {"norm_eps": 1e-12}, _tokens),
        "Dinov2Model": (lambda: tr.Dinov2Model(tr.Dinov2Config(**dinov2)), scaled, _tokens),
        "Dinov2Model, SwiGLU": (
            lambda: tr.Dinov2Model(tr.Dinov2Config(**dinov2, use_swiglu_ffn=True)), scaled | {"mlp": "swiglu", "mlp_dim": 64}, _tokens,
        ),
        "Dinov2WithRegistersModel": (
            lambda: tr.Dinov2WithRegistersModel(tr.Dinov2WithRegistersConfig(**dinov2, num_register_tokens=3)), scaled | {"registers": 3}, _tokens,
        ),
        "DINOv3ViTModel": (
            lambda: tr.DINOv3ViTModel(tr.DINOv3ViTConfig(**dinov3)),
            scaled | {"registers": 2, "positions": "rope", "norm_eps": 1e-5}, _tokens,
        ),
        "DINOv3ViTModel, SwiGLU": (
            lambda: tr.DINOv3ViTModel(tr.DINOv3ViTConfig(**dinov3, use_gated_mlp=True, hidden_act="silu")),
            scaled | {"registers": 2, "positions": "rope", "norm_eps": 1e-5, "mlp": "swiglu"}, _tokens,
        ),
        "CLIPVisionModel": (lambda: tr.CLIPVisionModel(tr.CLIPVisionConfig(**SMALL)), {"name": "clip_vit_base_patch32"}, _clip_tokens),
    }  # fmt: skip
