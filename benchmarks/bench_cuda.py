"""The masked_mse kernels against the same formula in PyTorch, eager and compiled, with the copy bandwidth that bounds them."""

import torch
from common import write

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
    write("cuda", body)


if __name__ == "__main__":
    main()
