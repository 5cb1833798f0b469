"""The loop: the same bits whatever the threads, after a kill, and what it says when something is wrong."""

import math
import os
import random
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

import sslmed as sm
from sslmed.encoders import Encoder
from sslmed.methods import MaskedAutoencoder

PRE = sm.EegPreprocessing(sfreq=100, window=2, patch=0.5, h_freq=45)
SMALL = {
    "encoder": "vit_tiny",
    "depth": 1,
    "batch_size": 4,
    "epochs": 2,
    "preprocessing": PRE,
    "progress": False,
    "tensorboard": False,
}


def weights(path):
    return sm.io.load_safetensors(path)


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_learns_and_leaves_what_it_promises(tiny_site, tmp_path):
    run = sm.pretrain(tiny_site, out=tmp_path / "r", **(SMALL | {"epochs": 12, "tensorboard": True, "lr": 3e-3, "ratio": 0.3}))
    assert not run.interrupted
    assert run.history["loss"].tail(10).mean() < run.history["loss"].head(10).mean()
    assert list(run.history["step"]) == list(range(len(run.history)))
    names = {p.name for p in (tmp_path / "r").iterdir()}
    assert names == {".lock", "history.csv", "samples.csv", "checkpoints", "encoder.safetensors", "tensorboard"}
    kept = sorted(p.name for p in (tmp_path / "r" / "checkpoints").iterdir())
    assert len(kept) == 4
    assert kept[0] == "best.safetensors"
    assert any((tmp_path / "r" / "tensorboard").iterdir())
    loaded = Encoder.load(tmp_path / "r" / "encoder.safetensors")
    assert same(loaded.state_dict(), run.encoder.state_dict())


def test_same_curve_for_any_number_of_loader_threads(tiny_site, tmp_path):
    runs = [sm.pretrain(tiny_site, out=tmp_path / str(n), threads=n, seed=5, **SMALL) for n in (1, 2, 8)]
    for run in runs[1:]:
        assert (run.history["loss"] == runs[0].history["loss"]).all()
        assert same(run.encoder.state_dict(), runs[0].encoder.state_dict())


SCRIPT = """
import sys, sslmed as sm
pre = sm.EegPreprocessing(sfreq=100, window=2, patch=0.5, h_freq=45)
sm.pretrain(sm.Cohort.from_bids(sys.argv[1]), encoder="vit_tiny", out=sys.argv[2], depth=1, batch_size=4, epochs=4, preprocessing=pre,
            progress=False, tensorboard=False, checkpoint_every=3, resume=sys.argv[3] == "resume", ema_decay=0.9, accumulate=2)
"""


def site_root(cohort):
    return str(os.path.dirname(os.path.dirname(os.path.dirname(cohort.table["path"][0]))))


@pytest.mark.parametrize("attempt", range(2))
def test_kill_and_resume_gives_the_same_bits(tiny_site, tmp_path, attempt):
    root = site_root(tiny_site)
    subprocess.run([sys.executable, "-c", SCRIPT, root, str(tmp_path / "whole"), "new"], check=True)
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, root, str(tmp_path / "cut"), "new"])
    deadline = time.time() + 120
    folder = tmp_path / "cut" / "checkpoints"
    while time.time() < deadline and not list(folder.glob("step-*.safetensors")) and process.poll() is None:
        time.sleep(0.002)
    time.sleep(random.uniform(0, 0.3))  # anywhere: in a step, in a save
    process.send_signal(signal.SIGKILL)
    process.wait()
    subprocess.run([sys.executable, "-c", SCRIPT, root, str(tmp_path / "cut"), "resume"], check=True)
    assert same(weights(tmp_path / "whole/encoder.safetensors"), weights(tmp_path / "cut/encoder.safetensors"))
    a, b = (pd.read_csv(tmp_path / d / "history.csv") for d in ("whole", "cut"))
    for column in ("step", "loss", "lr", "grad_norm"):
        assert list(a[column]) == list(b[column]), column


def test_checkpoints_survive_kill_during_save(tmp_path):
    """A process that saves without pause is killed at random: what lies under the name is always whole."""
    script = (
        "import sys, torch, sslmed as sm\ni = 0\nwhile True:\n    sm.io.save_safetensors({'a': torch.full((200_000,), float(i))}, sys.argv[1])\n    i += 1\n"
    )
    path = tmp_path / "x.safetensors"
    seen = set()
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-c", script, str(path)])
        while not path.exists():
            time.sleep(0.01)
        time.sleep(random.uniform(0.02, 0.2))
        process.kill()
        process.wait()
        tensor = sm.io.load_safetensors(path)["a"]
        assert (tensor == tensor[0]).all()
        seen.add(float(tensor[0]))
        path.unlink()
    assert seen


def test_damaged_newest_checkpoint_is_passed_over(tiny_site, tmp_path):
    run = sm.pretrain(tiny_site, out=tmp_path / "r", **SMALL)
    found = sorted((tmp_path / "r/checkpoints").glob("step-*"))
    found[-1].write_bytes(found[-1].read_bytes()[:1000])
    with pytest.warns(sm.FormatWarning, match="passed over"):
        again = sm.pretrain(tiny_site, out=tmp_path / "r", resume=True, **SMALL)
    assert same(run.encoder.state_dict(), again.encoder.state_dict())


def test_a_run_is_never_overwritten_or_mixed(tiny_site, tmp_path):
    sm.pretrain(tiny_site, out=tmp_path / "r", **SMALL)
    with pytest.raises(ValueError, match="already holds a run"):
        sm.pretrain(tiny_site, out=tmp_path / "r", **SMALL)
    changed = SMALL | {"lr": 1.0, "preprocessing": replace(SMALL["preprocessing"], clip=9)}
    with pytest.raises(ValueError, match=r"another configuration: lr [0-9.e-]+ there, 1\.0 here; preprocessing\.clip 15\.0 there, 9 here$"):
        sm.pretrain(tiny_site, out=tmp_path / "r", resume=True, **changed)
    for warmup in (-0.1, 1.5, float("nan")):
        with pytest.raises(ValueError, match="warmup"):
            sm.pretrain(tiny_site, out=tmp_path / "s", **(SMALL | {"warmup": warmup}))


def test_non_finite_loss_stops_and_keeps_the_good_checkpoint(tiny_site, tmp_path):
    options = SMALL | {"epochs": 30, "warmup": 0.0, "clip_norm": 0.0, "lr": 1e18, "checkpoint_every": 1}
    with pytest.raises(sm.NonFiniteError, match=r"not finite at step \d+; samples: .*_eeg\.edf, start") as error:
        sm.pretrain(tiny_site, out=tmp_path / "r", **options)
    step = int(str(error.value).split("at step ")[1].split(";")[0])
    newest = sorted((tmp_path / "r/checkpoints").glob("step-*"))[-1]
    assert newest.name == f"step-{step:09d}.safetensors"
    assert not (tmp_path / "r/encoder.safetensors").exists()


@pytest.mark.alone
def test_ctrl_c_saves_and_returns_within_two_seconds(tiny_site, tmp_path):
    pressed = []

    def press():
        time.sleep(1.5)
        pressed.append(time.time())
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=press).start()
    run = sm.pretrain(tiny_site, out=tmp_path / "r", **(SMALL | {"epochs": 100_000}))
    assert time.time() - pressed[0] < 2
    assert run.interrupted
    saved = sorted((tmp_path / "r/checkpoints").glob("step-*"))
    assert saved


def test_callback_can_stop_and_its_errors_come_through(tiny_site, tmp_path):
    run = sm.pretrain(tiny_site, out=tmp_path / "a", callback=lambda rows: False, **(SMALL | {"epochs": 1000}))
    assert run.interrupted

    def broken(rows):
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        sm.pretrain(tiny_site, out=tmp_path / "b", callback=broken, **(SMALL | {"epochs": 1000}))
    assert list((tmp_path / "b/checkpoints").glob("step-*"))


@pytest.mark.alone
def test_the_interpreter_is_free_while_training(tiny_site, tmp_path):
    """Share of the time in which the loop itself holds the lock: what its callbacks take."""
    loader = sm.Loader(tiny_site, PRE, batch_size=8, drop_last=True)
    objective = MaskedAutoencoder(Encoder("vit_tiny", PRE, depth=4), sm.methods.Mae(decoder_dim=64, decoder_depth=1, decoder_heads=2))
    held = []
    trainer = sm.Trainer(objective, loader, epochs=20, lr=1e-4)

    def callback(rows):
        held.append(len(rows))

    ticks, stop = [0], threading.Event()

    def spin():
        while not stop.is_set():
            time.sleep(0.001)
            ticks[0] += 1

    thread = threading.Thread(target=spin)
    sys.setswitchinterval(1e-4)
    started = time.perf_counter()
    thread.start()
    assert trainer.fit(callback)
    elapsed = time.perf_counter() - started
    stop.set()
    thread.join()
    # A loop that held the lock would leave the other thread no tick between two callbacks.
    assert ticks[0] > 0.2 * elapsed / 0.001
    # It calls back twice a second, and at the end of each of the 20 epochs, where a checkpoint would be due.
    assert len(held) <= elapsed / 0.5 + 20 + 2
    assert sum(held) == trainer.total_steps


def test_accumulation_equals_a_large_batch(tiny_site):
    results = []
    for batch, accumulate in ((8, 1), (4, 2)):
        loader = sm.Loader(tiny_site, PRE, batch_size=batch, order="sequential", drop_last=True)
        objective = MaskedAutoencoder(Encoder("vit_tiny", PRE, depth=1), sm.methods.Mae(decoder_dim=64, decoder_depth=1, decoder_heads=2))
        sm.Trainer(objective, loader, epochs=2, accumulate=accumulate, lr=1e-3).fit()
        results.append(objective.state_dict())
    assert max(float((results[0][k] - results[1][k]).abs().max()) for k in results[0]) < 2e-4


def test_one_step_equals_torch(tiny_site):
    """One C++ step beside the same step written with torch's own AdamW and clipping."""
    loader = sm.Loader(tiny_site, PRE, batch_size=8, mask="random", ratio=0.75, seed=2, drop_last=True, order="sequential")

    def model():
        return MaskedAutoencoder(Encoder("vit_tiny", PRE, depth=1, seed=7), sm.methods.Mae(decoder_dim=64, decoder_depth=1, decoder_heads=2, ratio=0.75))

    ours, theirs = model(), model()
    assert same(ours.state_dict(), theirs.state_dict())
    unmasked = sm.Loader(tiny_site, PRE, batch_size=8, seed=2, drop_last=True, order="sequential")
    trainer = sm.Trainer(ours, unmasked, epochs=1, lr=1e-3, weight_decay=0.1, clip_norm=0.5, min_lr=0.0)
    trainer.fit()
    decay = [p for n, p in theirs.named_parameters() if p.dim() > 1 and p.numel() != p.shape[-1]]
    plain = [p for n, p in theirs.named_parameters() if not (p.dim() > 1 and p.numel() != p.shape[-1])]
    optimizer = torch.optim.AdamW(
        [{"params": decay, "weight_decay": 0.1}, {"params": plain, "weight_decay": 0.0}],
        lr=1e-3,
        betas=(0.9, 0.95),
        fused=True,
    )
    total = trainer.total_steps
    for step, batch in enumerate(loader):
        for group in optimizer.param_groups:
            group["lr"] = 0.5e-3 * (1 + math.cos(math.pi * step / total))
        view = batch.views[0]
        loss, _, _ = theirs.forward_tokens(view.values, view.lengths, view.visible, view.masked, view.visible_lengths, view.coords, view.extra)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(theirs.parameters(), 0.5)
        optimizer.step()
    a, b = ours.state_dict(), theirs.state_dict()
    for weights in (a, b):
        # The keys' bias cancels in the softmax: its gradient is rounding noise, which Adam scales up to whole steps.
        for name in [n for n in weights if n.endswith("qkv.bias")]:
            dim = weights[name].numel() // 3
            weights[name] = torch.cat([weights[name][:dim], weights[name][2 * dim :]])
    assert max(float((a[k] - b[k]).abs().max()) for k in a) < 1e-5


def test_schedule_and_bf16(tiny_site, tmp_path):
    run = sm.pretrain(tiny_site, out=tmp_path / "r", bf16=True, warmup=0.5, **(SMALL | {"epochs": 6}))
    lr = run.history["lr"].to_numpy()
    peak = int(np.argmax(lr))
    assert 0 < peak < len(lr) - 1
    assert (np.diff(lr[: peak + 1]) > 0).all()
    assert (np.diff(lr[peak + 1 :]) < 0).all()
    assert np.isfinite(run.history["loss"]).all()
    assert all(t.dtype == torch.float32 for t in run.encoder.state_dict().values())


@pytest.mark.parametrize(
    "kwargs",
    [
        {"method": "x"},
        {"encoder": "x"},
        {"epochs": 0},
        {"batch_size": 10_000},
        {"lr": 0},
        {"ratio": 0.999},
        {"accumulate": 1000},
        {"ema_decay": 1.0},
    ],
)
def test_pretrain_refuses(tiny_site, tmp_path, kwargs):
    with pytest.raises(ValueError):
        sm.pretrain(tiny_site, out=tmp_path / "r", **(SMALL | kwargs))


def test_a_probe_watches_the_run_without_touching_it(tiny_site, tiny_clinic, tmp_path):
    plain = sm.pretrain(tiny_site, out=tmp_path / "a", **SMALL)
    watched = sm.pretrain(tiny_site, out=tmp_path / "b", probe=sm.evaluation.KnnProbe(tiny_clinic, "age"), **(SMALL | {"tensorboard": True}))
    assert (watched.history["loss"] == plain.history["loss"]).all()
    per_epoch = len(watched.history) // 2
    assert list(watched.history.index[watched.history["knn"].notna()]) == [per_epoch - 1, 2 * per_epoch - 1]
    last = sm.transfer(watched.encoder, tiny_clinic, "age", "knn", baselines=False, repeats=1).table["value"].iloc[0]
    assert watched.history["knn"].iloc[-1] == last
    with pytest.raises(ValueError, match="probe_every"):
        sm.pretrain(tiny_site, out=tmp_path / "c", probe=sm.evaluation.KnnProbe(tiny_clinic, "age"), probe_every=0, **SMALL)


def test_a_step_without_samples_says_why(tmp_path, rng):
    x = rng.normal(size=(8, 2, 1000))
    x[:6] = 0
    cohort = sm.Cohort.from_arrays(x, 100, ["Fp1", "Cz"], pd.DataFrame({"subject": list("abcdefgh")}))
    small = {"encoder": Encoder("vit_tiny", sm.EegPreprocessing(sfreq=100, window=4, h_freq=45), depth=1), "epochs": 4, "progress": False, "tensorboard": False}
    with pytest.raises(sm.ReadError, match=r"no sample of step \d+ could be read; the first that failed: arrays\[[0-5]\]: expected a signal"):
        sm.pretrain(cohort, out=tmp_path / "a", batch_size=1, on_error="skip", **small)
    with pytest.raises(sm.ReadError, match="the first that failed: a mask "):  # what is asked for is at fault, and nobody's files
        sm.pretrain(cohort.subset([6, 7]), out=tmp_path / "b", batch_size=4, on_error="skip", ratio=0.999, **small)
    # Of several batches a step the empty ones do not count.
    with pytest.warns(sm.LeftOutWarning, match="12 of its samples left out"):
        run = sm.pretrain(cohort, out=tmp_path / "c", batch_size=1, accumulate=16, on_error="skip", **small)
    assert len(run.history) == 4
    assert run.history["samples"].eq(4).all()


def test_a_probe_that_cannot_be_is_told_before_training(tiny_site, tiny_clinic, tmp_path):
    for column, what in (("nothing", "target='nothing' is not a column"), ("diagnosis", "too few for 5 folds")):
        steps = []
        with pytest.raises(ValueError, match=what):
            sm.pretrain(tiny_site, out=tmp_path / column, probe=sm.evaluation.KnnProbe(tiny_clinic.subset(range(12)), column), callback=steps.extend, **SMALL)
        assert not steps
