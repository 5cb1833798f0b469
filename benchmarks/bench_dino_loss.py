"""Claim: DINO's loss over 65,536 prototypes, forward and backward, takes at most two thirds of lightly's time.
The time that reading and writing its tensors once would take is reported beside."""

import torch
from common import interleaved, lightly_losses, ratio_of, summary, write

from sslmed import losses

BATCH, PROTOTYPES, VIEWS = 16, 65_536, 10


def main() -> None:
    torch.set_num_threads(2)
    torch.manual_seed(0)
    student = torch.randn(VIEWS, BATCH, PROTOTYPES, requires_grad=True)
    teacher, center = torch.randn(2, BATCH, PROTOTYPES), torch.zeros(PROTOTYPES)
    theirs = lightly_losses().DINOLoss(PROTOTYPES)
    # Both sides take what a method has at hand: one tensor here, a list of views there.
    leaves = [view.detach().requires_grad_() for view in student]

    def ours() -> torch.Tensor:
        student.grad = None
        loss = losses.dino(student, teacher, center, 0.1, 0.04)
        loss.backward()
        center.mul_(0.9).add_(teacher.mean((0, 1)), alpha=0.1)
        return loss.detach()

    def lightly() -> torch.Tensor:
        for leaf in leaves:
            leaf.grad = None
        loss = theirs(list(teacher), leaves, teacher_temp=0.04)
        loss.backward()
        return loss.detach()

    assert torch.allclose(ours(), lightly(), rtol=1e-4)
    assert torch.allclose(student.grad, torch.stack([leaf.grad for leaf in leaves]), rtol=1e-3, atol=1e-6)
    values = torch.empty(64 << 20)
    half = values.numel() // 2
    runs = {"sslmed": ours, "lightly": lightly, "copy": lambda: values[:half].copy_(values[half:])}
    times = interleaved(runs, rounds=7, seconds=0.5)
    copied = times.pop("copy")
    # Logits are read twice and their gradients written once; the teacher's logits are read, its probabilities written once and read twice.
    moved = 4 * BATCH * PROTOTYPES * (3 * VIEWS + 4 * 2)
    bound = {"memory": [t * moved / (4 * values.numel()) for t in copied]} | times
    body = {
        f"s, B={BATCH}, K={PROTOTYPES}, {VIEWS} views, fp32, forward and backward": {name: summary(t) for name, t in times.items()},
        "GB/s of a copy": summary([4 * values.numel() / t / 1e9 for t in copied]),
        "ratios": {
            "time, against lightly": ratio_of(times, "lightly"),
            "share of the memory's rate": ratio_of(bound, "memory"),
        },
    }
    write("dino_loss", body)


if __name__ == "__main__":
    main()
