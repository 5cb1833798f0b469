import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from cohorts import site_root
from heads import head_cohort

import sslmed as sm

BASELINES = ("dummy", "band power", "handcrafted", "riemann", "acquisition", "random encoder", "permuted labels")


def run(*args, **kwargs):
    return subprocess.run([sys.executable, "-m", "sslmed", *map(str, args)], capture_output=True, encoding="utf-8", timeout=300, **kwargs)


FAST = ["--encoder", "vit_tiny", "--depth", 1, "--batch-size", 4, "--sfreq", 100, "--no-tensorboard"]


COMMANDS = ["demo", "pretrain", "transfer", "shift", "segment", "deploy", "detect", "anomalies", "benchmark", "medmnist", "prepare", "info"]


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)])
def test_help(command):
    result = run(*command, "--help")
    assert result.returncode == 0
    assert "Usage" in result.stdout


def test_info():
    result = run("info")
    assert result.returncode == 0
    for word in ("sslmed", "torch", "CUDA", "EDFlib", "cores"):
        assert word in result.stdout


def test_a_method_that_cannot_train_an_encoder_is_one_line(tiny_site, tmp_path):
    result = run("pretrain", site_root(tiny_site), "--out", tmp_path / "run", "--method", "mae", "--encoder", "resnet10", "--no-tensorboard")
    assert result.returncode == 2
    assert result.stderr.splitlines()[-1].startswith("error: method='mae' needs an sslmed.Encoder")
    assert "Traceback" not in result.stderr


def test_the_whole_line(tiny_site, tiny_clinic, tmp_path):
    out = tmp_path / "run"
    result = run("pretrain", site_root(tiny_site), "--out", out, "--epochs", 2, "--threads", 2, "--seed", 1, *FAST)
    assert result.returncode == 0, result.stderr
    assert (out / "encoder.safetensors").exists()
    assert (out / "history.csv").exists()
    again = run("pretrain", site_root(tiny_site), "--out", out, "--epochs", 2, *FAST)
    assert again.returncode == 2
    assert "already holds a run" in again.stderr
    result = run("transfer", out / "encoder.safetensors", site_root(tiny_clinic), "--target", "diagnosis", "--cv", 3, "--out", tmp_path / "t")
    assert result.returncode == 0, result.stderr
    assert set(pd.read_csv(tmp_path / "t/transfer.csv")["row"]) == {*BASELINES, "pretrained encoder"}
    few = ["--protocols", "linear", "--repeats", 1, "--cv", 3, "--card", "", "--maps", "none", "--no-baselines"]
    result = run(
        "benchmark",
        f"mine={out / 'encoder.safetensors'}",
        "vit_tiny",
        "--cohort",
        site_root(tiny_clinic),
        "--tasks",
        "diagnosis",
        "--out",
        tmp_path / "b",
        *few,
    )
    assert result.returncode == 0, result.stderr
    assert set(pd.read_csv(tmp_path / "b/table.csv")["row"]) == {"dummy", "mine", "mine, random", "vit_tiny"}
    assert (tmp_path / "b/report.html").exists()
    result = run("benchmark", "vit_tiny", "vit_tiny", "--cohort", site_root(tiny_clinic), "--out", tmp_path / "b")
    assert result.returncode == 2
    assert "two encoders are called 'vit_tiny'" in result.stderr
    result = run("shift", site_root(tiny_site), site_root(tiny_clinic), "--encoder", out / "encoder.safetensors", "--out", tmp_path / "s")
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "s/shift.html").exists()


@pytest.mark.parametrize(
    "args",
    [
        ["pretrain", "nowhere", "--out", "x"],
        ["pretrain", ".", "--out", "x"],
        ["pretrain", "--out", "x"],
        ["pretrain", ".", "--out", "x", "--epochs", "many"],
        ["pretrain", ".", "--out", "x", "--method", "none"],
        ["transfer", "none.safetensors", ".", "--target", "y", "--out", "x"],
        ["unknown"],
    ],
)
def test_bad_input_is_one_line_and_exit_code_two(args, tmp_path):
    result = run(*args, cwd=tmp_path)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    assert result.stderr.startswith("error: ")


def test_fields_of_method_and_preprocessing_are_options(tiny_site, tmp_path):
    short = [*FAST, "--epochs", 1]
    fields = ["--window", "2", "--h-freq=45", "--mask", "time", "--ratio", ".6", "--norm-target", "false", "--clip-norm", "0.5"]
    result = run("pretrain", site_root(tiny_site), "--out", tmp_path / "a", *fields, *short)
    assert result.returncode == 0, result.stderr
    preprocessing = sm.Encoder.load(tmp_path / "a" / "encoder.safetensors").preprocessing
    assert (preprocessing.sfreq, preprocessing.window, preprocessing.h_freq) == (100.0, 2.0, 45.0)
    for wrong, text in (
        (["--mpp", 1], "--mpp is no option of this command, and no field of Mae"),
        (["--window", "long"], "--window long: expected float, such as 4.0"),
        (["--average-reference", "yes"], "--average-reference yes: expected bool, such as True"),
        (["--window"], "--window needs a value"),
        (["stray"], "unexpected argument stray"),
    ):
        result = run("pretrain", site_root(tiny_site), "--out", tmp_path / "b", *short, *wrong)
        assert result.returncode == 2
        assert text in result.stderr


def test_index_has_the_options_of_the_modality(tiny_site, tmp_path):
    result = run("index", site_root(tiny_site), "--out", tmp_path / "i.parquet")
    assert "6 recordings of 6 subjects, 1 montages" in result.stdout
    for wrong in (["--cell", 32], ["--shard", "0/2"]):
        result = run("index", site_root(tiny_site), "--out", tmp_path / "i.parquet", *wrong)
        assert result.returncode == 2
        assert f"{wrong[0]} is no option of this command" in result.stderr


def test_volumes_are_prepared_and_pretrained_on(tmp_path):
    cohort = head_cohort(tmp_path / "raw", 6)
    cohort.table.to_csv(tmp_path / "heads.tsv", sep="\t", index=False)
    prepared = tmp_path / "prepared"
    result = run("prepare", tmp_path / "heads.tsv", "--out", prepared, "--spacing", 4, "--clip", "1,99", "--shard", "1/2")
    assert result.returncode == 0, result.stderr
    assert "not done yet" in result.stdout
    result = run("prepare", tmp_path / "heads.tsv", "--out", prepared, "--spacing", 4, "--clip", "1,99")
    assert result.returncode == 0, result.stderr
    assert "6 sessions of 6 subjects" in result.stdout
    assert run("prepare", tmp_path / "heads.tsv", "--out", prepared, "--sapcing", 4).returncode == 2
    args = [
        "--encoder",
        "vit_tiny",
        "--depth",
        1,
        "--batch-size",
        2,
        "--epochs",
        1,
        "--no-tensorboard",
        "--spacing",
        "4,4,4",
        "--clip",
        "1,99",
        "--patch",
        "8,8,4",
        "--sequences",
        "T1w",
        "--size",
        "none",
    ]
    result = run("pretrain", prepared / "cohort.parquet", "--out", tmp_path / "run", *args)
    assert result.returncode == 0, result.stderr
    how = sm.Encoder.load(tmp_path / "run/encoder.safetensors").preprocessing
    assert (how.clip, how.patch, how.sequences, how.size) == ((1.0, 99.0), (8, 8, 4), ("T1w",), None)


def test_settings_of_a_preparation_are_what_its_fields_take(tmp_path):
    head_cohort(tmp_path / "raw", 2).table.to_csv(tmp_path / "heads.tsv", sep="\t", index=False)

    def settings(*options):
        out = tmp_path / "-".join(map(str, options))
        result = run("prepare", tmp_path / "heads.tsv", "--out", out, *options)
        assert result.returncode == 0, result.stderr
        return json.loads((out / "prepare.json").read_text())["settings"]

    found = settings("--spacing", "4,4,5", "--crop", "none", "--normalize", "none", "--clip", "1,99", "--margin", 3, "--on-error", "skip")
    assert found == {"spacing": [4, 4, 5], "crop": "none", "margin": 3, "clip": [1, 99], "normalize": "none", "storage": "int16"}
    assert settings("--spacing", 6, "--storage", "uint8")["spacing"] == [6, 6, 6]
    for option, text in (("--spacing", "4,x,5"), ("--spacing", "none"), ("--clip", "1"), ("--crop", "box")):
        result = run("prepare", tmp_path / "heads.tsv", "--out", tmp_path / "wrong", option, text)
        assert (result.returncode, "Traceback" in result.stderr) == (2, False)
        assert option[2:] in result.stderr


def test_interrupt_saves_and_exits_130(tiny_site, tmp_path):
    out = tmp_path / "run"
    args = ["pretrain", site_root(tiny_site), "--out", str(out), "--epochs", "100000", "--checkpoint-every", "5", *map(str, FAST)]
    process = subprocess.Popen([sys.executable, "-m", "sslmed", *args], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    while not list(out.glob("checkpoints/step-*")):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    pressed = time.time()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "--resume" in errors
    assert time.time() - pressed < 10
    assert not (out / "encoder.safetensors").exists()


def test_demo_writes_what_it_promises(tmp_path):
    result = run("demo", "--out", tmp_path / "d", "--epochs", 1, "--subjects", 10, 25, "--seed", 3)
    assert result.returncode == 0, result.stderr
    for name in ("report.html", "transfer.csv", "shift.csv"):
        assert "SYNTHETIC" in (tmp_path / "d" / name).read_text()
    site = sm.Cohort.from_bids(tmp_path / "d/data/clinic")
    assert set(site.table["diagnosis"]) == {"control", "back", "widespread", "joint", "neuropathic"}
    edf = sm.io.open_edf(site.table["path"][0])
    assert edf.annotations[0][2] == "SYNTHETIC"
    assert "SYNTHETIC" in edf.patient
    assert sm.io.validate(site.table["path"][0], strict=True) == []


def test_the_cohort_depends_on_the_seed_alone(tmp_path):
    from sslmed.demo import eeg as demo

    a = demo.write_cohort(tmp_path / "a", demo.CLINIC, 2, seconds=5, seed=1)
    b = demo.write_cohort(tmp_path / "b", demo.CLINIC, 3, seconds=5, seed=1)
    for i in range(2):
        assert Path(a.table["path"][i]).read_bytes() == Path(b.table["path"][i]).read_bytes()


def test_wrong_torch_is_one_clear_sentence():
    from sslmed._core import check_torch

    check_torch("2.13.0", "2.13.1+cpu")
    with pytest.raises(ImportError, match=r"built for torch 2\.13\.0, and torch 2\.11\.0 is running"):
        check_torch("2.13.0", "2.11.0")
