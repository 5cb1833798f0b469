"""Spans of recordings that events name."""

import numpy as np
import pandas as pd
import pytest
from brainvision_files import BrainVision

import sslmed as sm
from sslmed.io import write_edf
from sslmed.modalities.eeg import EegPreprocessing
from sslmed.training.samples_of import rows_of

NAMES = ["Fp1", "Cz", "Pz", "O1"]
RATE = 100
PRE = EegPreprocessing(sfreq=RATE, window=2.0, patch=1.0, l_freq=0, h_freq=0, margin=0, average_reference=False, scale="none", clip=0)
NOTES = [(0.0, 10.0, "rest"), (12.0, 8.0, "task"), (22.0, 5.0, "rest"), (28.0, 0.0, "button")]


def signal(seed, seconds=30):
    return np.random.default_rng(seed).integers(-500, 500, (len(NAMES), seconds * RATE))


def edf(path, x, notes):
    path.parent.mkdir(parents=True, exist_ok=True)
    write_edf(path, x / 8, RATE, NAMES, annotations=notes)
    return path


def brainvision(path, x, notes):
    markers = [f"Comment,{text},{round(onset * RATE) + 1},{round(duration * RATE)},0" for i, (onset, duration, text) in enumerate(notes, 1)]
    return BrainVision(x, names=NAMES, interval=str(1e6 / RATE), resolutions=["0.125"], markers=markers).write(path)


def bids(root, n=4, table=None, notes=()):
    text = table or "onset\tduration\ttrial_type\n" + "".join(f"{onset}\t{duration}\t{name}\n" for onset, duration, name in NOTES)
    people = "participant_id\tage\n"
    for i in range(1, n + 1):
        folder = root / f"sub-{i:02d}" / "eeg"
        edf(folder / f"sub-{i:02d}_task-a_eeg.edf", signal(i), list(notes))
        if text:
            (folder / f"sub-{i:02d}_task-a_events.tsv").write_text(text)
        people += f"sub-{i:02d}\t{20 + i}\n"
    (root / "participants.tsv").write_text(people)
    return root


def of(*paths):
    return sm.Cohort.from_table(pd.DataFrame({"path": [str(p) for p in paths], "subject": [f"s{i}" for i in range(len(paths))]}))


def test_spans_of_events_tsv_are_rows_with_labels(tmp_path):
    cohort = sm.Cohort.from_bids(bids(tmp_path))
    spans = cohort.epochs("rest", "task")
    assert len(spans) == 12
    assert spans.table["trial_type"].value_counts().to_dict() == {"rest": 8, "task": 4}
    assert spans.table[["subject", "age", "span_start", "span_stop"]].iloc[1].tolist() == ["sub-01", 21, 12.0, 20.0]
    source = spans.source(PRE)
    assert source.counts.tolist() == [5, 4, 2] * 4
    expected = signal(1)[:, 12 * RATE : 14 * RATE] / 8
    np.testing.assert_allclose(source.sample(5)[0].numpy(), expected, atol=0.01)
    assert "rest" not in set(cohort.epochs("task").table["trial_type"])


def test_margins_of_windows_stay_in_their_span(tmp_path):
    pre = EegPreprocessing(sfreq=RATE, window=2.0, patch=1.0, h_freq=40)
    spans = sm.Cohort.from_bids(bids(tmp_path, n=1)).epochs("task")
    alone = sm.Cohort.from_arrays([signal(1)[:, 12 * RATE : 20 * RATE] / 8], RATE, NAMES, pd.DataFrame({"subject": ["a"]}))
    for i in range(4):
        np.testing.assert_allclose(spans.source(pre).sample(i)[0].numpy(), alone.source(pre).sample(i)[0].numpy(), atol=0.02)


@pytest.mark.parametrize("ending", ["edf", "vhdr", "fif", "table"])
def test_annotations_of_every_format_give_the_same_spans(ending, tmp_path, rng):
    x = signal(7)
    if ending == "edf":
        cohort = of(edf(tmp_path / "a.edf", x, NOTES))
    elif ending == "vhdr":
        cohort = of(brainvision(tmp_path / "a.vhdr", x, NOTES))
    elif ending == "fif":
        mne = pytest.importorskip("mne")
        sm.io.set_recording_store(tmp_path / "store")
        raw = mne.io.RawArray(x / 8e6, mne.create_info(NAMES, RATE, "eeg"), verbose="error")
        raw.set_annotations(mne.Annotations(*zip(*NOTES, strict=True)), verbose="error")
        raw.save(tmp_path / "a_raw.fif", verbose="error")
        cohort = of(tmp_path / "a_raw.fif")
    else:
        edf(tmp_path / "sub-01" / "eeg" / "sub-01_task-a_eeg.edf", x, [])
        lines = "".join(f"{onset}\t{duration}\t{name}\n" for onset, duration, name in NOTES)
        (tmp_path / "task-a_events.tsv").write_text("onset\tduration\ttrial_type\n" + lines)  # one for all
        cohort = sm.Cohort.from_bids(tmp_path)
    spans = cohort.epochs("rest", "task")
    assert spans.table["span_start"].tolist() == [0, 12, 22]
    assert spans.table["n_samples"].tolist() == [1000, 800, 500]
    values = np.stack([spans.source(PRE).sample(i)[0].numpy() for i in range(11)])
    starts = [0, 2, 4, 6, 8, 12, 14, 16, 18, 22, 24]
    np.testing.assert_allclose(values, np.stack([x[:, s * RATE : (s + 2) * RATE] / 8 for s in starts]), atol=0.01)


def test_an_unknown_name_says_which_there_are(tmp_path):
    cohort = sm.Cohort.from_bids(bids(tmp_path, n=2))
    with pytest.raises(ValueError, match=r"no event 'Rest'; there are 'rest' \(4\), 'task' \(2\), 'button' \(2\)"):
        cohort.epochs("Rest", "task")
    with pytest.raises(ValueError, match=r"names of events are missing; there are 'rest' \(4\)"):
        cohort.epochs()
    with pytest.raises(ValueError, match="there are no events at all"):
        of(edf(tmp_path / "b.edf", signal(0), [])).epochs("rest")


def test_another_column_of_events(tmp_path):
    table = "onset\tduration\tvalue\n0\t5\teyes open\n5\t5\teyes closed\n"
    cohort = sm.Cohort.from_bids(bids(tmp_path, n=1, table=table))
    with pytest.raises(sm.FormatError, match=r"events\.tsv: expected a column trial_type, found onset, duration, value; epochs\(column="):
        cohort.epochs("eyes open")
    assert cohort.epochs("eyes open", "eyes closed", column="value").table["value"].tolist() == ["eyes open", "eyes closed"]
    with pytest.raises(ValueError, match="'age' is a column of the cohort already"):
        cohort.epochs("eyes open", column="age")


@pytest.mark.parametrize("duration", ["0", "n/a", ""])
def test_events_without_a_duration_need_tmax(duration, tmp_path):
    table = f"onset\tduration\ttrial_type\n3\t{duration}\tclosed\n10.5\t{duration}\topen\n"
    cohort = sm.Cohort.from_bids(bids(tmp_path, n=1, table=table))
    with pytest.raises(ValueError, match=r"no event 'closed' lasts longer than tmin=0 s.*tmax="):
        cohort.epochs("open", "closed")
    spans = cohort.epochs("open", "closed", tmin=1.0, tmax=5.0)
    assert spans.table[["span_start", "span_stop"]].values.tolist() == [[4, 8], [11.5, 15.5]]
    for tmin, tmax in ((2.0, 1.0), (0.0, float("nan")), (0.0, 0.0)):
        with pytest.raises(ValueError, match="tmax"):
            cohort.epochs("open", tmin=tmin, tmax=tmax)


def test_what_is_left_out_is_told(tmp_path):
    root = bids(tmp_path, n=3, table="onset\tduration\ttrial_type\n2\t4\trest\n8\t0\trest\n90\t5\trest\n2\t4\trest\n")
    (root / "sub-02" / "eeg" / "sub-02_task-a_events.tsv").write_text("onset\tduration\ttrial_type\n0\t4\tother\n")
    with pytest.warns(sm.LeftOutWarning) as told:
        spans = sm.Cohort.from_bids(root).epochs("rest")
    assert len(spans) == 2
    lines = spans.report()
    lines = lines[lines["outcome"] == "left out"].set_index("why")["count"].to_dict()
    assert lines == {"of 0 s": 2, "outside of the recording, or in its gaps": 2, "without 'rest'": 1}
    assert len(told) == 3
    assert "sub-02" in str(told[2].message)


def test_overlapping_spans_are_told(tmp_path):
    cohort = sm.Cohort.from_bids(bids(tmp_path, n=1, table="onset\tduration\ttrial_type\n0\t10\trest\n8\t6\ttask\n14\t2\trest\n"))
    with pytest.warns(sm.ValueWarning, match="1 spans overlap with others, such as 'task' from 8 s on, and 'rest'"):
        assert len(cohort.epochs("rest", "task")) == 3
    cohort.epochs("rest")


def test_bad_spans_are_gaps_of_epochs(tmp_path):
    root = bids(tmp_path, n=1, notes=[(4.0, 2.0, "BAD_movement")])
    with pytest.warns(sm.FormatWarning, match="annotated as bad"):
        spans = sm.Cohort.from_bids(root).epochs("rest")
    assert spans.table["n_samples"].tolist() == [800, 500]
    source = spans.source(PRE)
    assert [source.describe(i).place["start"] for i in range(len(source))] == [0, 2, 6, 8, 22, 24]


def test_spans_are_stored_and_indexed_again(tmp_path):
    spans = sm.Cohort.from_bids(bids(tmp_path)).epochs("rest", "task")
    spans.table.to_parquet(tmp_path / "spans.parquet")
    again = sm.Cohort.from_table(tmp_path / "spans.parquet")
    plain = sm.Cohort.from_table(spans.table.drop(columns=["sfreq", "n_samples", "channels", "stretches"]))
    for cohort in (again, again.index(), plain, spans.subset(range(len(spans)))):
        assert cohort.source(PRE).counts.tolist() == [5, 4, 2] * 4
    with pytest.raises(ValueError, match="are spans already"):
        spans.epochs("rest")
    first, second = (rows_of(sm.Loader(c, PRE, batch_size=2), "shuffle") for c in (spans.subset([0, 1]), spans.subset([0, 2])))
    assert first["path"].tolist() != second["path"].tolist()
    (tmp_path / "sub-01" / "eeg" / "sub-01_task-a_eeg.edf").write_bytes(b"")
    edf(tmp_path / "sub-01" / "eeg" / "sub-01_task-a_eeg.edf", signal(1, seconds=9), [])
    with pytest.raises(sm.FormatError, match="as the index says"):
        again.source(PRE).sample(0)


@pytest.mark.parametrize("table", ["onset\tduration\ttrial_type\nsoon\t4\trest\n", "onset\tduration\ttrial_type\n1\tlong\trest\n", "a\tb\n1\t2\n", ""])
def test_events_that_cannot_be_read_are_refused(table, tmp_path):
    root = bids(tmp_path, n=1)
    (root / "sub-01" / "eeg" / "sub-01_task-a_events.tsv").write_text(table)
    with pytest.raises(sm.FormatError, match=r"events\.tsv.*expected"):
        sm.Cohort.from_bids(root).epochs("rest")


def test_arrays_have_no_events():
    arrays = sm.Cohort.from_arrays([signal(0)], RATE, NAMES, pd.DataFrame({"subject": ["a"]}))
    with pytest.raises(ValueError, match="in memory have no events"):
        arrays.epochs("rest")


def test_conditions_are_told_apart_in_folds_of_people(tmp_path):
    """The condition with a rhythm at 10 Hz is known of people that no fit has seen."""
    t = np.arange(30 * RATE) / RATE
    for i in range(6):
        x = np.random.default_rng(i).normal(0, 60, (len(NAMES), len(t)))
        x[2:, 12 * RATE : 20 * RATE] += 300 * np.sin(2 * np.pi * 10 * t[12 * RATE : 20 * RATE])
        edf(tmp_path / f"sub-{i}" / "eeg" / f"sub-{i}_task-a_eeg.edf", np.round(x), NOTES)
    spans = sm.Cohort.from_bids(tmp_path).epochs("rest", "task")
    for train, test in spans.folds(3):
        assert not set(spans.table["subject"][train]) & set(spans.table["subject"][test])
    result = sm.transfer(None, spans, "trial_type", cv=3, baselines=["dummy", "band power"], level="recording", permutations=19)
    scores = result.table.set_index(["row", "metric"])["value"]
    assert scores["band power", "balanced_accuracy"] > 0.9
