"""Every recording under SSLMED_DATA against pyedflib and MNE."""

import warnings

import numpy as np
import pytest

import sslmed as sm
from sslmed.io import open_edf

pytestmark = [pytest.mark.data, pytest.mark.oracle]

# Files that a reader refuses or reads otherwise, and why we think that it is wrong there.
PYEDFLIB_REFUSES = {
    "mne_test_73ch.bdf": "the record count is written with leading blanks, which is sound",
    "eeglab_test_nrec-1.bdf": "a record count of -1 means an unclosed recording; its records are whole",
    "eegmat_sub-03_cut_midrecord.edf": "the records before the cut are whole",
}
MNE_RESAMPLES = "MNE brings signals of mixed rates to the highest one: its values there are interpolated, not stored"


def recordings(root):
    found = sorted([*root.glob("eeg/**/*.edf"), *root.glob("eeg/**/*.bdf")])
    assert len(found) > 50
    return found


def quiet_open(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return open_edf(path)


def test_values_equal_pyedflib(data_root):
    pyedflib = pytest.importorskip("pyedflib")
    compared = 0
    for path in recordings(data_root):
        if "crlf" in path.name:
            continue
        ours = quiet_open(path)
        try:
            theirs = pyedflib.EdfReader(str(path))
        except OSError:
            assert path.name in PYEDFLIB_REFUSES, path
            continue
        assert path.name not in PYEDFLIB_REFUSES
        with theirs:
            assert [s.strip() for s in theirs.getSignalLabels()] == ours.ch_names
            for i in range(len(ours.ch_names)):
                low, high = ours.physical_ranges[i]
                np.testing.assert_allclose(ours.read_channel(i).numpy(), theirs.readSignal(i), rtol=0, atol=1e-9 * abs(high - low))
            onset, duration, text = theirs.readAnnotations()
            assert [a[2] for a in ours.annotations] == list(text)
            np.testing.assert_allclose([a[0] for a in ours.annotations], onset, atol=1e-6)
            np.testing.assert_allclose([a[1] for a in ours.annotations], np.maximum(duration, 0), atol=1e-6)
        compared += 1
    assert compared > 45


def test_values_equal_mne(data_root):
    mne = pytest.importorskip("mne")
    compared = 0
    for path in recordings(data_root):
        if "crlf" in path.name:
            continue
        ours = quiet_open(path)
        if len(set(ours.sfreq)) != 1:  # MNE_RESAMPLES
            continue
        read = mne.io.read_raw_bdf if path.suffix == ".bdf" else mne.io.read_raw_edf
        theirs = read(path, preload=True, stim_channel=None, verbose="error")
        for i, unit in enumerate(ours.units):
            low, high = ours.physical_ranges[i]
            volt = {"uV": 1e-6, "mV": 1e-3}.get(unit, 1.0)
            np.testing.assert_allclose(theirs.get_data(picks=[i])[0] / volt, ours.read_channel(i).numpy(), rtol=0, atol=1e-9 * abs(high - low))
        compared += 1
    assert compared > 45


def test_subsecond_start_is_read_right_where_pyedflib_is_not(data_root):
    """The file's first record starts at +0.394531 s; pyedflib reports .039453, a factor of ten off; edfio agrees with us."""
    edfio = pytest.importorskip("edfio")
    path = data_root / "eeg/odd/utf8_annotations.edf"
    ours = open_edf(path)
    assert ours.record_onsets[0] == pytest.approx(0.394531, abs=1e-6)
    assert ours.start_time.microsecond == 394531
    assert edfio.read_edf(path).starttime.microsecond == 394531


def test_the_damaged_ones(data_root):
    odd = data_root / "eeg/odd"
    with pytest.raises(sm.FormatError, match="text-mode"):
        open_edf(odd / "S001R04_crlf_corrupted.edf")
    with pytest.warns(sm.FormatWarning, match="61 whole ones"):
        cut = open_edf(odd / "eegmat_sub-03_cut_midrecord.edf")
    whole = open_edf(data_root / "eeg/eegmat/sub-03/eeg/sub-03_task-rest_eeg.edf")
    n = cut.n_samples[0]
    other = [open_edf(p) for p in sorted((data_root / "eeg/eegmat/sub-03/eeg").glob("*.edf"))]
    assert whole in other or any(np.array_equal(cut.read_channel(0).numpy(), o.read_channel(0, 0, n).numpy()) for o in other)
    with pytest.warns(sm.FormatWarning, match="not closed"):
        assert open_edf(odd / "eeglab_test_nrec-1.bdf").n_samples[0] == 15360
