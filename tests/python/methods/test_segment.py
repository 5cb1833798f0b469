"""The segmentation task: its loss on a loader's batches, resumed runs, and two ranks beside one."""

import pytest
import torch
from heads import head_cohort

import sslmed as sm
from sslmed.methods import Segment

VALUES = (0, 1, 2, 3)


def how(**options):
    return sm.VolumePreprocessing(**{"spacing": 4.0, "patch": None, "size": 16, "labels": True, "crop": "none"} | options)


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    folder = tmp_path_factory.mktemp("heads")
    return sm.prepare(head_cohort(folder / "raw", 6), folder / "prepared", spacing=4.0, crop="none", progress=False)


def task_of(pre, seed=0, **options):
    return Segment(sm.DenseEncoder("unet", pre, filters=[4, 8, 12], seed=seed), **{"values": VALUES, "seed": seed} | options)


def batch_of(cohort, task, n=3, **options):
    return next(iter(sm.Loader(cohort, task.preprocessing, batch_size=n, order="sequential", random=True, **options)))


def plain(logits, labels, include_background=True):
    """The mean over samples of Dice and cross-entropy."""
    p, out = logits.softmax(1), []
    for b in range(len(labels)):
        known = labels[b] >= 0
        if not known.any():
            continue
        truth = torch.stack([(labels[b] == k) & known for k in range(4)]).double()
        said = p[b] * known
        dice = 1 - (2 * (truth * said).flatten(1).sum(1) + 1e-5) / (truth.flatten(1).sum(1) + said.flatten(1).sum(1) + 1e-5)
        out.append(
            dice[0 if include_background else 1 :].mean() + torch.nn.functional.cross_entropy(logits[b : b + 1], labels[b : b + 1].long(), ignore_index=-1)
        )
    return torch.stack(out).mean()


def test_loss_is_dice_and_cross_entropy_by_sample(heads):
    task = task_of(how()).double()
    batch = batch_of(heads, task)
    view = batch.views[0]
    labels = torch.stack(view.targets["labels"])
    assert labels.shape == (3, 16, 16, 16)
    assert set(labels.unique().tolist()) <= {-1, *VALUES}
    got = task.loss(batch)
    want = plain(task.forward_dense(view.values.double()), labels)
    assert abs((got - want).item()) <= 1e-8
    parameters = list(task.parameters())
    for p, q in zip(torch.autograd.grad(got, parameters), torch.autograd.grad(want, parameters), strict=True):
        assert float((p - q).abs().max()) <= 1e-8


def test_values_that_are_ignored_or_unknown(heads):
    ignored = task_of(how(), values=(0, 1, 2), loss={"ignore": 3}).double()
    batch = batch_of(heads, ignored)
    view = batch.views[0]
    labels = torch.stack(view.targets["labels"])
    logits = ignored.forward_dense(view.values.double())
    known = labels.masked_fill(labels == 3, -1)
    p, losses = logits.softmax(1), []
    for b in range(3):
        truth = torch.stack([known[b] == k for k in range(3)]).double()
        said = p[b] * (known[b] >= 0)
        dice = 1 - (2 * (truth * said).flatten(1).sum(1) + 1e-5) / (truth.flatten(1).sum(1) + said.flatten(1).sum(1) + 1e-5)
        losses.append(dice.mean() + torch.nn.functional.cross_entropy(logits[b : b + 1], known[b : b + 1].long(), ignore_index=-1))
    assert abs((ignored.loss(batch) - torch.stack(losses).mean()).item()) <= 1e-8
    with pytest.raises(ValueError, match=r"the target 'labels' holds \d, which is none of values=\[0, 1\]"):
        task_of(how(), values=(0, 1)).loss(batch)
    with pytest.raises(ValueError, match="the views have no target 'lesions'"):
        task_of(how(), target="lesions").loss(batch)


def test_label_maps_move_with_the_views(heads):
    changes = sm.VolumeAugmentation(p_flip=(1.0, 0.0, 0.0), p_affine=1.0)
    task = task_of(how(), augmentation=changes)
    loader = sm.Loader(heads, task.preprocessing, batch_size=2, order="sequential", random=True, recipe=task.preprocessing.recipe(augmentation=changes))
    view = next(iter(loader)).views[0]
    labels, values = torch.stack(view.targets["labels"]), view.values[:, 0]
    inner, outer = (values[labels == k].mean() for k in (1, 2))
    assert inner < outer  # the inner tissue is dark in every head


@pytest.mark.parametrize("decoder", ["unet", "unetr", "upernet", "linear"])
def test_a_vision_transformer_learns_from_patches(decoder, heads):
    pre = how(patch=8, anatomy=0.0, positions="grid")
    encoder = sm.Encoder("vit_tiny", pre, depth=2, dim=24, heads=2)
    task = Segment(encoder, values=VALUES, decoder=decoder, features=8)
    loader = sm.Loader(heads, pre, batch_size=3, seed=1, random=True)
    losses = []
    sm.Trainer(task, loader, epochs=12, lr=3e-3).fit(lambda rows: losses.extend(row["loss"] for row in rows))
    assert losses[-1] < losses[0]
    assert task.forward_dense(torch.zeros(1, 1, 16, 24, 16)).shape == (1, 4, 16, 24, 16)


def trained(cohort, folder, epochs, until=None, resume=None):
    task = task_of(how(), seed=3)
    trainer = sm.Trainer(
        task, sm.Loader(cohort, task.preprocessing, batch_size=2, seed=1, random=True), epochs=epochs, lr=1e-3, checkpoints=folder, checkpoint_every=1
    )
    if resume is not None:
        trainer.resume(resume)
    trainer.fit(until=until)
    return {name: value.detach().clone() for name, value in task.state_dict().items()}


def test_a_resumed_run_has_the_same_bits(heads, tmp_path):
    whole = trained(heads, tmp_path / "whole", 3)
    trained(heads, tmp_path / "part", 3, until=4)
    again = trained(heads, tmp_path / "part", 3, resume=sorted((tmp_path / "part").glob("step-*"))[-1])
    assert whole.keys() == again.keys()
    assert all(torch.equal(whole[name], again[name]) for name in whole)


def test_an_encoder_that_is_not_tuned_stays(heads):
    pre = how()
    task = Segment(sm.DenseEncoder("resnet10", pre), values=VALUES, decoder="unet", tuned="nothing")
    before = {name: value.clone() for name, value in task.state_dict().items()}
    sm.Trainer(task, sm.Loader(heads, pre, batch_size=3, seed=1, random=True), epochs=2, lr=1e-2).fit()
    changed = {name for name, value in task.state_dict().items() if not torch.equal(value, before[name])}
    assert changed
    assert all(name.startswith("decoder.") for name in changed)


def test_what_does_not_fit_is_refused(heads):
    pre = how()
    for wrong, message in [
        ({"values": (0,)}, "values has 1 entries"),
        ({"values": (0, 0)}, "values has 0 twice"),
        ({"values": (0, -3)}, "values=-3 must be within 0 and 65535"),
        ({"loss": {"ignore": 1}}, "ignore=1 is one of the values"),
        ({"drop_path": 0.1}, "needs an encoder with residual branches"),
        ({"layer_decay": 0.0}, r"layer_decay=0 must be within \(0, 1\]"),
        ({"decoder": "deeplab"}, "decoder='deeplab' must be one of"),
    ]:
        with pytest.raises(ValueError, match=message):
            task_of(pre, **wrong)
    with pytest.raises(TypeError, match="no option 'gamma'"):
        task_of(pre, loss={"gamma": 1})
    task = task_of(pre)
    with pytest.raises(ValueError, match="the views have no target"):
        task.loss(batch_of(heads, task_of(how(labels=False))))
