"""Claim: a step of SimCLR (ResNet-18) and of DINO (ViT-Ti, 2 x 224 + 8 x 96 pixels) takes no longer than with lightly.

lightly's side is a network of torchvision or timm with lightly's head and loss, as its documentation builds them. Both
sides have the same optimizer, batch and precision. The rate of matrix products that bounds both is reported beside.
Needs lightly, timm and torchvision.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from common import interleaved, ratio_of, summary, write, written
from PIL import Image

import sslmed as sm

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "python"))
import conftest  # noqa: F401  makes torchvision importable beside a torch that it was not built for
import timm
import torchvision
from lightly.loss import DINOLoss, NTXentLoss
from lightly.models.modules import DINOProjectionHead, SimCLRProjectionHead
from lightly.models.utils import deactivate_requires_grad, update_momentum

LOCAL, PROTOTYPES = 8, 65_536
Step = Callable[[], float]


def batch_of(preprocessing: sm.ImagePreprocessing, recipe: object, size: int):
    """One batch of noise pictures, with the views of a recipe."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        paths = [str(Path(folder) / f"{i}.png") for i in range(size)]
        for path in paths:
            Image.fromarray(rng.integers(0, 256, (256, 256, 3), dtype=np.uint8)).save(path)
        table = pd.DataFrame({"path": paths, "subject": [str(i) for i in range(size)]})
        loader = sm.Loader(sm.Cohort.from_table(table), preprocessing, batch_size=size, recipe=recipe, threads=1)
        return next(iter(loader))


def step_of(loss: Callable[[], torch.Tensor], module: torch.nn.Module, after: Callable[[], None], bf16: bool) -> Step:
    parameters = [p for p in module.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-4, fused=True)

    def run() -> float:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            value = loss()
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        after()
        return value.item()

    return run


def ours(method: object, encoder: sm.Encoder | sm.DenseEncoder, size: int, bf16: bool) -> Step:
    objective = method.objective(encoder, seed=0)
    objective.train()
    how = encoder.preprocessing
    views = how.contrast("dino" if method.name == "dino" else "simclr", getattr(method, "local", 0))
    batch = batch_of(how, how.recipe(views=views), size)
    # In the middle of a run, where DINO's prototypes are trained too.
    return step_of(lambda: objective.loss(batch, 500, 1000), objective, lambda: objective.after_step(500, 1000), bf16)


def simclr_of_lightly(size: int, bf16: bool) -> Step:
    backbone = torchvision.models.resnet18()
    backbone.fc = torch.nn.Identity()
    model = torch.nn.Sequential(backbone, SimCLRProjectionHead(512, 512, 128))
    criterion = NTXentLoss(0.1)
    views = torch.randn(2, size, 3, 224, 224)
    return step_of(lambda: criterion(model(views[0]), model(views[1])), model, lambda: None, bf16)


def dino_of_lightly(size: int, bf16: bool, *, stacked: bool) -> Step:
    """View after view, as in lightly's documentation, or all views of one size in one pass, as in DINO's own code."""
    student, teacher = (
        torch.nn.Sequential(
            timm.create_model("vit_tiny_patch16_224", num_classes=0, dynamic_img_size=True),
            DINOProjectionHead(192, 2048, 256, PROTOTYPES),
        )
        for _ in range(2)
    )
    deactivate_requires_grad(teacher)
    criterion = DINOLoss(PROTOTYPES)
    views = [torch.randn(size, 3, 224, 224) for _ in range(2)] + [torch.randn(size, 3, 96, 96) for _ in range(LOCAL)]

    def loss() -> torch.Tensor:
        if stacked:
            with torch.no_grad():
                targets = teacher(torch.cat(views[:2])).chunk(2)
            answers = [*student(torch.cat(views[:2])).chunk(2), *student(torch.cat(views[2:])).chunk(LOCAL)]
        else:
            with torch.no_grad():
                targets = [teacher(view) for view in views[:2]]
            answers = [student(view) for view in views]
        return criterion(list(targets), answers, teacher_temp=0.04)

    return step_of(loss, student, lambda: update_momentum(student, teacher, 0.996), bf16)


def cases(sizes: dict[str, int]):
    """Row, ours, the peers, and the multiply-adds of one step in convolutions and linear layers."""
    preprocessing = sm.ImagePreprocessing(size=224, patch=16)
    for precision in ("fp32", "bf16"):
        bf16 = precision == "bf16"
        size = sizes["simclr"]
        encoder = sm.DenseEncoder("resnet18", preprocessing.dense())
        method = sm.methods.SimClr(hidden=512, out_dim=128)
        row = f"SimCLR, ResNet-18, 2 x 224, batch {size}, {precision}"
        yield row, ours(method, encoder, size, bf16), {"lightly": simclr_of_lightly(size, bf16)}, 3 * 2 * size * 1.82e9
        size = sizes["dino"]
        vit = sm.Encoder("vit_tiny", preprocessing)
        method = sm.methods.Dino(prototypes=PROTOTYPES, local=LOCAL)
        tokens, head = 2 * 197 + LOCAL * 37, 192 * 2048 + 2048**2 + 2048 * 256 + 256 * PROTOTYPES
        # The teacher sees the global crops, without a backward pass.
        products = size * (12 * 12 * 192**2 * (3 * tokens + 394) + head * (3 * (2 + LOCAL) + 2))
        row = f"DINO, ViT-Ti, 2 x 224 + {LOCAL} x 96, batch {size}, {precision}"
        peers = {
            "lightly": dino_of_lightly(size, bf16, stacked=False),
            "lightly, views stacked": dino_of_lightly(size, bf16, stacked=True),
        }
        yield row, ours(method, vit, size, bf16), peers, products


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--only", default="", help="part of a row's name; the other rows are kept")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--simclr", type=int, default=4, help="batch of SimCLR")
    options.add_argument("--dino", type=int, default=2, help="batch of DINO")
    given = options.parse_args()
    torch.set_num_threads(2)
    body = written("contrast_step") if given.only else {"ratios": {}}
    a, b = torch.randn(1024, 1024), torch.randn(1024, 1024)
    products = {"BLAS": lambda: a @ b, "oneDNN": lambda: torch.ops.mkldnn._linear_pointwise(a, b, None, "none", [], "")}
    for row, own, peers, multiplied in cases({"simclr": given.simclr, "dino": given.dino}):
        if given.only not in row:
            continue
        times = interleaved({"sslmed": own} | peers, rounds=given.rounds, seconds=0.1)
        body[f"{row}, s a step"] = {name: summary(t) for name, t in times.items()}
        for name in peers:
            body["ratios"][f"{row}, against {name}"] = ratio_of(times, name)
            print(row, name, body["ratios"][f"{row}, against {name}"], flush=True)
        if row.endswith("fp32"):
            fastest = min(min(t) for t in interleaved(products, rounds=5).values())
            bound = 2 * multiplied * fastest / (2 * 1024**3)
            body["ratios"][f"{row}, share of the rate of products"] = bound / summary(times["sslmed"])["median"]
    write("contrast_step", body)


if __name__ == "__main__":
    main()
