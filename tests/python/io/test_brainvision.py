import shutil

import numpy as np
import pytest
import torch
from brainvision_files import TYPES, BrainVision

import sslmed as sm
from sslmed.io import open_brainvision


def made(rng, channels=5, samples=400, **options):
    low = 0 if options.get("number") == "UINT_16" else -3000
    return BrainVision(rng.integers(low, 3000, (channels, samples)), **options)


@pytest.mark.parametrize("orientation", ["MULTIPLEXED", "VECTORIZED"])
@pytest.mark.parametrize("number", list(TYPES))
def test_values_of_every_format(tmp_path, rng, number, orientation):
    file = made(rng, 11, 1000, number=number, orientation=orientation, resolutions=["0.1", "0.48828125", "1"])
    f = open_brainvision(file.write(tmp_path / "a.vhdr"))
    assert (f.n_samples, f.sfreq, f.duration, len(f.ch_names)) == (1000, 500.0, 2.0, 11)
    gains = np.array([[0.1, 0.48828125, 1.0][c % 3] for c in range(11)])[:, None]
    x = f.read(0.3, 1.7)
    assert x.dtype == torch.float32
    np.testing.assert_allclose(x.numpy(), (file.stored * gains)[:, 150:850], rtol=1e-6)
    some = f.read(0.0, 2.0, [7, 2, 3, 4, 5, 0])
    np.testing.assert_allclose(some.numpy(), (file.stored * gains)[[7, 2, 3, 4, 5, 0]], rtol=1e-6)
    np.testing.assert_array_equal(f.read(0.5, 0.6, [1]).numpy()[0], f.read(0.0, 2.0).numpy()[1, 250:300])


@pytest.mark.parametrize("orientation", ["MULTIPLEXED", "VECTORIZED"])
@pytest.mark.parametrize("number", ["INT_16", "INT_32", "IEEE_FLOAT_32"])
def test_mne_reads_the_same(tmp_path, rng, number, orientation):
    mne = pytest.importorskip("mne")
    file = made(rng, number=number, orientation=orientation, units=["µV", "mV", "V", "nV", "µV"], resolutions=["0.5"])
    path = file.write(tmp_path / "a.vhdr")
    f, raw = open_brainvision(path), mne.io.read_raw_brainvision(path, preload=True, verbose="error")
    volts = np.array([1e-6, 1e-3, 1.0, 1e-9, 1e-6])[:, None]
    np.testing.assert_allclose(f.read(0, f.duration).double().numpy() * volts, raw.get_data(), rtol=1e-6)
    assert f.ch_names == raw.ch_names
    assert f.sfreq == raw.info["sfreq"]
    assert f.start_time == raw.info["meas_date"].replace(tzinfo=None)


def test_markers_are_those_that_mne_reads(tmp_path, rng):
    mne = pytest.importorskip("mne")
    markers = ["New Segment,,1,1,0,20200102030405678901", r"Comment,a\1 b,51,1,0", "Stimulus,S  1,101,5,0", "Stimulus,S  2,76,1,0"]
    path = made(rng, markers=markers).write(tmp_path / "a.vhdr")
    theirs = mne.io.read_raw_brainvision(path, verbose="error").annotations
    ours = open_brainvision(path).annotations
    assert ours == [(0.0, 0.002, "New Segment/"), (0.1, 0.002, "Comment/a, b"), (0.15, 0.002, "Stimulus/S  2"), (0.2, 0.01, "Stimulus/S  1")]
    for onset, duration, text in zip(theirs.onset, theirs.duration, theirs.description, strict=True):
        assert (onset, duration, text.replace(r"\1", ",")) in ours


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "utf-8-sig"])
def test_texts_of_any_encoding(tmp_path, rng, encoding):
    file = made(rng, names=["Fp1", "C,z", "Fß", "Oz", "Pz"], markers=["Comment,Größe,1,1,0"], encoding=encoding)
    f = open_brainvision(file.write(tmp_path / "a.vhdr"))
    assert f.ch_names == ["Fp1", "C,z", "Fß", "Oz", "Pz"]
    assert set(f.units) == {"µV"}
    assert f.annotations[0][2] == "Comment/Größe"


def test_a_missing_unit_and_resolution_are_the_formats_own(tmp_path, rng):
    file = made(rng, resolutions=[""], units=[""])
    f = open_brainvision(file.write(tmp_path / "a.vhdr"))
    assert set(f.units) == {"µV"}
    assert set(f.resolutions) == {1.0}
    np.testing.assert_array_equal(f.read(0, f.duration).numpy(), file.stored)


def test_renamed_files(tmp_path, rng):
    file = made(rng)
    path = file.write(tmp_path / "a.vhdr")
    for ending in (".vhdr", ".eeg", ".vmrk"):
        shutil.move(tmp_path / f"a{ending}", tmp_path / f"sub-01_eeg{ending}")
    with pytest.warns(sm.FormatWarning, match=r"'a.eeg' as its data file, which is not there"):
        f = open_brainvision(tmp_path / "sub-01_eeg.vhdr")
    np.testing.assert_allclose(f.read(0, f.duration).numpy(), file.stored * 0.1, rtol=1e-6)
    assert len(f.annotations) == 1
    file.write(path)  # what the header names is there again, and is another's
    with pytest.warns(sm.FormatWarning, match="if they were renamed, correct the header"):
        assert open_brainvision(tmp_path / "sub-01_eeg.vhdr").data_path.endswith("a.eeg")


@pytest.mark.parametrize("name", ["$b.eeg", r"C:\recordings\a.eeg", "/elsewhere/a.eeg"])
def test_names_with_a_placeholder_or_a_folder(tmp_path, rng, name):
    f = open_brainvision(made(rng, data_file=name).write(tmp_path / "a.vhdr"))
    assert f.data_path == str(tmp_path / "a.eeg")


def test_a_missing_data_file(tmp_path, rng):
    path = made(rng).write(tmp_path / "a.vhdr")
    (tmp_path / "a.eeg").unlink()
    with pytest.raises(sm.ReadError, match=r"a\.vhdr: expected its data file 'a.eeg'.*found neither"):
        open_brainvision(path)


def test_missing_and_malformed_markers_cost_themselves(tmp_path, rng):
    path = made(rng, markers=["Stimulus,S1,11,1,0", "Stimulus,S2,here,1,0", "Stimulus"]).write(tmp_path / "a.vhdr")
    f = open_brainvision(path)
    with pytest.warns(sm.FormatWarning, match="2 markers without a position are left out; 1 are read"):
        assert f.annotations == [(0.02, 0.002, "Stimulus/S1")]
    (tmp_path / "a.vmrk").write_text("nothing of the kind")
    with pytest.warns(sm.FormatWarning, match="read without annotations"):
        assert open_brainvision(path).annotations == []
    (tmp_path / "a.vmrk").unlink()
    with pytest.warns(sm.FormatWarning, match=r"marker file 'a.vmrk' is not there"):
        assert open_brainvision(path).annotations == []


@pytest.mark.parametrize(
    ("common", "found"),
    [
        ({"DataFormat": "ASCII"}, "binary format"),
        ({"DataType": "FREQUENCYDOMAIN"}, "not its spectrum"),
        ({"SegmentationType": "MARKERBASED"}, "before it was cut into segments"),
        ({"Averaged": "YES"}, "before it was averaged"),
        ({"DataOrientation": "SIDEWAYS"}, "MULTIPLEXED or VECTORIZED"),
        ({"SamplingInterval": "0"}, "SamplingInterval in µs"),
        ({"NumberOfChannels": "many"}, "NumberOfChannels"),
        ({"NumberOfChannels": "6"}, "channel Ch6"),
    ],
)
def test_what_is_no_continuous_recording_is_refused(tmp_path, rng, common, found):
    with pytest.raises(sm.FormatError, match=rf"a\.vhdr: expected .*{found}"):
        open_brainvision(made(rng, common=common).write(tmp_path / "a.vhdr"))


def test_other_numbers_and_titles_are_refused(tmp_path, rng):
    path = made(rng).write(tmp_path / "a.vhdr")
    path.write_text(path.read_text().replace("INT_16", "INT_24"))
    with pytest.raises(sm.FormatError, match="BinaryFormat INT_16, UINT_16, INT_32 or IEEE_FLOAT_32, found 'INT_24'"):
        open_brainvision(path)
    path.write_text("x")
    with pytest.raises(sm.FormatError, match="as the first line, found 'x'"):
        open_brainvision(path)


def test_a_cut_file(tmp_path, rng):
    file = made(rng, points="400")
    path = file.write(tmp_path / "a.vhdr")
    data = (tmp_path / "a.eeg").read_bytes()
    (tmp_path / "a.eeg").write_bytes(data[:-13])
    with pytest.warns(sm.FormatWarning, match="says DataPoints=400, but .* 398 samples"):
        f = open_brainvision(path)
    assert f.n_samples == 398
    with pytest.raises(ValueError, match="asked of a file that spans 0 to"):
        f.read(0.0, 0.8)
    (tmp_path / "a.eeg").write_bytes(data[:1000])
    with pytest.raises(sm.ReadError, match=r"a\.eeg"):
        f.read(0.4, 0.6)
    # In a vectorized file every channel but the first would start somewhere else.
    path = made(rng, orientation="VECTORIZED", points="400").write(tmp_path / "v.vhdr")
    (tmp_path / "v.eeg").write_bytes((tmp_path / "v.eeg").read_bytes()[:-10])
    with pytest.raises(sm.FormatError, match="400 samples a channel, one after the other"):
        open_brainvision(path)
