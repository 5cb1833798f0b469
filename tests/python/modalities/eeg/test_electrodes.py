"""Measured places of electrodes, from electrodes.tsv and coordsystem.json."""

import json

import numpy as np
import pytest

import sslmed as sm
from sslmed.encoders import Encoder
from sslmed.evaluation.features import encoder_features
from sslmed.io import write_edf
from sslmed.modalities.eeg import EegPreprocessing, unknown_channels
from sslmed.modalities.eeg.electrodes import on_the_head
from sslmed.transforms import electrode_position

RATE = 100
PRE = EegPreprocessing(sfreq=RATE, window=2.0, patch=1.0, h_freq=40)
TEN = ["Fp1", "Fp2", "C3", "C4", "O1", "O2", "Cz", "Pz"]
EGI = [f"E{i}" for i in range(101, 109)]
USUAL = np.array([electrode_position(name) for name in TEN])


def recording(path, names, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    write_edf(path, np.random.default_rng(seed).normal(0, 20, (len(names), 800)), RATE, names)
    return path


def electrodes(path, names, places):
    lines = ["name\tx\ty\tz"] + ["\t".join([name, *(f"{v:.6f}" if np.isfinite(v) else "n/a" for v in xyz)]) for name, xyz in zip(names, places, strict=True)]
    path.write_text("\n".join(lines) + "\n")


def system(path, name="CapTrak", unit="mm"):
    path.write_text(json.dumps({"EEGCoordinateSystem": name, "EEGCoordinateUnits": unit}))


def positions(cohort, row=0):
    source = cohort.source(PRE)
    return source.sample(int(np.cumsum([0, *source.counts.tolist()])[row]))[1].numpy()


def bids(root, names, places, unit="mm", name="CapTrak", n=1):
    for i in range(1, n + 1):
        folder = root / f"sub-{i:02d}" / "eeg"
        recording(folder / f"sub-{i:02d}_task-a_eeg.edf", names, i)
        electrodes(folder / f"sub-{i:02d}_electrodes.tsv", names, places)
        system(folder / f"sub-{i:02d}_coordsystem.json", name, unit)
    return root


@pytest.mark.parametrize(("unit", "scale"), [("mm", 1.0), ("cm", 0.1), ("m", 0.001)])
def test_places_without_usual_names_are_those_of_the_file(unit, scale, tmp_path):
    root = bids(tmp_path, EGI, (USUAL + np.array([3, -20, 35])) * scale * 0.9, unit)
    cohort = sm.Cohort.from_bids(root)
    assert unknown_channels(cohort) == []
    np.testing.assert_allclose(positions(cohort), USUAL, atol=0.1)
    np.testing.assert_allclose(positions(cohort.index()), USUAL, atol=0.1)
    report = cohort.report()
    assert report[report["outcome"] == "used"]["count"].tolist() == [1]
    assert set(cohort.channel_report()["position"]) == {"measured"}


@pytest.mark.parametrize("name", ["EEGLAB", "CTF", "EEGLAB-HJ"])
def test_axes_of_other_systems_are_turned(name, tmp_path):
    front_left_up = np.stack([USUAL[:, 1], -USUAL[:, 0], USUAL[:, 2]], 1)
    np.testing.assert_allclose(positions(sm.Cohort.from_bids(bids(tmp_path, EGI, front_left_up, name=name))), USUAL, atol=0.1)


def test_names_turn_places_of_any_system_and_unit(tmp_path):
    """As a rotation that nobody wrote down, and a unit that is wrong, which is told."""
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    rotation *= np.sign(np.linalg.det(rotation))
    moved = USUAL * [1.0, 1.05, 1.0]
    root = bids(tmp_path, TEN, moved @ rotation.T / 1000 + [1, 2, 3], "mm", "Other")
    with pytest.warns(sm.ValueWarning, match=r"electrodes\.tsv: EEGCoordinateUnits is 'mm', by which the head's radius is 0\.0"):
        cohort = sm.Cohort.from_bids(root)
    found = positions(cohort)
    assert np.abs(np.linalg.norm(found, axis=1) - 95).max() < 0.1
    assert 0.1 < np.abs(found - USUAL).max() < 8  # their own places, not the usual ones
    expected = moved / np.linalg.norm(moved, axis=1, keepdims=True) * 95
    assert np.abs(found - expected).max() < 5


def test_electrodes_that_were_not_measured_keep_their_usual_place(tmp_path):
    places = USUAL * 0.95
    places[2] = np.nan
    names = [*TEN[:7], "X1"]
    cohort = sm.Cohort.from_bids(bids(tmp_path, names, places))
    table = cohort.channel_report().set_index("channel")
    assert table.loc["C3", "position"] == "template"
    assert table.loc["X1", "position"] == "measured"
    np.testing.assert_allclose(positions(cohort), USUAL, atol=0.1)


def test_the_average_reference_has_measured_channels(tmp_path):
    cohort = sm.Cohort.from_bids(bids(tmp_path, EGI, USUAL))
    flat = EegPreprocessing(sfreq=RATE, window=2.0, patch=1.0, l_freq=0, h_freq=0, margin=0, scale="none", clip=0)
    assert np.abs(cohort.source(flat).sample(0)[0].numpy().mean(0)).max() < 1e-4


def test_several_spaces_and_sessions(tmp_path):
    shift = {"ses-1": 0.0, "ses-2": 12.0}
    for session, turn in shift.items():
        folder = tmp_path / "sub-01" / session / "eeg"
        for task in ("a", "b"):
            recording(folder / f"sub-01_{session}_task-{task}_eeg.edf", EGI, len(task))
        angle = np.deg2rad(turn)
        turned = USUAL @ np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]).T
        for space, places in (("CapTrak", turned), ("MNI152Lin", -USUAL)):
            stem = f"sub-01_{session}_space-{space}"
            electrodes(folder / f"{stem}_electrodes.tsv", EGI, places)
            system(folder / f"{stem}_coordsystem.json", space)
    cohort = sm.Cohort.from_bids(tmp_path)
    assert len(cohort) == 4
    first, second = positions(cohort, 0), positions(cohort, 2)
    np.testing.assert_allclose(first, USUAL, atol=0.1)
    np.testing.assert_allclose(positions(cohort, 1), first, atol=1e-5)
    moved = np.degrees(np.arctan2(second[:, 1], second[:, 0]) - np.arctan2(first[:, 1], first[:, 0]))
    np.testing.assert_allclose((moved[:6] + 360) % 360, 12, atol=0.2)
    np.testing.assert_allclose(positions(cohort.index(), 2), second, atol=1e-5)


def test_one_file_for_all_people(tmp_path):
    for i in (1, 2):
        recording(tmp_path / f"sub-0{i}" / "eeg" / f"sub-0{i}_task-a_eeg.edf", EGI, i)
    electrodes(tmp_path / "space-EEGLAB_electrodes.tsv", EGI, np.stack([USUAL[:, 1], -USUAL[:, 0], USUAL[:, 2]], 1))
    system(tmp_path / "space-EEGLAB_coordsystem.json", "EEGLAB")
    cohort = sm.Cohort.from_bids(tmp_path)
    np.testing.assert_allclose(positions(cohort, 1), USUAL, atol=0.1)
    assert cohort.report().set_index("outcome").loc["used", "count"] == 2


@pytest.mark.parametrize(
    ("names", "places", "kind", "why"),
    [
        (EGI, USUAL, "Other", "the coordinate system 'Other' is not known, and fewer than 4 electrodes have names"),
        (EGI, USUAL * [1, 1, 0], "CapTrak", "the places lie on no sphere"),
        (TEN, USUAL[[5, 2, 7, 0, 6, 1, 4, 3]], "CapTrak", "the places do not fit the names"),
        (TEN, USUAL * np.nan, "CapTrak", "all places are n/a"),
    ],
)
def test_places_that_cannot_be_used_are_told(names, places, kind, why, tmp_path):
    root = bids(tmp_path, names, places, name=kind, n=2)
    with pytest.warns(sm.ValueWarning, match=rf"2 of 2 electrodes\.tsv are not used, such as .*sub-01_electrodes\.tsv: {why}"):
        cohort = sm.Cohort.from_bids(root)
    assert "electrode_positions" not in cohort.table


def test_a_missing_coordsystem_matters_only_without_names(tmp_path):
    root = bids(tmp_path, TEN, USUAL * 0.9)
    (root / "sub-01" / "eeg" / "sub-01_coordsystem.json").unlink()
    np.testing.assert_allclose(positions(sm.Cohort.from_bids(root)), USUAL, atol=0.1)
    assert "no EEGCoordinateSystem" in on_the_head(EGI, USUAL, "", "")[1]


@pytest.mark.parametrize(
    ("file", "text", "expected"),
    [
        ("electrodes.tsv", "name\tx\ty\nFp1\t1\t2\n", "expected columns name, x, y and z"),
        ("electrodes.tsv", "name\tx\ty\tz\nFp1\t1\t2\t3\nFp2\t1\tleft\t3\n", r"line 3: expected numbers or n/a in x, y and z, found '1', 'left', '3'"),
        ("coordsystem.json", "{", "expected a JSON object"),
        ("coordsystem.json", "[1]", "expected a JSON object, found list"),
    ],
)
def test_files_that_are_not_as_bids_has_them(file, text, expected, tmp_path):
    root = bids(tmp_path, EGI, USUAL)
    (root / "sub-01" / "eeg" / f"sub-01_{file}").write_text(text)
    with pytest.raises(sm.FormatError, match=expected):
        sm.Cohort.from_bids(root)


def test_recordings_with_and_without_places_in_one_cohort(tmp_path):
    root = bids(tmp_path, EGI, USUAL, n=2)
    (root / "sub-02" / "eeg" / "sub-02_electrodes.tsv").unlink()
    cohort = sm.Cohort.from_bids(root)
    assert unknown_channels(cohort) == sorted(EGI)
    source = cohort.source(PRE, extra_channels=sorted(EGI))
    assert not source.sample(0)[1].isnan().any()
    assert source.sample(4)[1].isnan().all()
    features = sm.modalities.eeg.EEG.features([sm.Cohort.from_bids(bids(tmp_path / "ten", TEN, USUAL * [1, 1.1, 1]))], ["band power"])
    assert np.isfinite(features[0]["band power"]).all()


def test_features_are_not_kept_for_other_choices_of_channels(tmp_path):
    cohort = sm.Cohort.from_bids(bids(tmp_path, TEN, USUAL * [1, 1.1, 1]))
    encoder = Encoder("vit_tiny", PRE, depth=1, seed=0)
    whole = encoder_features(encoder, cohort)
    np.testing.assert_array_equal(encoder_features(encoder, cohort), whole)
    for other in (cohort.choose_channels(exclude=["Cz"]), cohort.choose_channels(["C3", "C4"]), cohort.with_columns(electrode_positions=None)):
        assert np.abs(encoder_features(encoder, other) - whole).max() > 1e-6


@pytest.mark.parametrize(("rows", "why"), [("Fp1\t0\t1e308\t0\nCz\t1e308\t0\t0\nO1\t0\t0\t1e308\nO2\t1\t1\t1\n", "a coordinate is 1e.308"),
                                           ("E1\t1e200\t0\t0\nE2\t0\t1\t0\n", "a coordinate is 1e.200")])  # fmt: skip
def test_numbers_that_are_no_places_are_told(rows, why, tmp_path):
    bids(tmp_path, TEN, USUAL)
    table = next(tmp_path.rglob("*_electrodes.tsv"))
    table.write_text("name\tx\ty\tz\n" + rows)
    with pytest.warns(sm.ValueWarning, match=why):
        cohort = sm.Cohort.from_bids(tmp_path)
    assert "electrode_positions" not in cohort.table
    table.write_text("name\tx\ty\tz\nCz\t0\t0\t9\nCz\t0\t0\t8\n")
    with pytest.raises(sm.FormatError, match="line 3: expected each electrode once, found 'Cz' again"):
        sm.Cohort.from_bids(tmp_path)
