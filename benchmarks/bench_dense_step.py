"""Claim: a training step of ResNet-18 (224², and 96³) and of Swin over volumes (96³) is at least as fast as timm's and MONAI's."""

import argparse

import torch
from common import paired, write

from sslmed import nn


def trained(model: torch.nn.Module, x: torch.Tensor):
    """One step: forward, backward, fused AdamW."""
    parameters = list(model.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=1e-4, fused=True)

    def run() -> float:
        out = model(x)
        loss = (out[-1] if isinstance(out, list) else out).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return run


class Last(torch.nn.Module):
    """The last map of a pyramid."""

    def __init__(self, net: nn.DenseNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net.features(x).pyramid[-1]


def cases(only: str):
    import monai.networks.nets.resnet as monai_resnet
    import timm
    from monai.networks.nets.swin_unetr import SwinTransformer

    if only in "resnet18, 16 of 224²":
        yield "resnet18, 16 of 224²", nn.create("resnet18"), timm.create_model("resnet18", num_classes=0), torch.randn(16, 3, 224, 224)
    if only in "resnet18, 2 of 96³":
        theirs = monai_resnet.resnet18(spatial_dims=3, n_input_channels=1, conv1_t_stride=2, feed_forward=False, bias_downsample=False)
        yield "resnet18, 2 of 96³", nn.create("resnet18", rank=3, in_chans=1), theirs, torch.randn(2, 1, 96, 96, 96)
    for name, width in (("swin_tiny", 24), ("swin_small", 48)):
        row = f"{name}, 1 of 96³"
        if only in row:
            theirs = SwinTransformer(
                in_chans=1, embed_dim=width, window_size=(7, 7, 7), patch_size=(2, 2, 2), depths=(2, 2, 2, 2), num_heads=(3, 6, 12, 24)
            )  # fmt: skip
            yield row, Last(nn.create(name, rank=3, in_chans=1)), theirs, torch.randn(1, 1, 96, 96, 96)
    if only in "swin_tiny, 8 of 224²":
        theirs = timm.create_model("swin_tiny_patch4_window7_224", num_classes=0)
        yield "swin_tiny, 8 of 224²", nn.create("swin_tiny"), theirs, torch.randn(8, 3, 224, 224)


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--only", default="", help="part of a row's name")
    options.add_argument("--rounds", type=int, default=7)
    given = options.parse_args()
    body: dict[str, dict] = {"ratios": {}, "ratios, least and most": {}}
    for row, ours, theirs, x in cases(given.only):
        reference = "timm" if x.dim() == 4 else "MONAI"
        times = paired({"sslmed": trained(ours, x), reference: trained(theirs, x)}, rounds=given.rounds, seconds=0.1)
        body[f"{row}, s a step"] = times
        body["ratios"][f"{row}, against {reference}"] = times[reference]["median"] / times["sslmed"]["median"]
        body["ratios, least and most"][row] = [times[reference][a] / times["sslmed"][b] for a, b in (("min", "max"), ("max", "min"))]
    if given.only:
        print(body["ratios"])
    else:
        write("dense_step", body)


if __name__ == "__main__":
    main()
