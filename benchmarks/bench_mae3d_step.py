"""Claim: a step of MAE on volumes of 96³ is at least as fast as the same model in eager PyTorch; torch.compile is reported beside."""

import copy

import torch
from bench_mae_step import Block
from common import paired, write
from torch import nn

import sslmed as sm
from sslmed.methods import MaskedAutoencoder
from sslmed.nn import create

SIDE = 96


class EagerMae3d(nn.Module):
    """The same model as a PyTorch user writes it: ViT-Ti encoder, 192 wide decoder of 4 blocks."""

    def __init__(self, patch: int) -> None:
        super().__init__()
        self.p, self.n = patch, (SIDE // patch) ** 3
        self.patch = nn.Linear(patch**3, 192)
        self.cls, self.mask = nn.Parameter(torch.zeros(1, 1, 192)), nn.Parameter(torch.zeros(1, 1, 192))
        self.register_buffer("pos", torch.randn(1, self.n + 1, 192))
        self.blocks = nn.Sequential(*[Block(192, 3) for _ in range(12)])
        self.norm, self.decoder_norm = nn.LayerNorm(192, eps=1e-6), nn.LayerNorm(192, eps=1e-6)
        self.embed, self.pred = nn.Linear(192, 192), nn.Linear(192, patch**3)
        self.decoder = nn.Sequential(*[Block(192, 6) for _ in range(4)])

    def forward(self, volumes: torch.Tensor, keep: torch.Tensor, masked: torch.Tensor) -> torch.Tensor:
        b, p, g = volumes.shape[0], self.p, SIDE // self.p
        patches = volumes.view(b, g, p, g, p, g, p).permute(0, 1, 3, 5, 2, 4, 6).reshape(b, self.n, p**3)
        x = self.patch(patches) + self.pos[:, 1:]
        x = x.gather(1, keep.unsqueeze(-1).expand(-1, -1, 192))
        x = self.norm(self.blocks(torch.cat([(self.cls + self.pos[:, :1]).expand(b, -1, -1), x], 1)))
        y = self.embed(x)
        full = self.mask.expand(b, self.n, -1).to(y.dtype).scatter(1, keep.unsqueeze(-1).expand(-1, -1, 192), y[:, 1:]) + self.pos[:, 1:]
        z = self.decoder_norm(self.decoder(torch.cat([y[:, :1] + self.pos[:, :1], full], 1)))[:, 1:]
        pred = self.pred(z).gather(1, masked.unsqueeze(-1).expand(-1, -1, p**3))
        target = patches.gather(1, masked.unsqueeze(-1).expand(-1, -1, p**3))
        target = (target - target.mean(-1, keepdim=True)) / (target.var(-1, keepdim=True) + 1e-6).sqrt()
        return ((pred.float() - target) ** 2).mean()


def main() -> None:
    body: dict[str, dict] = {"ratios": {}}
    for patch, batch in ((16, 4), (8, 1)):
        volumes = torch.randn(batch, 1, SIDE, SIDE, SIDE)
        mask = sm.masking.random((SIDE // patch) ** 3, 0.75, batch, 0)
        encoder = create("vit_tiny", (patch,) * 3, (SIDE,) * 3, 1, positions="sincos")
        ours = MaskedAutoencoder(encoder, sm.methods.Mae(decoder_dim=192, decoder_depth=4, decoder_heads=6))
        eager = EagerMae3d(patch)
        assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in eager.parameters())
        compiled_model = copy.deepcopy(eager)
        compiled = torch.compile(compiled_model)

        def step(model, parameters, optimizer, volumes=volumes, mask=mask):
            def run() -> float:
                out = model(volumes, mask.visible, mask.masked)
                loss = out[0] if isinstance(out, tuple) else out
                optimizer.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(parameters, 1.0)
                optimizer.step()
                return loss.item()

            return run

        contestants = {}
        for name, model, source in (("sslmed", ours, ours), ("eager", eager, eager), ("torch.compile", compiled, compiled_model)):
            parameters = list(source.parameters())
            contestants[name] = step(model, parameters, torch.optim.AdamW(parameters, lr=1e-4, fused=True))
        times = paired(contestants, rounds=7, seconds=0.8)
        body[f"patches of {patch}, s a step of {batch}"] = times
        body["ratios"][f"patches of {patch}, against eager"] = times["eager"]["median"] / times["sslmed"]["median"]
        body["ratios"][f"patches of {patch}, against torch.compile"] = times["torch.compile"]["median"] / times["sslmed"]["median"]
    write("mae3d_step", body)


if __name__ == "__main__":
    main()
