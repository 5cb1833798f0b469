"""Encoders and MAE against transformers and a plain PyTorch reference: values and gradients."""

import copy
import math
from pathlib import Path

import pytest
import torch
from torch import nn as tnn

import sslmed as sm
from sslmed.encoders import Encoder
from sslmed.methods import MaskedAutoencoder
from sslmed.nn import create

GOLDEN = Path(__file__).resolve().parents[2] / "golden"
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}


def hf_names(depth, prefix, ours_prefix):
    pairs = {}
    for i in range(depth):
        a, b = f"{prefix}.{i}.", f"{ours_prefix}.{i}."
        for theirs, ours in (("layernorm_before", "norm1"), ("layernorm_after", "norm2")):
            for leaf in ("weight", "bias"):
                pairs[f"{b}{ours}.{leaf}"] = f"{a}{theirs}.{leaf}"
    return pairs


def pick(state, *candidates):
    for name in candidates:
        if name in state:
            return state[name]
    raise KeyError(candidates)


def block_state(state, theirs, ours):
    out = {}
    for leaf in ("weight", "bias"):
        qkv = [
            pick(state, f"{theirs}.attention.attention.{n}.{leaf}", f"{theirs}.attention.{m}.{leaf}")
            for n, m in (("query", "q_proj"), ("key", "k_proj"), ("value", "v_proj"))
        ]
        out[f"{ours}.attn.qkv.{leaf}"] = torch.cat(qkv)
        out[f"{ours}.attn.proj.{leaf}"] = pick(state, f"{theirs}.attention.output.dense.{leaf}", f"{theirs}.attention.o_proj.{leaf}")
        out[f"{ours}.norm1.{leaf}"] = pick(state, f"{theirs}.layernorm_before.{leaf}")
        out[f"{ours}.norm2.{leaf}"] = pick(state, f"{theirs}.layernorm_after.{leaf}")
        out[f"{ours}.mlp.fc1.{leaf}"] = pick(state, f"{theirs}.intermediate.dense.{leaf}", f"{theirs}.mlp.fc1.{leaf}")
        out[f"{ours}.mlp.fc2.{leaf}"] = pick(state, f"{theirs}.output.dense.{leaf}", f"{theirs}.mlp.fc2.{leaf}")
    return out


def from_vit_mae(model, depth, decoder_depth):
    state = model.state_dict()
    out = {
        "encoder.cls_token": state["vit.embeddings.cls_token"],
        "encoder.pos_embed": state["vit.embeddings.position_embeddings"],
        "encoder.patch_embed.proj.weight": state["vit.embeddings.patch_embeddings.projection.weight"],
        "encoder.patch_embed.proj.bias": state["vit.embeddings.patch_embeddings.projection.bias"],
        "decoder.mask_token": state["decoder.mask_token"],
        "decoder.pos_embed": state["decoder.decoder_pos_embed"],
    }
    for ours, theirs in (
        ("encoder.norm", "vit.layernorm"),
        ("decoder.embed", "decoder.decoder_embed"),
        ("decoder.norm", "decoder.decoder_norm"),
        ("decoder.pred", "decoder.decoder_pred"),
    ):
        for leaf in ("weight", "bias"):
            out[f"{ours}.{leaf}"] = state[f"{theirs}.{leaf}"]
    layers = "vit.encoder.layer" if any(k.startswith("vit.encoder.layer.") for k in state) else "vit.layers"
    for i in range(depth):
        out |= block_state(state, f"{layers}.{i}", f"encoder.blocks.{i}")
    for i in range(decoder_depth):
        out |= block_state(state, f"decoder.decoder_layers.{i}", f"decoder.blocks.{i}")
    return out


@pytest.fixture(scope="module")
def vit_mae():
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTMAEConfig(
        hidden_size=48, num_hidden_layers=3, num_attention_heads=4, intermediate_size=192, image_size=32, patch_size=8, num_channels=3,
        decoder_hidden_size=32, decoder_num_hidden_layers=2, decoder_num_attention_heads=2, decoder_intermediate_size=128,
        mask_ratio=0.75, norm_pix_loss=True, layer_norm_eps=1e-6, attn_implementation="sdpa",
    )  # fmt: skip
    torch.manual_seed(0)
    model = transformers.ViTMAEForPreTraining(config)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn_like(p))  # the fixed position tables too: they start at zero there
    return model


@pytest.mark.oracle
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_mae_equals_transformers(vit_mae, dtype):
    theirs = copy.deepcopy(vit_mae).to(dtype).eval()
    encoder = create("vit_tiny", 8, 32, 3, positions="sincos", dim=48, depth=3, heads=4)
    ours = MaskedAutoencoder(encoder, sm.methods.Mae(decoder_dim=32, decoder_depth=2, decoder_heads=2)).to(dtype)
    weights = from_vit_mae(theirs, 3, 2)
    ours.load_state_dict(weights)
    images, noise = torch.randn(5, 3, 32, 32, dtype=dtype), torch.rand(5, 16)
    out = theirs(images, noise=noise)
    kept = noise.argsort(1)[:, :4].sort(1).values
    masked = noise.argsort(1)[:, 4:].sort(1).values
    loss, pred, _ = ours(images, kept, masked)
    tol = TOLERANCE[dtype]
    assert abs((loss - out.loss).item()) <= tol
    reference = out.logits.gather(1, masked.unsqueeze(-1).expand(-1, -1, out.logits.shape[-1]))
    assert (pred.view_as(reference) - reference).abs().max() <= tol
    out.loss.backward()
    loss.backward()
    grads = {name: p.grad for name, p in ours.named_parameters()}
    named = {name: p.grad for name, p in theirs.named_parameters() if p.grad is not None}

    class Gradients:
        def state_dict(self):
            state = {k: torch.zeros_like(v) for k, v in theirs.state_dict().items()}
            return state | named

    expected = from_vit_mae(Gradients(), 3, 2)
    for name, grad in grads.items():
        assert (grad - expected[name]).abs().max() <= tol, name


def test_mae_equals_golden_values():
    """What transformers gave when tests/golden/make_vit_mae.py ran; needs no reference package."""
    golden = sm.io.load_safetensors(GOLDEN / "vit_mae.safetensors")
    encoder = create("vit_tiny", 4, 16, 1, positions="sincos", dim=16, depth=2, heads=2)
    mae = MaskedAutoencoder(encoder, sm.methods.Mae(decoder_dim=16, decoder_depth=1, decoder_heads=2))
    mae.load_state_dict({k.removeprefix("weights."): v for k, v in golden.items() if k.startswith("weights.")})
    loss, pred, _ = mae(golden["images"], golden["keep"], golden["masked"])
    assert abs((loss - golden["loss"]).item()) <= 1e-5
    assert (pred.view_as(golden["pred"]) - golden["pred"]).abs().max() <= 1e-5


def test_sincos_positions_are_the_papers_code():
    """facebookresearch/mae: meshgrid(w, h), so that the first half of a vector encodes the column."""
    table = create("vit_tiny", 8, (24, 40), 1, positions="sincos", dim=16, depth=1, heads=2).state_dict()["pos_embed"][0]
    omega = 1 / 10000 ** (torch.arange(4, dtype=torch.float64) / 4)
    assert torch.equal(table[0], torch.zeros(16))
    for cell in range(15):
        row, column = divmod(cell, 5)
        expected = torch.cat([torch.sin(column * omega), torch.cos(column * omega), torch.sin(row * omega), torch.cos(row * omega)])
        assert torch.allclose(table[1 + cell].double(), expected, atol=1e-6)


@pytest.mark.oracle
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_features_equal_transformers(vit_mae, dtype):
    theirs = copy.deepcopy(vit_mae.vit).to(dtype).eval()
    theirs.embeddings.config.mask_ratio = 0.0
    theirs.config.mask_ratio = 0.0
    weights = {k.removeprefix("encoder."): v for k, v in from_vit_mae(vit_mae, 3, 2).items() if k.startswith("encoder.")}
    ours = create("vit_tiny", 8, 32, 3, positions="learned", dim=48, depth=3, heads=4).to(dtype)
    ours.load_state_dict(weights)
    images = torch.randn(2, 3, 32, 32, dtype=dtype)
    noise = torch.arange(16.0).expand(2, -1)  # keeps the order of the patches
    expected = theirs(images, noise=noise).last_hidden_state
    assert (ours.forward_features(images) - expected).abs().max() <= TOLERANCE[dtype]


def test_create_has_timm_names_and_shapes():
    model = create("vit_tiny", 16, 224, 3, num_classes=10)
    names = dict(model.named_parameters())
    assert names["patch_embed.proj.weight"].shape == (192, 3, 16, 16)
    assert names["pos_embed"].shape == (1, 197, 192)
    assert names["cls_token"].shape == (1, 1, 192)
    assert names["blocks.11.mlp.fc1.weight"].shape == (768, 192)
    assert names["head.weight"].shape == (10, 192)
    # timm's vit_tiny_patch16_224 with ten classes.
    assert sum(p.numel() for p in model.parameters()) == 5_526_346
    assert model(torch.randn(2, 3, 224, 224)).shape == (2, 10)


@pytest.mark.parametrize(
    ("patch", "image", "shape"),
    [((1, 50), (4, 200), (2, 1, 4, 200)), ((25,), (100,), (2, 1, 100)), ((4, 4, 4), (8, 8, 8), (2, 1, 8, 8, 8))],
)
def test_any_rank(patch, image, shape):
    model = create("vit_tiny", patch, image, 1, dim=24, depth=2, heads=2)
    n = math.prod(i // p for i, p in zip(image, patch, strict=True))
    assert model.forward_features(torch.randn(shape)).shape == (2, n + 1, 24)


@pytest.mark.parametrize("kwargs", [{"name": "vit_huge"}, {"img_size": 30}, {"patch_size": 0}, {"in_chans": 0}, {"heads": 5}])
def test_create_refuses(kwargs):
    with pytest.raises(ValueError):
        create(**({"name": "vit_tiny", "patch_size": 8, "img_size": 32, "in_chans": 3} | kwargs))
    with pytest.raises(ValueError):
        create("vit_tiny", 8, 32, 3, dim=24, depth=1, heads=2)(torch.randn(1, 3, 32, 28))


class PlainEncoder(tnn.Module):
    """The EEG encoder written down in plain PyTorch, one sequence at a time."""

    def __init__(self, encoder):
        super().__init__()
        self.w = encoder.state_dict()
        self.heads = encoder._handle.dim // 12
        self.depth = 3

    def forward(self, values, coords, extra):
        w, k = self.w, torch.arange(8, dtype=values.dtype)
        space = 2**k * math.pi / 4 / 95
        time = torch.exp(k * math.log(64 / 0.5) / 7) * 2 * math.pi / 64
        features = []
        for axis in range(4):
            angle = torch.nan_to_num(coords[:, axis : axis + 1]) * (time if axis == 3 else space)
            features.append(torch.cat([angle.sin(), angle.cos()], 1) * coords[:, axis : axis + 1].isfinite())
        place = tnn.functional.linear(torch.cat(features, 1), w["pos_embed.proj.weight"], w["pos_embed.proj.bias"])
        place = place + torch.where((extra >= 0)[:, None], w["pos_embed.channel_table"][extra.clamp_min(0)], torch.zeros((), dtype=values.dtype))
        x = tnn.functional.linear(values, w["patch_embed.proj.weight"][:, 0], w["patch_embed.proj.bias"]) + place
        x = torch.cat([w["cls_token"][0], x])
        d = x.shape[1]
        for i in range(self.depth):
            b = f"blocks.{i}."
            y = tnn.functional.layer_norm(x, (d,), w[b + "norm1.weight"], w[b + "norm1.bias"], 1e-6)
            q, key, v = tnn.functional.linear(y, w[b + "attn.qkv.weight"], w[b + "attn.qkv.bias"]).view(-1, 3, 4, d // 4).permute(1, 2, 0, 3)
            a = (q @ key.transpose(-1, -2) / math.sqrt(d // 4)).softmax(-1) @ v
            x = x + tnn.functional.linear(a.permute(1, 0, 2).reshape(-1, d), w[b + "attn.proj.weight"], w[b + "attn.proj.bias"])
            y = tnn.functional.layer_norm(x, (d,), w[b + "norm2.weight"], w[b + "norm2.bias"], 1e-6)
            y = tnn.functional.gelu(tnn.functional.linear(y, w[b + "mlp.fc1.weight"], w[b + "mlp.fc1.bias"]))
            x = x + tnn.functional.linear(y, w[b + "mlp.fc2.weight"], w[b + "mlp.fc2.bias"])
        return tnn.functional.layer_norm(x, (d,), w["norm.weight"], w["norm.bias"], 1e-6)


def eeg_encoder(dtype=torch.float64, **kwargs):
    pre = sm.EegPreprocessing(sfreq=100, window=2, patch=0.5, h_freq=40)
    encoder = Encoder("vit_tiny", pre, extra_channels=("X1", "X2"), dim=48, depth=3, heads=4, **kwargs)
    with torch.no_grad():
        for p in encoder.parameters():
            p.add_(0.05 * torch.randn_like(p))
    return encoder.to(dtype)


def tokens(n, dtype=torch.float64):
    values, coords = torch.randn(n, 50, dtype=dtype), torch.randn(n, 4, dtype=dtype) * 50
    extra = torch.full((n,), -1)
    coords[0, :3] = float("nan")
    extra[0] = 1
    return values, coords, extra


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_eeg_encoder_equals_plain_pytorch(dtype):
    encoder = eeg_encoder(dtype)
    values, coords, extra = tokens(9, dtype)
    out, pooled = encoder.forward_tokens(values, [9], coords, extra)[:2]
    plain = PlainEncoder(encoder)(values, coords, extra)
    # Of the largest value: one rounding of it is a hundredth of this already.
    assert (out - plain).abs().max() <= TOLERANCE[dtype] * plain.abs().max()
    assert (pooled[0] - plain[1:].mean(0)).abs().max() <= TOLERANCE[dtype]


def test_packed_equals_one_at_a_time_and_gradients():
    encoder = eeg_encoder()
    lengths = [4, 9, 9, 1, 30, 4]
    parts = [tokens(n) for n in lengths]
    packed = [torch.cat(p) for p in zip(*parts, strict=True)]
    out, pooled, grown, _ = encoder.forward_tokens(packed[0], lengths, packed[1], packed[2])
    assert grown == [n + 1 for n in lengths]
    singles = [encoder.forward_tokens(v, [len(v)], c, e) for v, c, e in parts]
    assert (out - torch.cat([s[0] for s in singles])).abs().max() <= 1e-10
    assert (pooled - torch.cat([s[1] for s in singles])).abs().max() <= 1e-10
    params = list(encoder.parameters())
    a = torch.autograd.grad(pooled.square().sum(), params)
    b = torch.autograd.grad(sum(s[1].square().sum() for s in singles), params)
    assert max(float((x - y).abs().max()) for x, y in zip(a, b, strict=True)) <= 1e-8


def test_channel_order_does_not_matter():
    encoder = eeg_encoder()
    values, coords, extra = tokens(12)
    order = torch.randperm(12)
    a, pooled_a, *_ = encoder.forward_tokens(values, [12], coords, extra)
    b, pooled_b, *_ = encoder.forward_tokens(values[order], [12], coords[order], extra[order])
    assert (a[1:][order] - b[1:]).abs().max() <= 1e-10
    assert (pooled_a - pooled_b).abs().max() <= 1e-10


def test_mae_on_packed_tokens_equals_one_at_a_time():
    encoder = eeg_encoder()
    mae = MaskedAutoencoder(encoder, sm.methods.Mae(decoder_dim=32, decoder_depth=2, decoder_heads=2)).double()
    lengths, parts, keeps, maskeds = [8, 12, 12], [], [], []
    for n in lengths:
        parts.append(tokens(n))
        m = sm.masking.random(n, 0.5, 1, n)
        keeps.append(m.visible[0])
        maskeds.append(m.masked[0])
    starts = [0, 8, 20]
    packed = [torch.cat(p) for p in zip(*parts, strict=True)]
    loss, pred, _ = mae.forward_tokens(
        packed[0], lengths, torch.cat([k + s for k, s in zip(keeps, starts, strict=True)]), torch.cat([m + s for m, s in zip(maskeds, starts, strict=True)]),
        [len(k) for k in keeps], packed[1], packed[2],
    )  # fmt: skip
    singles = [mae.forward_tokens(v, [len(v)], k, m, [len(k)], c, e) for (v, c, e), k, m in zip(parts, keeps, maskeds, strict=True)]
    assert (pred - torch.cat([s[1] for s in singles])).abs().max() <= 1e-10
    weighted = sum(s[0].item() * len(m) for s, m in zip(singles, maskeds, strict=True)) / sum(map(len, maskeds))
    assert abs(loss.item() - weighted) <= 1e-10


@pytest.mark.parametrize(("bins", "outputs"), [(1, 26), (4, 6)])
def test_spectral_target_equals_its_definition(bins, outputs):
    options = {"decoder_dim": 32, "decoder_depth": 1, "decoder_heads": 2, "reconstruct": "spectrum", "norm_target": False}
    mae = MaskedAutoencoder(eeg_encoder(), sm.methods.Mae(reconstruct_bins=bins, **options)).double()
    values, coords, extra = tokens(10)
    m = sm.masking.random(10, 0.5, 1, 0)
    loss, pred, _ = mae.forward_tokens(values, [10], m.visible[0], m.masked[0], [5], coords, extra)
    power = torch.fft.rfft(values[m.masked[0]]).abs() ** 2 / 50
    if bins > 1:
        power = power[:, 1 : 1 + outputs * bins].unflatten(1, (outputs, bins)).mean(2)
    target = torch.log(power + 1e-4)
    assert pred.shape == (5, outputs)
    assert abs((loss - (pred - target).square().mean()).item()) <= 1e-10
    with pytest.raises(ValueError):
        MaskedAutoencoder(eeg_encoder(), sm.methods.Mae(reconstruct="x"))
    with pytest.raises(ValueError, match="_bins"):
        MaskedAutoencoder(eeg_encoder(), sm.methods.Mae(reconstruct="spectrum", reconstruct_bins=26))
    with pytest.raises(ValueError):
        MaskedAutoencoder(create("vit_tiny", 8, 16, 1, dim=24, depth=1, heads=2), sm.methods.Mae(reconstruct="spectrum"))


def test_mirror_behaves_like_a_module(tmp_path):
    model = create("vit_tiny", 8, 16, 1, positions="sincos", dim=24, depth=1, heads=2)
    x = torch.randn(2, 1, 16, 16)
    before = model(x)
    twin = copy.deepcopy(model)
    assert torch.equal(twin(x), before)
    assert all(isinstance(p, torch.nn.Parameter) and p.requires_grad for p in model.parameters())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model(x).square().mean().backward()
    optimizer.step()
    assert not torch.equal(model(x), before)
    assert torch.equal(twin(x), before)
    twin.load_state_dict(model.state_dict())
    assert torch.equal(twin(x), model(x))
    model.double()
    assert model(x.double()).dtype == torch.float64
    assert dict(model.named_buffers())["pos_embed"].dtype == torch.float64
    assert torch.allclose(model(x.double()).float(), twin(x), atol=1e-5)
    with pytest.raises(ValueError):
        twin.load_state_dict(model.state_dict(), assign=True)
    model.zero_grad()
    assert next(model.parameters()).grad is None


def test_encoder_file_round_trip(tmp_path):
    encoder = eeg_encoder(torch.float32)
    encoder.save(tmp_path / "e.safetensors")
    other = Encoder.load(tmp_path / "e.safetensors")
    assert other.preprocessing == encoder.preprocessing
    assert other.extra_channels == encoder.extra_channels
    values, coords, extra = tokens(5, torch.float32)
    assert torch.equal(encoder.forward_tokens(values, [5], coords, extra)[0], other.forward_tokens(values, [5], coords, extra)[0])


def test_incomplete_encoder_files_are_refused(tmp_path):
    encoder = eeg_encoder(torch.float32)
    state = encoder.state_dict()
    encoder.save(tmp_path / "good.safetensors")
    metadata = sm.io.load_metadata(tmp_path / "good.safetensors", "sslmed-encoder-1")
    for change in (lambda s: s.pop("norm.bias"), lambda s: s.update(more=torch.ones(1))):
        weights = dict(state)
        change(weights)
        sm.io.save_safetensors(weights, tmp_path / "bad.safetensors", metadata)
        with pytest.raises(sm.FormatError, match=r"bad\.safetensors"):
            Encoder.load(tmp_path / "bad.safetensors")
    sm.io.save_safetensors(state, tmp_path / "plain.safetensors")
    with pytest.raises(sm.FormatError, match="format"):
        Encoder.load(tmp_path / "plain.safetensors")


def test_initial_weights_depend_on_the_seed_alone():
    torch.manual_seed(1)
    a = create("vit_tiny", 8, 16, 1, seed=3, dim=24, depth=1, heads=2).state_dict()
    torch.manual_seed(2)
    b = create("vit_tiny", 8, 16, 1, seed=3, dim=24, depth=1, heads=2).state_dict()
    c = create("vit_tiny", 8, 16, 1, seed=4, dim=24, depth=1, heads=2).state_dict()
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert not torch.equal(a["blocks.0.attn.qkv.weight"], c["blocks.0.attn.qkv.weight"])
