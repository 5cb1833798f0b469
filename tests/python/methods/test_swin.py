"""Swin is trained like any other encoder of dense views: on pictures and on volumes."""

import numpy as np
import pandas as pd
import pytest
import torch
from heads import head_cohort
from PIL import Image

import sslmed as sm
from sslmed import methods

SIZES = {"embed_dim": 12, "depths": [2, 2, 1, 1], "num_heads": [1, 2, 3, 4], "patch_size": 2, "window_size": 4}
SMALL = {
    "simclr": {"hidden": 24, "out_dim": 12},
    "dino": {"prototypes": 48, "hidden": 24, "bottleneck": 12, "local": 2},
    "simmim": {"mask_cell": 4},
}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    draw = np.random.default_rng(0)
    rows = []
    for i in range(8):
        coarse = draw.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((40, 44)).save(folder / f"{i}.png")
        rows.append({"path": str(folder / f"{i}.png"), "subject": f"p{i}"})
    return sm.Cohort.from_table(pd.DataFrame(rows), name="pictures")


@pytest.fixture(scope="module")
def volumes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("volumes")
    return sm.prepare(head_cohort(folder / "raw", 8), folder / "prepared", spacing=4.0)


def dense(kind):
    if kind == "pictures":
        return sm.ImagePreprocessing(size=32, patch=None)
    return sm.VolumePreprocessing(spacing=4.0, patch=None, size=16)


@pytest.mark.parametrize("kind", ["pictures", "volumes"])
@pytest.mark.parametrize("name", sorted(SMALL))
def test_one_epoch(name, kind, request, tmp_path):
    encoder = sm.DenseEncoder("swin_tiny", dense(kind), **SIZES)
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    method = methods.get(name)(**SMALL[name])
    cohort = request.getfixturevalue(kind)
    run = sm.pretrain(cohort, method, encoder, tmp_path, epochs=1, batch_size=4, lr=1e-3, progress=False, tensorboard=False)
    assert len(run.history) == 2
    assert np.isfinite(run.history["loss"]).all()
    after = run.encoder.state_dict()
    still = [key for key, value in before.items() if torch.equal(value, after[key])]
    assert still == []  # every weight has a gradient, tables of relative positions too
    again = sm.encoders.resolve(tmp_path / "encoder.safetensors", cohort)
    features, _ = sm.encode(again, cohort)
    assert features.shape == (8, encoder.dim)
    assert torch.equal(features, sm.encode(run.encoder, cohort)[0])


def test_by_its_name(volumes, tmp_path):
    options = {"hidden": 24, "out_dim": 12, "preprocessing": dense("volumes"), "epochs": 1, "batch_size": 4, "lr": 1e-4}
    run = sm.pretrain(volumes, "simclr", "swin_tiny", tmp_path, progress=False, tensorboard=False, **options)
    assert isinstance(run.encoder, sm.DenseEncoder)
    assert run.encoder.dim == 384  # 24 channels, doubled after each of four stages
    assert np.isfinite(run.history["loss"]).all()
