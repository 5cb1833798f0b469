"""I-JEPA: masks against the published distribution, encoder against transformers, predictor against a plain reference, and a run."""

import copy

import numpy as np
import pytest
import torch
from torch import nn as tnn
from torch.nn import functional as F

import sslmed as sm
from sslmed import masking
from sslmed.encoders import Encoder
from sslmed.methods import JointEmbeddingPredictor
from sslmed.nn import create

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}
PRE = sm.EegPreprocessing(sfreq=100, window=4, patch=0.5, h_freq=45)
SMALL = {
    "method": "ijepa",
    "encoder": "vit_tiny",
    "depth": 1,
    "batch_size": 4,
    "epochs": 2,
    "preprocessing": PRE,
    "progress": False,
    "tensorboard": False,
}


def cells_of(blocks, grid):
    """[n, M] cell numbers to their (rows, columns)."""
    return blocks // grid[1], blocks % grid[1]


@pytest.mark.parametrize(("batch", "expected"), [(1, 0.418), (32, 0.287), (128, 0.258)])
def test_exact_masks_have_the_published_distribution(batch, expected):
    share, used, unions, sizes = [], set(), [], set()
    for seed in range(400 if batch == 1 else 100):
        mask = masking.multiblock((14, 14), batch, seed)
        assert mask.context.shape[0] == batch
        assert mask.targets.shape[:2] == (batch, 4)
        share.append(mask.context.shape[1] / 196)
        sizes.add(mask.targets.shape[2])
        for context, targets in zip(mask.context[:8], mask.targets[:8], strict=True):
            assert not np.intersect1d(context, targets).size
            assert (context.diff() > 0).all()
            unions.append(len(torch.unique(targets)) / 196)
            used |= set(context.tolist()) | set(targets.flatten().tolist())
    assert abs(np.mean(share) - expected) < 0.01 + 2.6 * np.std(share) / np.sqrt(len(share))
    assert sizes <= {30, 35, 36, 40}
    if batch == 32:
        assert sizes == {30, 35, 36, 40}
        assert abs(np.mean(unions) - 0.444) < 0.01
    assert all(cell // 14 < 13 and cell % 14 < 13 for cell in used)


def test_targets_are_blocks_of_one_size():
    for mode in ("exact", "unbiased"):
        for seed in range(20):
            targets = masking.multiblock((9, 30), 5, seed, mode).targets
            rows, columns = cells_of(targets, (9, 30))
            height, width = np.ptp(rows.numpy(), axis=2) + 1, np.ptp(columns.numpy(), axis=2) + 1
            assert (height * width == targets.shape[2]).all()
            assert len(np.unique(height)) == 1
            assert (targets.diff(dim=2) > 0).all()


def test_unbiased_masks_reach_every_cell_and_cut_at_random():
    used = torch.zeros(196)
    for seed in range(50):
        mask = masking.multiblock((14, 14), 32, seed, "unbiased")
        for context, targets in zip(mask.context, mask.targets, strict=True):
            assert not np.intersect1d(context, targets).size
            used[context] += 1
    assert (used > 0).all()
    # Cut at the end, the last rows would be seen half as often as the first; cut at random, the grid's two halves are alike.
    top, bottom = used.view(14, 14)[:7].sum(), used.view(14, 14)[7:].sum()
    assert abs(top / bottom - 1) < 0.05


def test_multiblock_is_a_function_of_seed_and_place():
    a = masking.multiblock((14, 14), 8, 3, "unbiased")
    assert torch.equal(a.targets, masking.multiblock((14, 14), 8, 3, "unbiased").targets)
    assert torch.equal(a.targets[:3], masking.multiblock((14, 14), 3, 3, "unbiased").targets)
    assert not torch.equal(a.targets[0], a.targets[1])


@pytest.mark.parametrize(
    "args", [((1, 14), 1, 0, "exact"), ((2, 3), 1, 0, "unbiased"), ((14, 14), 0, 0), ((14, 14), 1, 0, "other"), ((-3, -3), 1, 0), ((70000, 4), 1, 0)]
)
def test_multiblock_refusals(args):
    with pytest.raises(ValueError):
        masking.multiblock(*args)


def test_loss():
    pred, target = torch.randn(3, 5, 7, dtype=torch.float64, requires_grad=True), torch.randn(3, 5, 7, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda p: sm.losses.ijepa(p, target), (pred,))
    d = (pred - target).abs()
    assert torch.allclose(sm.losses.ijepa(pred, target), torch.where(d < 1, d**2 / 2, d - 0.5).mean())
    assert sm.losses.ijepa(pred.bfloat16(), target.bfloat16()).dtype == torch.float32
    for a, b in ((torch.zeros(2, 3), torch.zeros(3)), (torch.zeros(0), torch.zeros(0))):
        with pytest.raises(ValueError):
            sm.losses.ijepa(a, b)
    with pytest.raises(TypeError):
        sm.losses.ijepa(torch.zeros(2, dtype=torch.long), torch.zeros(2))


@pytest.fixture(scope="module")
def theirs():
    transformers = pytest.importorskip("transformers")
    config = transformers.IJepaConfig(
        hidden_size=48, num_hidden_layers=3, num_attention_heads=4, intermediate_size=192, image_size=32, patch_size=8, layer_norm_eps=1e-6,
        attn_implementation="sdpa",
    )  # fmt: skip
    torch.manual_seed(0)
    model = transformers.IJepaModel(config)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return model.eval()


def from_ijepa(state, depth=3):
    out = {
        "pos_embed": state["embeddings.position_embeddings"],
        "patch_embed.proj.weight": state["embeddings.patch_embeddings.projection.weight"],
        "patch_embed.proj.bias": state["embeddings.patch_embeddings.projection.bias"],
    }
    for leaf in ("weight", "bias"):
        out[f"norm.{leaf}"] = state[f"layernorm.{leaf}"]
        for i in range(depth):
            a, b = f"layers.{i}.", f"blocks.{i}."
            out[f"{b}attn.qkv.{leaf}"] = torch.cat([state[f"{a}attention.{n}_proj.{leaf}"] for n in "qkv"])
            out[f"{b}attn.proj.{leaf}"] = state[f"{a}attention.o_proj.{leaf}"]
            out[f"{b}norm1.{leaf}"] = state[f"{a}layernorm_before.{leaf}"]
            out[f"{b}norm2.{leaf}"] = state[f"{a}layernorm_after.{leaf}"]
            out[f"{b}mlp.fc1.{leaf}"] = state[f"{a}mlp.fc1.{leaf}"]
            out[f"{b}mlp.fc2.{leaf}"] = state[f"{a}mlp.fc2.{leaf}"]
    return out


@pytest.mark.oracle
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_encoder_equals_transformers(theirs, dtype):
    model = copy.deepcopy(theirs).to(dtype)
    ours = create("vit_tiny", 8, 32, 3, dim=48, depth=3, heads=4, class_token=False).to(dtype)
    ours.load_state_dict(from_ijepa(model.state_dict()))
    images, weight = torch.randn(5, 3, 32, 32, dtype=dtype), torch.randn(5, 16, 48, dtype=dtype)
    a, b = model(images).last_hidden_state, ours.forward_features(images)
    assert b.shape == (5, 16, 48)
    assert (a - b).abs().max() <= TOLERANCE[dtype] * 10
    assert (a - b).abs().mean() <= TOLERANCE[dtype]
    (a * weight).mean().backward()
    (b * weight).mean().backward()
    expected = from_ijepa({k: p.grad for k, p in model.named_parameters() if p.grad is not None})
    for name, p in ours.named_parameters():
        assert (p.grad - expected[name]).abs().max() <= TOLERANCE[dtype], name


class PlainBlock(tnn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.norm1, self.norm2 = tnn.LayerNorm(dim, eps=1e-6), tnn.LayerNorm(dim, eps=1e-6)
        self.attn = tnn.Module()
        self.attn.qkv, self.attn.proj = tnn.Linear(dim, 3 * dim), tnn.Linear(dim, dim)
        self.mlp = tnn.Module()
        self.mlp.fc1, self.mlp.fc2 = tnn.Linear(dim, 4 * dim), tnn.Linear(4 * dim, dim)
        self.heads = heads

    def forward(self, x):
        b, n, d = x.shape
        q, k, v = self.attn.qkv(self.norm1(x)).view(b, n, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        weights = (q @ k.transpose(-1, -2) / (d // self.heads) ** 0.5).softmax(-1)
        x = x + self.attn.proj((weights @ v).transpose(1, 2).reshape(b, n, d))
        return x + self.mlp.fc2(F.gelu(self.mlp.fc1(self.norm2(x))))


class PlainPredictor(tnn.Module):
    """As the paper describes it: one sequence of context and mask tokens for every target block."""

    def __init__(self, dim, width, depth, heads, cells):
        super().__init__()
        self.embed, self.proj = tnn.Linear(dim, width), tnn.Linear(width, dim)
        self.mask_token = tnn.Parameter(torch.zeros(1, 1, width))
        self.register_buffer("pos_embed", torch.zeros(1, cells, width))
        self.blocks = tnn.ModuleList(PlainBlock(width, heads) for _ in range(depth))
        self.norm = tnn.LayerNorm(width, eps=1e-6)

    def forward(self, latent, context, targets):
        out = []
        for b in range(len(latent)):
            for block in targets[b]:
                x = torch.cat([self.embed(latent[b]) + self.pos_embed[0, context[b]], self.mask_token[0] + self.pos_embed[0, block]])[None]
                for layer in self.blocks:
                    x = layer(x)
                out.append(self.proj(self.norm(x[0, len(context[b]) :])))
        return torch.cat(out)


def plain_encoder(state, images, patch=8):
    """A ViT without class token from a state dict, on [B, N, D] tokens after positions; gives a function of chosen patches."""
    b, c, h, w = images.shape
    patches = images.view(b, c, h // patch, patch, w // patch, patch).permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)
    tokens = patches @ state["patch_embed.proj.weight"].flatten(1).T + state["patch_embed.proj.bias"] + state["pos_embed"]

    def run(chosen, blocks, norm):
        x = tokens.gather(1, chosen[..., None].expand(-1, -1, tokens.shape[2]))
        for block in blocks:
            x = block(x)
        return norm(x)

    return run


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_predictor_loss_and_gradients_equal_a_plain_reference(dtype):
    torch.manual_seed(1)
    encoder = create("vit_tiny", 8, 48, 3, positions="sincos", dim=48, depth=2, heads=4, class_token=False)
    ours = JointEmbeddingPredictor(encoder, sm.methods.IJepa(predictor_dim=32, predictor_depth=2, predictor_heads=2)).to(dtype)
    with torch.no_grad():
        for p in ours.parameters():
            p.add_(0.1 * torch.randn_like(p))
    images = torch.randn(3, 3, 48, 48, dtype=dtype)
    mask = masking.multiblock((6, 6), 3, 4, "unbiased")
    loss, pred, target = ours(images, mask.context, mask.targets)

    state = ours.state_dict()
    predictor = PlainPredictor(48, 32, 2, 2, 36).to(dtype)
    predictor.load_state_dict({k.removeprefix("predictor."): v for k, v in state.items() if k.startswith("predictor.")})

    def tower(name):
        blocks = tnn.ModuleList(PlainBlock(48, 4) for _ in range(2)).to(dtype)
        norm = tnn.LayerNorm(48, eps=1e-6).to(dtype)
        blocks.load_state_dict({k.removeprefix(f"{name}.blocks."): v for k, v in state.items() if k.startswith(f"{name}.blocks.")})
        norm.load_state_dict({k.removeprefix(f"{name}.norm."): v for k, v in state.items() if k.startswith(f"{name}.norm.")})
        run = plain_encoder({k.removeprefix(f"{name}."): v for k, v in state.items() if k.startswith(f"{name}.")}, images)
        return run, blocks, norm

    run, blocks, norm = tower("encoder")
    with torch.no_grad():
        full, teacher, teacher_norm = tower("target")
        whole = F.layer_norm(full(torch.arange(36).expand(3, -1), teacher, teacher_norm), (48,))
        expected_target = torch.cat([whole[b, block] for b in range(3) for block in mask.targets[b]])
    expected = predictor(run(mask.context, blocks, norm), mask.context, mask.targets)
    tol = TOLERANCE[dtype]
    assert (target - expected_target).abs().max() <= tol
    assert (pred - expected).abs().max() <= tol
    reference = sm.losses.ijepa(expected, expected_target)
    assert abs(loss - reference) <= tol
    loss.backward()
    reference.backward()
    grads = {name: p.grad for name, p in ours.named_parameters()}
    for name, p in predictor.named_parameters():
        assert (grads[f"predictor.{name}"] - p.grad).abs().max() <= tol, name
    for name, p in blocks.named_parameters():
        assert (grads[f"encoder.blocks.{name}"] - p.grad).abs().max() <= tol, name
    assert all(grad is None for name, grad in grads.items() if name.startswith("target."))


def test_packed_samples_equal_one_at_a_time(tiny_site):
    encoder = Encoder("vit_tiny", PRE, depth=2, class_token=False)
    model = JointEmbeddingPredictor(encoder, sm.methods.IJepa(predictor_dim=64, predictor_depth=1, predictor_heads=2)).double()
    for mask in ("multiblock", "multiblock_exact"):
        view = next(iter(sm.Loader(tiny_site, PRE, batch_size=5, mask=mask, seed=3))).views[0]
        assert view.blocks == 4
        blocks = [m // 4 for m in view.masked_lengths for _ in range(4)]
        assert len(set(blocks)) == 1  # drawn once a batch
        values, coords = view.values.double(), view.coords.double()
        _, pred, _ = model.forward_tokens(values, view.lengths, view.visible, view.masked, view.visible_lengths, blocks, coords, view.extra)
        row = k = m = 0
        for n, kept, masked in zip(view.lengths, view.visible_lengths, view.masked_lengths, strict=True):
            own = slice(row, row + n)
            context, targets = view.visible[k : k + kept] - row, view.masked[m : m + masked] - row
            assert not np.intersect1d(context, targets).size
            _, alone, _ = model.forward_tokens(values[own], [n], context, targets, [kept], [masked // 4] * 4, coords[own], view.extra[own])
            assert (alone - pred[m : m + masked]).abs().max() <= 1e-10
            row, k, m = row + n, k + kept, m + masked


def test_target_follows_by_the_momentum_of_the_step():
    model = JointEmbeddingPredictor(
        Encoder("vit_tiny", PRE, depth=1, class_token=False),
        sm.methods.IJepa(predictor_dim=64, predictor_heads=2, ema_start=0.9, ema_end=1.0, predictor_depth=6),
    ).double()
    before = {k: v.clone() for k, v in model.state_dict().items() if k.startswith("target.")}
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name.startswith("encoder."):
                p.add_(1.0)
    model.update_target(5, 10)  # 0.95
    for name, value in model.state_dict().items():
        if name.startswith("target.") and name in dict(model.named_parameters()):
            assert torch.allclose(value, before[name] + 0.05, atol=1e-12)


def test_run_resumes_bit_for_bit_and_keeps_the_average(tiny_site, tmp_path):
    whole = sm.pretrain(tiny_site, out=tmp_path / "whole", **SMALL)
    assert {"feature_std", "effective_rank"} <= set(whole.history.columns)
    looked = whole.history.dropna(subset=["feature_std"])
    assert list(looked["step"]) == [s for s in whole.history["step"] if s % 10 == 0]
    assert (looked["effective_rank"] >= 1).all()
    assert (looked["effective_rank"] <= 4).all()
    sm.pretrain(tiny_site, out=tmp_path / "cut", callback=lambda rows: rows[-1]["step"] < 4, checkpoint_every=2, **SMALL)
    cut = sm.pretrain(tiny_site, out=tmp_path / "cut", resume=True, checkpoint_every=2, **SMALL)
    assert (cut.history["loss"] == whole.history["loss"]).all()
    a, b = cut.encoder.state_dict(), whole.encoder.state_dict()
    assert all(torch.equal(a[k], b[k]) for k in a)
    last = sorted((tmp_path / "whole" / "checkpoints").glob("step-*"))[-1]
    saved = sm.io.load_safetensors(last)
    assert all(torch.equal(saved[f"model.target.{k}"], v) for k, v in b.items())
    loaded = Encoder.load(tmp_path / "whole" / "encoder.safetensors")
    features, _ = sm.encode(loaded, tiny_site)
    assert torch.isfinite(features).all()
    with pytest.raises(ValueError, match="class token"):
        sm.encode(loaded, tiny_site, pooling="cls")


def test_options_are_checked(tiny_site, tmp_path):
    with pytest.raises(TypeError, match="'ratio' is neither a field of PretrainConfig nor an option of the method 'ijepa'"):
        sm.pretrain(tiny_site, out=tmp_path / "r", ratio=0.5, **SMALL)
    with pytest.raises(ValueError, match="method='nope' is unknown"):
        sm.pretrain(tiny_site, out=tmp_path / "r", **(SMALL | {"method": "nope"}))
    with pytest.raises(ValueError, match="multiblock"):
        sm.pretrain(tiny_site, out=tmp_path / "r", mask="random", **SMALL)
    with pytest.raises(TypeError, match="options already"):
        sm.pretrain(tiny_site, out=tmp_path / "r", mask="multiblock", **(SMALL | {"method": sm.methods.IJepa()}))


@pytest.mark.parametrize("method", ["mae", "ijepa"])
def test_collapsed_run_stops_and_says_so(tiny_site, tmp_path, method):
    encoder = Encoder("vit_tiny", PRE, depth=1, class_token=method == "mae")
    with torch.no_grad():
        for p in encoder.parameters():
            p.zero_()
    options = SMALL | {"method": method, "encoder": encoder, "epochs": 40, "lr": 1e-12}
    del options["depth"], options["preprocessing"]
    with pytest.raises(sm.CollapseError, match="collapsed at step 40"):
        sm.pretrain(tiny_site, out=tmp_path / "r", **options)


def test_feature_health_equals_its_definition():
    features = torch.randn(20, 8, dtype=torch.float64) + 3
    std, rank = sm._core.C.feature_health(features)
    centered = (features - features.mean(0)).numpy()
    assert np.isclose(std, np.sqrt((centered**2).mean() / (features.numpy() ** 2).mean()))
    p = np.linalg.svd(centered, compute_uv=False)
    p = p / p.sum()
    assert np.isclose(rank, np.exp(-(p * np.log(p)).sum()))
    std, rank = sm._core.C.feature_health(torch.ones(5, 8))
    assert (std, rank) == (0, 1)
    assert np.isnan(sm._core.C.feature_health(torch.ones(1, 8))).all()
