import gzip
import logging
import warnings

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nifti_files import CODES, Nifti

import sslmed as sm

nib = pytest.importorskip("nibabel")
pytestmark = pytest.mark.oracle
logging.getLogger("nibabel.global").setLevel(logging.CRITICAL)

TO_MM = {0: 1.0, 1: 1e3, 2: 1.0, 3: 1e-3}
TO_S = {0: 1.0, 8: 1.0, 16: 1e-3, 24: 1e-6, 32: 1.0}


def quietly(call, *arguments, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return call(*arguments, **options)


def by_nibabel(path):
    """Values as float64 with colors as a trailing axis, affine, zooms."""
    image = nib.load(path)
    if image.get_data_dtype().fields:
        raw = np.asanyarray(image.dataobj)
        values = np.stack([raw[name] for name in raw.dtype.names], axis=-1).astype(np.float64)
    else:
        values = image.get_fdata()
    return values, image.affine, np.array(image.header.get_zooms(), dtype=np.float64)


def exact_dtype(values):
    with np.errstate(over="ignore"):
        single = values.astype(np.float32)
    return torch.float32 if np.array_equal(single, values, equal_nan=True) else torch.float64


# Not DICOM's and CIFTI's, whose content nibabel parses where it finds a parser.
EXTENSION_CODES = st.integers(0, 44).map(lambda code: 2 * code).filter(lambda code: code not in (2, 32))


@st.composite
def files(draw):
    kind = draw(st.sampled_from(sorted(CODES)))
    colors = {"rgb": 3, "rgba": 4}.get(kind, 1)
    shape = draw(st.lists(st.integers(1, 5), min_size=1, max_size=5))
    seed = draw(st.integers(0, 2**32 - 1))
    rng, count = np.random.default_rng(seed), int(np.prod(shape)) * colors
    dtype = np.dtype("u1" if colors > 1 else kind)
    if dtype.kind == "f":
        values = rng.normal(size=count) * 10.0 ** rng.integers(-3, 9)
        values[rng.random(count) < 0.1] = rng.choice([np.nan, np.inf, -np.inf, -0.0, 0.5])
    else:
        info, small = np.iinfo(dtype), draw(st.booleans())
        values = rng.integers(0, 100, count) if small else rng.integers(info.min, info.max, count, dtype=dtype, endpoint=True)
    scale = st.sampled_from([0.0, 1.0, -1.0, 0.1, 1e-3, 123.75, -7.3, 1e10, np.nan, np.inf])
    inter = st.sampled_from([0.0, 1.0, -0.1, 1e6])
    turn = rng.normal(size=4)
    turn *= (1 - 1e-6 * rng.integers(0, 2)) / np.linalg.norm(turn)
    sizes = st.sampled_from([1.0, 0.5, 2.25, 0.9375, 0.0, -1.5])
    return Nifti(
        shape,
        kind,
        values,
        version=draw(st.sampled_from([1, 2])),
        order=draw(st.sampled_from("<>")),
        pair=draw(st.booleans()),
        scale=(draw(scale), draw(inter)) if colors == 1 else (1.0, 0.0),
        spacing=draw(st.lists(sizes, min_size=7, max_size=7)),
        qfac=draw(st.sampled_from([1.0, -1.0, 0.0, 3.0])),
        quatern=tuple(turn[:3]),
        qoffset=tuple(rng.normal(size=3) * 50),
        srow=tuple(rng.normal(size=12) * 50),
        qform_code=draw(st.integers(-1, 6)),
        sform_code=draw(st.sampled_from([0, 0, 1, 4, 6])),
        units=draw(st.sampled_from(sorted(TO_MM))) | draw(st.sampled_from(sorted(TO_S))),
        extensions=draw(st.lists(st.tuples(EXTENSION_CODES, st.binary(max_size=40)), max_size=2)),
    )


def write(file, folder, packed):
    ending = ".gz" if packed else ""
    pack = gzip.compress if packed else bytes
    if not file.pair:
        path = folder / f"a.nii{ending}"
        path.write_bytes(pack(file.bytes()))
        return path
    (folder / f"a.img{ending}").write_bytes(pack(file.stored()))
    path = folder / f"a.hdr{ending}"
    path.write_bytes(pack(file.header() + file.tail()))
    return path


@given(file=files(), packed=st.booleans())
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_file_is_read_as_nibabel_reads_it(file, packed, tmp_path_factory):
    path = write(file, tmp_path_factory.mktemp("nifti"), packed)
    values, affine, zooms = by_nibabel(path)
    volume = quietly(sm.io.read_nifti, path)
    assert volume.data.dtype == exact_dtype(values)
    assert volume.data.shape == values.shape
    np.testing.assert_array_equal(volume.data.double().numpy(), values)
    to_mm, to_s = TO_MM[file.units & 7], TO_S[file.units & 0x38]
    expected = affine.copy()
    expected[:3] *= to_mm
    np.testing.assert_array_equal(volume.affine.numpy(), expected)
    factors = [to_mm, to_mm, to_mm, to_s, 1, 1, 1][: len(zooms)]
    np.testing.assert_array_equal(volume.spacing, zooms * factors)
    assert volume.extensions == tuple((code, content.rstrip(b"\0")) for code, content in file.extensions)
    header = quietly(sm.io.read_nifti_header, path)
    assert header.shape == tuple(volume.data.shape)
    assert header.spacing == volume.spacing
    assert torch.equal(header.affine, volume.affine)


@given(file=files())
@settings(max_examples=60, deadline=None)
def test_a_dtype_changes_the_type_alone(file, tmp_path_factory):
    path = write(file, tmp_path_factory.mktemp("nifti"), True)
    exact = quietly(sm.io.read_nifti, path, dtype=torch.float64).data
    torch.testing.assert_close(quietly(sm.io.read_nifti, path, dtype=torch.float32).data.double(), exact, rtol=1e-6, atol=1e-30, equal_nan=True)
    for dtype in (torch.uint8, torch.int8, torch.int16, torch.int32):
        info = torch.iinfo(dtype)
        if bool(((exact == exact.round()) & (exact >= info.min) & (exact <= info.max)).all()):
            read = quietly(sm.io.read_nifti, path, dtype=dtype).data
            assert read.dtype == dtype
            assert torch.equal(read.double(), exact)
        else:
            with pytest.raises(sm.FormatError, match="whole numbers within"):
                quietly(sm.io.read_nifti, path, dtype=dtype)


@pytest.mark.data
def test_real_files_are_read_as_nibabel_reads_them(data_root):
    paths = sorted((data_root / "mri").rglob("*.nii*"))
    if not paths:
        pytest.skip("SSLMED_DATA has no folder mri")
    for path in paths[::7] + sorted((data_root / "mri/odd").iterdir()):
        if path.name == "truncated_gzip_mask.nii.gz":
            with pytest.raises(sm.FormatError, match=r"truncated_gzip_mask\.nii\.gz.*cut"):
                sm.io.read_nifti(path)
            continue
        values, affine, zooms = by_nibabel(path)
        volume = quietly(sm.io.read_nifti, path)
        assert volume.data.dtype == exact_dtype(values), path
        np.testing.assert_array_equal(volume.data.numpy(), values)
        np.testing.assert_array_equal(volume.affine.numpy(), affine)
        np.testing.assert_array_equal(volume.spacing, zooms)


def test_repairs_are_told_as_warnings(tmp_path):
    (tmp_path / "a.nii").write_bytes(Nifti(sform_code=0).bytes())
    with pytest.warns(sm.FormatWarning, match=r"a\.nii: HAS NO ORIENTATION"):
        assert sm.io.read_nifti(tmp_path / "a.nii").space == "unknown"
    (tmp_path / "b.nii.gz").write_bytes(Nifti().bytes())
    with pytest.warns(sm.FormatWarning, match="is not compressed, although its name ends in"):
        sm.io.read_nifti(tmp_path / "b.nii.gz")
    values = np.array([2**53 + 1])
    (tmp_path / "c.nii").write_bytes(Nifti((1, 1, 1), "i8", values).bytes())
    with pytest.warns(sm.FormatWarning, match="more than 53 bits"):
        sm.io.read_nifti(tmp_path / "c.nii")
    assert sm.io.read_nifti(tmp_path / "c.nii", dtype=torch.int64).data.item() == 2**53 + 1


def test_what_cannot_be_read_is_refused_by_name(tmp_path):
    with pytest.raises(sm.ReadError, match=r"none\.nii"):
        sm.io.read_nifti(tmp_path / "none.nii")
    (tmp_path / "a.nii").write_bytes(Nifti().bytes())
    with pytest.raises(ValueError, match="dtype must be float32"):
        sm.io.read_nifti(tmp_path / "a.nii", dtype=torch.float16)
    packed = gzip.compress(Nifti((9, 9, 9)).bytes())
    for cut in (10, 100, len(packed) - 1):
        (tmp_path / "b.nii.gz").write_bytes(packed[:cut])
        with pytest.raises(sm.FormatError, match=r"b\.nii\.gz"):
            sm.io.read_nifti(tmp_path / "b.nii.gz")
    (tmp_path / "b.nii.gz").write_bytes(packed + b"tail")
    with pytest.raises(sm.FormatError, match="4 bytes more"):
        sm.io.read_nifti(tmp_path / "b.nii.gz")


@given(seed=st.integers(0, 2**32 - 1), shape=st.lists(st.integers(1, 5), min_size=3, max_size=5), plain=st.booleans())
@settings(max_examples=150, deadline=None)
def test_to_ras_is_closest_canonical(seed, shape, plain):
    rng = np.random.default_rng(seed)
    affine = np.eye(4)
    affine[:3] = rng.normal(size=(3, 4)) * [[1], [1], [3]]
    if plain:  # axes along the world's, where ties and signs are decided
        affine[:3, :3] = np.diag(rng.choice([-2.0, 1.0, 3.0], 3))[rng.permutation(3)]
    values = rng.normal(size=shape).astype(np.float32)
    image = nib.Nifti1Image(values, affine)
    expected = nib.as_closest_canonical(image)
    volume = sm.io.Volume(values, affine, image.header.get_zooms())
    found = volume.to_ras()
    np.testing.assert_array_equal(found.data.numpy(), np.asanyarray(expected.dataobj))
    np.testing.assert_allclose(found.affine.numpy(), expected.affine, rtol=1e-14, atol=1e-13)
    np.testing.assert_array_equal(found.spacing, np.array(expected.header.get_zooms(), dtype=np.float64))
    again = found.to_ras()
    assert torch.equal(again.data, found.data)


def test_to_ras_refuses_what_has_no_directions():
    with pytest.raises(ValueError, match="must not be singular"):
        sm.io.Volume(torch.zeros(2, 2, 2), torch.diag(torch.tensor([1.0, 0.0, 1.0, 1.0]))).to_ras()
    with pytest.raises(ValueError, match="three axes or more"):
        sm.io.Volume(torch.zeros(2, 2), torch.eye(4)).to_ras()


def test_volumes_check_what_they_are_given():
    with pytest.raises(ValueError, match=r"affine must be \[4, 4\]"):
        sm.io.Volume(torch.zeros(2, 2, 2), torch.eye(3))
    with pytest.raises(ValueError, match="spacing must have one value"):
        sm.io.Volume(torch.zeros(2, 2, 2), torch.eye(4), (1, 1))
    with pytest.raises(ValueError, match="space='moon'"):
        sm.io.Volume(torch.zeros(2, 2, 2), torch.eye(4), space="moon")
    assert sm.io.Volume(torch.zeros(2, 2, 2, 3), torch.eye(4), (1, 1, 1)).has_colors
    with pytest.raises(ValueError, match=r"labels.* holds whole numbers, found 0\.5"):
        sm.io.Volume(torch.full((1, 1, 1), 0.5), torch.eye(4)).labels()
    with pytest.raises(ValueError, match="holds 0 to 255, found 256"):
        sm.io.Volume(torch.full((1, 1, 1), 256.0), torch.eye(4)).labels(torch.uint8)
    with pytest.raises(ValueError, match="must be an integer type"):
        sm.io.Volume(torch.zeros(1, 1, 1), torch.eye(4)).labels(torch.float32)


TYPES = [torch.uint8, torch.int8, torch.int16, torch.uint16, torch.int32, torch.uint32, torch.int64, torch.uint64, torch.float32, torch.float64]


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_every_type_comes_back(dtype, version, ending, tmp_path, rng):
    values = torch.from_numpy(rng.integers(0, 100, (3, 4, 5, 2))).to(torch.float64)
    affine = np.eye(4)
    affine[:3] = rng.normal(size=(3, 4)).astype(np.float32)
    written = sm.io.Volume(values.transpose(0, 1), affine, (1.5, 2.5, 3.5, 0.25), "mni", [(6, b"a note")])
    path = tmp_path / f"a{ending}"
    sm.io.write_nifti(written, path, dtype=dtype, version=version, description="test")
    image = nib.load(path)
    assert isinstance(image, nib.Nifti2Image if version == 2 else nib.Nifti1Image)
    assert torch.from_numpy(np.asanyarray(image.dataobj).astype(np.float64)).equal(written.data)
    assert str(dtype) == f"torch.{image.get_data_dtype().name}"
    np.testing.assert_array_equal(image.affine, affine)
    np.testing.assert_array_equal(image.header.get_zooms(), written.spacing)
    assert image.header.get_xyzt_units() == ("mm", "sec")
    assert (int(image.header["sform_code"]), image.header["descrip"].item()) == (4, b"test")
    back = sm.io.read_nifti(path)
    assert back.data.double().equal(written.data)
    assert (back.spacing, back.space, back.extensions) == (written.spacing, "mni", ((6, b"a note"),))
    assert sm.io.read_nifti_header(path).stored == str(dtype).removeprefix("torch.")


def test_the_default_type_keeps_values_exactly(tmp_path):
    def stored(values):
        sm.io.write_nifti(sm.io.Volume(values, torch.eye(4)), tmp_path / "a.nii.gz")
        assert sm.io.read_nifti(tmp_path / "a.nii.gz", dtype=torch.float64).data.equal(values.double())
        return sm.io.read_nifti_header(tmp_path / "a.nii.gz").stored

    ones = torch.ones(1, 1, 2)
    kept = [torch.uint8, torch.int8, torch.int16, torch.int32, torch.float32, torch.float64]
    assert [stored(ones.to(dtype)) for dtype in kept] == [str(dtype).removeprefix("torch.") for dtype in kept]
    assert [stored(ones.to(dtype)) for dtype in (torch.bool, torch.float16, torch.bfloat16, torch.int64)] == ["uint8", "float32", "float32", "int32"]
    assert stored((ones * 2**40).long()) == "int64"


def test_colors_come_back(tmp_path):
    for colors, code in ((3, "rgb24"), (4, "rgba32")):
        values = torch.arange(24 * colors).view(2, 3, 4, colors)
        volume = sm.io.Volume(values, torch.eye(4), (1, 1, 1))
        sm.io.write_nifti(volume, tmp_path / "a.nii.gz")
        assert sm.io.read_nifti_header(tmp_path / "a.nii.gz").stored == code
        back = sm.io.read_nifti(tmp_path / "a.nii.gz")
        assert back.has_colors
        assert back.labels().equal(values)
        assert torch.from_numpy(by_nibabel(tmp_path / "a.nii.gz")[0]).equal(values.double())
        assert back.to_ras().data.equal(back.data)


def test_slope_and_intercept_scale_what_is_stored(tmp_path, rng):
    values = torch.from_numpy(rng.uniform(-300, 300, (6, 5, 4)))
    volume = sm.io.Volume(values, torch.eye(4))
    sm.io.write_nifti(volume, tmp_path / "a.nii", dtype=torch.int16, slope=0.01, inter=5)
    back = sm.io.read_nifti(tmp_path / "a.nii")
    assert (back.data - values).abs().max() <= 0.005 * 1.01
    np.testing.assert_array_equal(back.data.numpy(), nib.load(tmp_path / "a.nii").get_fdata())
    for problem, options in {
        "holds whole numbers": {"dtype": torch.int16},
        "holds -128 to 127": {"dtype": torch.int8, "slope": 0.01},
        "slope=0": {"slope": 0.0},
        "slope=inf": {"slope": 1e300},
        "dtype=float16 is no type": {"dtype": torch.float16},
        "compression=99": {"compression": 99},
        "at most 79 bytes": {"description": "x" * 80},
    }.items():
        with pytest.raises(ValueError, match=problem):
            sm.io.write_nifti(volume, tmp_path / "b.nii.gz", **options)
    with pytest.raises(ValueError, match="ends in"):
        sm.io.write_nifti(volume, tmp_path / "b.img")
    assert [path.name for path in tmp_path.iterdir()] == ["a.nii"]


def test_long_axes_are_written_as_nifti_2(tmp_path):
    sm.io.write_nifti(sm.io.Volume(torch.zeros(40000, 1, 1), torch.eye(4)), tmp_path / "a.nii")
    assert isinstance(nib.load(tmp_path / "a.nii"), nib.Nifti2Image)


def test_equal_volumes_give_equal_bytes(tmp_path):
    volume = sm.io.Volume(torch.arange(60).view(3, 4, 5), torch.eye(4))
    for name in ("a.nii.gz", "b.nii.gz"):
        sm.io.write_nifti(volume, tmp_path / name)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()
