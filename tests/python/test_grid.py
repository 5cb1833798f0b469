import itertools
import os
import subprocess
import sys

import pandas as pd
import pytest
import yaml

import sslmed as sm
from sslmed import grid
from sslmed.evaluation.selection import SELECTED

GRID = {
    "target": "diagnosis",
    "preprocessing": {"sfreq": 100, "window": 2, "patch": 0.5, "h_freq": 45},
    "pretrain": {"method": ["mae", "ijepa"], "encoder": "vit_tiny", "depth": 1, "epochs": 1, "batch_size": 4, "tensorboard": False},
    "transfer": {"protocol": ["linear", "knn"], "baselines": False, "cv": 3, "bootstrap": 10},
    "seed": [0, 1],
}


@pytest.fixture(scope="module")
def people(tiny_site, tiny_clinic):
    return {"public": tiny_site, "clinic": tiny_clinic}


def _known(people):
    """The settings as the grid has them, with cohorts in memory."""
    return GRID | {name: grid._who(cohort) for name, cohort in people.items()}


def test_all_combinations_once_and_again_nothing(people, tmp_path, monkeypatch):
    table = grid.run(GRID, tmp_path, cohorts=people, progress=False)
    runs = table[table["row"] != SELECTED].drop_duplicates(["seed", "pretrain.method", "transfer.protocol"])
    assert len(runs) == 8
    assert len(table) == 9 * 5  # the last is the choice among them
    assert len(list((tmp_path / "pretrain").iterdir())) == 4  # shared by the protocols
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "table.parquet"), table)
    assert "8 of 8 runs" in (tmp_path / "report.html").read_text()
    # A value is what transfer gives by itself.
    one = runs[(runs["seed"] == 1) & (runs["pretrain.method"] == "mae") & (runs["transfer.protocol"] == "knn")].iloc[0]
    cell = next(c for c in grid.cells(_known(people)) if c["seed"] == 1 and c["pretrain"]["method"] == "mae" and c["transfer"]["protocol"] == "knn")
    encoder = sm.Encoder.load(tmp_path / "pretrain" / cell["pretrain_id"] / "encoder.safetensors")
    alone = sm.transfer(encoder, people["clinic"], "diagnosis", "knn", cv=3, bootstrap=10, baselines=False, seed=1)
    assert one["value"] == alone.table.iloc[0]["value"]
    monkeypatch.setattr(grid, "transfer", lambda *a, **k: pytest.fail("a run was done twice"))
    pd.testing.assert_frame_equal(grid.run(GRID, tmp_path, cohorts=people, progress=False), table)


def test_the_choice_among_runs_is_nested_and_the_best_is_marked(people, tmp_path, monkeypatch):
    table = grid.run(GRID, tmp_path, cohorts=people, progress=False)
    chosen = table[table["row"] == SELECTED]
    assert len(chosen) == 5
    assert chosen[["seed", "pretrain.method", "transfer.protocol"]].isna().all(axis=None)
    assert (chosen["transfer.cv"] == 3).all()
    assert len(list((tmp_path / "features").iterdir())) == 4  # of each pretraining, shared by the protocols
    # Seeds are averaged: their deviation is that of the runs of a setting, and all of them are marked.
    runs = table[(table["row"] == "pretrained encoder") & (table["metric"] == "auroc")]
    by_setting = runs.groupby(["pretrain.method", "transfer.protocol"])["value"]
    assert runs["sd_seeds"].astype(float).to_numpy() == pytest.approx(by_setting.transform("std").astype(float).to_numpy())
    best = by_setting.mean().idxmax()
    assert set(map(tuple, runs[runs["chosen"]][["pretrain.method", "transfer.protocol"]].to_numpy())) == {best}
    assert runs["chosen"].sum() == 2
    # The row is what select says of the features.
    features = {}
    for method, protocol in itertools.product(["mae", "ijepa"], ["linear", "knn"]):
        seeds = [c for c in grid.cells(_known(people)) if c["pretrain"]["method"] == method and c["transfer"]["protocol"] == protocol]
        encoders = [sm.Encoder.load(tmp_path / "pretrain" / c["pretrain_id"] / "encoder.safetensors") for c in seeds]
        features[f"{method} {protocol}"] = [sm.features(e, people["clinic"]).filter(like="f").to_numpy() for e in encoders]
    alone = sm.evaluation.select(features, people["clinic"].table, "diagnosis", {name: name.split()[1] for name in features}, cv=3)
    expected = alone.table[alone.table["row"] == SELECTED]
    assert chosen["value"].to_numpy() == pytest.approx(expected["value"].to_numpy())
    assert chosen["sd_seeds"].to_numpy() == pytest.approx(expected["sd_seeds"].to_numpy())
    page = (tmp_path / "report.html").read_text()
    assert "is the best of 4 settings" in page
    assert "Chosen among 4 inside the training people of each fold" in page
    # A second look computes nothing anew; lost features come back without a run.
    monkeypatch.setattr(grid, "select", lambda *a, **k: pytest.fail("the choice was made twice"))
    pd.testing.assert_frame_equal(grid.run(GRID, tmp_path, cohorts=people, progress=False), table)
    kept = sorted((tmp_path / "features").iterdir())
    before = kept[0].read_bytes()
    kept[0].unlink()
    monkeypatch.setattr(grid, "transfer", lambda *a, **k: pytest.fail("a run was done twice"))
    pd.testing.assert_frame_equal(grid.run(GRID, tmp_path, cohorts=people, progress=False), table)
    assert len(kept[0].read_bytes()) == len(before)


def test_one_setting_is_no_choice(people, tmp_path):
    small = GRID | {"pretrain": GRID["pretrain"] | {"method": "mae"}, "transfer": GRID["transfer"] | {"protocol": "knn"}}
    table = grid.run(small, tmp_path, cohorts=people, progress=False)
    assert SELECTED not in set(table["row"])
    assert not table["chosen"].any()
    assert table["sd_seeds"].notna().any()


def test_shards_share_out_the_runs(people, tmp_path, monkeypatch):
    parts = [list(grid.cells(GRID, (k, 3))) for k in range(3)]
    whole = [c["id"] for c in grid.cells(GRID)]
    assert sorted(c["id"] for part in parts for c in part) == sorted(whole)
    trainings = [{c["pretrain_id"] for c in part} for part in parts]
    assert sum(map(len, trainings)) == len(set.union(*trainings)) == 4
    assert grid.run(GRID, tmp_path, cohorts=people, shard=(0, 4), progress=False)["transfer.protocol"].nunique() == 2
    assert "2 of 8 runs" in (tmp_path / "report.html").read_text()
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "5")
    monkeypatch.setenv("SLURM_ARRAY_TASK_MIN", "2")
    monkeypatch.setenv("SLURM_ARRAY_TASK_COUNT", "4")
    assert grid.shard_of_this_job() == (3, 4)
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "8")
    monkeypatch.setenv("SLURM_ARRAY_TASK_STEP", "2")
    assert grid.shard_of_this_job() == (3, 4)
    for wrong in ((4, 4), (-1, 2)):
        with pytest.raises(sm.FormatError, match="expected a shard"):
            list(grid.cells(GRID, wrong))


def test_other_people_are_another_run(people, tmp_path, tiny_site):
    """What is done is done of a cohort, not of a folder name."""
    small = GRID | {"seed": 0, "pretrain": GRID["pretrain"] | {"method": "mae"}, "transfer": GRID["transfer"] | {"protocol": "knn", "cv": 2}}
    grid.run(small, tmp_path, cohorts=people, progress=False)
    fewer = people | {"clinic": people["clinic"].subset(range(1, 15))}
    small["target"] = "sex"
    grid.run(small, tmp_path, cohorts=people, progress=False)
    grid.run(small, tmp_path, cohorts=fewer, progress=False)
    assert len(list((tmp_path / "cells").iterdir())) == 3
    assert len(list((tmp_path / "pretrain").iterdir())) == 1
    with pytest.raises(sm.FormatError, match="expected 'public' to pretrain on"):
        grid.run(small, tmp_path, cohorts={"clinic": people["clinic"]})


def test_adapters_of_skada_are_settings_as_well(people, tmp_path):
    skada = pytest.importorskip("skada")
    three = people | {"test": people["public"]}
    adapters = ["optimal_transport", *(skada.OTMappingAdapter(norm=norm) for norm in ("max", "median"))]
    settings = GRID | {
        "seed": 0,
        "target": "age",
        "pretrain": GRID["pretrain"] | {"method": "mae"},
        "transfer": {"protocol": "linear", "baselines": False, "bootstrap": 10, "adaptation": adapters},
    }
    table = grid.run(settings, tmp_path, cohorts=three, progress=False)
    assert table["transfer.adaptation"].nunique() == 3
    assert table["value"].notna().all()
    pd.testing.assert_frame_equal(grid.run(settings, tmp_path, cohorts=three, progress=False), table)


def test_an_interrupted_pretraining_goes_on(people, tmp_path, monkeypatch):
    small = GRID | {
        "seed": 0,
        "pretrain": GRID["pretrain"] | {"method": "mae", "epochs": 2},
        "transfer": {"protocol": "knn", "baselines": False, "bootstrap": 10, "cv": 3},
    }
    whole = grid.run(small, tmp_path / "whole", cohorts=people, progress=False)
    real = grid.pretrain
    monkeypatch.setattr(grid, "pretrain", lambda *a, **k: real(*a, callback=lambda rows: rows[-1]["step"] < 3, checkpoint_every=1, **k))
    with pytest.raises(KeyboardInterrupt):
        grid.run(small, tmp_path / "cut", cohorts=people, progress=False)
    monkeypatch.setattr(grid, "pretrain", lambda *a, **k: real(*a, checkpoint_every=1, **k))
    assert not list((tmp_path / "cut" / "cells").iterdir())
    pd.testing.assert_frame_equal(grid.run(small, tmp_path / "cut", cohorts=people, progress=False), whole)


def test_the_command(people, tmp_path):
    file = tmp_path / "grid.yaml"
    roots = {name: os.path.commonpath(list(cohort.table["path"])) for name, cohort in people.items()}
    settings = GRID | {"seed": 0, "pretrain": GRID["pretrain"] | {"method": "mae"}} | roots
    file.write_text(yaml.safe_dump(settings))
    done = subprocess.run([sys.executable, "-m", "sslmed", "grid", str(file), "--out", str(tmp_path / "out"), "--shard", "0/1"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(pd.read_parquet(tmp_path / "out" / "table.parquet")) == 3 * 5


@pytest.mark.parametrize(("change", "said"), [({"x": 1}, "found x"), ({"target": None}, "expected 'clinic' and 'target'")])
def test_what_is_refused(change, said, people, tmp_path):
    settings = {k: v for k, v in (GRID | change).items() if v is not None}
    with pytest.raises(sm.FormatError, match=said):
        grid.run(settings, tmp_path, cohorts=people)


def test_damaged_files_are_named(tmp_path):
    file = tmp_path / "grid.yaml"
    with pytest.raises(sm.ReadError, match=r"grid.yaml: no such file"):
        grid.run(file, tmp_path)
    for text, said in (("a: [", "expected YAML"), ("- 1", "expected sections")):
        file.write_text(text)
        with pytest.raises(sm.FormatError, match=said):
            grid.run(file, tmp_path)
