"""Intensities of volumes against TorchIO, SciPy and NumPy."""

import doctest

import numpy as np
import pytest
import torch

from sslmed.transforms import volume_intensity as vi
from sslmed.transforms.volume_intensity import IntensityOptions

SHAPES = [(13, 16, 37), (32, 9, 20), (5, 1, 64), (1, 1, 1), (40, 31, 2)]
EVERYTHING = IntensityOptions(
    p_inversion=0.5, p_gamma=0.5, p_motion=0.5, p_ghosting=0.5, p_blur=0.5, p_bias=0.5, p_noise=0.5,
)  # fmt: skip


@pytest.fixture(params=SHAPES, ids=str)
def volume(request, rng):
    return torch.from_numpy(rng.normal(1, 2, request.param).astype(np.float32))


def torchio():
    return pytest.importorskip("torchio")


def by_torchio(transform, volume, affine=None):
    image = torchio().ScalarImage(tensor=volume[None], affine=affine)
    return transform(torchio().Subject(image=image)).image.data[0]


def close(got, want, tolerance=2e-6, of=None):
    """Within float32's rounding of the largest values, or of those of the volume ``of``."""
    assert got.dtype == torch.float32
    assert got.shape == want.shape
    assert (got.double() - want.double()).abs().max() <= tolerance * (want if of is None else of).abs().max()


@pytest.mark.oracle
@pytest.mark.parametrize("order", [0, 1, 2, 3])
def test_bias_fields_are_torchios(order, volume, rng):
    coefficients = rng.uniform(-0.5, 0.5, (order + 1) * (order + 2) * (order + 3) // 6).tolist()
    want = by_torchio(torchio().BiasField(coefficients, order), volume)
    got = vi.bias_field(volume, coefficients)
    assert torch.allclose(got, want, rtol=2e-6, atol=0)


@pytest.mark.oracle
@pytest.mark.parametrize("exponent", [0.2, 0.74, 1.0, 1.34, 3.7])
def test_gamma_is_torchios(exponent, volume, rng):
    values = volume * float(10.0 ** rng.uniform(-4, 4))
    values.view(-1)[0] = 0
    for given in (values, values.abs()):
        want = by_torchio(torchio().Gamma(exponent), given)
        assert torch.allclose(vi.gamma(given, exponent), want, rtol=1e-6, atol=0)


@pytest.mark.oracle
@pytest.mark.parametrize("sigma", [(0, 0, 0), (0.05, 1, 0), (2, 0.3, 1.4), (9, 14, 30)])
def test_blur_is_torchios_and_scipys(sigma, volume, rng):
    ndimage = pytest.importorskip("scipy.ndimage")
    spacing = rng.uniform(0.4, 3, 3)
    want = by_torchio(torchio().Blur(sigma), volume, np.diag([*spacing, 1]))
    got = vi.blur(volume, sigma, spacing.tolist())
    close(got, want)
    close(got, torch.from_numpy(ndimage.gaussian_filter(volume.numpy().astype(np.float64), np.array(sigma) / spacing)))


@pytest.mark.oracle
@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("restore", [None, 0.0, 0.1, 0.7, 1.0])
def test_ghosting_is_torchios(axis, restore, volume, rng):
    for ghosts in (0, 1, 2, *rng.integers(3, 12, 2).tolist()):
        intensity = float(rng.uniform(0, 1.5))
        want = by_torchio(torchio().Ghosting(ghosts, axis, intensity, restore), volume)
        close(vi.ghosting(volume, ghosts, intensity, axis, restore=restore), want, 4e-6, of=volume)


@pytest.mark.oracle
@pytest.mark.parametrize("n", [1, 2, 3, 4, 31, 64, 97, 181, 256])
def test_ghosting_of_lines_of_any_length_is_numpys(n, rng):
    lines = rng.normal(3, 1, (n, 3, 7)).astype(np.float32)
    ghosts = int(rng.integers(1, 11))
    spectrum = np.fft.fftshift(np.fft.fft(lines.astype(np.float64), axis=0), axes=0)
    middle = spectrum[n // 2].copy()
    spectrum[::ghosts] *= 0.2
    spectrum[n // 2] = middle
    want = np.fft.ifft(np.fft.ifftshift(spectrum, axes=0), axis=0).real
    for axis in range(3):
        got = vi.ghosting(np.ascontiguousarray(np.moveaxis(lines, 0, axis)), ghosts, 0.8, axis)
        close(got.movedim(axis, 0), torch.from_numpy(want), 4e-6, of=torch.from_numpy(lines))


@pytest.mark.oracle
@pytest.mark.parametrize("movements", [1, 2, 3])
@pytest.mark.parametrize("shape", [(24, 30, 37), (32, 17, 40)], ids=str)
def test_motion_is_torchios(movements, shape, rng):
    ndimage = pytest.importorskip("scipy.ndimage")
    volume = torch.from_numpy(ndimage.gaussian_filter(rng.normal(0, 9, shape), 1).astype(np.float32))
    spacing = rng.uniform(0.6, 2, 3)
    for about_center in (False, True):
        times = np.sort(rng.uniform(0.05, 0.95, movements))
        degrees, translation = rng.uniform(-10, 10, (2, movements, 3))
        affine = np.diag([*spacing, 1])
        if about_center:  # TorchIO rotates about the world's origin
            affine[:3, 3] = -spacing * (np.array(shape) - 1) / 2
        # TorchIO's numbers are in LPS: half a turn about z from ours.
        lps = np.array([-1, -1, 1])
        want = by_torchio(torchio().Motion(degrees * lps, translation * lps, times, "linear"), volume, affine)
        center = None if about_center else (0, 0, 0)
        got = vi.motion(volume, times, degrees, translation, spacing.tolist(), center=center)
        close(got, want, 5e-5)  # places in float32: a few 1e-6 of a voxel


def test_motion_without_movement_and_along_other_axes(rng):
    volume = torch.from_numpy(rng.normal(0, 1, (12, 15, 18)).astype(np.float32))
    close(vi.motion(volume, [0.2, 0.7], [(0, 0, 0)] * 2, [(0, 0, 0)] * 2), volume)
    # Exchanging x and z turns a rotation about y the other way round.
    along_x = vi.motion(volume, [0.4], [(0, 7, 0)], [(1, 0, 3)], axis=0)
    along_z = vi.motion(volume.transpose(0, 2), [0.4], [(0, -7, 0)], [(3, 0, 1)], axis=2)
    close(along_x, along_z.transpose(0, 2), 1e-4)


def test_noise_is_normal_and_numbered_by_voxel(rng):
    values = vi.noise(torch.zeros(100, 100, 100), 1.0, seed=int(rng.integers(1 << 40))).double().view(-1)
    n = len(values)
    assert abs(values.mean()) < 5 / n**0.5
    assert abs(values.std() - 1) < 5 / (2 * n) ** 0.5
    assert abs((values**3).mean()) < 5 * 15**0.5 / n**0.5
    assert abs((values**4).mean() - 3) < 5 * 96**0.5 / n**0.5
    for lag in (1, 2, 32, 64):
        assert abs((values[lag:] * values[:-lag]).mean()) < 5 / n**0.5
    edges = torch.linspace(-3, 3, 25, dtype=torch.float64)
    shares = (values[:, None] < edges).double().mean(0)
    assert (shares - torch.special.ndtr(edges)).abs().max() < 2.5 / n**0.5
    small, large = (
        vi.noise(torch.zeros(1, 3, 17), 1.0, seed=5).view(-1),
        vi.noise(torch.zeros(2, 30, 41), 1.0, seed=5).view(-1),
    )
    assert torch.equal(small, large[:51])
    assert not torch.equal(vi.noise(torch.zeros(4, 4, 4), 1.0, seed=1), vi.noise(torch.zeros(4, 4, 4), 1.0, seed=2))


def test_inversion(volume):
    close(vi.inversion(volume), volume.max() + volume.min() - volume)


def test_values_that_are_not_finite_do_not_become_numbers():
    volume = torch.tensor([[[1.0, float("nan"), float("inf"), 2.0]]])
    for changed in (vi.gamma(volume, 0.5), vi.bias_field(volume, [0.1])):
        assert changed.isfinite().tolist() == [[[True, False, False, True]]]


def test_chain_is_its_steps(rng):
    volume = torch.from_numpy(rng.normal(0, 1, (20, 21, 22)).astype(np.float32))
    assert torch.equal(vi.random_intensity(volume, IntensityOptions()), volume)
    assert torch.equal(vi.random_intensity(volume, IntensityOptions(p_inversion=1.0)), vi.inversion(volume))
    level = np.log(1.3)
    only_gamma = vi.random_intensity(volume, IntensityOptions(p_gamma=1.0, log_gamma=(level, level)))
    close(only_gamma, vi.gamma(volume, 1.3))
    blurred = vi.random_intensity(volume, IntensityOptions(p_blur=1.0, blur_sigma=(1.5, 1.5)), spacing=(1, 2, 3))
    assert torch.equal(blurred, vi.blur(volume, 1.5, (1, 2, 3)))
    field = vi.random_intensity(torch.ones(9, 9, 9), IntensityOptions(p_bias=1.0, bias=0.4))
    assert 0 < field.log().abs().max() <= 20 * 0.4
    noisy = vi.random_intensity(torch.zeros(60, 60, 60), IntensityOptions(p_noise=1.0, noise_std=(0.5, 0.5)))
    assert abs(noisy.std() - 0.5) < 0.01


def test_draws_are_named_by_seed_and_index(rng):
    volume = torch.from_numpy(rng.normal(0, 1, (20, 21, 22)).astype(np.float32))
    results = [vi.random_intensity(volume, EVERYTHING, seed=3, index=i) for i in range(12)]
    again = [vi.random_intensity(volume, EVERYTHING, seed=3, index=i) for i in range(12)]
    assert all(torch.equal(a, b) for a, b in zip(results, again, strict=True))
    assert sum(torch.equal(a, b) for a in results for b in results) < 30
    assert all(result.isfinite().all() for result in results)
    # A step that is left out leaves the draws of the others as they are.
    for i in range(12):
        blurred = IntensityOptions(p_bias=0.5, p_blur=0.5, blur_sigma=(0, 0))
        with_blur = vi.random_intensity(volume, blurred, seed=4, index=i)
        assert torch.equal(with_blur, vi.random_intensity(volume, IntensityOptions(p_bias=0.5), seed=4, index=i))


def test_probabilities_are_kept():
    volume = torch.arange(8.0).view(2, 2, 2)
    options = IntensityOptions(p_inversion=0.3)
    changed = sum(not torch.equal(vi.random_intensity(volume, options, index=i), volume) for i in range(2000))
    assert abs(changed - 600) < 5 * (2000 * 0.3 * 0.7) ** 0.5


VOLUME = torch.zeros(4, 5, 6)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: vi.inversion(VOLUME[0]), r"volume: expected \[X, Y, Z\] in float32 on the CPU, found \[5, 6\]"),
        (lambda: vi.inversion(VOLUME.double()), "found .* in Double"),
        (lambda: vi.inversion(torch.zeros(0, 5, 6)), "found"),
        (lambda: vi.bias_field(VOLUME, [0.1, 0.2]), r"len\(coefficients\)=2 must be 1, 4, 10 or 20"),
        (lambda: vi.gamma(VOLUME, 0.0), "gamma=0 must be above 0"),
        (lambda: vi.noise(VOLUME, -1.0), "std=-1 must be a number of at least 0"),
        (lambda: vi.noise(VOLUME, 1.0, seed=-1), "noise: seed=-1"),
        (lambda: vi.blur(VOLUME, -1.0), "sigma=-1 mm must be at least 0"),
        (lambda: vi.blur(VOLUME, (1.0, 2.0)), "sigma=.* must have three numbers"),
        (lambda: vi.blur(VOLUME, 1.0, (1, 1, 0)), "spacing=0 mm must be above 0"),
        (lambda: vi.ghosting(VOLUME, 4, 0.5, 3), "axis=3 must be 0, 1 or 2"),
        (lambda: vi.ghosting(VOLUME, -1, 0.5), "ghosts=-1"),
        (lambda: vi.ghosting(VOLUME, 4, -0.5), "intensity=-0.5"),
        (lambda: vi.ghosting(VOLUME, 4, 0.5, restore=1.5), "restore=1.5 must be a share"),
        (lambda: vi.motion(VOLUME, [0.5], [], []), "must be equally long, got 1, 0 and 0"),
        (
            lambda: vi.motion(VOLUME, [0.5, 0.4], [(0, 0, 0)] * 2, [(0, 0, 0)] * 2),
            "times=0.4 must be within 0 and 1, in order",
        ),
        (lambda: vi.motion(VOLUME, [0.5], [(0, 0)], [(0, 0, 0)]), "degrees=.* must have three numbers"),
        (lambda: IntensityOptions(p_blur=1.5).options(), "p_blur=1.5 must be within 0 and 1"),
        (lambda: IntensityOptions(blur_sigma=(2, 1)).options(), r"blur_sigma=\(2, 1\) must be 0 <= low <= high"),
        (lambda: IntensityOptions(movements=0).options(), "movements=0"),
    ],
)  # fmt: skip
def test_what_is_refused(call, text):
    with pytest.raises(ValueError, match=text):
        call()


def test_inputs_stay_and_may_be_arrays(rng):
    volume = rng.normal(0, 1, (6, 7, 8)).astype(np.float32)
    before = volume.copy()
    for change in (
        lambda v: vi.gamma(v, 0.7),
        lambda v: vi.blur(v, 1.0),
        lambda v: vi.ghosting(v, 4, 1.0),
        lambda v: vi.noise(v, 1.0),
    ):
        assert torch.equal(change(volume), change(torch.from_numpy(volume)))
        assert torch.equal(change(volume.transpose(2, 1, 0)), change(np.ascontiguousarray(volume.transpose(2, 1, 0))))
    assert np.array_equal(volume, before)


def test_examples():
    found = doctest.testmod(vi)
    assert found.attempted > 15
    assert found.failed == 0
