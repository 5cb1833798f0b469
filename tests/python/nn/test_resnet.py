"""ResNets of rank 1, 2 and 3 against timm, MONAI and plain PyTorch: features, pyramids, gradients, running statistics."""

import pytest
import torch
from torch import nn as tnn

from sslmed import nn


def agree(ours, theirs, tolerance=1e-10):
    scale = max(float(theirs.abs().max()), 1.0)
    assert ours.shape == theirs.shape
    assert float((ours - theirs).abs().max()) <= tolerance * scale


def shaken(module, seed=0):
    """The state with norms that are not the identity, so that every one of them shows."""
    draw = torch.Generator().manual_seed(seed)
    state = {k: v.clone() for k, v in module.state_dict().items()}
    for name, value in state.items():
        if value.dim() == 1 and value.is_floating_point():
            value.copy_(torch.rand(value.shape, generator=draw, dtype=value.dtype) * 0.5 + (0.5 if "var" in name else 0.1))
    module.load_state_dict(state)
    return module


def same_gradients(ours, theirs, loss):
    loss(ours).backward()
    loss(theirs).backward()
    found = dict(ours.named_parameters())
    for name, parameter in theirs.named_parameters():
        agree(found[name].grad, parameter.grad, 1e-9)


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50", "wide_resnet50_2"])
def test_pictures_as_timm(name, rng):
    timm = pytest.importorskip("timm")
    theirs = shaken(timm.create_model(name, num_classes=5).double())
    ours = nn.create(name, num_classes=5).double()
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 3, 64, 48, dtype=torch.float64)
    for training in (False, True):
        ours.train(training), theirs.train(training)
        agree(ours(x), theirs(x))
        agree(ours.forward_features(x), theirs.forward_features(x))
    # Running statistics have moved alike, by the same number of batches.
    for key, value in theirs.state_dict().items():
        agree(ours.state_dict()[key].double(), value.double())
    maps = timm.create_model(name, features_only=True).double().eval()
    maps.load_state_dict({k: v for k, v in theirs.state_dict().items() if not k.startswith("fc.")})
    features = ours.eval().features(x)
    for found, expected in zip(features.pyramid, maps(x), strict=True):
        agree(found, expected)
    assert [m.shape[1] for m in features.pyramid] == ours.widths
    assert ours.strides == [2, 4, 8, 16, 32]
    agree(features.pooled, features.tokens.view(2, -1, ours.dim).mean(1))
    if name in ("resnet18", "resnet50"):
        same_gradients(ours.train(), theirs.train(), lambda model: (model(x) ** 2).sum())


@pytest.mark.parametrize(
    ("name", "options", "reference"),
    [
        ("resnet18", {"shortcut_type": "B"}, {"shortcut_type": "B", "bias_downsample": False}),
        ("resnet10", {"bias_downsample": True}, {"bias_downsample": True}),
        ("resnet18", {"shortcut_type": "A", "no_max_pool": True}, {"shortcut_type": "A", "no_max_pool": True}),
        ("resnet50", {"conv1_t_size": (3, 5, 7), "conv1_t_stride": 1}, {"conv1_t_size": (3, 5, 7), "conv1_t_stride": 1, "bias_downsample": False}),
    ],
)
def test_volumes_as_monai(name, options, reference, rng):
    resnet = pytest.importorskip("monai.networks.nets.resnet")
    given = {"conv1_t_stride": 2} | reference
    make = getattr(resnet, name)
    theirs = shaken(make(spatial_dims=3, n_input_channels=2, feed_forward=False, **given).double())
    ours = nn.create(name, rank=3, in_chans=2, **{k: list(v) if isinstance(v, tuple) else v for k, v in options.items()}).double()
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 2, 20, 17, 24, dtype=torch.float64)
    for training in (False, True):
        ours.train(training), theirs.train(training)
        agree(ours(x), theirs(x))
    # Type A cuts MONAI's shortcut out of the graph (`out.data`), so gradients are compared where there is a convolution.
    if options.get("shortcut_type") != "A":
        same_gradients(ours, theirs, lambda model: (model(x) ** 2).sum())


def test_type_a_shortcuts_carry_the_gradient():
    net = nn.create("resnet10", rank=1, in_chans=1, shortcut_type="A").double().eval()
    x = torch.randn(1, 1, 64, dtype=torch.float64, requires_grad=True)
    # With zero-initialized last norms every block is its shortcut: without a gradient there, none would arrive.
    net(x).sum().backward()
    assert float(x.grad.abs().max()) > 0


class PlainBlock(tnn.Module):
    def __init__(self, channels, width, stride):
        super().__init__()
        self.conv1 = tnn.Conv1d(channels, width, 3, stride, 1, bias=False)
        self.bn1 = tnn.BatchNorm1d(width)
        self.conv2 = tnn.Conv1d(width, width, 3, 1, 1, bias=False)
        self.bn2 = tnn.BatchNorm1d(width)
        if stride != 1 or channels != width:
            self.downsample = tnn.Sequential(tnn.Conv1d(channels, width, 1, stride, bias=False), tnn.BatchNorm1d(width))

    def forward(self, x):
        shortcut = self.downsample(x) if hasattr(self, "downsample") else x
        return torch.relu(self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x))))) + shortcut)


class PlainResNet(tnn.Module):
    """A ResNet-18 over signals, written down layer by layer."""

    def __init__(self, channels):
        super().__init__()
        self.conv1 = tnn.Conv1d(channels, 64, 7, 2, 3, bias=False)
        self.bn1 = tnn.BatchNorm1d(64)
        width = 64
        for i, planes in enumerate((64, 128, 256, 512)):
            setattr(self, f"layer{i + 1}", tnn.Sequential(PlainBlock(width, planes, 1 if i == 0 else 2), PlainBlock(planes, planes, 1)))
            width = planes

    def forward(self, x):
        x = tnn.functional.max_pool1d(torch.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        for i in range(4):
            x = getattr(self, f"layer{i + 1}")(x)
        return x.mean(2)


def test_signals_as_plain_pytorch(rng):
    theirs = shaken(PlainResNet(5).double())
    ours = nn.create("resnet18", rank=1, in_chans=5).double()
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(3, 5, 301, dtype=torch.float64)
    agree(ours(x), theirs(x))
    agree(ours.eval()(x), theirs.eval()(x))
    same_gradients(ours.train(), theirs.train(), lambda model: (model(x) ** 2).sum())


def test_the_small_stem_keeps_the_resolution():
    net = nn.create("resnet18", stem="cifar")
    assert net.strides == [1, 1, 2, 4, 8]
    assert net.state_dict()["conv1.weight"].shape == (64, 3, 3, 3)
    assert [m.shape[-1] for m in net.features(torch.zeros(2, 3, 32, 32)).pyramid] == [32, 32, 16, 8, 4]


def test_initial_weights(rng):
    net = nn.create("resnet18", seed=4)
    state = net.state_dict()
    weight = state["layer3.0.conv1.weight"]
    assert abs(float(weight.std()) - (2 / (256 * 9)) ** 0.5) < 0.02 * (2 / (256 * 9)) ** 0.5  # He's normal law, fan out
    assert float(state["layer3.0.bn2.weight"].abs().max()) == 0
    assert float(state["layer3.0.bn1.weight"].min()) == 1
    assert float(nn.create("resnet18", zero_init_last=False).state_dict()["layer3.0.bn2.weight"].min()) == 1
    again, other = nn.create("resnet18", seed=4).state_dict(), nn.create("resnet18", seed=5).state_dict()
    assert all(torch.equal(value, again[name]) for name, value in state.items())
    assert not torch.equal(other["conv1.weight"], state["conv1.weight"])
