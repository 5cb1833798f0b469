"""Claim: bags of 5,000 tiles with 1,024 features come at least 3 times as fast as by CLAM's loader (torch's DataLoader over .pt files, one bag a batch).
Training CLAM-SB is measured beside it: on a processor it is the network's products that take the time, not the loader."""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from common import interleaved, ratio_of, summary, write
from torch import nn

import sslmed as sm
from sslmed._core import C
from sslmed.bags import Bags, BagTask

TILES, WIDTH, CLASSES, INSTANCES = 5_000, 1_024, 2, 8


def make(folder: Path, bags: int) -> Bags:
    """The same features three times: ours in half precision, and .pt files in single and half precision."""
    store, names = sm.FeatureStore(folder / "store"), [f"slide {i}" for i in range(bags)]
    draw = torch.Generator().manual_seed(0)
    places = torch.arange(TILES)
    for name in names:
        half = torch.randn(TILES, WIDTH, generator=draw).half()
        store.write(name, half, torch.stack([places % 80, places // 80], 1) * 256, mpp=0.5, tile=256)
        torch.save(half.float(), folder / f"{name}.pt")
        torch.save(half, folder / f"{name}.half.pt")
    return Bags(store, [[name] for name in names], names, {"target": torch.arange(bags).remainder(CLASSES).double().numpy()})


class Files(torch.utils.data.Dataset):
    """CLAM's Generic_MIL_Dataset: a bag is torch.load of its file."""

    def __init__(self, folder: Path, bags: Bags, ending: str) -> None:
        self.paths = [folder / f"{names[0]}{ending}" for names in bags.slides]
        self.labels = bags.targets["target"].astype(int)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return torch.load(self.paths[index], weights_only=True), int(self.labels[index])


def collate(items: list[tuple[torch.Tensor, int]]) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.cat([x for x, _ in items]), torch.tensor([y for _, y in items])


def clams(files: Files, workers: int) -> torch.utils.data.DataLoader:
    return torch.utils.data.DataLoader(files, batch_size=1, sampler=torch.utils.data.RandomSampler(files), num_workers=workers, collate_fn=collate)


class Clam(nn.Module):
    """CLAM-SB as its paper has it, in PyTorch."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Sequential(nn.Linear(WIDTH, 512), nn.ReLU(), nn.Dropout(0.25))
        self.value = nn.Sequential(nn.Linear(512, 256), nn.Tanh(), nn.Dropout(0.25))
        self.gate = nn.Sequential(nn.Linear(512, 256), nn.Sigmoid(), nn.Dropout(0.25))
        self.score, self.head = nn.Linear(256, 1), nn.Linear(512, CLASSES)
        self.instance = nn.ModuleList(nn.Linear(512, 2) for _ in range(CLASSES))

    def forward(self, x: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        h = self.fc(x)
        a = torch.softmax(self.score(self.value(h) * self.gate(h)).t(), dim=1)
        rows = torch.cat([h[torch.topk(a[0], INSTANCES).indices], h[torch.topk(-a[0], INSTANCES).indices]])
        targets = torch.cat([torch.ones(INSTANCES), torch.zeros(INSTANCES)]).long()
        return 0.7 * F.cross_entropy(self.head(a @ h), label) + 0.3 * F.cross_entropy(self.instance[int(label)](rows), targets)


def endless(loader: torch.utils.data.DataLoader) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    while True:
        yield from loader


def plan_of(bags: Bags, threads: int, recipe: C.Recipe | None = None) -> C.LoaderPlan:
    """With a recipe one pass; without, what a trainer opens, whose objective has its own."""
    source = bags.source()
    sampler = C.Sampler(source, "shuffle", 1, True, 0, None)
    return C.LoaderPlan(source, sampler, recipe, threads=threads, end=0 if recipe is None else sampler.batches_per_epoch)


class Ours:
    """CLAM-SB by the loop in C++, a few bags at a time."""

    def __init__(self, bags: Bags, steps: int, *, bf16: bool) -> None:
        task = BagTask("clam_sb", WIDTH, outcome="classes", classes=CLASSES).train()
        options = C.TrainOptions(epochs=1_000, lr=1e-4, weight_decay=1e-5, bf16=bf16, monitor_every=0)
        self.task, self.steps = task, steps
        self.trainer = C.Trainer(task._handle, plan_of(bags, 2), options)

    def __call__(self) -> None:
        self.trainer.fit(None, self.trainer.step + self.steps)


class Theirs:
    def __init__(self, loader: torch.utils.data.DataLoader, steps: int, *, bf16: bool) -> None:
        self.bags, self.steps, self.bf16, self.model = endless(loader), steps, bf16, Clam()
        self.solver = torch.optim.Adam(self.model.parameters(), lr=1e-4, weight_decay=1e-5)

    def __call__(self) -> None:
        for _ in range(self.steps):
            x, label = next(self.bags)
            with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
                loss = self.model(x, label)
            self.solver.zero_grad()
            loss.backward()
            self.solver.step()


def passes(bags: Bags, files: Files, halves: Files) -> dict[str, list[float]]:
    """Seconds of one pass over all bags by each loader."""

    def ours(threads: int) -> None:
        loader = plan_of(bags, threads, C.BagRecipe()).open()
        for _ in range(len(bags)):
            batch = loader.next()
            assert batch is not None
            assert batch.views[0].lengths == [TILES]

    def theirs(which: Files, workers: int) -> None:
        for _ in clams(which, workers):
            pass

    contestants = {
        "sslmed": lambda: ours(2),
        "sslmed, 1 thread": lambda: ours(1),
        "CLAM's": lambda: theirs(files, 0),
        "CLAM's, 2 workers": lambda: theirs(files, 2),
        "CLAM's, half precision": lambda: theirs(halves, 0),
    }
    return interleaved(contestants, rounds=5, seconds=0.01)


def steps(bags: Bags, files: Files, count: int) -> dict[str, list[float]]:
    """Seconds of some training steps."""
    contestants = {
        "sslmed": Ours(bags, count, bf16=False),
        "sslmed, bf16": Ours(bags, count, bf16=True),
        "CLAM's": Theirs(clams(files, 0), count, bf16=False),
        "CLAM's, bf16": Theirs(clams(files, 0), count, bf16=True),
    }
    return interleaved(contestants, rounds=5, seconds=0.01)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bags", type=int, default=60)
    parser.add_argument("--steps", type=int, default=2)
    how = parser.parse_args()
    torch.set_num_threads(2)
    with tempfile.TemporaryDirectory() as folder:
        bags = make(Path(folder), how.bags)
        files, halves = (Files(Path(folder), bags, ending) for ending in (".pt", ".half.pt"))
        loaded, trained = passes(bags, files, halves), steps(bags, files, how.steps)
    thousand = 1_000 / how.bags
    body = {
        f"s, loading 1,000 bags of {TILES} x {WIDTH} (a pass over {how.bags}, times {thousand:g})": {
            name: summary([t * thousand for t in times]) for name, times in loaded.items()
        },
        "s, a training step of CLAM-SB with one bag": {name: summary([t / how.steps for t in times]) for name, times in trained.items()},
        "ratios": {
            "loading, against CLAM's loader": ratio_of(loaded, "CLAM's"),
            "loading, against CLAM's loader with 2 workers": ratio_of(loaded, "CLAM's, 2 workers"),
            "loading, against CLAM's loader over half precision": ratio_of(loaded, "CLAM's, half precision"),
            "loading with 1 thread, against CLAM's loader": ratio_of(loaded, "CLAM's", "sslmed, 1 thread"),
            "training, against CLAM's": ratio_of(trained, "CLAM's"),
            "training in bf16, against CLAM's": ratio_of(trained, "CLAM's", "sslmed, bf16"),
            "training, both in bf16": ratio_of(trained, "CLAM's, bf16", "sslmed, bf16"),
        },
    }
    write("bags", body)


if __name__ == "__main__":
    main()
