import locale
import sys

import numpy as np
import pytest
import torch
from dicom_files import write_series

import sslmed as sm

pytestmark = pytest.mark.oracle


def oblique(rng):
    """A rotation with spacings, and an origin."""
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    spacing, origin = np.array([1.0, 2.0, 2.5]), rng.normal(size=3) * 40
    return turn, spacing, origin


def itk_image(rng, values, is_vector=False):
    sitk = pytest.importorskip("SimpleITK")
    turn, spacing, origin = oblique(rng)
    image = sitk.GetImageFromArray(values, isVector=is_vector)
    image.SetDirection(turn.ravel().tolist())
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(origin.tolist())
    return sitk, image, turn, spacing, origin


@pytest.mark.parametrize("ending", [".nrrd", ".nhdr", ".mha", ".mhd"])
def test_itk_formats_are_where_itk_says(ending, tmp_path, rng):
    sitk, image, _, spacing, _ = itk_image(rng, rng.integers(-9, 9, (5, 4, 3)).astype(np.int16))
    sitk.WriteImage(image, str(tmp_path / f"a{ending}"))
    volume = sm.io.read_volume(tmp_path / f"a{ending}")
    assert volume.data.dtype == torch.float32
    np.testing.assert_allclose(volume.spacing, spacing)
    for index in ((0, 0, 0), (2, 1, 4), (1, 3, 2)):
        x, y, z = image.TransformIndexToPhysicalPoint(index)
        np.testing.assert_allclose((volume.affine.numpy() @ (*index, 1))[:3], (-x, -y, z), atol=1e-9)
        assert volume.data[index] == image.GetPixel(index)


def test_itk_vectors_are_colors_and_doubles_stay_exact(tmp_path, rng):
    sitk, image, *_ = itk_image(rng, rng.integers(0, 255, (4, 3, 2, 3)).astype(np.uint8), is_vector=True)
    sitk.WriteImage(image, str(tmp_path / "a.nrrd"))
    volume = sm.io.read_volume(tmp_path / "a.nrrd")
    assert volume.has_colors
    assert volume.data.shape == (2, 3, 4, 3)
    assert tuple(volume.data[1, 2, 3].tolist()) == image.GetPixel((1, 2, 3))
    sitk, image, *_ = itk_image(rng, rng.normal(size=(4, 3, 2)))
    sitk.WriteImage(image, str(tmp_path / "b.mha"))
    assert sm.io.read_volume(tmp_path / "b.mha").data.dtype == torch.float64


@pytest.mark.parametrize("ending", [".mgh", ".mgz"])
def test_freesurfer_volumes_are_as_nibabel_has_them(ending, tmp_path, rng):
    nib = pytest.importorskip("nibabel")
    turn, spacing, origin = oblique(rng)
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = turn * spacing, origin
    image = nib.MGHImage(rng.normal(size=(3, 4, 5)).astype(np.float32), affine)
    nib.save(image, tmp_path / f"a{ending}")
    volume = sm.io.read_volume(tmp_path / f"a{ending}")
    expected = nib.load(tmp_path / f"a{ending}")
    np.testing.assert_array_equal(volume.data.numpy(), expected.get_fdata())
    np.testing.assert_array_equal(volume.affine.numpy(), expected.affine)
    np.testing.assert_allclose(volume.spacing, spacing, rtol=1e-6)
    (tmp_path / f"b{ending}").write_bytes((tmp_path / f"a{ending}").read_bytes()[:90])
    with pytest.raises(sm.FormatError, match="MGH or MGZ"):
        sm.io.read_volume(tmp_path / f"b{ending}")


def test_a_dicom_series_comes_from_its_folder_or_one_of_its_files(tmp_path, rng):
    values = rng.integers(0, 4000, (3, 5, 4)).astype(np.int16)
    write_series(tmp_path, values, "1.2.3.4")
    before = locale.setlocale(locale.LC_ALL)
    for path in (tmp_path, tmp_path / "1.2.3.4-1.dcm"):
        volume = sm.io.read_volume(path)
        assert volume.data.equal(torch.from_numpy(values.T.astype(np.float32)))
        np.testing.assert_allclose(volume.affine, [[-0.5, 0, 0, 10], [0, -0.75, 0, -20], [0, 0, 3, 0], [0, 0, 0, 1]])
        np.testing.assert_allclose(volume.spacing, (0.5, 0.75, 3))
    assert locale.setlocale(locale.LC_ALL) == before  # which ITK changes
    write_series(tmp_path, values + 1, "1.2.3.5")
    with pytest.raises(sm.FormatError, match="found 2 of them"):
        sm.io.read_volume(tmp_path)
    assert sm.io.read_volume(tmp_path / "1.2.3.5-0.dcm").data.equal(torch.from_numpy((values.T + 1).astype(np.float32)))
    (tmp_path / "none").mkdir()
    with pytest.raises(sm.FormatError, match="found none"):
        sm.io.read_volume(tmp_path / "none")


def test_nifti_is_read_natively_and_others_are_refused(tmp_path, monkeypatch):
    sm.io.write_nifti(sm.io.Volume(torch.arange(6).view(1, 2, 3), torch.eye(4)), tmp_path / "a.nii.gz")
    monkeypatch.setitem(sys.modules, "nibabel", None)
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    assert sm.io.read_volume(tmp_path / "a.nii.gz").data.equal(torch.arange(6.0).view(1, 2, 3))
    for name, package in (("a.mgz", "nibabel"), ("a.nrrd", "SimpleITK"), ("a.dcm", "SimpleITK")):
        (tmp_path / name).write_bytes(b"x")
        with pytest.raises(ImportError, match=rf"{package}: pip install 'sslmed\[mri\]'"):
            sm.io.read_volume(tmp_path / name)
    (tmp_path / "a.txt").write_bytes(b"x")
    with pytest.raises(sm.FormatError, match="expected a volume"):
        sm.io.read_volume(tmp_path / "a.txt")
    with pytest.raises(FileNotFoundError):
        sm.io.read_volume(tmp_path / "none.mgz")


@pytest.mark.parametrize("name", ["a.nrrd", "a.mha", "a.dcm"])
def test_damaged_files_are_refused_by_name(name, tmp_path):
    pytest.importorskip("SimpleITK")
    (tmp_path / name).write_bytes(b"no volume")
    with pytest.raises(sm.FormatError, match=name):
        sm.io.read_volume(tmp_path / name)
