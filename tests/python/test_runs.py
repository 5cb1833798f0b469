import pandas as pd
import pytest
import torch
from cohorts import PRE, cohort

import sslmed as sm

HOW = {"epochs": 1, "batch_size": 4, "depth": 1, "preprocessing": PRE, "tensorboard": False, "progress": False}


def test_each_seed_is_a_run_of_its_own(tmp_path):
    people = cohort(n=8)
    runs = sm.pretrain(people, "mae", "vit_tiny", tmp_path, seeds=[0, 5], **HOW)
    assert [run.out.name for run in runs] == ["seed-0", "seed-5"]
    assert len(runs) == len(runs.encoders) == 2
    assert not runs.interrupted
    assert "seed 5: <Run" in repr(runs)
    assert runs[1:].seeds == [5]
    assert runs.history.groupby("seed").size().tolist() == [len(run.history) for run in runs]
    alone = sm.pretrain(people, "mae", "vit_tiny", tmp_path / "alone", seed=5, **HOW)
    pd.testing.assert_series_equal(alone.history["loss"], runs[1].history["loss"])
    assert all(torch.equal(a, b) for a, b in zip(alone.encoder.parameters(), runs.encoders[1].parameters(), strict=True))
    table = sm.transfer(runs, cohort(n=12, name="clinic"), "y", cv=3, repeats=1, baselines=["dummy"], permutations=0).table
    assert table[table["row"] == "pretrained encoder"]["sd_seeds"].notna().any()
    again = sm.pretrain(people, "mae", "vit_tiny", tmp_path, seeds=[0, 5], resume=True, **HOW)
    assert all(torch.equal(a, b) for a, b in zip(again.encoders[0].parameters(), runs.encoders[0].parameters(), strict=True))


def test_an_encoder_that_is_given_starts_every_run(tmp_path):
    people, encoder = cohort(n=8), sm.Encoder("vit_tiny", PRE, depth=1)
    before = [p.detach().clone() for p in encoder.parameters()]
    how = {name: value for name, value in HOW.items() if name not in ("depth", "preprocessing")}
    runs = sm.pretrain(people, "mae", encoder, tmp_path, seeds=[0, 1], **how)
    assert all(torch.equal(a, b) for a, b in zip(before, encoder.parameters(), strict=True))
    alone = sm.pretrain(people, "mae", encoder, tmp_path / "alone", seed=1, **how)
    assert all(torch.equal(a, b) for a, b in zip(alone.encoder.parameters(), runs.encoders[1].parameters(), strict=True))


def test_after_an_interrupted_run_no_other_starts(tmp_path):
    runs = sm.pretrain(cohort(n=8), "mae", "vit_tiny", tmp_path, seeds=[0, 1], callback=lambda rows: False, **HOW)
    assert runs.interrupted
    assert runs.seeds == [0]
    assert not (tmp_path / "seed-1").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seeds": [0, 0]}, r"seeds=\[0, 0\] must be a list of different"),
        ({"seeds": []}, r"seeds=\[\] must be"),
        ({"seeds": 3}, "seeds=3 must be a list"),
        ({"seeds": [0, -1]}, "seeds=-1 must be a whole number"),
        ({"seeds": [0, 1], "seed": 2}, "seed=2 and seeds="),
    ],
)
def test_what_is_refused(change, said, tmp_path):
    with pytest.raises(ValueError, match=said):
        sm.pretrain(cohort(n=4), out=tmp_path, **change)
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="one number for each of 0 runs"):
        sm.Runs([], [1])
