import numpy as np
import pytest
import torch
from scipy import signal

from sslmed import transforms as T


@pytest.mark.parametrize(("low", "high", "kind"), [(0.5, 45, "bandpass"), (1, 0, "highpass"), (0, 30, "lowpass"), (8, 13, "bandpass")])
@pytest.mark.parametrize("order", [1, 2, 3, 4, 5])
def test_bandpass_equals_scipy(rng, low, high, kind, order):
    x = np.cumsum(rng.normal(size=(11, 3000)), axis=1)
    edges = [f for f in (low, high) if f]
    sos = signal.butter(order, edges if len(edges) == 2 else edges[0], kind, fs=250, output="sos")
    ours = T.bandpass(torch.from_numpy(x), 250, low, high, order).numpy()
    theirs = signal.sosfiltfilt(sos, x)
    scale = np.abs(theirs).max()
    # Section order differs, and with it the padding's length for odd orders; the inside must agree everywhere.
    inside = slice(None) if order % 2 == 0 else slice(1000, 2000)
    assert np.abs(ours - theirs)[:, inside].max() < 1e-5 * scale


def test_bandpass_equals_mne(rng):
    mne = pytest.importorskip("mne")
    x = rng.normal(size=(3, 8000))
    theirs = mne.filter.filter_data(x, 200.0, 1.0, 40.0, method="iir", iir_params={"order": 4, "ftype": "butter", "output": "sos"}, verbose="error")
    ours = T.bandpass(torch.from_numpy(x), 200, 1, 40, 4).numpy()
    # What the ends do dies away as exp(-2.4 t): 6e-6 of it is left after 5 s, 4e-11 after 10.
    assert np.abs(ours - theirs)[:, 2000:-2000].max() < 1e-5


def test_notch_equals_scipy(rng):
    x = rng.normal(size=(2, 2000))
    b, a = signal.iirnotch(50, 30, fs=250)
    np.testing.assert_allclose(T.notch(torch.from_numpy(x), 250, 50).numpy(), signal.filtfilt(b, a, x), atol=1e-9)


@pytest.mark.parametrize(
    ("sfreq", "to", "up", "down"),
    [
        (500, 200, 2, 5),
        (250, 200, 4, 5),
        (256, 200, 25, 32),
        (160, 200, 5, 4),
        (200, 200, 1, 1),
        (487.5, 200, 16, 39),
        (512, 128, 1, 4),
    ],
)
def test_resample_equals_scipy(rng, sfreq, to, up, down):
    x = rng.normal(size=(3, 1501))
    np.testing.assert_allclose(T.resample(torch.from_numpy(x), sfreq, to).numpy(), signal.resample_poly(x, up, down, axis=1), atol=1e-10)


def test_bad_channels_are_marked_and_kept_out():
    x = torch.randn(4, 100, dtype=torch.float64)
    x[1] = 3.0
    x[2, 7] = float("inf")
    good = T.good_channels(x)
    assert good.tolist() == [True, False, False, True]
    y = T.average_reference(x)
    assert torch.allclose(y[0] + y[3], torch.zeros(100, dtype=torch.float64), atol=1e-12)
    assert torch.equal(y[1], x[1])
    z = T.zscore(x, clip=0)
    assert torch.equal(z[1], torch.zeros(100, dtype=torch.float64))
    assert z[0].mean().abs() < 1e-12
    assert abs(float(z[0].std(unbiased=False)) - 1) < 1e-12


def test_robust_scale_equals_numpy(rng):
    x = rng.normal(size=(5, 777))
    q1, q2, q3 = np.percentile(x, [25, 50, 75], axis=1, keepdims=True)
    theirs = np.clip((x - q2) / ((q3 - q1) / 1.349), -2, 2)
    np.testing.assert_allclose(T.robust_scale(torch.from_numpy(x), clip=2.0).numpy(), theirs, atol=1e-12)


@pytest.mark.parametrize(
    "call",
    [
        lambda x: T.bandpass(x, 100, 10, 5),
        lambda x: T.bandpass(x, 100, 1, 60),
        lambda x: T.bandpass(x[:, :5], 100, 1, 40),
        lambda x: T.notch(x, 100, 50),
        lambda x: T.resample(x, 0, 1),
        lambda x: T.zscore(x[0]),
    ],
)
def test_refusals(call):
    with pytest.raises(ValueError):
        call(torch.randn(2, 300))


def test_dtypes():
    assert T.zscore(torch.randn(2, 50)).dtype == torch.float32
    with pytest.raises(TypeError):
        T.zscore(torch.ones(2, 50, dtype=torch.int16))


def test_electrodes_lie_where_mne_has_them():
    mne = pytest.importorskip("mne")
    theirs = mne.channels.make_standard_montage("standard_1005").get_positions()["ch_pos"]
    center = np.mean([theirs[n] for n in ("T7", "T8", "Oz", "Fpz")], axis=0)
    angles, names = [], []
    for name, position in theirs.items():
        ours = T.electrode_position(name)
        if ours is None:
            continue
        a, b = np.asarray(ours), position - center
        angles.append(np.degrees(np.arccos(a @ b / np.linalg.norm(a) / np.linalg.norm(b))))
        names.append(name)
    # A sphere against a real head: the same electrode within about an inter-electrode distance.
    assert len(names) > 320
    assert np.median(angles) < 8
    assert max(angles) < 25, names[int(np.argmax(angles))]


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("EEG FP1-REF", "Fp1"),
        ("Fc5.", "FC5"),
        ("T3", "T7"),
        ("cz", "Cz"),
        ("EEG T5-LE", "P7"),
        ("FZ-CZ", None),
        ("A2-A1", None),
        ("C3-A2", "C3"),
        ("A1", "A1"),
        ("ECG", None),
        ("X9", None),
        ("", None),
    ],
)
def test_standard_names(label, name):
    assert T.standard_name(label) == name


def test_left_is_left():
    for left, right in (("Fp1", "Fp2"), ("T7", "T8"), ("O1", "O2"), ("TP9", "TP10"), ("POO7", "POO8")):
        a, b = T.electrode_position(left), T.electrode_position(right)
        assert a[0] < 0 < b[0]
        assert a[1:] == pytest.approx(b[1:])
    assert T.electrode_position("Cz") == pytest.approx((0, 0, 95))
    assert T.electrode_position("Fz")[1] > 0 > T.electrode_position("Oz")[1]


def test_arrays_are_taken_and_gradients_are_not_made_up(rng):
    x = rng.normal(size=(2, 500))
    changes = [
        lambda x: T.bandpass(x, 100, 1, 40), lambda x: T.notch(x, 100, 30), lambda x: T.resample(x, 100, 50),
        T.average_reference, T.zscore, T.robust_scale,
    ]  # fmt: skip
    for change in changes:
        ours = change(torch.from_numpy(x).requires_grad_())
        assert not ours.requires_grad
        assert torch.equal(ours, change(x))
        assert torch.equal(ours, change(np.asfortranarray(x)))
