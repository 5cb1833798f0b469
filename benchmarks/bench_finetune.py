"""Claim: fine-tuning a ViT-Ti on EEG windows, end to end from EDF files, at least 1.2 times as fast as braindecode's windows with the same network,
loss, schedule and optimiser in PyTorch; the time of the network alone, which bounds both, beside."""

import copy
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from bench_loader import PRE, Transformed, peer
from bench_mae_step import Block
from common import paired, write
from torch import nn

import sslmed as sm
from sslmed.demo import eeg as demo
from sslmed.encoders import Encoder
from sslmed.methods import Supervised

BATCH, CHANNELS, STEPS = 32, 19, 4


class Network(nn.Module):
    """The same network as a PyTorch user writes it: a linear embedding of patches with places, class token, 12 blocks, mean, head."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.patch, self.place = nn.Linear(200, 192), nn.Linear(64, 192)
        self.cls = nn.Parameter(torch.zeros(1, 1, 192))
        self.blocks = nn.ModuleList([Block(192, 3) for _ in range(12)])
        self.norm, self.head = nn.LayerNorm(192, eps=1e-6), nn.Linear(192, classes)
        self.rates = torch.linspace(0, 0.1, 12).tolist()

    def forward(self, patches: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        x = self.patch(patches) + self.place(places)
        x = torch.cat([self.cls.expand(len(x), -1, -1), x], 1)
        for block, rate in zip(self.blocks, self.rates, strict=True):
            x = _drop(block, x, rate if self.training else 0.0)
        return self.head(self.norm(x)[:, 1:].mean(1))

    def groups(self, lr: float, decay: float) -> list[dict]:
        """timm's layer decay."""
        out = []
        for name, p in self.named_parameters():
            layer = 13 if name.startswith("head") else 12 if name.startswith("norm") else int(name.split(".")[1]) + 1 if "blocks" in name else 0
            out.append({"params": [p], "lr": lr * decay ** (13 - layer), "weight_decay": 0.05 if p.ndim == 2 else 0.0})
        return out


def _drop(block: Block, x: torch.Tensor, rate: float) -> torch.Tensor:
    def keep() -> torch.Tensor | float:
        return 1.0 if rate == 0 else torch.empty(len(x), 1, 1).bernoulli_(1 - rate) / (1 - rate)

    b, n, d = x.shape
    q, k, v = block.qkv(block.norm1(x)).view(b, n, 3, block.heads, d // block.heads).permute(2, 0, 3, 1, 4)
    x = x + keep() * block.proj(nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, d))
    return x + keep() * block.fc2(nn.functional.gelu(block.fc1(block.norm2(x))))


def collate(items: list) -> torch.Tensor:
    return torch.from_numpy(np.stack([tokens for tokens, _, _ in items]))


def theirs(dataset: Transformed, network: Network, places: torch.Tensor, workers: int) -> int:
    """One epoch: DataLoader, forward, backward, clip, step."""
    groups = network.groups(1e-3, 0.75)
    optimizer = torch.optim.AdamW(groups, fused=True)
    parameters = list(network.parameters())
    loader = torch.utils.data.DataLoader(dataset, batch_size=BATCH, shuffle=True, drop_last=True, num_workers=workers, collate_fn=collate)
    n = 0
    for batch in loader:
        loss = nn.functional.cross_entropy(network(batch, places.expand(len(batch), -1, -1)), torch.arange(len(batch)) % 2)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        loss.item()
        n += len(batch)
    return n


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        people = demo.write_cohort(Path(folder) / "public", demo.PUBLIC, 8, seconds=64, seed=0)
        dataset = peer(list(people.table["path"]))
        channels = dataset[0][0].shape[0] // STEPS
        network, places = Network(2), torch.randn(1, channels * STEPS, 64)
        labels = {"target": [float(i % 2) for i in range(len(people))]}
        encoder = Encoder("vit_tiny", PRE)
        task = Supervised(encoder, classes=2, layer_decay=0.75, drop_path=0.1)
        ours_size = sum(p.numel() for p in task.parameters())
        assert ours_size == sum(p.numel() for p in network.parameters()), (ours_size, sum(p.numel() for p in network.parameters()))

        def ours() -> int:
            loader = sm.Loader(people, PRE, batch_size=BATCH, threads=2, random=True, drop_last=True, targets=labels)
            trainer = sm.Trainer(task, loader, epochs=1, lr=1e-3, clip_norm=1.0)
            trainer.fit()
            return trainer.total_steps * BATCH

        # Theirs are fewer: each is read with its margins, which ours shortens at a recording's ends.
        windows, their_windows = ours(), theirs(dataset, network, places, 2)
        body: dict = {"ratios": {}, "windows an epoch": {"sslmed": windows, "braindecode": their_windows}, "channels": channels}
        x = torch.randn(BATCH, channels * STEPS, 200)
        alone = copy.deepcopy(network)

        def network_alone() -> None:
            optimizer = torch.optim.AdamW(alone.parameters(), fused=True)
            for _ in range(windows // BATCH):
                nn.functional.cross_entropy(alone(x, places.expand(BATCH, -1, -1)), torch.arange(BATCH) % 2).backward()
                optimizer.step()
                optimizer.zero_grad()

        started = time.perf_counter()
        times = paired(
            {
                "sslmed, 2 loader threads": ours,
                "braindecode + PyTorch, 2 workers": lambda: theirs(dataset, network, places, 2),
                "braindecode + PyTorch, no workers": lambda: theirs(dataset, network, places, 0),
                "PyTorch, the network alone": network_alone,
            },
            rounds=7,
            seconds=0.1,
        )
        body["s an epoch"] = times
        body["seconds in all"] = time.perf_counter() - started
        mine = times["sslmed, 2 loader threads"]["median"] / windows
        for name in list(times)[1:]:
            body["ratios"][f"a window, against {name}"] = times[name]["median"] / (their_windows if "braindecode" in name else windows) / mine
        write("finetune", body)


if __name__ == "__main__":
    main()
