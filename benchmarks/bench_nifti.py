"""Claim: .nii.gz to float32, one thread, at least 3 times nibabel; at most 1.3 times what libdeflate takes to decompress the
same bytes alone. Headers of compressed files, and writing, beside nibabel."""

import ctypes
import ctypes.util
import gzip
import tempfile
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from common import data_root, paired, write

from sslmed.io import Volume, read_nifti, read_nifti_header, write_nifti

torch.set_num_threads(1)
ROUNDS = 15


def made(folder: Path) -> dict[str, Path]:
    """A head-like volume with noise in the types that scanners and pipelines write; compressed as nibabel does by default."""
    rng = np.random.default_rng(0)
    side = np.linspace(-1, 1, 192)
    x, y, z = np.meshgrid(side, side, side, indexing="ij")
    distance = np.sqrt(x**2 + 1.3 * y**2 + z**2)
    head = np.where(distance < 0.8, 400 + 300 * np.cos(9 * distance) + rng.normal(0, 15, x.shape), 0)
    labels = np.where(distance < 0.8, (8 * distance).astype(np.int16), 0)
    volumes = {
        "int16": head.astype(np.int16),
        "float32": head.astype(np.float32),
        "labels uint8": labels.astype(np.uint8),
    }
    paths = {}
    for name, values in volumes.items():
        paths[name] = folder / f"{name.replace(' ', '-')}.nii.gz"
        nib.save(nib.Nifti1Image(values, np.eye(4)), paths[name])
    return paths


def real(root: Path | None) -> dict[str, Path]:
    if root is None or not (root / "mri").is_dir():
        return {}
    names = {
        "IXI 2 mm T1": "ixi_hh_2mm/*.nii.gz",
        "BRATS float32": "brats2015/*Flair*.nii.gz",
        "fetal stack uint16": "fetal_stack/*.nii.gz",
        "OASIS": "oasis_malf/*/*.nii.gz",
    }
    found = {name: sorted((root / "mri").glob(pattern)) for name, pattern in names.items()}
    return {name: max(paths, key=lambda path: path.stat().st_size) for name, paths in found.items() if paths}


def by_libdeflate(path: Path) -> Callable[[], np.ndarray]:
    """The limit: the file's bytes and libdeflate, without a look at what they mean."""
    library = ctypes.CDLL(ctypes.util.find_library("deflate"))
    library.libdeflate_alloc_decompressor.restype = ctypes.c_void_p
    engine = ctypes.c_void_p(library.libdeflate_alloc_decompressor())
    size = len(gzip.decompress(path.read_bytes()))

    def call() -> np.ndarray:
        packed, out = path.read_bytes(), np.empty(size, np.uint8)
        where = ctypes.c_void_p(out.ctypes.data)
        failed = library.libdeflate_gzip_decompress(engine, packed, ctypes.c_size_t(len(packed)), where, ctypes.c_size_t(size), None)
        assert failed == 0
        return out

    return call


def by_nibabel(path: Path) -> np.ndarray:
    return nib.load(path).get_fdata(dtype=np.float32, caching="unchanged")


def reading(path: Path) -> dict[str, dict[str, float]]:
    assert np.array_equal(read_nifti(path, dtype=torch.float32).data.numpy(), by_nibabel(path))
    return paired(
        {
            "sslmed": lambda: read_nifti(path, dtype=torch.float32),
            "nibabel": lambda: by_nibabel(path),
            "libdeflate alone": by_libdeflate(path),
        },
        rounds=ROUNDS,
    )


def writing(path: Path, folder: Path) -> dict[str, dict[str, float]]:
    """At the level that each writes with by default: ours 6, nibabel 1."""
    image, volume = nib.load(path), read_nifti(path)
    values, stored = np.asanyarray(image.dataobj), getattr(torch, read_nifti_header(path).stored)
    data = Volume(volume.data.to(stored), volume.affine, volume.spacing)
    return paired(
        {
            "sslmed": lambda: write_nifti(data, folder / "ours.nii.gz"),
            "sslmed, level 1": lambda: write_nifti(data, folder / "ours.nii.gz", compression=1),
            "nibabel": lambda: nib.save(nib.Nifti1Image(values, image.affine), folder / "theirs.nii.gz"),
        },
        rounds=5,
    )


def main() -> None:
    body: dict[str, dict] = {"ratios": {}}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = made(folder) | real(data_root())
        for kind, path in files.items():
            body[f"read, {kind}"] = times = reading(path)
            ratios = body["ratios"]
            ratios[f"read, {kind}, against nibabel"] = times["nibabel"]["median"] / times["sslmed"]["median"]
            ratios[f"read, {kind}, times libdeflate alone"] = times["sslmed"]["median"] / times["libdeflate alone"]["median"]
        path = files["int16"]
        body["header"] = times = paired({"sslmed": lambda: read_nifti_header(path), "nibabel": lambda: nib.load(path).affine})
        ratios["header, against nibabel"] = times["nibabel"]["median"] / times["sslmed"]["median"]
        body["write, int16"] = times = writing(path, folder)
        ratios["write, int16, against nibabel"] = times["nibabel"]["median"] / times["sslmed"]["median"]
        ratios["write, int16, level 1, against nibabel"] = times["nibabel"]["median"] / times["sslmed, level 1"]["median"]
        write_nifti(read_nifti(path, dtype=torch.int16), folder / "ours.nii.gz")
        body["bytes written, int16"] = {"sslmed": (folder / "ours.nii.gz").stat().st_size, "nibabel": (folder / "theirs.nii.gz").stat().st_size}
    write("nifti", body)


if __name__ == "__main__":
    main()
