"""Writes vit_mae.safetensors: a small ViTMAEForPreTraining of transformers with its input, mask, loss and predictions.

Run it again only when the reference changes: python tests/golden/make_vit_mae.py
"""

import sys
from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "python"))
from test_nn import from_vit_mae

torch.manual_seed(0)
config = transformers.ViTMAEConfig(
    hidden_size=16,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=64,
    image_size=16,
    patch_size=4,
    num_channels=1,
    decoder_hidden_size=16,
    decoder_num_hidden_layers=1,
    decoder_num_attention_heads=2,
    decoder_intermediate_size=64,
    mask_ratio=0.5,
    norm_pix_loss=True,
    layer_norm_eps=1e-6,
)
model = transformers.ViTMAEForPreTraining(config).eval()
with torch.no_grad():
    for p in model.parameters():
        p.add_(0.1 * torch.randn_like(p))
images, noise = torch.randn(3, 1, 16, 16), torch.rand(3, 16)
with torch.no_grad():
    out = model(images, noise=noise)
order = noise.argsort(1)
keep, masked = order[:, :8].sort(1).values, order[:, 8:].sort(1).values
tensors = {f"weights.{k}": v.clone() for k, v in from_vit_mae(model, 2, 1).items()}
pred = out.logits.gather(1, masked.unsqueeze(-1).expand(-1, -1, out.logits.shape[-1]))
tensors |= {"images": images, "keep": keep, "masked": masked, "loss": out.loss, "pred": pred.contiguous()}
save_file(tensors, Path(__file__).parent / "vit_mae.safetensors", {"transformers": transformers.__version__, "torch": torch.__version__})
