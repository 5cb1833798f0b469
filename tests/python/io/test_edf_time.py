"""When the records of EDF+ files are: records without an onset, text in the first list, first records that start late."""

import warnings
from datetime import datetime

import numpy as np
import pandas as pd
import pytest
from edf_files import Edf, Signal

import sslmed as sm
from sslmed.io import open_edf

BDF = b"\xffBIOSEMI"
SIGNAL = Signal(pmin="-32768", pmax="32767")


def timed(path, lists, *, version=b"0       ", kind="+D", date="02.03.04"):
    """Records of one second, record r with the samples 10 r … 10 r + 9, whose annotation signals hold these bytes."""
    file = Edf([SIGNAL], n_records=len(lists), kind=("BDF" if version == BDF else "EDF") + kind, version=version, date=date)
    raw, width = bytearray(file.bytes()), 3 if version == BDF else 2
    for record, text in enumerate(lists):
        at = 768 + record * 50 * width + 10 * width
        raw[at : at + 40 * width] = text.ljust(40 * width, b"\x00")
    path.write_bytes(bytes(raw))
    return path


def onset(seconds):
    return f"{seconds:+g}".encode() + b"\x14\x14\x00"


def records_read(file):
    """Number of the record in each second of the time axis; None in gaps. All samples of a record are looked at."""
    found = []
    for x in file.read(0, file.duration)[0].numpy().reshape(-1, 10):
        found.append(None if np.isnan(x).any() else int(x[0]) // 10)
        assert found[-1] is None or x.tolist() == list(range(10 * found[-1], 10 * found[-1] + 10))
    return found


@pytest.mark.parametrize("version", [b"0       ", BDF], ids=["edf", "bdf"])
@pytest.mark.parametrize(("damage", "found"), [(b"", "nothing"), (b" " * 30, "nothing"), (b"garbage\x14\x14", "'garbage"), (b"2\x14", "'2")])
def test_a_record_without_an_onset_costs_itself(tmp_path, version, damage, found):
    lists = [onset(0), onset(1), damage, onset(6), onset(7)]
    with pytest.warns(sm.FormatWarning, match=rf"a\.edf: expected an onset .* found none in 1 of 5: record 2 has {found}.* and 1 are left out"):
        file = open_edf(timed(tmp_path / "a.edf", lists, version=version))
    assert records_read(file) == [0, 1, None, None, None, None, 3, 4]
    np.testing.assert_array_equal(file.record_onsets, [0, 1, np.nan, 6, 7])
    assert not file.is_continuous
    assert file.n_samples == [50]


@pytest.mark.parametrize(
    ("lists", "expected", "told"),
    [
        ([onset(0), b"", onset(2), onset(5)], [0, 1, 2, None, None, 3], "1 are placed by the records around them, and 0 are left out"),
        ([onset(0), b"", b"", onset(3), onset(5)], [0, 1, 2, 3, None, 4], "found none in 2 of 5.*2 are placed .*, and 0 are left out"),
        ([b"", onset(4), onset(5)], [1, 2], "record 0 has nothing.*1 are left out"),
        ([onset(0), onset(3), b"x"], [0, None, None, 1], "record 2 has .*1 are left out"),
        ([onset(0), b"", onset(1)], [0, 2], "1 are left out"),  # no room
        ([onset(0), b"", b"", onset(2)], [0, None, 3], "2 are left out"),  # room for one of two
        ([b"", onset(1), b"", b""], [1], "found none in 3 of 4.*3 are left out"),
    ],
    ids=["room for it alone", "room for both", "first", "last", "no room", "room for one of two", "only one"],
)
def test_records_without_an_onset_are_placed_where_nothing_else_fits(tmp_path, lists, expected, told):
    with pytest.warns(sm.FormatWarning, match=told):
        file = open_edf(timed(tmp_path / "a.edf", lists))
    assert records_read(file) == expected


@pytest.mark.parametrize("text", [b"", b"garbage"])
def test_a_discontinuous_file_without_any_onset_is_refused(tmp_path, text):
    with pytest.raises(sm.FormatError, match=r"a\.edf: expected an onset for every record of a discontinuous file, found none in 3; record 0 has"):
        open_edf(timed(tmp_path / "a.edf", [text] * 3))


def test_windows_and_an_index_of_what_is_left(tmp_path):
    lists = [onset(t) for t in (*range(6), *range(9, 14))]
    lists[8] = b""  # of the second part: where it is follows from the others
    lists[3] = b"+2"  # no end
    path = timed(tmp_path / "a.edf", lists)
    preprocessing = sm.EegPreprocessing(sfreq=10, window=2.0, l_freq=0, h_freq=0, average_reference=False)
    cohort = sm.Cohort.from_table(pd.DataFrame({"path": [str(path)], "subject": ["a"]}))
    with pytest.warns(sm.FormatWarning, match="2 are placed"):
        source = cohort.source(preprocessing)
    with pytest.warns(sm.FormatWarning, match="2 are placed"):
        indexed = cohort.index().source(preprocessing)
    for one in (source, indexed):
        assert [one.describe(i).place["start"] for i in range(len(one))] == [0.0, 2.0, 4.0, 9.0, 11.0]


def test_annotations_of_a_record_without_an_onset_are_read(tmp_path):
    lists = [onset(0), b"\x00+1.5\x14seen\x14\x00", onset(5) + b"+5.5\x14too\x14\x00"]
    with pytest.warns(sm.FormatWarning, match="1 are left out"):
        file = open_edf(timed(tmp_path / "a.edf", lists))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert file.annotations == [(1.5, 0.0, "seen"), (5.5, 0.0, "too")]


@pytest.mark.parametrize("kind", ["+C", "+D"])
@pytest.mark.parametrize(
    ("first", "text"),
    [
        (b"+0\x14\x14begin\x14\x00", [(0.0, 0.0, "begin")]),
        (b"+0\x14begin\x14\x00", [(0.0, 0.0, "begin")]),
        (b"+0\x150.5\x14begin\x14\x00", [(0.0, 0.5, "begin")]),
        (b"+0\x14\x14one\x14two\x14\x00", [(0.0, 0.0, "one"), (0.0, 0.0, "two")]),
    ],
)
def test_text_in_the_first_list(tmp_path, kind, first, text):
    file = open_edf(timed(tmp_path / "a.edf", [first, onset(1), onset(2)], kind=kind))
    assert records_read(file) == [0, 1, 2]
    assert file.annotations == text


@pytest.mark.parametrize("kind", ["+C", "+D"])
@pytest.mark.parametrize(
    ("late", "date", "start"),
    [
        (0.25, "02.03.04", datetime(2004, 3, 2, 5, 6, 7, 250000)),
        (100.5, "02.03.04", datetime(2004, 3, 2, 5, 7, 47, 500000)),
        (86400, "28.02.04", datetime(2004, 2, 29, 5, 6, 7)),
        (70000, "31.12.99", datetime(2000, 1, 1, 0, 32, 47)),
        (-0.5, "02.03.04", datetime(2004, 3, 2, 5, 6, 6, 500000)),
    ],
)
def test_the_first_sample_is_as_late_as_its_record(tmp_path, kind, late, date, start):
    lists = [onset(late + r) for r in range(3)]
    lists[1] += f"{late + 1.25:+}".encode() + b"\x14spike\x14\x00"
    file = open_edf(timed(tmp_path / "a.edf", lists, kind=kind, date=date))
    assert file.start_time == start
    assert file.annotations == [(1.25, 0.0, "spike")]
    assert records_read(file) == [0, 1, 2]
