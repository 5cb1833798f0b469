"""Aggregators against plain PyTorch: values and gradients in double precision, bags of any length side by side."""

import bag_references as ref
import pytest
import torch

from sslmed._core import C
from sslmed.bags import AGGREGATORS, BagTask, BagTraining

LENGTHS = [5, 23, 23, 40]
SIZES = {"hidden": 16, "attention": 8, "heads": 4, "landmarks": 6, "instance_count": 8}


def bags(width=12, seed=0):
    draw = torch.Generator().manual_seed(seed)
    values = torch.randn(sum(LENGTHS), width, generator=draw, dtype=torch.float64)
    extents = torch.tensor([[4, 5], [9, 7], [6, 6], [12, 11]], dtype=torch.int32)
    cells = []
    for n, (height, columns) in zip(LENGTHS, extents.tolist(), strict=True):
        picked = torch.randperm(height * columns, generator=draw)[:n].sort().values
        cells.append(torch.stack([picked // columns, picked % columns], 1))
    return values, torch.cat(cells).int(), extents


def made(aggregator, outcome="classes", classes=3, **options):
    task = BagTask(aggregator, 12, outcome=outcome, classes=classes, options=BagTraining(**SIZES | options), seed=3).double()
    with torch.no_grad():  # unit norms and zero biases would hide a forgotten one
        for number, p in enumerate(task.parameters()):
            p.add_(0.1 * torch.randn(p.shape, generator=torch.Generator().manual_seed(number), dtype=torch.float64))
    return task.eval()


def weights(task):
    return {name: p.detach().clone().requires_grad_() for name, p in task.named_parameters()}


def per_bag(values, cells, extents):
    return list(zip(values.split(LENGTHS), cells.split(LENGTHS), [tuple(e) for e in extents.tolist()], strict=True))


def outputs(name, w, parts, landmarks):
    one = {
        "mean": lambda x, c, e: ref.mean(w, x),
        "abmil": lambda x, c, e: ref.abmil(w, x),
        "clam_sb": lambda x, c, e: ref.abmil(w, x),
        "clam_mb": lambda x, c, e: ref.clam_mb(w, x),
        "transmil": lambda x, c, e: ref.transmil(w, x, c, e, SIZES["heads"], landmarks),
    }[name]
    return torch.stack([one(*part) for part in parts])


def compare(task, w, ours, theirs):
    assert torch.allclose(ours, theirs, rtol=0, atol=1e-10)
    grown = torch.autograd.grad(ours, [p for _, p in task.named_parameters()], allow_unused=True)
    wanted = torch.autograd.grad(theirs, list(w.values()), allow_unused=True)
    for name, a, b in zip(w, grown, wanted, strict=True):
        a, b = (torch.zeros_like(w[name]) if g is None else g for g in (a, b))
        assert torch.allclose(a, b, rtol=0, atol=1e-10), name
    assert sum(g is not None and bool(g.abs().max() > 1e-6) for g in grown) >= 4


@pytest.mark.parametrize(("name", "landmarks"), [(n, 6) for n in AGGREGATORS] + [("transmil", 0)])
def test_outputs_and_gradients(name, landmarks):
    task, (values, cells, extents) = made(name, landmarks=landmarks), bags()
    w = weights(task)
    ours, attention = task(values, LENGTHS, cells, extents)
    theirs = outputs(name, w, per_bag(values, cells, extents), landmarks)
    assert ours.shape == (4, 3)
    assert torch.allclose(torch.stack([part.sum(0) for part in attention.split(LENGTHS)]), torch.ones(4, attention.shape[1]).double())
    mix = torch.randn(4, 3, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    assert torch.allclose(ours, theirs, rtol=0, atol=1e-10)
    compare(task, w, (ours * mix).sum(), (theirs * mix).sum())


@pytest.mark.parametrize("subtyping", [False, True])
@pytest.mark.parametrize("name", ["clam_sb", "clam_mb"])
def test_clam_loss(name, subtyping):
    """.7 of the bag loss and .3 of the instance loss; a bag of 5 rows takes 5 where CLAM asks for 8."""
    task, (values, cells, extents) = made(name, subtyping=subtyping), bags()
    w, labels = weights(task), torch.tensor([2, 0, 1, 0])
    parts = per_bag(values, cells, extents)
    bag = torch.nn.functional.cross_entropy(outputs(name, w, parts, 0), labels)
    instances = torch.stack([ref.clam_instances(w, x, int(y), 3, 8, subtyping) for (x, _, _), y in zip(parts, labels, strict=True)]).mean()
    compare(task, w, task.loss_of(values, LENGTHS, labels.double()), 0.7 * bag + 0.3 * instances)


@pytest.mark.parametrize("ties", ["efron", "breslow"])
def test_survival_and_value_losses(ties):
    values, cells, extents = bags()
    time, event = torch.tensor([3.0, 1.0, 3.0, 5.0]).double(), torch.tensor([1.0, 1.0, 1.0, 0.0]).double()
    task = made("abmil", "survival", 0, ties=ties)
    w = weights(task)
    risk = outputs("abmil", w, per_bag(values, cells, extents), 0)[:, 0]
    compare(task, w, task.loss_of(values, LENGTHS, time, event), C.cox(risk, time, event, ties))
    task = made("transmil", "value", 0)
    w = weights(task)
    said = outputs("transmil", w, per_bag(values, cells, extents), 6)[:, 0]
    compare(task, w, task.loss_of(values, LENGTHS, time, grid=cells, extents=extents), (said - time).square().mean())


def test_half_precision_rows_come_as_bytes():
    task, half = made("abmil"), bags()[0].half()
    ours = task(half.view(torch.uint8), LENGTHS)[0]
    assert torch.equal(ours, task(half.double(), LENGTHS)[0])


def test_rows_that_share_a_cell_enter_by_their_mean():
    task = made("transmil", landmarks=0)
    values = bags()[0][:5]
    apart = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1], [2, 0]], dtype=torch.int32)
    shared = apart.clone()
    shared[1] = shared[0]
    extents = torch.tensor([[3, 2]], dtype=torch.int32)
    w = weights(task)
    assert not torch.allclose(task(values, [5], apart, extents)[0], task(values, [5], shared, extents)[0])
    x = ref.attention_layer(w, "encoder.layer1", torch.cat([w["encoder.cls_token"], ref.hidden(w, values)]), 4, 0)[1:]
    mean = (x[0] + x[1]) / 2
    at = torch.zeros(6, 16).double().index_copy(0, torch.tensor([0, 2, 3, 4]), torch.stack([mean, x[2], x[3], x[4]])).t().view(1, 16, 3, 2)
    out = sum(
        torch.nn.functional.conv2d(at, w[f"encoder.pos_layer.{n}.weight"], w[f"encoder.pos_layer.{n}.bias"], padding=s // 2, groups=16)
        for n, s in (("proj", 7), ("proj1", 5), ("proj2", 3))
    )
    h = torch.cat([ref.attention_layer(w, "encoder.layer1", torch.cat([w["encoder.cls_token"], ref.hidden(w, values)]), 4, 0)[:1],
                   x + out[0].flatten(1).t()[[0, 0, 2, 3, 4]]])  # fmt: skip
    h = ref.attention_layer(w, "encoder.layer2", h, 4, 0)
    cls = torch.nn.functional.layer_norm(h[0], (16,), w["encoder.norm.weight"], w["encoder.norm.bias"], 1e-5)
    assert torch.allclose(task(values, [5], shared, extents)[0][0], ref.linear(w, "head", cls), rtol=0, atol=1e-10)


def test_dropout_is_a_function_of_the_seed_of_each_bag():
    task, (values, _, _) = made("abmil"), bags()
    labels = torch.tensor([0.0, 1.0, 2.0, 0.0]).double()

    def loss(seeds, lengths=LENGTHS, rows=values, y=labels):
        return float(task._handle.loss_of(rows, lengths, y, dropout=0.25, seeds=seeds).detach())

    assert loss([1, 2, 3, 4]) == loss([1, 2, 3, 4]) != loss([1, 2, 3, 5])
    alone = loss([4], LENGTHS[3:], values[-LENGTHS[3] :], labels[3:])
    last = 4 * loss([1, 2, 3, 4]) - 3 * loss([1, 2, 3], LENGTHS[:3], values[: -LENGTHS[3]], labels[:3])
    assert abs(alone - last) < 1e-9


def test_dropout_changes_no_mean():
    """Over 20,000 equal rows the mean of relu(fc(x)) stays what it is without dropout."""
    task, rows, nothing = made("mean", "value", 0), torch.ones(20_000, 12).double(), torch.zeros(1).double()
    whole = float(task.loss_of(rows, [20_000], nothing).detach()) ** 0.5
    found = {float(task._handle.loss_of(rows, [20_000], nothing, dropout=0.25, seeds=[s]).detach()) ** 0.5 for s in range(5)}
    assert len(found) == 5
    assert all(abs(value - whole) < 0.03 * whole for value in found)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"aggregator": "max"}, "aggregator='max' must be one of 'mean', 'abmil', 'clam_sb', 'clam_mb', 'transmil'"),
        ({"outcome": "grade"}, "outcome='grade' must be one of"),
        ({"classes": 1}, "classes=1 must be at least 2"),
        ({"outcome": "value"}, "classes=2 must be 0 where the outcome is no class"),
        ({"aggregator": "clam_sb", "outcome": "survival", "classes": 0}, "tells classes apart; outcome='survival' needs"),
        ({"in_dim": 0}, "in_dim=0 must be a whole number of at least 1"),
        ({"aggregator": "transmil", "options": BagTraining(hidden=20, heads=8)}, "heads=8 must divide hidden=20"),
    ],
)
def test_refuses_what_does_not_fit(options, text):
    given = {"aggregator": "abmil", "in_dim": 4, "outcome": "classes", "classes": 2} | options
    with pytest.raises(ValueError, match=text):
        BagTask(given.pop("aggregator"), given.pop("in_dim"), **given)


def test_refuses_bags_that_do_not_fit():
    task, (values, cells, extents) = made("transmil"), bags()
    with pytest.raises(ValueError, match="needs the grid of the rows"):
        task(values, LENGTHS)
    with pytest.raises(ValueError, match="a bag has no rows"):
        task(values, [*LENGTHS, 0], cells, torch.cat([extents, extents[:1]]))
    with pytest.raises(ValueError, match=r"rows are \[91, 11\], expected \[91, 12\]"):
        task(values[:, :11].contiguous(), LENGTHS, cells, extents)
    with pytest.raises(ValueError, match="grid of bag 0 must lie within its extents 4 x 5"):
        task(values, LENGTHS, cells + 100, extents)
    with pytest.raises(ValueError, match="'target' must number 3 classes from 0, got 0 to 3"):
        task.loss_of(values, LENGTHS, torch.tensor([0.0, 1.0, 2.0, 3.0]), grid=cells, extents=extents)
    with pytest.raises(ValueError, match="survival needs the event"):
        made("abmil", "survival", 0).loss_of(values, LENGTHS, torch.ones(4))


@pytest.mark.parametrize(
    ("option", "text"),
    [({"dropout": 1.0}, "dropout=1.0 must be within"), ({"lr": 0}, "lr=0 must be a number above 0"), ({"ties": "exact"}, "ties='exact' must be one of"),
     ({"epochs": 0}, "epochs=0 must be a whole number"), ({"validation": 0}, "validation=0 must be"), ({"max_rows": -1}, "max_rows=-1 must be")],
)  # fmt: skip
def test_options_name_what_is_wrong(option, text):
    with pytest.raises(ValueError, match=text):
        BagTraining(**option)
