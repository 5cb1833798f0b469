"""DICOM segmentations, read again by highdicom and put back to where they were."""

import numpy as np
import pytest
import torch
from dicom_files import write_series

import sslmed as sm

highdicom = pytest.importorskip("highdicom")
pydicom = pytest.importorskip("pydicom")


@pytest.fixture
def series(tmp_path, rng):
    folder = tmp_path / "series"
    folder.mkdir()
    write_series(folder, rng.integers(0, 100, (5, 6, 7)).astype(np.int16), "1.2.3.4", start=-4)
    for file in folder.iterdir():  # in an order that is not that of the slices
        image = pydicom.dcmread(file)
        image.FrameOfReferenceUID = "1.2.3.9"
        image.save_as(file)
    return folder


def planes(path, folder):
    """[slices from low to high, rows, columns] of segment numbers."""
    images = sorted((pydicom.dcmread(file) for file in folder.iterdir()), key=lambda image: float(image.ImagePositionPatient[2]))
    seg = highdicom.seg.segread(path)
    uids = [image.SOPInstanceUID for image in images]
    return seg, seg.get_pixels_by_source_instance(uids, combine_segments=True, ignore_spatial_locations=True, assert_missing_frames_are_empty=True)


@pytest.mark.parametrize("turned", [False, True])
def test_volumes_lie_on_the_slices_that_they_were_read_from(series, tmp_path, rng, turned):
    volume = sm.io.read_volume(series)
    values = torch.from_numpy(rng.integers(0, 4, tuple(volume.data.shape)).astype(np.int16))
    labels = sm.io.Volume(values, volume.affine)
    sm.io.write_dicom_seg(tmp_path / "a.dcm", labels.to_ras() if turned else labels, series, {1: "edema", 3: "core"})
    seg, found = planes(tmp_path / "a.dcm", series)
    assert [one.SegmentLabel for one in seg.SegmentSequence] == ["edema", "core"]
    assert seg.StudyInstanceUID == "1.2.3"
    # Through the coordinates of the patient: pixel (row, column) of a slice is at its position + column · .5 mm and row · .75 mm.
    inverse = np.linalg.inv(volume.affine.numpy())
    for z, plane in enumerate(found):
        for row in range(6):
            for column in range(7):
                place = np.array([-(-10 + 0.5 * column), -(20 + 0.75 * row), 3 * z - 4, 1.0])
                i, j, k = np.rint(inverse @ place)[:3].astype(int)
                assert plane[row, column] == {0: 0, 1: 1, 2: 0, 3: 2}[int(values[i, j, k])]


def test_the_same_labels_have_the_same_ids(series, tmp_path):
    volume = sm.io.read_volume(series)
    labels = sm.io.Volume(torch.ones_like(volume.data).to(torch.int16), volume.affine)
    ids = []
    for name in ("a", "b"):
        sm.io.write_dicom_seg(tmp_path / name, labels, sorted(series.iterdir()), {1: "all"})
        ids.append(pydicom.dcmread(tmp_path / name).SOPInstanceUID)
    assert ids[0] == ids[1]
    small = sm.io.Volume(torch.ones(1, 1, 1, dtype=torch.int16), volume.affine)
    sm.io.write_dicom_seg(tmp_path / "c", small, series, {1: "all"})
    _, found = planes(tmp_path / "c", series)
    assert found.sum() == 1
    sm.io.write_dicom_seg(tmp_path / "d", sm.io.Volume(torch.zeros(1, 1, 1, dtype=torch.int16), volume.affine), series, {1: "all"})
    assert pydicom.dcmread(tmp_path / "d").SOPInstanceUID not in ids


def slide(path, rows, columns):
    """The level of a slide, as little of it as a segmentation refers to."""
    from pydicom.dataset import Dataset, FileMetaDataset

    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID = "1.2.840.10008.5.1.4.1.1.77.1.6"
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID = "1.2.3.5.1"
    image.StudyInstanceUID, image.SeriesInstanceUID, image.FrameOfReferenceUID = "1.2.3", "1.2.3.5", "1.2.3.6"
    image.Modality, image.PatientID, image.PatientName, image.StudyID = "SM", "p", "p", "1"
    image.PatientBirthDate = image.PatientSex = image.AccessionNumber = image.StudyDate = image.StudyTime = image.ReferringPhysicianName = ""
    image.ContainerIdentifier, image.IssuerOfTheContainerIdentifierSequence = "c", []
    image.ContainerTypeCodeSequence, image.SpecimenDescriptionSequence = [], []
    image.Rows = image.Columns = 32
    image.TotalPixelMatrixRows, image.TotalPixelMatrixColumns, image.TotalPixelMatrixFocalPlanes = rows, columns, 1
    image.NumberOfFrames = -(-rows // 32) * -(-columns // 32)
    image.ImageType, image.DimensionOrganizationType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"], "TILED_FULL"
    image.ImageOrientationSlide = [0, -1, 0, -1, 0, 0]
    origin, optics, measures, groups = Dataset(), Dataset(), Dataset(), Dataset()
    origin.XOffsetInSlideCoordinateSystem, origin.YOffsetInSlideCoordinateSystem = 20.0, 40.0
    image.TotalPixelMatrixOriginSequence = [origin]
    optics.OpticalPathIdentifier = "1"
    image.OpticalPathSequence, image.NumberOfOpticalPaths = [optics], 1
    measures.PixelSpacing, measures.SliceThickness = [0.001, 0.001], 0.001
    groups.PixelMeasuresSequence = [measures]
    image.SharedFunctionalGroupsSequence = [groups]
    image.SamplesPerPixel, image.PhotometricInterpretation, image.PlanarConfiguration = 3, "RGB", 0
    image.BitsAllocated = image.BitsStored = 8
    image.HighBit, image.PixelRepresentation = 7, 0
    image.PixelData = bytes(image.NumberOfFrames * 32 * 32 * 3)
    image.save_as(path, enforce_file_format=True)


def test_maps_of_slides_lie_on_the_pixels_of_a_level(tmp_path, rng):
    slide(tmp_path / "slide.dcm", 90, 70)
    coarse = torch.from_numpy(np.kron(rng.integers(0, 3, (9, 7)), np.ones((5, 5))).astype(np.uint8))  # half of the level's resolution
    sm.io.write_dicom_seg(tmp_path / "seg.dcm", coarse, tmp_path / "slide.dcm", {1: "tumor", 2: "stroma"})
    found = highdicom.seg.segread(tmp_path / "seg.dcm").get_total_pixel_matrix(combine_segments=True)
    assert np.array_equal(found, coarse.repeat_interleave(2, 0).repeat_interleave(2, 1).numpy())


def test_what_is_wrong_is_told(series, tmp_path):
    volume = sm.io.read_volume(series)
    with pytest.raises(ValueError, match="segments"):
        sm.io.write_dicom_seg(tmp_path / "a.dcm", volume, series, {})
    with pytest.raises(ValueError, match="must be a Volume"):
        sm.io.write_dicom_seg(tmp_path / "a.dcm", volume.data, series, {1: "a"})
    (tmp_path / "no.dcm").write_bytes(b"no DICOM")
    with pytest.raises(sm.FormatError, match=r"no\.dcm"):
        sm.io.write_dicom_seg(tmp_path / "a.dcm", volume, tmp_path / "no.dcm", {1: "a"})
    with pytest.raises(sm.ReadError, match=r"gone\.dcm"):
        sm.io.write_dicom_seg(tmp_path / "a.dcm", volume, tmp_path / "gone.dcm", {1: "a"})
    for file in series.iterdir():
        image = pydicom.dcmread(file)
        del image.FrameOfReferenceUID
        image.save_as(file)
    with pytest.raises(sm.FormatError, match="Frame Of Reference"):
        sm.io.write_dicom_seg(tmp_path / "a.dcm", sm.io.Volume(torch.ones(2, 2, 2, dtype=torch.int16), volume.affine), series, {1: "a"})
    assert not list(tmp_path.glob("*a.dcm*"))
