"""A folder is one run's, and a run goes on with its own samples alone."""

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time

import pandas as pd
import pytest
import torch
from ramps import RampPreprocessing, ramps

import sslmed as sm
from sslmed.demo import eeg as demo
from sslmed.training.run_folder import RunFolder
from sslmed.training.samples_of import rows_of

DENSE = RampPreprocessing(patch=None)
HOW = {"epochs": 3, "batch_size": 4, "progress": False, "tensorboard": False, "threads": 1}


def run(cohort, out, **options):
    encoder = sm.Encoder("vit_tiny", RampPreprocessing(), depth=1, dim=24, heads=2)
    return sm.pretrain(cohort, "mae", encoder, out, **(HOW | options))


def start_of(stop):
    return lambda rows: rows[-1]["step"] + 1 < stop


def recordings(folder, seed=0, names="abcdef"):
    return demo.write_cohort(folder, demo.PUBLIC, len(names), seconds=16, seed=seed).with_columns(group=list(names))


def pretrained(cohort, out, **options):
    how = sm.EegPreprocessing(sfreq=100, window=2, patch=0.5, h_freq=45)
    return sm.pretrain(cohort, encoder="vit_tiny", out=out, depth=1, preprocessing=how, **(HOW | options))


def test_a_second_run_in_a_folder_is_refused_and_changes_nothing(tmp_path):
    told = []

    def submitted_twice(rows):
        if not told:
            with pytest.raises(ValueError, match=rf"run: process {os.getpid()} on .* is writing a run there; wait until it ends") as error:
                run(ramps(8, 1), tmp_path / "run", resume=True)
            told.append(str(error.value))
        return True

    history = run(ramps(8, 1), tmp_path / "run", callback=submitted_twice).history
    assert told
    assert history["step"].tolist() == list(range(6))


def test_another_process_is_refused_and_a_killed_one_holds_nothing(tmp_path):
    code = f"from sslmed.training.run_folder import RunFolder\nimport time\nwith RunFolder({os.fspath(tmp_path)!r}): print('in', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "in\n"
        with pytest.raises(ValueError, match=f"process {other.pid} on"), RunFolder(tmp_path):
            pass
        other.kill()
    with RunFolder(tmp_path), pytest.raises(ValueError, match=f"process {os.getpid()}"), RunFolder(tmp_path):
        pass


@pytest.mark.parametrize("resume", [False, True])
def test_a_finished_run_without_its_checkpoints_is_not_overwritten(resume, tmp_path):
    run(ramps(8, 1), tmp_path)
    kept = (tmp_path / "encoder.safetensors").read_bytes()
    shutil.rmtree(tmp_path / "checkpoints")
    with pytest.raises(ValueError, match=r"holds the encoder of a finished run, encoder\.safetensors, and no checkpoints"):
        run(ramps(8, 1), tmp_path, resume=resume, lr=1e-2)
    assert (tmp_path / "encoder.safetensors").read_bytes() == kept


def test_files_of_others_are_no_checkpoints_and_stay(tmp_path):
    run(ramps(8, 1), tmp_path, callback=start_of(2))
    folder = tmp_path / "checkpoints"
    newest = sorted(folder.glob("step-*"))[-1]
    others = ["step-best.safetensors", "step-000000002 (copy).safetensors", f"x.safetensors.tmp-{os.getppid()}-0", "x.safetensors.tmp-mine"]
    for name in others:
        shutil.copy(newest, folder / name)
    (folder / "x.safetensors.tmp-999999999-0").touch()  # of a process that is not there
    assert not run(ramps(8, 1), tmp_path, resume=True, keep_last=1).interrupted
    left = {path.name for path in folder.iterdir()} - {"best.safetensors"}
    assert left == {*others, "step-000000006.safetensors"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda cohort, folder: cohort.subset(range(6)[::-1]), r"other samples: row 0 has path '.*' there, '.*' here"),
        (lambda cohort, folder: recordings(folder / "other", 99), r"other samples: row \d has (end|bytes|path|subject|samples) "),
        (lambda cohort, folder: cohort.with_columns(group=list("aabbcc")), "other samples: row 1 has group '1' there, '0' here"),
        (lambda cohort, folder: cohort.with_columns(subject=list("uvwxyz")), "other samples: row 0 has subject '.*' there, 'u' here"),
        (lambda cohort, folder: cohort.subset(range(5)), "other samples: 6 rows there, 5 here"),
        (lambda cohort, folder: cohort.choose_channels(exclude=["Cz"]), r"row 0 has choices '' there, 'exclude_channels=\[\"Cz\"\]' here"),
        (lambda cohort, folder: cohort.choose_channels(["Cz", "Pz"]), r"row 0 has choices '' there, 'use_channels=\[\"Cz\", \"Pz\"\]' here"),
        (lambda cohort, folder: cohort.with_columns(channel_units=[None, '{"Cz": "mV"}', *[None] * 4]), "row 1 has choices '' there, 'channel_units="),
        (lambda cohort, folder: cohort.with_columns(electrode_positions=['{"Cz": [0, 9.5, 94]}'] * 6), "row 0 has choices '' there, 'electrode_positions="),
    ],
)
def test_a_run_does_not_go_on_with_other_samples(change, message, tmp_path):
    cohort = recordings(tmp_path / "site")
    pretrained(cohort, tmp_path / "run", order="group", callback=start_of(2))
    with pytest.raises(ValueError, match=message):
        pretrained(change(cohort, tmp_path), tmp_path / "run", order="group", resume=True)


def test_choices_of_channels_are_the_same_in_an_index(tmp_path):
    cohort = recordings(tmp_path / "site").choose_channels(exclude=["Cz"])
    pretrained(cohort, tmp_path / "run", callback=start_of(2))
    assert not pretrained(cohort.index(), tmp_path / "run", resume=True).interrupted
    assert "exclude_channels" in (tmp_path / "run" / "samples.csv").read_text()


def test_other_sequences_and_masks_are_other_samples(tmp_path):
    table = {"path": [], "path_T1w": [], "path_FLAIR": [], "path_mask": [], "path_labels": [], "subject": ["a", "b"]}
    for name in ("T1w", "FLAIR", "mask", "labels"):
        for person in "ab":
            path = tmp_path / f"{person}_{name}.nii.gz"
            values = torch.rand(8, 8, 8) if name in ("T1w", "FLAIR") else torch.ones(8, 8, 8, dtype=torch.uint8)
            sm.io.write_nifti(sm.io.Volume(values, torch.eye(4)), path)
            table[f"path_{name}"].append(str(path))
    cohort = sm.Cohort.from_table(pd.DataFrame(table | {"path": table["path_T1w"]}), name="mri")
    how = sm.VolumePreprocessing(sequences=("T1w", "FLAIR?"), spacing=1.0, size=8, patch=4)
    first = rows_of(sm.Loader(cohort, how), "shuffle")
    shutil.move(tmp_path / "a_FLAIR.nii.gz", tmp_path / "moved")
    (tmp_path / "elsewhere").mkdir()
    shutil.move(tmp_path / "moved", tmp_path / "elsewhere" / "a_FLAIR.nii.gz")
    moved = cohort.with_columns(path_FLAIR=[str(tmp_path / "elsewhere" / "a_FLAIR.nii.gz"), table["path_FLAIR"][1]])
    for same in (moved, moved.with_columns(path_labels=table["path_labels"][::-1])):
        assert rows_of(sm.Loader(same, how), "shuffle").equals(first)
    assert not rows_of(sm.Loader(moved, how), "shuffle", ["path_labels"]).equals(first)
    for other in ({"path_FLAIR": table["path_FLAIR"][1:] * 2}, {"path_mask": table["path_mask"][::-1]}, {"path_FLAIR": [None, table["path_FLAIR"][1]]}):
        changed = rows_of(sm.Loader(moved.with_columns(**other), how), "shuffle")
        assert changed["choices"][0] != first["choices"][0]
        assert changed.drop(columns="choices").equals(first.drop(columns="choices"))


def test_a_file_of_another_size_is_other_data(tmp_path):
    cohort = recordings(tmp_path / "site")
    pretrained(cohort, tmp_path / "run", callback=start_of(2))
    longest = cohort.table["path"][0]
    shutil.copy(recordings(tmp_path / "longer").table["path"][0], longest)
    with open(longest, "ab") as file:
        file.write(b"\0" * 16)
    with pytest.raises(ValueError, match="other samples: row 0 has bytes"), pytest.warns(sm.FormatWarning):
        pretrained(cohort, tmp_path / "run", resume=True)


def test_a_folder_of_data_that_was_moved_is_the_same_data(tmp_path):
    whole = pretrained(recordings(tmp_path / "a"), tmp_path / "whole")
    cohort = recordings(tmp_path / "site")
    pretrained(cohort, tmp_path / "run", callback=start_of(2))
    shutil.move(tmp_path / "site", tmp_path / "elsewhere")
    moved = sm.Cohort.from_table(cohort.table.assign(path=cohort.table["path"].str.replace("/site/", "/elsewhere/")), name="site")
    run = pretrained(moved, tmp_path / "run", resume=True)
    assert all(torch.equal(value, run.encoder.state_dict()[name]) for name, value in whole.encoder.state_dict().items())


def test_without_its_list_of_samples_a_run_says_so(tmp_path):
    run(ramps(8, 1), tmp_path, callback=start_of(2))
    (tmp_path / "samples.csv").write_text("path\n1,2,3\n")
    with pytest.raises(sm.FormatError, match=r"samples\.csv: expected "):
        run(ramps(8, 2).with_columns(subject=list("abcdefgh")), tmp_path, resume=True)


def test_a_damaged_history_is_named_and_a_cut_last_line_is_not_damage(tmp_path):
    run(ramps(8, 1), tmp_path, callback=start_of(3))
    history = tmp_path / "history.csv"
    lines = history.read_text().splitlines()
    history.write_text("\n".join([lines[0], "x" + lines[1], *lines[2:]]) + "\n")
    with pytest.raises(sm.FormatError, match=r"history\.csv: line 2: expected the number of a step first, found 'x0'"):
        run(ramps(8, 1), tmp_path, resume=True)
    history.write_text("\n".join([*lines, "3,0"]))
    assert run(ramps(8, 1), tmp_path, resume=True).history["step"].tolist() == list(range(6))


@pytest.mark.parametrize("answer", [False, 0, "", [], torch.tensor(False)])
def test_any_false_answer_but_none_stops(answer, tmp_path):
    assert run(ramps(8, 1), tmp_path, callback=lambda rows: answer).interrupted
    assert not run(ramps(8, 1), tmp_path, callback=lambda rows: None, resume=True).interrupted


def test_full_output_costs_the_bar_and_not_the_encoder(tmp_path):
    code = textwrap.dedent(f"""
        import sys
        sys.path[:0] = {[path for path in sys.path if path]!r}
        from ramps import RampPreprocessing, ramps
        import sslmed as sm
        encoder = sm.Encoder("vit_tiny", RampPreprocessing(), depth=1, dim=24, heads=2)
        sm.pretrain(ramps(8, 1), "mae", encoder, sys.argv[1], epochs=2, batch_size=4, threads=1, tensorboard=False)
    """)
    for name in ("pipe", "full"):
        if name == "pipe":
            reader, output = os.pipe()
            os.close(reader)
        else:
            output = os.open("/dev/full", os.O_WRONLY)
        done = subprocess.run([sys.executable, "-c", code, tmp_path / name], stdout=output, stderr=subprocess.PIPE, text=True, timeout=200)
        os.close(output)
        assert (tmp_path / name / "encoder.safetensors").exists(), done.stderr
        assert "Traceback" not in done.stderr
        assert len(pd.read_csv(tmp_path / name / "history.csv")) == 4


@pytest.mark.parametrize("ignored", [False, True])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("when", ["before", "within"])
def test_signals_end_a_command_with_130_after_it_has_saved(when, number, ignored, tmp_path):
    """A shell without job control starts ``sslmed pretrain … &`` with SIGINT ignored."""
    recordings(tmp_path / "site")
    hook = textwrap.dedent(f"""
        import os, signal, sslmed.pretraining.run as p
        real_loader, real_call = p._loader, p.Reporter.__call__
        def loader(*arguments):
            if {when == "before"}:
                os.kill(os.getpid(), {int(number)})
            return real_loader(*arguments)
        def called(self, rows):
            if {when == "within"}:
                os.kill(os.getpid(), {int(number)})
            return real_call(self, rows)
        p._loader, p.Reporter.__call__ = loader, called
        from sslmed.cli import main
        main()
    """)
    command = [sys.executable, "-c", hook, "pretrain", tmp_path / "site", "--out", tmp_path / "run", "--encoder", "vit_tiny", "--depth", "1"]
    command += ["--epochs", "3", "--batch-size", "4", "--sfreq", "100", "--window", "2", "--h-freq", "45", "--no-tensorboard"]

    def start() -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN if ignored else signal.SIG_DFL)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # these tests may run under nohup

    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=200, preexec_fn=start)
    assert done.returncode == 130, done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run" / "encoder.safetensors").exists()
    if when == "within":
        assert list((tmp_path / "run" / "checkpoints").glob("step-*"))
        assert "Go on with --resume" in done.stderr


def test_a_script_that_does_not_handle_sigterm_ends_by_it_after_it_has_saved(tmp_path):
    code = textwrap.dedent(f"""
        import os, signal, sys
        sys.path[:0] = {[path for path in sys.path if path]!r}
        from ramps import RampPreprocessing, ramps
        import sslmed as sm
        encoder = sm.Encoder("vit_tiny", RampPreprocessing(), depth=1, dim=24, heads=2)
        stop = lambda rows: os.kill(os.getpid(), signal.SIGTERM)
        sm.pretrain(ramps(8, 1), "mae", encoder, sys.argv[1], epochs=9, batch_size=4, threads=1, tensorboard=False, progress=False, callback=stop)
        print("went on")
    """)
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, timeout=200)
    assert done.returncode == -signal.SIGTERM
    assert "went on" not in done.stdout
    assert list((tmp_path / "checkpoints").glob("step-*"))


def forked(act, limit=20):
    """How a forked child of this process ended."""
    pid = os.fork()
    if pid == 0:
        try:
            act()
        except RuntimeError as error:
            os._exit(3 if "has no threads in the forked process" in str(error) else 4)
        except BaseException:
            os._exit(5)
        os._exit(0)
    end = time.time() + limit
    while time.time() < end:
        if (found := os.waitpid(pid, os.WNOHANG))[0]:
            return os.waitstatus_to_exitcode(found[1])
        time.sleep(0.02)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return "hung"


def test_a_forked_child_may_drop_a_loader_and_is_told_when_it_uses_one():
    loader = sm.Loader(ramps(12, 1), RampPreprocessing(), batch_size=1, threads=4)
    holder = [iter(loader)]
    next(holder[0])
    assert forked(lambda: list(holder[0])) == 3
    loader._running = None
    assert forked(holder.clear) == 0
    assert len(list(holder[0])) == 11
