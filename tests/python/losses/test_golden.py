"""Values of losses on fixed inputs, in double precision: they may not change with a version."""

import pytest
import torch

from sslmed import losses


def fixed(*shape, shift=0.0):
    """Values between -1 and 1 that no random generator is needed for."""
    count = torch.arange(torch.Size(shape).numel(), dtype=torch.float64)
    return torch.sin(1.7 * count**1.1 + shift).view(shape)


A, B = fixed(6, 5), fixed(6, 5, shift=0.5)
AGES = torch.tensor([20.0, 23.5, 31.0, 44.0, 46.0, 70.0], dtype=torch.float64)
STUDENT, TEACHER = 2 * fixed(4, 3, 7), 2 * fixed(2, 3, 7, shift=1.0)
CENTER = fixed(7, shift=2.0)
PATCHES, TARGETS = 2 * fixed(5, 7), torch.softmax(2 * fixed(5, 7, shift=1.0) / 0.04, -1)
WEIGHTS = torch.tensor([0.25, 0.25, 0.1, 0.2, 0.2], dtype=torch.float64)

CALLS = {
    "nt_xent": lambda x: losses.nt_xent(x, B, 0.2),
    "dino": lambda x: losses.dino(x, TEACHER, CENTER, 0.1, 0.04),
    "ibot": lambda x: losses.ibot(x, TARGETS, WEIGHTS, 0.1),
    "koleo": losses.koleo,
    "vicreg": lambda x: losses.vicreg(x, B),
    "barlow_twins": lambda x: losses.barlow_twins(x, B),
    "y_aware": lambda x: losses.y_aware(x, B, AGES, 10.0, 0.2),
}
INPUTS = {"dino": STUDENT, "ibot": PATCHES}
# Value, and norm of the gradient of the first argument: those of lightly 1.6.0 (NT-Xent, KoLeo, VICReg, Barlow Twins), and of
# the formulas in plain torch.
GOLDEN = {
    "nt_xent": (1.5630422469748002, 0.4852511741528291),
    "dino": (16.964786191041345, 3.202284608589107),
    "ibot": (12.025660806809029, 5.854136719778761),
    "koleo": (1.1202461979265186, 3.325730323260583),
    "vicreg": (14.55153418073952, 3.4616397411427067),
    "barlow_twins": (0.5502961018836237, 1.8734227864486082),
    "y_aware": (3.1518624779384488, 0.5135510123361923),
}


@pytest.mark.parametrize("name", list(CALLS))
def test_values_and_gradients_of_fixed_inputs(name):
    x = INPUTS.get(name, A).clone().requires_grad_()
    loss = CALLS[name](x)
    (grad,) = torch.autograd.grad(loss, x)
    value, norm = GOLDEN[name]
    assert loss.item() == pytest.approx(value, rel=1e-10, abs=0)
    assert grad.norm().item() == pytest.approx(norm, rel=1e-10, abs=0)
