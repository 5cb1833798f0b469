"""What the file of a ledger survives: crashes at any byte, damage, a full disk, other writers."""

import errno
import json
import multiprocessing
import os
import resource
import signal
import threading
import time
import warnings

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import sslmed as sm
from sslmed.privacy import Ledger
from sslmed.privacy.journal import decoded

FORK = multiprocessing.get_context("fork")


def spends(ledger):
    events = ledger.events
    rows = events[events.kind == "spend"]
    columns = (rows.noise_multiplier, rows.sampling_rate, rows.steps)
    return [(float(sigma), float(rate), int(steps)) for sigma, rate, steps in zip(*columns, strict=True)]


def random_spend(rng):
    return float(rng.uniform(0.5, 9)), float(rng.uniform(1e-4, 1)), int(rng.integers(1, 10**6))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "privacy.ledger"


@pytest.fixture
def written(path, rng):
    """A ledger of five spends, and what they were."""
    ledger, done = Ledger(path, "subject"), [random_spend(rng) for _ in range(5)]
    for event in done:
        ledger.spend(*event)
    return done


def run_child(work):
    """Runs ``work`` in a fork, whatever it does; gives its exit status."""
    child = os.fork()
    if child == 0:
        try:
            os._exit(work() or 0)
        except BaseException:
            os._exit(99)
    return os.waitpid(child, 0)[1]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    unit=st.text(min_size=1).filter(str.strip),
    relation=st.sampled_from(["add_or_remove_one", "replace_one"]),
    events=st.lists(
        st.tuples(
            st.floats(0, allow_infinity=False, allow_nan=False),
            st.floats(0, 1, exclude_min=True),
            st.integers(1, 10**9),
        ),
        max_size=6,
    ),
)
def test_what_is_written_is_read(tmp_path_factory, unit, relation, events):
    path = tmp_path_factory.mktemp("ledger") / "privacy.ledger"
    ledger = Ledger(path, unit, relation)
    for event in events:
        ledger.spend(*event)
    again = Ledger(path, unit, relation)
    assert spends(again) == spends(ledger) == events
    assert (again.unit, again.relation, again.limit) == (unit, relation, None)
    assert [again.events.time.is_monotonic_increasing, len(again.events)] == [True, len(events)]
    path.unlink()


def test_a_new_file_and_each_spend_are_flushed_before_they_return(path, monkeypatch):
    calls = []

    def noted(name, real):
        def call(file, *rest):
            calls.append((name, os.readlink(f"/proc/self/fd/{file}")))
            return real(file, *rest)

        return call

    for name in ("fsync", "write"):
        monkeypatch.setattr(os, name, noted(name, getattr(os, name)))
    ledger = Ledger(path, "record")
    flushed = [name for call, name in calls if call == "fsync"]
    assert flushed[0].startswith(str(path.parent) + "/.privacy.ledger.")  # the header, while the file has another name
    assert flushed[1:] == [str(path.parent)]
    calls.clear()
    ledger.spend(1.0, 0.1)
    assert calls == [("write", str(path)), ("fsync", str(path))]
    assert [entry.name for entry in path.parent.iterdir()] == ["privacy.ledger"]


def test_kill_9_loses_no_spend_that_returned(path):
    Ledger(path, "record").spend(1.0, 0.5, steps=1)
    returned = 1
    for round_number in range(25):
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                ledger = Ledger(path, "record")
                for step in range(100_000):
                    ledger.spend(1.0, 0.5, steps=step + 1)
                    os.write(write, b".")
            finally:
                os._exit(1)
        os.close(write)
        assert os.read(read, 1) == b"."  # it has begun
        time.sleep(0.003 * (round_number % 8))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        now = 1
        while part := os.read(read, 65536):
            now += len(part)
        os.close(read)
        found = spends(Ledger(path, "record"))
        # The last one may have been killed between the disk and the report.
        assert returned + now <= len(found) <= returned + now + 1
        assert [steps for _, _, steps in found[returned:]] == list(range(1, len(found) - returned + 1))
        returned = len(found)


def test_a_last_line_cut_at_any_byte_is_dropped_and_the_file_mended(path, written):
    whole = path.read_bytes()
    start = whole[:-1].rindex(b"\n") + 1
    for end in range(start, len(whole)):
        path.write_bytes(whole[:end])
        if start < end < len(whole) - 1:
            with pytest.warns(sm.FormatWarning, match=f"line 6: was written in part \\({end - start} bytes\\)"):
                ledger = Ledger(path, "subject")
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                ledger = Ledger(path, "subject")
        # Only the newline missing: the checksum is whole, and so the event counts.
        kept = written if end == len(whole) - 1 else written[:-1]
        assert spends(ledger) == kept
        ledger.spend(2.0, 0.25, 3)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert spends(Ledger(path, "subject")) == [*kept, (2.0, 0.25, 3)]


def test_an_open_ledger_drops_the_torn_line_of_another_process(path, written, rng):
    ledger = Ledger(path, "subject")
    line = path.read_bytes().splitlines()[-1]
    with path.open("ab") as file:
        file.write(line[: rng.integers(1, line.index(b"\t") + 64)])
    with pytest.warns(sm.FormatWarning, match="line 7"):
        ledger.spend(3.0, 0.5)
    assert spends(Ledger(path, "subject")) == [*written, (3.0, 0.5, 1)]


def test_any_changed_byte_is_found(path, written, rng):
    whole = path.read_bytes()
    ends = [i for i, byte in enumerate(whole) if byte == ord("\n")]
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        line = sum(end < place for end in ends) + 1
        with pytest.raises(sm.FormatError, match=rf"{path}: line {line}: "):
            Ledger(path, "subject")
        assert path.read_bytes() == damaged  # a file that is refused stays as it is


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda lines: lines[:2] + lines[3:], 3),
        (lambda lines: [*lines[:2], lines[3], lines[2], *lines[4:]], 3),
        (lambda lines: [*lines[:3], lines[2], *lines[3:]], 4),
        (lambda lines: lines[1:], 1),
    ],
    ids=["removed", "swapped", "repeated", "no header"],
)
def test_lines_that_were_moved_are_found(path, written, change, line):
    path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))
    with pytest.raises(sm.FormatError, match=f"line {line}: "):
        Ledger(path, "subject")


def test_lines_of_another_ledger_are_found(path, written):
    other = Ledger(path.with_name("other"), "subject")
    for event in written:
        other.spend(*event)
    mine, theirs = (file.read_bytes().splitlines(keepends=True) for file in (path, other.path))
    path.write_bytes(b"".join([*mine[:3], *theirs[3:]]))
    with pytest.raises(sm.FormatError, match="line 4: "):
        Ledger(path, "subject")


@pytest.mark.parametrize("content", [b"", b"\n", b"epsilon,delta\n1,2\n", b"{}\t", bytes(300)])
def test_a_file_that_is_no_ledger_is_refused_and_left_alone(path, content):
    path.write_bytes(content)
    with pytest.raises(sm.FormatError, match="line 1: expected the header of a privacy ledger"):
        Ledger(path, "record")
    assert path.read_bytes() == content


def test_another_unit_or_relation_is_refused_by_name(path):
    Ledger(path, "record", "replace_one")
    with pytest.raises(ValueError, match="unit='subject' differs from unit='record'"):
        Ledger(path, "subject", "replace_one")
    with pytest.raises(ValueError, match="relation='add_or_remove_one' differs from relation='replace_one'"):
        Ledger(path, "record")


def test_a_ledger_that_shrinks_or_vanishes_while_it_is_open_is_found(path, written):
    ledger = Ledger(path, "subject")
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-1]))
    with pytest.raises(sm.FormatError, match="line 6: expected the line that was read before"):
        ledger.spend(1.0, 0.1)
    path.unlink()
    with pytest.raises(sm.ReadError, match="No such file"):
        ledger.spend(1.0, 0.1)
    assert not path.exists()  # an empty ledger in its place would forget what was spent


def test_paths_that_cannot_hold_a_ledger(tmp_path):
    with pytest.raises(sm.ReadError, match="Is a directory"):
        Ledger(tmp_path, "record")
    with pytest.raises(sm.ReadError, match="No such file"):
        Ledger(tmp_path / "missing" / "ledger", "record")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(sm.ReadError, match="a pipe"):
        Ledger(tmp_path / "pipe", "record")


def test_a_full_disk_writes_nothing(path, written):
    size = path.stat().st_size

    def fill():
        ledger = Ledger(path, "subject")
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 40, size + 40))  # part of the line fits
        try:
            ledger.spend(1.0, 0.1)
        except OSError as error:
            return 0 if error.errno == errno.EFBIG and error.filename == str(path) else 1
        return 2

    assert run_child(fill) == 0
    assert path.stat().st_size == size
    assert spends(Ledger(path, "subject")) == written


def test_a_spend_whose_flush_fails_raises_and_counts(path, monkeypatch):
    ledger = Ledger(path, "record")

    def broken(file):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(OSError, match="Input/output"):
        ledger.spend(1.0, 0.1)
    monkeypatch.undo()
    assert spends(ledger) == spends(Ledger(path, "record")) == [(1.0, 0.1, 1)]


def write_many(path, writer, n):
    ledger = Ledger(path, "record")  # made by whoever is first
    for number in range(n):
        ledger.spend(float(writer + 1), 0.5, number + 1)


def test_processes_write_one_ledger_and_no_event_is_lost(path):
    n, writers = 150, [FORK.Process(target=write_many, args=(path, writer, 150)) for writer in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0] * 3
    found = spends(Ledger(path, "record"))
    for writer in range(3):
        assert [steps for sigma, _, steps in found if sigma == writer + 1] == list(range(1, n + 1))
    assert len(list(path.parent.iterdir())) == 1


def test_ledgers_and_threads_of_one_process_share_a_file(path):
    shared, other = Ledger(path, "record"), Ledger(path, "record")

    def spend_60(ledger):
        for _ in range(60):
            ledger.spend(1.0, 0.5)

    threads = [threading.Thread(target=spend_60, args=(ledger,)) for ledger in (shared, shared, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert spends(shared) == spends(other) == [(1.0, 0.5, 1)] * 180


def test_a_process_that_was_forked_during_a_spend_does_not_hold_the_lock(path):
    ledger = Ledger(path, "record")
    with ledger._journal.locked():
        child = os.fork()
        if child == 0:
            signal.pause()
            os._exit(1)
    try:
        ledger.spend(1.0, 0.5)
        assert run_child(lambda: Ledger(path, "record").spend(1.0, 0.5)) == 0
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert len(ledger.events) == 2


def test_a_line_is_readable_json_with_a_checksum(path, written):
    digest = ""
    for line in path.read_bytes().splitlines():
        entry, digest = decoded(digest, line)
        assert json.loads(line.split(b"\t")[0]) == entry
    assert entry["kind"] == "spend"
    assert (entry["noise_multiplier"], entry["sampling_rate"], entry["steps"]) == written[-1]
