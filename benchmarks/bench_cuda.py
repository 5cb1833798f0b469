"""The masked_mse kernels against the same formula in PyTorch, eager and compiled, with the copy bandwidth that bounds them; and SimCLR's views on the GPU
against all cores of the processor beside it."""

import os
import time

import torch
from common import write

import sslmed as sm
from sslmed.losses import masked_mse


def reference(pred: torch.Tensor, target: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    target = (target - target.mean(-1, keepdim=True)) / (target.var(-1, keepdim=True) + 1e-6).sqrt()
    return (((pred - target) ** 2).mean(-1) * mask).sum() / mask.sum()


def seconds(call, repeats: int = 20) -> float:
    for _ in range(5):
        call()
    times = []
    for _ in range(repeats):
        start, stop = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        call()
        stop.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(stop) / 1e3)
    return sorted(times)[len(times) // 2]


def augmented(n: int, size: int) -> dict[str, float]:
    """SimCLR's changes with those of stains, of pictures that lie where they are changed."""
    how = sm.Augmentation(scale=(0.08, 1.0), hed=0.05, brightness=0.8, contrast=0.8, saturation=0.8, hue=0.2, p_jitter=0.8, p_grayscale=0.2, p_blur=0.5)
    pictures = [torch.randint(0, 256, (256, 256, 3), dtype=torch.uint8) for _ in range(n)]
    there = [picture.cuda() for picture in pictures]
    torch.set_num_threads(os.cpu_count() or 1)
    times = []
    for _ in range(3):
        start = time.perf_counter()
        sm.transforms.image.augment(pictures, how, size)
        times.append(time.perf_counter() - start)
    return {
        "GPU": n / seconds(lambda: sm.transforms.image.augment(there, how, size, device="cuda")),
        "cores": n / sorted(times)[1],
        "n cores": float(os.cpu_count() or 1),
    }


def main() -> None:
    body: dict = {"gpu": torch.cuda.get_device_name(), "ratios": {}}
    big = torch.empty(2**30, dtype=torch.uint8, device="cuda")
    other = torch.empty_like(big)
    bandwidth = 2 * 2**30 / seconds(lambda: other.copy_(big))
    body["copy, GB/s"] = bandwidth / 1e9
    compiled = torch.compile(reference)
    for dtype in (torch.float32, torch.bfloat16):
        pred, target = (torch.randn(256, 1024, 768, device="cuda", dtype=dtype) for _ in range(2))
        mask = (torch.rand(256, 1024, device="cuda") < 0.75).float()
        ours = seconds(lambda p=pred, t=target, m=mask: masked_mse(p, t, m))
        theirs = seconds(lambda p=pred, t=target, m=mask: reference(p, t, m))
        fused = seconds(lambda p=pred, t=target, m=mask: compiled(p, t, m))
        read = 2 * pred.numel() * pred.element_size() * float(mask.mean())
        body[f"{dtype}, s"] = {"sslmed": ours, "eager": theirs, "torch.compile": fused}
        body["ratios"] |= {
            f"{dtype}, against eager": theirs / ours,
            f"{dtype}, against torch.compile": fused / ours,
            f"{dtype}, share of copy bandwidth": read / ours / bandwidth,
        }
    body["views/s"] = views = augmented(256, 224)
    body["ratios"]["augmentation, against all cores"] = views["GPU"] / views["cores"]
    write("cuda", body)


if __name__ == "__main__":
    main()
