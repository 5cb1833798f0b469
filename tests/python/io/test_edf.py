"""EDF and BDF: what the format allows, what files do instead, and what is refused."""

from datetime import datetime

import numpy as np
import pytest
import torch
from edf_files import Edf, Signal
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import sslmed as sm
from sslmed.io import open_edf, validate, write_edf


def gain(s: Signal) -> tuple[float, float]:
    g = (float(s.pmax) - float(s.pmin)) / (float(s.dmax) - float(s.dmin))
    return g, float(s.pmin) - g * float(s.dmin)


def test_plain(tmp_path):
    f = open_edf(Edf().write(tmp_path / "a.edf"))
    g, o = gain(Signal())
    assert f.ch_names == ["Fp1"]
    assert f.units == ["uV"]
    assert f.sfreq == [10.0]
    assert f.n_samples == [40]
    assert f.start_time == datetime(2004, 3, 2, 5, 6, 7)
    assert f.is_continuous
    assert f.record_onsets == [0, 1, 2, 3]
    assert f.annotations == []
    np.testing.assert_allclose(f.read_channel(0).numpy(), np.arange(40) * g + o, rtol=0, atol=1e-9)
    assert f.read_channel(0, 3, 17, torch.float32).dtype == torch.float32
    np.testing.assert_allclose(f.read(0.5, 2.25).numpy()[0], np.arange(5, 22) * g + o, atol=1e-4)
    assert f.read(1.0, 1.0).shape == (1, 0)


@pytest.mark.parametrize("span", [(-0.1, 1), (0, 4.2), (3, 2), (float("nan"), 1)])
def test_outside_is_refused(tmp_path, span):
    f = open_edf(Edf().write(tmp_path / "a.edf"))
    with pytest.raises(ValueError, match=r"a\.edf"):
        f.read(*span)


def test_channel_out_of_range(tmp_path):
    f = open_edf(Edf().write(tmp_path / "a.edf"))
    with pytest.raises(IndexError):
        f.read_channel(1)
    with pytest.raises(ValueError):
        f.read_channel(0, 0, 41)
    with pytest.raises(ValueError):
        f.read(0, 1, channels=[4])
    with pytest.raises(ValueError):
        f.read(0, 1, channels=[])


def test_mixed_rates(tmp_path):
    f = open_edf(Edf([Signal("a"), Signal("b", per_record=4)], duration="2").write(tmp_path / "a.edf"))
    assert f.sfreq == [5.0, 2.0]
    with pytest.raises(ValueError, match="sampling rates"):
        f.read(0, 1)
    assert f.read(1, 3, channels=[1]).shape == (1, 4)


def test_gaps_are_nan(tmp_path):
    f = open_edf(Edf(kind="EDF+D", onsets=[0, 1, 5, 6]).write(tmp_path / "d.edf"))
    assert not f.is_continuous
    assert f.record_onsets == [0, 1, 5, 6]
    assert f.n_samples == [40]
    x = f.read(0, 7).numpy()[0]
    assert len(x) == 70
    assert np.isnan(x[20:50]).all()
    assert np.isfinite(x[:20]).all()
    np.testing.assert_allclose(np.r_[x[:20], x[50:]], f.read_channel(0).numpy(), atol=1e-3)


def test_a_gap_in_a_file_that_says_continuous_is_kept(tmp_path):
    path = Edf(kind="EDF+C", onsets=[0, 1, 5, 6]).write(tmp_path / "c.edf")
    with pytest.warns(sm.FormatWarning, match="gaps are kept"):
        f = open_edf(path)
    assert not f.is_continuous
    assert f.record_onsets == [0, 1, 5, 6]


def test_onsets_that_go_back(tmp_path):
    with pytest.raises(sm.FormatError, match="follow each other"):
        open_edf(Edf(kind="EDF+D", onsets=[0, 5, 1, 2]).write(tmp_path / "d.edf"))


def test_subsecond_start(tmp_path):
    f = open_edf(Edf(kind="EDF+C", onsets=[0.25, 1.25, 2.25, 3.25], notes={1: b"+1.75\x15" + b"0.5\x14spike\x14\x00"}).write(tmp_path / "s.edf"))
    assert f.start_time == datetime(2004, 3, 2, 5, 6, 7, 250000)
    assert f.record_onsets[0] == 0.25
    assert f.annotations == [(1.5, 0.5, "spike")]
    assert f.read(0, 4).shape == (1, 40)


def test_annotation_text_encodings(tmp_path):
    notes = {
        0: b"+0.5\x14" + "Größe".encode() + b"\x14two\x14\x00",
        1: b"+1\x14" + "Größe".encode("latin-1") + b"\x14\x00",
    }
    f = open_edf(Edf(kind="EDF+C", notes=notes).write(tmp_path / "n.edf"))
    assert [a[2] for a in f.annotations] == ["Größe", "two", "Größe"]


def test_header_text_encodings(tmp_path):
    f = open_edf(Edf([Signal("C\xf6", b"\xb5V"), Signal("Cö".encode(), "µV".encode())]).write(tmp_path / "t.edf"))
    assert f.ch_names == ["Cö", "Cö"]
    assert f.units == ["µV", "µV"]


def test_bdf(tmp_path):
    samples = np.array([-(2**23), 2**23 - 1, 0, 1, -1, 2**22, -(2**22), 12345, -54321, 7] * 4)
    s = Signal(pmin="-262144", pmax="262143", dmin="-8388608", dmax="8388607", samples=samples)
    f = open_edf(Edf([s], version=b"\xffBIOSEMI").write(tmp_path / "a.bdf"))
    g, o = gain(s)
    assert f.is_bdf
    np.testing.assert_allclose(f.read_channel(0).numpy(), samples * g + o, rtol=0, atol=1e-6)
    for start in range(9):
        np.testing.assert_allclose(f.read_channel(0, start, start + 5).numpy(), (samples * g + o)[start : start + 5], atol=1e-6)


@pytest.mark.parametrize(
    ("pmin", "pmax"),
    [("-100", "+100"), ("-1E2", "1e+2"), ("-100.000", "100."), ("   -100", "100\x00\x00"), ("-00100", "00100")],
)
def test_odd_numbers(tmp_path, pmin, pmax):
    f = open_edf(Edf([Signal(pmin=pmin, pmax=pmax)]).write(tmp_path / "a.edf"))
    assert f.physical_ranges == [(-100.0, 100.0)]


def test_decimal_comma(tmp_path):
    path = Edf([Signal(pmin="-100,5", pmax="100,5")]).write(tmp_path / "a.edf")
    with pytest.warns(sm.FormatWarning, match="decimal comma"):
        assert open_edf(path).physical_ranges == [(-100.5, 100.5)]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"declared_records": "abc"}, "number of records"),
        ({"declared_records": "-2"}, "-1 or more"),
        ({"declared_records": "1.5"}, "whole number"),
        ({"duration": "-1"}, "duration"),
        ({"duration": "0"}, "duration"),
        ({"duration": "nan"}, "duration"),
        ({"version": b"1       "}, "version"),
        ({"signals": [Signal(pmin="x")]}, "physical minimum"),
        ({"cut": 80}, "records of"),
    ],
)
def test_refusals_name_file_and_field(tmp_path, change, expected):
    path = Edf(**change).write(tmp_path / "bad.edf")
    with pytest.raises(sm.FormatError, match=r"bad\.edf: expected .*found") as error:
        open_edf(path)
    assert expected in str(error.value)


def test_short_and_missing_files(tmp_path):
    (tmp_path / "s.edf").write_bytes(b"0       short")
    with pytest.raises(sm.FormatError, match="256"):
        open_edf(tmp_path / "s.edf")
    with pytest.raises(sm.ReadError, match="none"):
        open_edf(tmp_path / "none.edf")
    with pytest.raises(OSError) as error:
        open_edf(tmp_path / "none.edf")
    assert error.value.errno == 2
    with pytest.raises(sm.ReadError):
        open_edf(tmp_path)


@pytest.mark.parametrize(
    "bounds",
    [{"dmin": "5", "dmax": "5"}, {"pmin": "1", "pmax": "1"}, {"pmax": "inf"}, {"pmin": "nan"}, {"pmax": "1e999"}],
)
def test_a_signal_without_scale_is_refused_not_raw(tmp_path, bounds):
    path = Edf([Signal("ok"), Signal("bad", **bounds)]).write(tmp_path / "r.edf")
    with pytest.warns(sm.FormatWarning, match="no usable range"):
        f = open_edf(path)
    assert f.read_channel(0).isfinite().all()
    with pytest.raises(sm.FormatError, match="'bad'"):
        f.read_channel(1)
    with pytest.raises(sm.FormatError, match="'bad'"):
        f.read(0, 1)
    assert f.read(0, 1, channels=[0]).shape == (1, 10)


def test_record_counts(tmp_path):
    with pytest.warns(sm.FormatWarning, match="not closed"):
        assert open_edf(Edf(declared_records="-1").write(tmp_path / "a.edf")).n_samples == [40]
    with pytest.warns(sm.FormatWarning, match="cut short"):
        assert open_edf(Edf(cut=5).write(tmp_path / "b.edf")).n_samples == [30]
    with pytest.warns(sm.FormatWarning, match="beyond"):
        assert open_edf(Edf(tail=b"x" * 7).write(tmp_path / "c.edf")).n_samples == [40]


def test_text_mode_copy_is_refused(tmp_path):
    values = np.full(40, 0x0A0A)
    raw = Edf([Signal(samples=values)]).bytes()
    (tmp_path / "crlf.edf").write_bytes(raw[:512] + raw[512:].replace(b"\n", b"\r\n"))
    with pytest.raises(sm.FormatError, match="text-mode"):
        open_edf(tmp_path / "crlf.edf")


def test_shifted_annotations_are_refused(tmp_path):
    raw = bytearray(Edf(kind="EDF+C").bytes())
    del raw[768 + 7]
    (tmp_path / "shift.edf").write_bytes(bytes(raw) + b"\x00")
    with pytest.raises(sm.FormatError):
        open_edf(tmp_path / "shift.edf")


def test_a_file_that_shrinks_under_us(tmp_path):
    path = Edf().write(tmp_path / "a.edf")
    f = open_edf(path)
    path.write_bytes(path.read_bytes()[:540])
    with pytest.raises(sm.ReadError, match=r"a\.edf"):
        f.read_channel(0)


def test_reversed_digital_limits_scale_as_written(tmp_path):
    path = Edf([Signal(dmin="32767", dmax="-32768")]).write(tmp_path / "a.edf")
    with pytest.warns(sm.FormatWarning, match="below minimum"):
        f = open_edf(path)
    assert float(f.read_channel(0)[0]) > float(f.read_channel(0)[1])


def test_write_and_read_back(tmp_path, rng):
    x = rng.normal(size=(3, 500)) * 50
    notes = [(0.5, 0.25, "a"), (1.25, 0.0, "Größe")]
    for bdf in (False, True):
        path = tmp_path / ("w.bdf" if bdf else "w.edf")
        write_edf(path, x, 250, ["Fp1", "Cz", "O2"], annotations=notes, start_time=datetime(2001, 2, 3, 4, 5, 6), bdf=bdf)
        f = open_edf(path)
        assert f.ch_names == ["Fp1", "Cz", "O2"]
        assert f.start_time == datetime(2001, 2, 3, 4, 5, 6)
        assert f.annotations == notes
        for i in range(3):
            low, high = f.physical_ranges[i]
            step = (high - low) / (2**24 if bdf else 2**16)
            assert np.abs(f.read_channel(i).numpy() - x[i]).max() <= 1.01 * step
        assert validate(path, strict=True) == []
        theirs = open_edf(path, backend="edflib")
        assert theirs.annotations == f.annotations
        for i in range(3):
            np.testing.assert_allclose(theirs.read_channel(i).numpy(), f.read_channel(i).numpy(), atol=1e-9 * (high - low))


def test_write_refuses_what_does_not_fit(tmp_path):
    path = tmp_path / "w.edf"
    with pytest.raises(ValueError, match="whole number of seconds"):
        write_edf(path, [np.zeros(251)], 250, ["Fp1"])
    with pytest.raises(ValueError, match="non-finite"):
        write_edf(path, [np.full(250, np.nan)], 250, ["Fp1"])
    with pytest.raises(ValueError, match="outside its physical range"):
        write_edf(path, [np.full(250, 5.0)], 250, ["Fp1"], ranges=[(-1, 1)])
    with pytest.raises(ValueError, match="16 bytes"):
        write_edf(path, [np.zeros(250)], 250, ["a label that is too long"])
    assert list(tmp_path.iterdir()) == []


def test_strict_validation_refuses_what_we_salvage(tmp_path):
    path = Edf(declared_records="-1").write(tmp_path / "a.edf")
    assert len(validate(path)) == 1
    with pytest.raises(sm.FormatError):
        validate(path, strict=True)


def test_to_mne(tmp_path):
    pytest.importorskip("mne")
    f = open_edf(Edf([Signal("Fp1"), Signal("ECG", "mV"), Signal("Fp1")], kind="EDF+D", onsets=[0, 1, 5, 6]).write(tmp_path / "d.edf"))
    raw = f.to_mne()
    assert raw.ch_names == ["Fp1-0", "ECG", "Fp1-1"]
    assert raw.get_channel_types() == ["eeg", "ecg", "eeg"]
    x = f.read(0, 7).double().numpy()
    np.testing.assert_allclose(raw.get_data()[0][:20], x[0][:20] * 1e-6, rtol=1e-6)
    np.testing.assert_allclose(raw.get_data()[1][:20], x[1][:20] * 1e-3, rtol=1e-6)
    assert raw.info["meas_date"].replace(tzinfo=None) == f.start_time
    gap = [(a["onset"], a["duration"], a["description"]) for a in raw.annotations]
    assert gap == [(2.0, 3.0, "BAD_ACQ_SKIP")]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_bytes_never_crash(tmp_path, data):
    raw = bytearray(Edf([Signal(), Signal("b", per_record=3)], kind="EDF+D", onsets=[0, 1, 5, 6]).bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "f.edf"
    path.write_bytes(bytes(raw[: data.draw(st.integers(0, len(raw)))]))
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            f = open_edf(path)
            for i in range(len(f.ch_names)):
                assert len(f.read_channel(i)) == f.n_samples[i]
            assert f.annotations is not None
        except (sm.FormatError, sm.ReadError) as error:
            assert "f.edf" in str(error)


def _timed(first_list):
    """EDF+C whose records begin with these bytes instead of a time-keeping annotation."""
    raw = bytearray(Edf(kind="EDF+C").bytes())
    for record in range(4):
        at = 768 + record * 100 + 20
        raw[at : at + 80] = first_list(record).ljust(80, b"\x00")
    return bytes(raw)


@pytest.mark.parametrize(
    ("first_list", "told"),
    [
        (lambda r: f"{r}".encode() + b"\x14\x14", "without a sign or with a decimal comma"),
        (lambda r: f"+{r},0".encode() + b"\x14\x14", "without a sign or with a decimal comma"),
        (lambda r: b" " * 80, "found nothing"),
        (lambda r: b"", "found nothing"),
        (lambda r: (f"+{r}".encode() + b"\x14\x14\x00").ljust(80), None),
        (lambda r: f"+{r}".encode() + b"\x14\x14" if r else b"garbage", "found 'garbage"),
        (lambda r: f"+{r}".encode() + b"\x14\x14" if r < 3 else b"\x14\x14", "in the last"),
    ],
    ids=["no sign", "comma", "blanks", "empty", "padded with blanks", "first damaged", "last damaged"],
)
def test_odd_time_keeping_costs_no_continuous_file(tmp_path, first_list, told):
    (tmp_path / "a.edf").write_bytes(_timed(first_list))
    if told:
        with pytest.warns(sm.FormatWarning, match=told):
            f = open_edf(tmp_path / "a.edf")
    else:
        f = open_edf(tmp_path / "a.edf")
    assert f.is_continuous
    assert f.duration == 4.0
    np.testing.assert_allclose(f.read(0, 4)[0].numpy(), np.arange(40) * 0.1, atol=1e-4)


def test_damaged_time_keeping_at_both_ends_is_refused(tmp_path):
    (tmp_path / "a.edf").write_bytes(_timed(lambda r: b"garbage"))
    with pytest.raises(sm.FormatError, match="the samples may be shifted"):
        open_edf(tmp_path / "a.edf")


def test_a_malformed_annotation_costs_itself(tmp_path):
    notes = {0: b"+0.5\x14good\x14\x00", 1: b"+1.5\x14cut\x00+1.75\x14kept\x14\x00", 2: b"x\x00", 3: b"+3,5\x150,25\x14comma\x14\x00"}
    Edf(kind="EDF+C", notes=notes).write(tmp_path / "a.edf")
    f = open_edf(tmp_path / "a.edf")
    with pytest.warns(sm.FormatWarning, match="2 lists of annotations are malformed, the first in record 1, and left out; 3 annotations are read"):
        assert f.annotations == [(0.5, 0.0, "good"), (1.75, 0.0, "kept"), (3.5, 0.25, "comma")]


def test_text_in_the_first_list_and_late_first_records(tmp_path):
    raw = bytearray(Edf(kind="EDF+C", onsets=[100.5, 101.5, 102.5, 103.5], notes={2: b"+103.25\x14later\x14\x00"}).bytes())
    at = 768 + 20
    raw[at : at + 80] = b"+100.5\x14\x14start\x14\x00".ljust(80, b"\x00")
    (tmp_path / "a.edf").write_bytes(bytes(raw))
    f = open_edf(tmp_path / "a.edf")
    assert f.annotations == [(0.0, 0.0, "start"), (2.75, 0.0, "later")]
    assert f.record_onsets[0] == 100.5


@pytest.mark.parametrize(
    ("label", "unit", "kind", "value"),
    [
        ("ECG HR", "bpm", "misc", 100.0),
        ("EMG", "uv", "emg", 100e-6),
        ("EOG L", "n/a", "misc", 100.0),
        ("Fp2", "mv", "eeg", 0.1),
        ("EKG", "µV", "ecg", 100e-6),
        ("Status", "Boolean", "stim", 100.0),
        ("Resp", "", "eeg", 100e-6),
    ],
)
def test_to_mne_of_channels_in_any_unit(tmp_path, label, unit, kind, value):
    pytest.importorskip("mne")
    raw = open_edf(Edf([Signal(label, unit.encode(), samples=np.full(40, 1000))]).write(tmp_path / "a.edf")).to_mne()
    assert raw.get_channel_types() == [kind]
    np.testing.assert_allclose(raw.get_data()[0], value, rtol=1e-4)
