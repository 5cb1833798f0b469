"""Contrast by metadata: the loss in plain torch, missing values, and columns on their way from the cohort's table."""

import math

import numpy as np
import pytest
import torch
from ramps import RampPreprocessing, ramps
from torch.nn.functional import batch_norm, linear, normalize

import sslmed as sm
from sslmed import methods

PRE = RampPreprocessing()
SMALL = {"hidden": 24, "out_dim": 12}


def objective(**options):
    made = sm.Encoder("vit_tiny", PRE, depth=1, dim=24, heads=2)
    return methods.YAware(**(SMALL | options)).objective(made, seed=1), made


def batch_with(targets):
    recipe = PRE.recipe(views=PRE.contrast("simclr"))
    loader = sm.Loader(ramps(6, 1), PRE, batch_size=6, order="sequential", random=True, recipe=recipe, targets=targets)
    return next(iter(loader))


def projected(found, made, batch):
    rows = torch.cat([made.forward_views([view]).tokens.view(6, -1, made.dim)[:, 0] for view in batch.views])
    weights = dict(found.named_parameters())
    for i in range(2):
        rows = linear(rows, weights[f"projector.mlp.{i}.weight"], weights[f"projector.mlp.{i}.bias"])
        scale, shift = weights[f"projector.norms.{i}.weight"], weights[f"projector.norms.{i}.bias"]
        rows = batch_norm(rows, None, None, scale, shift, training=True)
        rows = torch.relu(rows) if i == 0 else rows
    return normalize(rows, dim=1)


def expected_loss(rows, weights, kernel):
    """Of 2B unit rows and weights [2B, 2B]."""
    own = torch.eye(12, dtype=torch.bool)
    scores, weights = rows @ rows.T / 0.1, weights.masked_fill(own, 0)
    share = weights / weights.sum(1, keepdim=True)
    against = scores if kernel == "y_aware" else scores * (1 - weights)
    return (torch.logsumexp(against.masked_fill(own, -math.inf), 1) - (share * scores).sum(1)).mean()


@pytest.mark.parametrize("kernel", ["y_aware", "l_exp"])
def test_the_loss_of_a_batch_is_that_of_plain_torch(kernel):
    found, made = objective(target=("age", "volume"), sigma=(5.0, 100.0), kernel=kernel)
    found.double()
    ages, volumes = [20.0, 24.0, 31.0, 55.0, math.nan, 58.0], [1100.0, 1150.0, 900.0, 1000.0, 1050.0, 1000.0]
    batch = batch_with({"age": ages, "volume": volumes})
    y = torch.tensor([ages, volumes], dtype=torch.float64).T / torch.tensor([5.0, 100.0])
    weights = torch.exp(-0.5 * torch.cdist(y, y).square())
    weights[4], weights[:, 4] = 0, 0  # without an age: only the other view of the same sample
    weights[4, 4] = 1
    expected = expected_loss(projected(found, made, batch), weights.repeat(2, 2), kernel)
    found.train()
    loss = found.loss(batch)
    torch.testing.assert_close(loss, expected, rtol=1e-9, atol=1e-9)
    chosen = [p for p in found.parameters() if p.requires_grad]
    mine, theirs = (torch.autograd.grad(x, chosen) for x in (loss, expected))
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-9)


def test_without_any_metadata_it_is_simclr():
    found, _ = objective()
    plain = methods.SimClr(**SMALL).objective(sm.Encoder("vit_tiny", PRE, depth=1, dim=24, heads=2), seed=1)
    batch = batch_with({"age": [math.nan] * 6})
    torch.testing.assert_close(found.loss(batch), plain.loss(batch))


@pytest.mark.parametrize("kernel", ["y_aware", "l_exp"])
def test_pretraining_takes_the_columns_of_the_table(kernel, tmp_path):
    cohort = ramps(12, 1)
    settings = {"epochs": 2, "batch_size": 6, "progress": False, "tensorboard": False, "depth": 1}
    options = {"hidden": 24, "target": "age", "sigma": 10.0, "kernel": kernel}
    seen = sm.pretrain(cohort, "y_aware", "vit_tiny", tmp_path / "a", **settings, **options)
    assert np.isfinite(seen.history["loss"]).all()
    cohort.table["age"] = cohort.table["age"].to_numpy()[::-1].copy()
    other = sm.pretrain(cohort, "y_aware", "vit_tiny", tmp_path / "b", **settings, **options)
    assert not np.array_equal(seen.history["loss"], other.history["loss"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": "iq"}, "target='iq' is not a column of the table; there are path, subject"),
        ({"target": "diagnosis"}, "target='diagnosis' must hold numbers, found 'last'"),
        ({"sigma": 0.0}, "y_aware: sigma=0 must be positive, in the column's unit"),
        ({"sigma": (1.0, 2.0)}, "y_aware: sigma has 2 numbers, expected one for each of 1 columns of target"),
        ({"sigma": "5"}, "y_aware: sigma='5' must be a number in the column's unit"),
        ({"hidden": 0}, "y_aware: hidden=0 must be a whole number of at least 1"),
        ({"target": ()}, "y_aware: target must name at least one column"),
        ({"temperature": -1.0}, "y_aware: temperature=-1 must be positive"),
        ({"kernel": "rbf"}, "kernel must be one of 'y_aware', 'l_exp', got 'rbf'"),
    ],
)
def test_wrong_options_are_refused(options, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        sm.pretrain(ramps(4, 1), "y_aware", "vit_tiny", tmp_path, depth=1, batch_size=4, progress=False, **(SMALL | options))


def test_a_column_that_nobody_has_a_value_of_is_refused(tmp_path):
    cohort = ramps(4, 1)
    cohort.table["age"] = math.nan
    with pytest.raises(ValueError, match="target='age' is an empty column"):
        sm.pretrain(cohort, "y_aware", "vit_tiny", tmp_path, depth=1, batch_size=4, progress=False)
    cohort.table["age"] = [1.0, 2.0, math.inf, 4.0]
    with pytest.raises(ValueError, match="target='age' has infinite numbers"):
        sm.pretrain(cohort, "y_aware", "vit_tiny", tmp_path, depth=1, batch_size=4, progress=False)


def test_a_loader_without_the_column_is_refused():
    found, _ = objective()
    with pytest.raises(ValueError, match="y_aware: the samples have no target 'age'"):
        found.loss(batch_with(None))


class Halved(sm.PythonEncoder):
    """Features in bfloat16, as a convolutional network has them on a GPU under autocast."""

    def __init__(self):
        super().__init__(8, RampPreprocessing(patch=None))
        torch.manual_seed(0)
        self.net = torch.nn.Conv3d(1, 8, 3, stride=2)

    def encode_dense(self, values):
        return self.net(values).bfloat16()


def test_metadata_is_not_rounded_with_features_in_half_precision():
    def loss(years):
        made = Halved()
        found = methods.YAware(**SMALL, target="year", sigma=0.05).objective(made, seed=1)
        loader = sm.Loader(ramps(6, 1), made.preprocessing, batch_size=6, order="sequential", targets={"year": years})
        rows = []
        sm.Trainer(found, loader, epochs=1, lr=1e-6, bf16=True).fit(rows.extend)
        return rows[0]["loss"]

    apart = loss([2005.0, 2007.0, 2009.0, 2011.0, 2013.0, 2015.0])  # the same number in bfloat16, over sigma
    assert apart == pytest.approx(loss([0.0, 1000.0, 2000.0, 3000.0, 4000.0, 5000.0]), rel=1e-6)
    assert abs(apart - loss([2005.0] * 6)) > 1e-3
