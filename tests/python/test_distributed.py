"""Two processes over Gloo beside one: the same steps, the same stream, and an end to every fault."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from distributed_job import CASES, VIEWS
from heads import head_cohort
from pretext_tasks import NAMES

import sslmed as sm

JOB = Path(__file__).parent / "support" / "distributed_job.py"


def launch(name, folder, cohort, processes=2, restarts=0, **environment):
    """The finished job; alone in a plain process where `processes` is 1."""
    root = os.path.dirname(os.path.dirname(os.path.dirname(cohort.table["path"][0])))
    command = [sys.executable]
    if processes > 1:
        command += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", f"--max-restarts={restarts}", "--monitor-interval=0.1"]
    folder.mkdir(exist_ok=True)
    return subprocess.run(
        [*command, str(JOB), name, str(folder), root], capture_output=True, text=True, timeout=240, env=os.environ | {"OMP_NUM_THREADS": "1"} | environment
    )


def ok(done):
    assert done.returncode == 0, done.stderr[-3000:]


def difference(a, b):
    assert a.keys() == b.keys()
    worst = 0.0
    for name in a:
        delta = (a[name] - b[name]).abs()
        if name.endswith("qkv.bias") and a[name].dtype == torch.float32:
            # The keys' bias cancels in the softmax: its gradient is rounding noise, which Adam scales up to whole steps.
            dim = delta.numel() // 3
            delta = torch.cat([delta[:dim], delta[2 * dim :]])
        worst = max(worst, float(delta.max()))
    return worst


def test_two_ranks_take_the_step_of_one_process(tiny_site, tmp_path):
    ok(launch("equal", tmp_path / "two", tiny_site))
    ok(launch("equal", tmp_path / "one", tiny_site, processes=1))
    for name in CASES:
        one, two = (sm.io.load_safetensors(tmp_path / d / f"{name}.safetensors") for d in ("one", "two"))
        seen = difference(one, two)
        print(f"{name}: {seen:.2e}")
        assert seen <= (1e-10 if "64" in name else 1e-5), name
        history = [json.loads((tmp_path / d / f"{name}.json").read_text()) for d in ("one", "two")]
        assert len(history[0]) >= 10
        for a, b in zip(*history, strict=True):
            assert a[:2] == pytest.approx(b[:2], rel=1e-10 if "64" in name else 1e-4)
            assert a[2] == b[2]  # samples


def test_gathers_keep_gradients_and_batch_norm_sees_all_ranks(tiny_site, tmp_path):
    ok(launch("layers", tmp_path, tiny_site))
    ok(launch("layers", tmp_path, tiny_site, processes=1))
    one = sm.io.load_safetensors(tmp_path / "layers-0-of-1.safetensors")
    parts = [sm.io.load_safetensors(tmp_path / f"layers-{r}-of-2.safetensors") for r in range(2)]
    for name in ("out", "x", "rows"):
        torch.testing.assert_close(torch.cat([p[name] for p in parts]), one[name], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(parts[0]["weight"] + parts[1]["weight"], one["weight"], rtol=1e-12, atol=1e-12)
    for part in parts:
        for name in ("mean", "var"):
            torch.testing.assert_close(part[name], one[name], rtol=1e-12, atol=1e-12)


def test_a_rank_without_samples_takes_part_in_the_norms_of_others(tiny_site, tmp_path):
    for processes in (1, 2):
        ok(launch("volumes", tmp_path, tiny_site, processes=processes))
    one, two = (sm.io.load_safetensors(tmp_path / f"volumes-{n}.safetensors") for n in (1, 2))
    assert any("running_mean" in name for name in one)
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-9, atol=1e-10)


def test_ranks_take_the_step_of_one_process_in_every_method_of_several_views(tiny_site, tmp_path):
    for processes in (1, 3):
        ok(launch("joint_embedding", tmp_path / str(processes), tiny_site, processes=processes))
    runs = [f"{name} {kind}" for name in VIEWS for kind in ("vit", "cnn") if kind == "vit" or not name.startswith("dinov2")]
    for name in runs:
        one, three = (sm.io.load_safetensors(tmp_path / n / f"{name}.safetensors") for n in "13")
        seen = difference(one, three)
        print(f"{name}: {seen:.2e}")
        assert seen <= 1e-9, name
        losses = [json.loads((tmp_path / n / f"{name}.json").read_text()) for n in "13"]
        assert len(losses[0]) == 9
        for a, b in zip(*losses, strict=True):
            assert a == pytest.approx(b, rel=1e-9)


def test_two_ranks_take_the_step_of_one_process_in_every_pretext_task(tiny_site, tmp_path):
    sm.prepare(head_cohort(tmp_path / "raw", 11, flair_of=range(11)), tmp_path / "heads", spacing=4.0)
    for processes in (1, 2):
        ok(launch("pretext", tmp_path / str(processes), tiny_site, processes=processes))
    runs = sorted(path.stem for path in (tmp_path / "1").glob("*.safetensors"))
    assert {name.split()[0] for name in runs} == set(NAMES)
    for name in runs:
        one, two = (sm.io.load_safetensors(tmp_path / n / f"{name}.safetensors") for n in "12")
        seen = difference(one, two)
        print(f"{name}: {seen:.2e}")
        assert seen <= 1e-9, name
        losses = [json.loads((tmp_path / n / f"{name}.json").read_text()) for n in "12"]
        assert len(losses[0]) == 9
        for a, b in zip(*losses, strict=True):
            assert a == pytest.approx(b, rel=1e-9)


def test_two_ranks_take_the_step_of_one_process_in_segmentation(tiny_site, tmp_path):
    sm.prepare(head_cohort(tmp_path / "raw", 11), tmp_path / "heads", spacing=4.0, progress=False)
    for processes in (1, 2):
        ok(launch("segment", tmp_path / str(processes), tiny_site, processes=processes))
    runs = sorted(path.name for path in (tmp_path / "1").glob("*.safetensors"))
    assert len(runs) == 4
    for name in runs:
        one, two = (sm.io.load_safetensors(tmp_path / n / name) for n in "12")
        seen = difference(one, two)
        print(f"{name}: {seen:.2e}")
        assert seen <= 1e-9, name


def test_two_ranks_take_the_step_of_one_process_in_detection(tiny_site, tmp_path):
    rows, entries = [], {"points": [], "boxes": [], "stars": []}
    for i in range(11):
        rng = np.random.default_rng(i)
        low, n = rng.uniform(2, 20, (i % 4, 2)), i % 4  # some pictures have no object
        labels = np.zeros((32, 40), np.int32)
        for j, (y, x) in enumerate(low.astype(int)):
            labels[y : y + 8, x : x + 8] = 65536 * (j % 2) + j + 1
        sm.io.write_label_png(30000 * (labels > 0) + rng.integers(0, 35000, labels.shape), tmp_path / f"{i}.png", wide=True)
        rows.append({"subject": f"s{i}", "path": str(tmp_path / f"{i}.png")})
        flat, kinds = torch.from_numpy(labels).flatten(), torch.arange(n) % 2
        given = {
            "points": ("points", torch.from_numpy(low + 4), kinds),
            "boxes": ("boxes", torch.from_numpy(np.stack([low, low + 8], 1)), kinds),
            "stars": ("runs", torch.stack([flat, torch.ones_like(flat)], 1)),
        }
        for kind, own in given.items():
            entries[kind].append({"shape": (32, 40), "objects": own})
    pd.DataFrame(rows).to_csv(tmp_path / "discs.csv", index=False)
    for kind, own in entries.items():
        torch.save(own, tmp_path / f"{kind}.pt")
    for processes in (1, 2):
        ok(launch("detect", tmp_path / str(processes), tiny_site, processes=processes))
    runs = sorted(path.name for path in (tmp_path / "1").glob("*.safetensors"))
    assert len(runs) == 6
    for name in runs:
        one, two = (sm.io.load_safetensors(tmp_path / n / name) for n in "12")
        seen = difference(one, two)
        print(f"{name}: {seen:.2e}")
        assert seen <= 1e-9, name


def test_the_shares_of_a_batch_are_the_batch(tiny_site):
    pre = sm.EegPreprocessing(sfreq=100, window=2, patch=0.5, h_freq=45)

    def stream(rank, ranks):
        return [b.sample_ids for b in sm.Loader(tiny_site, pre, batch_size=5, epochs=2, seed=4, rank=rank, ranks=ranks)]

    whole = stream(0, 1)
    for ranks in (2, 3, 7):
        parts = [stream(r, ranks) for r in range(ranks)]
        for i, batch in enumerate(whole):
            assert [s for part in parts for s in part[i]] == batch
    with pytest.raises(ValueError, match="rank=2 must be below ranks=2"):
        stream(2, 2)


def test_resuming_on_one_two_and_one_rank_continues_the_stream(tiny_site, tmp_path):
    (tmp_path / "cut").mkdir()
    (tmp_path / "whole").mkdir()
    for processes, until in ((1, 7), (2, 15), (1, 10_000)):
        (tmp_path / "cut/until").write_text(str(until))
        ok(launch("part_way", tmp_path / "cut", tiny_site, processes=processes))
    (tmp_path / "whole/until").write_text("10000")
    ok(launch("part_way", tmp_path / "whole", tiny_site, processes=1))
    assert (tmp_path / "cut/step").read_text() == (tmp_path / "whole/step").read_text()
    one, other = (sm.io.load_safetensors(tmp_path / d / "weights.safetensors") for d in ("whole", "cut"))
    assert difference(one, other) <= 1e-10


def test_a_killed_rank_ends_the_job_and_a_restart_finishes_it(tiny_site, tmp_path):
    start = time.time()
    done = launch("lost", tmp_path / "a", tiny_site)
    assert done.returncode != 0
    assert time.time() - start < 60  # by an error of the survivor, or by torchrun when it sees the death first
    saved = sorted((tmp_path / "a/run/checkpoints").glob("step-*"))
    assert saved
    done = launch("lost", tmp_path / "b", tiny_site, restarts=1)
    ok(done)
    assert (tmp_path / "b/died").exists()
    history = pd.read_csv(tmp_path / "b/run/history.csv")
    assert list(history["step"]) == list(range(len(history)))
    ok(launch("lost", tmp_path / "a", tiny_site))  # resumed by hand
    first, second = (sm.io.load_safetensors(tmp_path / d / "run/encoder.safetensors") for d in "ab")
    assert all(torch.equal(first[k], second[k]) for k in first)


def test_a_rank_that_does_not_answer_is_given_up(tiny_site, tmp_path):
    done = launch("silent", tmp_path, tiny_site, JOB_TIMEOUT="5")
    assert done.returncode != 0
    seconds, text = (tmp_path / "error-0").read_text().split(" ", 1)
    assert float(seconds) < 30
    assert "rank 0 of 2 lost the others" in text


def test_a_signal_to_one_rank_stops_all_after_a_save(tiny_site, tmp_path):
    ok(launch("stopped", tmp_path, tiny_site))
    steps = {(tmp_path / f"stopped-{r}").read_text() for r in range(2)}
    assert len(steps) == 1
    newest = sorted((tmp_path / "run/checkpoints").glob("step-*"))[-1]
    assert newest.name == f"step-{int(steps.pop()):09d}.safetensors"


def test_what_ranks_refuse_together(tiny_site, tmp_path):
    done = launch("refused", tmp_path, tiny_site)
    ok(done)
    for rank in range(2):
        assert "do not agree" in (tmp_path / f"seed-{rank}").read_text()
    # The rank that has the sample names it; the other one stops with it.
    assert "arrays[7]" in (tmp_path / "finite-1").read_text()
    assert "not finite at step 0" in (tmp_path / "finite-0").read_text()


def test_the_command_under_torchrun(tiny_site, tmp_path):
    root = os.path.dirname(os.path.dirname(os.path.dirname(tiny_site.table["path"][0])))
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "sslmed", "pretrain", root, "--encoder", "vit_tiny",
        "--depth", "1", "--epochs", "2", "--batch-size", "4", "--sfreq", "100", "--window", "2", "--out", str(tmp_path / "r"), "--no-tensorboard",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, env=os.environ | {"OMP_NUM_THREADS": "1"})
    ok(done)
    assert (tmp_path / "r/encoder.safetensors").exists()
    assert done.stdout.count("encoder.safetensors: loss") == 1


def test_ranks_that_list_other_data_are_refused_and_the_difference_is_named(tiny_site, tmp_path):
    ok(launch("unlike", tmp_path, tiny_site))
    expected = {"order": "row 0 has path", "fewer": f"{len(tiny_site)} rows there, {len(tiny_site) - 1} here", "subject": "row 0 has subject"}
    for name, text in expected.items():
        for rank in range(2):
            told = (tmp_path / f"{name}-{rank}").read_text()
            assert "ranks list different data" in told
            assert text in told
        assert not (tmp_path / name / "encoder.safetensors").exists()
