"""Dead processes, full disks and files that change under a run: an error that names the culprit, nothing lost, nothing left running."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import torch

import sslmed as sm

PRE = sm.EegPreprocessing(sfreq=100, window=2, patch=0.5, h_freq=45)
SMALL = {"encoder": "vit_tiny", "depth": 1, "batch_size": 4, "epochs": 4, "preprocessing": PRE, "progress": False, "tensorboard": False, "checkpoint_every": 3}


@pytest.fixture
def site(tiny_site, tmp_path):
    """A copy whose files a test may damage."""
    root = Path(os.path.dirname(os.path.dirname(os.path.dirname(tiny_site.table["path"][0]))))
    shutil.copytree(root, tmp_path / "site")
    return tmp_path / "site"


def threads():
    return len(os.listdir("/proc/self/task"))


def settled(before):
    """Whether the threads are back to what they were; torch's own pools may have started meanwhile, so a warm run comes first."""
    deadline = time.time() + 5
    while threads() > before and time.time() < deadline:
        time.sleep(0.01)
    return threads() <= before


def test_sigterm_anywhere_saves_and_the_run_goes_on(site, tmp_path):
    command = [
        sys.executable, "-m", "sslmed", "pretrain", str(site), "--encoder", "vit_tiny", "--depth", "1", "--epochs", "6", "--batch-size", "4", "--sfreq",
        "100", "--window", "2", "--checkpoint-every", "3", "--no-tensorboard", "--resume",
    ]  # fmt: skip
    subprocess.run([*command, "--out", str(tmp_path / "whole")], check=True, capture_output=True)
    run = tmp_path / "cut"
    codes = []
    for attempt in range(2):
        process = subprocess.Popen([*command, "--out", str(run)], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        # Once in the middle of the training, once anywhere: while it imports, resumes, trains or saves.
        while attempt == 0 and not (run / "history.csv").exists() and process.poll() is None:
            time.sleep(0.01)
        time.sleep(random.uniform(0, 0.2 if attempt == 0 else 3))
        process.terminate()
        _, text = process.communicate(timeout=60)
        codes.append(process.returncode)
        assert process.returncode in ((0, 130) if attempt == 0 else (0, 130, -signal.SIGTERM)), text
        assert "Traceback" not in text
    done = subprocess.run([*command, "--out", str(run)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    a, b = (sm.io.load_safetensors(tmp_path / d / "encoder.safetensors") for d in ("whole", "cut"))
    assert all(torch.equal(a[k], b[k]) for k in a), codes
    histories = [pd.read_csv(tmp_path / d / "history.csv") for d in ("whole", "cut")]
    assert list(histories[0]["loss"]) == list(histories[1]["loss"])


FULL = """
import resource, sys, sslmed as sm
pre = sm.EegPreprocessing(sfreq=100, window=2, patch=0.5, h_freq=45)
def full(rows):
    if rows[-1]["step"] >= 6 and len(sys.argv) > 3:
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]),) * 2)
try:
    sm.pretrain(sm.Cohort.from_bids(sys.argv[1]), encoder="vit_tiny", out=sys.argv[2], depth=1, batch_size=4, epochs=4, preprocessing=pre,
                progress=False, tensorboard=False, checkpoint_every=3, resume=True, callback=full)
except sm.ReadError as error:
    print(error)
    sys.exit(7)
"""


def check_full(process, run, site):
    out, err = process.communicate(timeout=120)
    assert process.returncode == 7, err
    assert "checkpoints/" in out
    assert "cannot be" in out
    left = sorted(p.name for p in (run / "checkpoints").iterdir())
    assert not [name for name in left if ".tmp-" in name]
    # Every file that is there is whole.
    for name in left:
        sm.io.load_safetensors(run / "checkpoints" / name)
    return left


def test_a_full_disk_loses_no_checkpoint(site, tmp_path):
    """The limit on a file's size fails a save in the middle, as a full disk does."""
    process = subprocess.Popen(
        [sys.executable, "-c", FULL, str(site), str(tmp_path / "r"), "100000"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    left = check_full(process, tmp_path / "r", site)
    assert "step-000000006.safetensors" in left or "step-000000003.safetensors" in left
    subprocess.run([sys.executable, "-c", FULL, str(site), str(tmp_path / "r")], check=True)
    subprocess.run([sys.executable, "-c", FULL, str(site), str(tmp_path / "whole")], check=True)
    a, b = (sm.io.load_safetensors(tmp_path / d / "encoder.safetensors") for d in ("whole", "r"))
    assert all(torch.equal(a[k], b[k]) for k in a)


def test_a_really_full_disk(site, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(disk)], capture_output=True).returncode != 0:
        pytest.skip("this machine does not let us mount a small file system")
    try:
        process = subprocess.Popen([sys.executable, "-c", FULL, str(site), str(disk / "r")], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert check_full(process, disk / "r", site)
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def recordings(site):
    return sorted(site.rglob("*_eeg.edf"))


def shrink(path):
    os.truncate(path, path.stat().st_size // 2)


def garble(path):
    path.write_bytes(random.randbytes(100))


@pytest.mark.parametrize("damage", [shrink, garble])
def test_a_file_that_is_damaged_in_mid_epoch(site, tmp_path, damage):
    cohort = sm.Cohort.from_bids(site)
    victim = recordings(site)[0]
    before = None

    def callback(rows):
        nonlocal before
        if rows[-1]["epoch"] >= 1 and before is None:
            before = threads()
            damage(victim)

    with pytest.raises((sm.ReadError, sm.FormatError), match=victim.name):
        sm.pretrain(cohort, out=tmp_path / "raise", callback=callback, **(SMALL | {"epochs": 6}))
    assert settled(before)
    # The last checkpoint is whole, and with the window skipped the run goes on from it.
    newest = sorted((tmp_path / "raise/checkpoints").glob("step-*"))[-1]
    sm.io.load_safetensors(newest)


def test_damaged_files_are_skipped_and_named(site, tmp_path):
    cohort = sm.Cohort.from_bids(site)
    victim = recordings(site)[0]
    done = []

    def callback(rows):
        if not done:
            done.append(shrink(victim))

    with pytest.warns(sm.LeftOutWarning, match="of its samples left out; the first: .*" + victim.name):
        run = sm.pretrain(cohort, out=tmp_path / "skip", callback=callback, on_error="skip", **SMALL)
    assert not run.interrupted
    assert run.failures
    assert all(victim.name in message for _, message in run.failures)
    assert len(run.history) == 4 * (run.history["epoch"] == 0).sum()


def test_a_file_that_vanishes(site):
    """Before the source opens it; an open file that is removed can still be read."""
    cohort = sm.Cohort.from_bids(site)
    victim = recordings(site)[0]
    loader = sm.Loader(cohort, PRE, batch_size=4, order="sequential")
    victim.unlink()
    assert len(list(loader)) == len(loader)
    with pytest.raises(sm.ReadError, match=victim.name):
        sm.Loader(cohort, PRE)


def test_no_thread_is_left(tiny_site, tmp_path):
    def runs():
        def broken(rows):
            raise RuntimeError("mine")

        with pytest.raises(RuntimeError, match="mine"):
            sm.pretrain(tiny_site, out=tmp_path / str(random.random()), callback=broken, threads=4, **SMALL)
        sm.pretrain(tiny_site, out=tmp_path / str(random.random()), callback=lambda rows: False, threads=4, **SMALL)
        loader = iter(sm.Loader(tiny_site, PRE, batch_size=2, threads=8))
        next(loader)  # given up in the middle
        del loader

    runs()
    before = threads()
    for _ in range(3):
        runs()
    assert settled(before)
