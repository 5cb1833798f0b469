import json

import numpy as np
import pandas as pd
import pytest

import sslmed as sm
from sslmed import bids
from sslmed.demo import mri
from sslmed.demo.mri import CLINIC, LABELS, PUBLIC, Anatomy, scan, write_files
from sslmed.modalities.volumes.sessions import ENDINGS, gather


def head(age, diagnosis="control", number=0):
    return Anatomy(age, "F", diagnosis, np.random.default_rng(number))


def volumes(anatomy, site=PUBLIC, number=0, sequences=("T1w",)):
    return scan(anatomy, site, sequences, np.random.default_rng(number))


def ml(made, site=PUBLIC):
    """Volume of each tissue."""
    return np.bincount(made.labels.ravel(), minlength=len(LABELS) + 1)[1:] * np.prod(site.spacing) / 1000


def ras(values, affine):
    """Values in RAS order, and the place of the first voxel."""
    direction = affine[:3, :3]
    order = np.abs(direction).argmax(axis=1)
    out = values.transpose(order)
    flipped = [axis for axis in range(3) if direction[axis, order[axis]] < 0]
    corner = [values.shape[order[axis]] - 1 if axis in flipped else 0 for axis in range(3)]
    index = np.zeros(3)
    index[order] = corner
    return np.flip(out, flipped), (affine @ [*index, 1])[:3]


@pytest.mark.parametrize("site", [PUBLIC, CLINIC])
def test_a_scan_is_a_brain_without_a_skull(site):
    made = volumes(head(50), site, sequences=("T1w", "FLAIR"))
    mask = made.mask.astype(bool)
    assert 900 < mask.sum() * np.prod(site.spacing) / 1000 < 1900
    for image in made.images.values():
        np.testing.assert_array_equal(image > 0, mask)
    np.testing.assert_array_equal(made.labels > 0, mask)
    means = {name: [image[made.labels == label].mean() for label in (1, 2, 3)] for name, image in made.images.items()}
    assert means["T1w"] == sorted(means["T1w"])  # fluid, cortex, white matter
    assert means["FLAIR"][0] < means["FLAIR"][2] < means["FLAIR"][1]


@pytest.mark.parametrize(("site", "axes"), [(PUBLIC, "LAS"), (CLINIC, "PSR")])
def test_files_have_axes_of_their_site(site, axes):
    affine = volumes(head(50), site).affine
    letters = ["LR", "PA", "IS"]
    found = ""
    for axis in range(3):
        along = int(np.abs(affine[:3, axis]).argmax())
        found += letters[along][int(affine[along, axis] > 0)]
    assert found == axes
    sizes = {letters[along]: site.spacing[along] for along in range(3)}
    expected = [sizes[next(pair for pair in letters if letter in pair)] for letter in axes]
    assert np.linalg.norm(affine[:3, :3], axis=0).tolist() == expected


def test_axes_of_a_file_change_no_place():
    anatomy = head(50)
    stored = [volumes(anatomy, site, number=3) for site in (PUBLIC, CLINIC)]
    for made, site in zip(stored, (PUBLIC, CLINIC), strict=True):
        values, corner = ras(made.labels, made.affine)
        where = [corner[axis] + site.spacing[axis] * np.arange(n) for axis, n in enumerate(values.shape)]
        grid = np.meshgrid(*where, indexing="ij")
        # Ventricles lie above and before the cerebellum, about the middle.
        fluid = (values == 1) & (np.abs(grid[0]) < 20) & (np.abs(grid[1]) < 30) & (np.abs(grid[2] - 12) < 15)
        low = (values > 0) & (grid[2] < -45)
        assert abs(grid[0][fluid].mean()) < 5
        assert grid[1][low].mean() < -20


def test_a_right_front_that_reaches_out_further_is_not_mirrored():
    for site in (PUBLIC, CLINIC):
        front, back = [], []
        for number in range(6):
            made = volumes(head(40, number=number), site, number)
            values, corner = ras(made.mask, made.affine)
            at = np.argwhere(values) * site.spacing + corner
            up = at[at[:, 2] > 0]
            middle = up[:, 1].mean()
            front.append(up[up[:, 1] > middle + 30, 0].mean())
            back.append(up[up[:, 1] < middle - 30, 0].mean())
        assert np.mean(front) > np.mean(back) + 1


def test_age_and_diagnosis_do_what_is_said():
    def mean(age, diagnosis, label):
        return np.mean([ml(volumes(head(age, diagnosis, i), number=i))[label - 1] for i in range(4)])

    assert mean(80, "control", 1) > mean(25, "control", 1) * 1.15
    assert mean(80, "control", 2) < mean(25, "control", 2) * 0.9
    assert mean(50, "dementia", 4) < mean(50, "control", 4) * 0.9
    assert mean(50, "sclerosis", 5) > 3 > mean(50, "control", 5)


def test_a_second_scan_is_of_the_same_head():
    first, again = (volumes(head(60), number=number) for number in (1, 2))
    other = volumes(head(60, number=9), number=1)
    change = np.abs(ml(again) - ml(first)).sum()
    assert change < 0.5 * np.abs(ml(other) - ml(first)).sum()
    assert not np.array_equal(first.images["T1w"], again.images["T1w"])


def test_folders_are_bids_with_masks_and_labels(tmp_path):
    write_files(tmp_path / "public", PUBLIC, 6, seed=3)
    table = gather(bids.read(tmp_path / "public", {"volumes": ENDINGS}))
    assert len(table) == 7
    assert table["subject"].value_counts().max() == 2
    assert table[["path_T1w", "path_mask", "path_labels", "age", "sex", "diagnosis"]].notna().all(axis=None)
    assert 0 < table["path_FLAIR"].notna().sum() < 7
    for name in ("README", "dataset_description.json", "derivatives/phantom/dataset_description.json"):
        assert "SYNTHETIC" in (tmp_path / "public" / name).read_text()
    side = json.loads((tmp_path / "public/sub-public000/ses-1/anat/sub-public000_ses-1_T1w.json").read_text())
    assert side == {"MagneticFieldStrength": 3.0, "Manufacturer": "SYNTHETIC"}
    images = [sm.io.read_nifti(table.loc[0, column]) for column in ("path", "path_mask", "path_labels")]
    assert len({tuple(image.data.shape) for image in images}) == 1
    for image in images[1:]:
        np.testing.assert_allclose(image.affine, images[0].affine)
    np.testing.assert_array_equal(np.asarray(images[0].data) > 0, np.asarray(images[1].data) > 0)
    assert set(np.unique(np.asarray(images[2].data))) <= set(range(len(LABELS) + 1))


def test_the_files_depend_on_the_seed_alone(tmp_path):
    write_files(tmp_path / "a", CLINIC, 2, seed=1, threads=1)
    write_files(tmp_path / "b", CLINIC, 3, seed=1, threads=2)
    write_files(tmp_path / "c", CLINIC, 2, seed=2)
    paths = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*.nii.gz"))
    assert len(paths) == 6
    read = {name: [np.asarray(sm.io.read_nifti(tmp_path / name / path).data) for path in paths] for name in "abc"}
    assert all(np.array_equal(a, b) for a, b in zip(read["a"], read["b"], strict=True))
    assert not any(np.array_equal(a, c) for a, c in zip(read["a"], read["c"], strict=True))
    tables = [pd.read_csv(tmp_path / name / "participants.tsv", sep="\t") for name in "ab"]
    pd.testing.assert_frame_equal(tables[0], tables[1].iloc[:2])
    assert set(mri.EFFECTS) == set(tables[1]["diagnosis"])
