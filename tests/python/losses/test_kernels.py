"""The kernels: large and odd sizes, edge cases, precision, threads, and errors."""

from pathlib import Path

import pytest
import torch

from sslmed import losses


def plain_nt_xent(a, b, temperature):
    z = torch.cat([torch.nn.functional.normalize(a), torch.nn.functional.normalize(b)])
    logits = (z @ z.T / temperature).fill_diagonal_(-torch.inf)
    return torch.nn.functional.cross_entropy(logits, torch.arange(len(z)).roll(len(a)))


@pytest.mark.parametrize(("b", "d", "dtype"), [(1, 3, torch.float64), (65, 1, torch.float64), (700, 17, torch.float64), (1300, 33, torch.float32)])
@pytest.mark.parametrize("temperature", [0.02, 0.5])
def test_nt_xent_over_several_tiles(rng, b, d, dtype, temperature):
    tolerance = 1e-10 if dtype == torch.float64 else 2e-5
    a, c = torch.randn(b, d, dtype=dtype, requires_grad=True), torch.randn(b, d, dtype=dtype, requires_grad=True)
    ours, theirs = losses.nt_xent(a, c, temperature), plain_nt_xent(a, c, temperature)
    assert torch.allclose(ours, theirs, rtol=tolerance)
    least = min(float(rows.detach().norm(dim=1).min()) for rows in (a, c))
    for x, y in zip(torch.autograd.grad(ours, (a, c)), torch.autograd.grad(theirs, (a, c)), strict=True):
        # Of one dimension gradients are 0 but for rounding, which normalizing divides by the norm of a row.
        assert (x - y).norm() <= 10 * tolerance * y.norm() + tolerance * 1e-3 / least


@pytest.mark.parametrize("keys", [True, False])
@pytest.mark.parametrize("own", [True, False])
def test_gradcheck_of_info_nce(keys, own):
    if own and not keys:
        pytest.skip("queries among themselves have no own keys")
    torch.manual_seed(0)
    q = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    k = torch.randn(7, 3, dtype=torch.float64, requires_grad=True) if keys else None
    positive, self = torch.tensor([1, 1, 0, 4, 2]), torch.tensor([0, 2, 3, 6, 5]) if own else None

    def call(q, k=None):
        return torch.ops.sslmed.info_nce(q, k, positive, self, 0.7)[0]

    assert torch.autograd.gradcheck(call, (q, k) if keys else (q,))


def test_gradcheck_of_soft_cross_entropy():
    torch.manual_seed(0)
    x = torch.randn(3, 2, 5, dtype=torch.float64, requires_grad=True)
    targets, pairs = torch.rand(2, 2, 5, dtype=torch.float64), torch.tensor([[0.0, 1], [0.5, 0], [1, 2]], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: torch.ops.sslmed.soft_cross_entropy(x, targets, pairs, 0.3)[0], (x,))


@pytest.mark.parametrize("k", [1, 31, 2048, 5000])
def test_dino_in_single_precision(rng, k):
    student = (3 * torch.randn(4, 3, k)).requires_grad_()
    teacher, center = torch.randn(2, 3, k), torch.randn(k)
    exact = student.detach().double().requires_grad_()
    ours, theirs = losses.dino(student, teacher, center, 0.1, 0.04), losses.dino(exact, teacher.double(), center.double(), 0.1, 0.04)
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5, abs=1e-6)
    ours.backward()
    theirs.backward()
    assert (student.grad.double() - exact.grad).norm() <= 1e-5 * exact.grad.norm() + 1e-5


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float(rng, dtype):
    x, y, ages = torch.randn(12, 16).to(dtype), torch.randn(12, 16).to(dtype), torch.arange(12.0)
    student, teacher = torch.randn(3, 4, 20).to(dtype), torch.randn(2, 4, 20).to(dtype)
    weights = torch.full((4,), 0.25)
    calls = [
        (lambda a, b: losses.nt_xent(a, b, 0.1), x, y),
        (lambda a, b: losses.info_nce(a, b, 0.2), x, y),
        (lambda a, b: losses.y_aware(a, b, ages, 5.0, 0.1), x, y),
        (lambda a, b: losses.l_exp(a, b, ages, 5.0, 0.1), x, y),
        (losses.byol, x, y),
        (losses.vicreg, x, y),
        (losses.barlow_twins, x, y),
        (lambda a, b: losses.koleo(a) + losses.uniformity(b), x, y),
        (lambda a, b: losses.dino(a, b, torch.zeros(20), 0.1, 0.04), student, teacher),
        (lambda a, b: losses.ibot(a[0], b[0].float().softmax(-1), weights, 0.1), student, teacher),
        (losses.gram, student, teacher[:1].expand(3, -1, -1)),
    ]
    for call, a, b in calls:
        a = a.clone().requires_grad_()
        loss = call(a, b)
        assert loss.dtype == torch.float32
        assert torch.allclose(loss, call(a.detach().float(), b.float()), rtol=1e-5, atol=1e-6)
        loss.backward()
        assert a.grad.dtype == dtype
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(call(a.detach(), b), loss.detach())


def test_duplicates_opposites_zeros_and_single_rows_have_finite_gradients():
    base = torch.randn(1, 6)
    ages = torch.zeros(4)
    for x in (base.repeat(4, 1), torch.cat([base, -base, base, -base]), torch.zeros(4, 6), torch.eye(6)[:4]):
        for call in (
            lambda x: losses.nt_xent(x, x, 0.1),
            lambda x: losses.info_nce(x, x, 0.1),
            lambda x: losses.y_aware(x, x, ages, 5.0, 0.1),
            lambda x: losses.l_exp(x, x, ages, 5.0, 0.1),
            lambda x: losses.byol(x, x),
            losses.koleo,
            losses.uniformity,
            lambda x: losses.vicreg(x, x),
            lambda x: losses.barlow_twins(x, x),
            lambda x: losses.gram(x[None], x[None]),
        ):
            leaf = x.clone().requires_grad_()
            loss = call(leaf)
            loss.backward()
            assert loss.isfinite()
            assert leaf.grad.isfinite().all()
    one = torch.randn(1, 6, requires_grad=True)
    for call in (lambda x: losses.nt_xent(x, 2 * x, 0.1), losses.koleo, lambda x: losses.byol(x, x), lambda x: losses.info_nce(x, x, 0.1)):
        loss = call(one)
        assert loss.isfinite()
        assert torch.autograd.grad(loss, one)[0].abs().max() < 1e-6


def test_results_do_not_depend_on_threads():
    a, b = torch.randn(600, 24, requires_grad=True), torch.randn(600, 24)
    student, teacher = torch.randn(4, 5, 3000, requires_grad=True), torch.randn(2, 5, 3000)
    before, results = torch.get_num_threads(), []
    for n in (1, 2):
        torch.set_num_threads(n)
        one, two = losses.nt_xent(a, b, 0.1), losses.dino(student, teacher, torch.zeros(3000), 0.1, 0.04)
        results.append([one, two, *torch.autograd.grad(one + two, (a, student))])
    torch.set_num_threads(before)
    assert all(torch.equal(x, y) for x, y in zip(*results, strict=True))


def test_nt_xent_never_holds_the_similarities():
    b = 6000  # 2B x 2B floats would be 576 MB
    a, c = torch.randn(b, 8, requires_grad=True), torch.randn(b, 8)
    losses.nt_xent(a[:512], c[:512], 0.1).backward()
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew: the process may have held more before
    before = held("VmRSS")
    losses.nt_xent(a, c, 0.1).backward()
    assert held("VmHWM") - before < 100_000


def held(name: str) -> float:
    """KiB that the process has (VmRSS), or had at most since its peak started (VmHWM)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(name))


def test_second_derivatives_are_refused():
    a, student = torch.randn(3, 4, requires_grad=True), torch.randn(2, 3, 4, requires_grad=True)
    for loss, x in ((losses.nt_xent(a, a, 0.1), a), (losses.dino_pairs(student, torch.rand(2, 3, 4), 0.1), student)):
        with pytest.raises(RuntimeError, match="only once"):
            torch.autograd.grad(loss, x, create_graph=True)[0].sum().backward()


ROWS, WIDE, EMPTY = torch.randn(4, 3), torch.randn(4, 5), torch.randn(0, 3)
VIEWS, CENTER = torch.randn(2, 4, 3), torch.zeros(3)
PAIR = {"a": ROWS, "b": ROWS}
KERNEL = PAIR | {"metadata": torch.arange(4.0), "sigma": 5.0, "temperature": 0.1}
PAIR_FAULTS = [("a", EMPTY), ("a", VIEWS), ("b", WIDE)]
CASES = {
    "nt_xent": (PAIR | {"temperature": 0.1}, [*PAIR_FAULTS, ("temperature", 0.0), ("temperature", -1.0), ("temperature", float("nan"))]),
    "info_nce": ({"q": ROWS, "k": ROWS, "temperature": 0.1}, [("q", EMPTY), ("k", WIDE), ("temperature", 0.0)]),
    "y_aware": (KERNEL, [*PAIR_FAULTS, ("metadata", torch.arange(3.0)), ("sigma", 0.0), ("temperature", 0.0)]),
    "l_exp": (KERNEL, [*PAIR_FAULTS, ("metadata", torch.zeros(4, 0)), ("sigma", -1.0), ("temperature", 0.0)]),
    "byol": ({"p": ROWS, "z": ROWS}, [("p", EMPTY), ("z", WIDE)]),
    "koleo": ({"x": ROWS}, [("x", EMPTY), ("x", VIEWS)]),
    "uniformity": ({"x": ROWS}, [("x", EMPTY), ("x", ROWS[:1]), ("kappa", 0.0)]),
    "vicreg": (PAIR, PAIR_FAULTS),
    "barlow_twins": (PAIR, PAIR_FAULTS),
    "dino": (
        {"student": VIEWS, "teacher": VIEWS, "center": CENTER, "student_temp": 0.1, "teacher_temp": 0.04},
        [("student", ROWS), ("student", VIEWS[:, :0]), ("teacher", VIEWS[:, :2]), ("center", torch.zeros(4)), ("student_temp", 0.0), ("teacher_temp", 0.0)],
    ),
    "dino_pairs": ({"student": VIEWS, "teacher": VIEWS, "student_temp": 0.1}, [("student", ROWS), ("teacher", ROWS), ("student_temp", 0.0)]),
    "ibot": (
        {"student": ROWS, "teacher": ROWS, "weights": torch.ones(4), "student_temp": 0.1},
        [("student", EMPTY), ("teacher", WIDE), ("weights", torch.ones(3)), ("student_temp", 0.0)],
    ),
    "sinkhorn": ({"logits": ROWS, "temperature": 0.1}, [("logits", EMPTY), ("temperature", 0.0), ("iterations", 0)]),
    "gram": ({"student": VIEWS, "teacher": VIEWS}, [("student", ROWS), ("teacher", VIEWS[:, :2])]),
}


@pytest.mark.parametrize(("name", "parameter", "value"), [(name, *fault) for name, (_, faults) in CASES.items() for fault in faults])
def test_errors_name_the_function_and_the_parameter(name, parameter, value):
    with pytest.raises(ValueError, match=rf"{name}: .*{parameter}|{parameter}.*{name}"):
        getattr(losses, name)(**(CASES[name][0] | {parameter: value}))


@pytest.mark.parametrize("name", CASES)
def test_whole_numbers_are_refused(name):
    arguments = CASES[name][0]
    first = next(iter(arguments))
    with pytest.raises(TypeError, match=f"{name}: {first}"):
        getattr(losses, name)(**(arguments | {first: arguments[first].long()}))


def test_every_loss_is_in_the_table_of_errors():
    assert set(CASES) | {"masked_mse", "ijepa", "dice_ce", "cox"} == set(losses.__all__)


def test_two_views_of_one_row_are_needed_by_statistics():
    for name in ("vicreg", "barlow_twins"):
        with pytest.raises(ValueError, match="at least 2 rows"):
            getattr(losses, name)(ROWS[:1], ROWS[:1])
