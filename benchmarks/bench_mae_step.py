"""Claim: a training step of the C++ loop's MAE is at least as fast as the same model in eager PyTorch, same precision;
torch.compile is reported beside, and the GEMM rate that bounds all of them."""

import copy
import time

import torch
from common import paired, write
from torch import nn

import sslmed as sm
from sslmed.methods import MaskedAutoencoder
from sslmed.nn import create

BATCH, PATCH, IMAGE = 16, 16, 224


class Block(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(dim, eps=1e-6), nn.LayerNorm(dim, eps=1e-6)
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.fc1, self.fc2 = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, n, d = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(b, n, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        x = x + self.proj(nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, d))
        return x + self.fc2(nn.functional.gelu(self.fc1(self.norm2(x))))


class EagerMae(nn.Module):
    """The same model as a PyTorch user writes it: ViT-Ti/16 encoder, 192 wide decoder of 4 blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Linear(768, 192)
        self.cls, self.mask = nn.Parameter(torch.zeros(1, 1, 192)), nn.Parameter(torch.zeros(1, 1, 192))
        self.register_buffer("pos", torch.randn(1, 197, 192))
        self.blocks = nn.Sequential(*[Block(192, 3) for _ in range(12)])
        self.norm, self.decoder_norm = nn.LayerNorm(192, eps=1e-6), nn.LayerNorm(192, eps=1e-6)
        self.embed, self.pred = nn.Linear(192, 192), nn.Linear(192, 768)
        self.decoder = nn.Sequential(*[Block(192, 6) for _ in range(4)])

    def forward(self, images: torch.Tensor, keep: torch.Tensor, masked: torch.Tensor) -> torch.Tensor:
        b = images.shape[0]
        patches = images.view(b, 3, 14, 16, 14, 16).permute(0, 2, 4, 3, 5, 1).reshape(b, 196, 768)
        x = self.patch(patches) + self.pos[:, 1:]
        x = x.gather(1, keep.unsqueeze(-1).expand(-1, -1, 192))
        x = self.norm(self.blocks(torch.cat([(self.cls + self.pos[:, :1]).expand(b, -1, -1), x], 1)))
        y = self.embed(x)
        full = self.mask.expand(b, 196, -1).to(y.dtype).scatter(1, keep.unsqueeze(-1).expand(-1, -1, 192), y[:, 1:]) + self.pos[:, 1:]
        z = self.decoder_norm(self.decoder(torch.cat([y[:, :1] + self.pos[:, :1], full], 1)))[:, 1:]
        pred = self.pred(z).gather(1, masked.unsqueeze(-1).expand(-1, -1, 768))
        target = patches.gather(1, masked.unsqueeze(-1).expand(-1, -1, 768))
        target = (target - target.mean(-1, keepdim=True)) / (target.var(-1, keepdim=True) + 1e-6).sqrt()
        return ((pred.float() - target) ** 2).mean()


def main() -> None:
    body: dict[str, dict] = {"ratios": {}}
    images = torch.randn(BATCH, 3, IMAGE, IMAGE)
    mask = sm.masking.random(196, 0.75, BATCH, 0)
    ours = MaskedAutoencoder(create("vit_tiny", PATCH, IMAGE, 3, positions="sincos"), sm.methods.Mae(decoder_dim=192, decoder_depth=4, decoder_heads=6))
    eager = EagerMae()
    compiled_model = copy.deepcopy(eager)
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in eager.parameters())
    compiled = torch.compile(compiled_model)

    def step(model, parameters, optimizer, bf16: bool):
        def run() -> float:
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                out = model(images, mask.visible, mask.masked)
            loss = out[0] if isinstance(out, tuple) else out
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            return loss.item()

        return run

    for precision in ("fp32", "bf16"):
        contestants = {}
        for name, model, source in (("sslmed", ours, ours), ("eager", eager, eager), ("torch.compile", compiled, compiled_model)):
            parameters = list(source.parameters())
            contestants[name] = step(model, parameters, torch.optim.AdamW(parameters, lr=1e-4, fused=True), precision == "bf16")
        started = time.perf_counter()
        contestants["torch.compile"]()
        compile_seconds = time.perf_counter() - started
        times = paired(contestants, rounds=5, seconds=0.8)
        body[f"{precision}, s a step of {BATCH}"] = times
        body[f"{precision}, compile_seconds"] = {"first step": compile_seconds}
        body["ratios"][f"{precision}, against eager"] = times["eager"]["median"] / times["sslmed"]["median"]
        body["ratios"][f"{precision}, against torch.compile"] = times["torch.compile"]["median"] / times["sslmed"]["median"]
    a, b = torch.randn(2048, 2048), torch.randn(2048, 2048)
    # The fastest that PyTorch has here: its BLAS, or oneDNN.
    products = {"BLAS": lambda: a @ b, "oneDNN": lambda: torch.ops.mkldnn._linear_pointwise(a, b, None, "none", [], "")}
    gemm = min(times["median"] for times in paired(products, rounds=5).values())
    # Multiply-adds of linear layers: 50 encoder and 197 decoder tokens; backward costs twice the forward.
    flops = 3 * 2 * BATCH * (50 * 12 * 12 * 192**2 + 196 * 768 * 192 + 197 * 4 * 12 * 192**2 + 147 * 192 * 768)
    body["gemm"] = {"peak GFLOP/s": 2 * 2048**3 / gemm / 1e9, "step's linear layers GFLOP": flops / 1e9}
    body["ratios"]["fp32, share of the GEMM rate"] = flops / body[f"fp32, s a step of {BATCH}"]["sslmed"]["median"] / (2 * 2048**3 / gemm)
    write("mae_step", body)


if __name__ == "__main__":
    main()
