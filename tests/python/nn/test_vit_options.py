"""Registers, layer scale, SwiGLU, rotary positions and CLIP's blocks: against transformers and timm, and against their definitions."""

import math
from pathlib import Path

import pytest
import torch
from public_models import ours, shaken, transformers_models

import sslmed as sm

MODELS = ["ViTModel", "Dinov2Model", "Dinov2Model, SwiGLU", "Dinov2WithRegistersModel", "DINOv3ViTModel", "DINOv3ViTModel, SwiGLU", "CLIPVisionModel"]


@pytest.mark.oracle
@pytest.mark.parametrize("name", MODELS)
def test_features_and_gradients_equal_transformers(name, rng, tmp_path):
    pytest.importorskip("transformers")
    make, options, features = transformers_models()[name]
    theirs = shaken(make()).double()
    theirs.save_pretrained(tmp_path)
    mine = ours(**options).double()
    told = sm.nn.load_weights(mine, tmp_path, "transformers")
    assert set(told.module_key) - {""} == set(mine.state_dict())
    for shape in ((32, 32), (32, 32)) if "pos_embed" in mine.state_dict() else ((32, 32), (48, 24)):
        x = torch.randn(2, 3, *shape, dtype=torch.float64, requires_grad=True)
        twin = x.detach().clone().requires_grad_()
        expected, found = features(theirs, x), mine.forward_features(twin)
        assert found.shape == expected.shape
        assert (found - expected).abs().max() <= 1e-6  # DINOv3's angles are of float32
        weights = torch.randn_like(expected)
        theirs.zero_grad()
        mine.zero_grad()
        (expected * weights).sum().backward()
        (found * weights).sum().backward()
        assert (twin.grad - x.grad).abs().max() <= 1e-5
        gradients = {k: p.grad for k, p in theirs.named_parameters() if p.grad is not None}
        assert (
            mine.get_parameter("cls_token").grad.flatten() - gradients[next(k for k in gradients if "cls" in k or "class" in k)].flatten()
        ).abs().max() <= 1e-5
        last = next(g for k, g in gradients.items() if k.endswith(("layers.1.mlp.fc2.weight", "layer.1.mlp.fc2.weight", "layer.1.mlp.down_proj.weight")))
        assert (mine.get_parameter("blocks.1.mlp.fc2.weight").grad - last).abs().max() <= 1e-5


@pytest.mark.oracle
@pytest.mark.parametrize("embed_class", [True, False])
@pytest.mark.parametrize("swiglu", [True, False])
def test_features_equal_timm(swiglu, embed_class, rng, tmp_path):
    timm = pytest.importorskip("timm")
    from timm.layers import SwiGLUPacked

    options = {"mlp_layer": SwiGLUPacked, "act_layer": torch.nn.SiLU, "mlp_ratio": 4.0} if swiglu else {"mlp_ratio": 2.0}
    theirs = timm.models.VisionTransformer(
        img_size=32, patch_size=8, embed_dim=48, depth=2, num_heads=4, num_classes=5, reg_tokens=3, init_values=0.5, no_embed_class=not embed_class, **options
    )
    theirs = shaken(theirs).double()
    torch.save(theirs.state_dict(), tmp_path / "timm.pth")
    mine = ours(registers=3, layer_scale=1.0, mlp="swiglu" if swiglu else "gelu", num_classes=5).double()
    sm.nn.load_weights(mine, tmp_path / "timm.pth", "timm")
    x = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    assert (mine.forward_features(x) - theirs.forward_features(x)).abs().max() <= 1e-10
    assert (mine(x) - theirs(x)).abs().max() <= 1e-10


def test_registers_are_no_patches():
    x = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    model = ours(registers=3).double()
    values = torch.cat(list(x.unfold(2, 8, 8).unfold(3, 8, 8).permute(0, 2, 3, 4, 5, 1).reshape(2, 16, -1)))
    found = model.forward_tokens(values, [16, 16])
    dense = model.forward_features(x)
    assert model.prefix == 4
    assert found.lengths == [20, 20]
    assert torch.allclose(found.tokens, dense.flatten(0, 1), atol=1e-12)
    assert torch.allclose(found.pooled, dense[:, 4:].mean(1), atol=1e-12)
    without = ours(registers=3, class_token=False).double()
    assert without.prefix == 3
    assert torch.allclose(without(x), without.forward_features(x)[:, 3:].mean(1), atol=1e-12)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_rotary_positions_are_what_they_say(rank):
    """Attention's logits of one block against the definition, of 1, 2 and 3 axes."""
    head = 6 * rank
    model = sm.nn.create("vit_tiny", [2] * rank, [4, 6, 8][:rank], 1, positions="rope", dim=2 * head, depth=1, heads=2, seed=1).double()
    extents = [2, 3, 4][:rank]
    cells = torch.cartesian_prod(*(torch.arange(n) for n in extents)).view(-1, rank)
    place = (cells.double() + 0.5) / torch.tensor(extents) * 2 - 1
    n = head // (2 * rank)
    angles = (2 * math.pi * place[:, :, None] * torch.tensor([100 ** (-i / n) for i in range(n)], dtype=torch.float64)).flatten(1).repeat(1, 2)
    state = model.state_dict()
    x = torch.randn(1, 1, *[2 * e for e in extents], dtype=torch.float64)
    weight = state["patch_embed.proj.weight"]
    conv = (torch.nn.functional.conv1d, torch.nn.functional.conv2d, torch.nn.functional.conv3d)[rank - 1]
    tokens = conv(x, weight, state["patch_embed.proj.bias"], stride=2).flatten(2).transpose(1, 2)
    tokens = torch.cat([state["cls_token"], tokens], 1)[0]

    def norm(y, name):
        return torch.nn.functional.layer_norm(y, (2 * head,), state[name + ".weight"], state[name + ".bias"], 1e-6)

    def linear(y, name):
        return torch.nn.functional.linear(y, state[name + ".weight"], state[name + ".bias"])

    q, k, v = linear(norm(tokens, "blocks.0.norm1"), "blocks.0.attn.qkv").view(-1, 3, 2, head).permute(1, 2, 0, 3)

    def turned(y):
        halves = torch.cat([-y[..., head // 2 :], y[..., : head // 2]], -1)
        out = y.clone()
        out[:, 1:] = y[:, 1:] * angles.cos() + halves[:, 1:] * angles.sin()
        return out

    attended = torch.softmax(turned(q) @ turned(k).transpose(1, 2) / head**0.5, -1) @ v
    tokens = tokens + linear(attended.transpose(0, 1).flatten(1), "blocks.0.attn.proj")
    hidden = torch.nn.functional.gelu(linear(norm(tokens, "blocks.0.norm2"), "blocks.0.mlp.fc1"))
    expected = norm(tokens + linear(hidden, "blocks.0.mlp.fc2"), "norm")
    assert (model.forward_features(x)[0] - expected).abs().max() <= 1e-10


def test_options_are_saved_with_an_encoder(tmp_path):
    how = sm.ImagePreprocessing(size=32, patch=8)
    options = {"registers": 2, "layer_scale": 0.1, "mlp": "swiglu", "mlp_dim": 40, "norm_eps": 1e-5, "positions": "rope"}
    encoder = sm.Encoder("vit_tiny", how, depth=1, **options)
    encoder.save(tmp_path / "e.safetensors")
    again = sm.Encoder.load(tmp_path / "e.safetensors")
    x = torch.randn(1, 3, 32, 32)
    assert torch.equal(again(x), encoder(x))
    assert {key: again.config[key] for key in options} == options
    assert again.randomized().config.keys() == again.config.keys()
    assert "registers" not in sm.Encoder("vit_tiny", how, depth=1).config
    with pytest.raises(ValueError, match=r"positions='rope' needs tokens on a grid"):
        sm.Encoder("vit_tiny", sm.EegPreprocessing(), depth=1, positions="rope")


@pytest.mark.parametrize("method", ["mae", "ijepa"])
def test_methods_train_encoders_with_all_options(method, tmp_path, rng):
    from PIL import Image

    for i in range(4):
        Image.fromarray(rng.integers(0, 255, (40, 40, 3), dtype="uint8")).save(tmp_path / f"{i}.png")
    cohort = sm.Cohort.from_table(_table(tmp_path))
    options = {"registers": 2, "layer_scale": 0.1, "mlp": "swiglu", "positions": "rope", "class_token": method == "mae"}
    encoder = sm.Encoder("vit_tiny", sm.ImagePreprocessing(size=64, patch=8), dim=48, heads=4, depth=1, **options)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    run = sm.pretrain(cohort, method, encoder, tmp_path / "run", batch_size=2, epochs=2, progress=False, threads=1)
    moved = [name for name, value in run.encoder.state_dict().items() if not torch.equal(value, before[name])]
    assert set(before) - set(moved) == set()  # every weight is trained, registers too


def _table(folder: Path) -> Path:
    rows = "\n".join(f"{path.name}\t{path.stem}" for path in sorted(folder.glob("*.png")))
    (folder / "table.tsv").write_text("path\tsubject\n" + rows + "\n")
    return folder / "table.tsv"
