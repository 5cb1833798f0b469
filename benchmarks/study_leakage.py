"""Not a benchmark of speed but of use: which copies of recordings, pictures and volumes the leak finder finds, and what else it takes for copies.

    python benchmarks/study_leakage.py

Made data; with SSLMED_DATA real pictures, volumes and recordings too. Copies are those of the tests, so that both mean the same by each name.
"""

import importlib.util
import sys
import time
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from common import data_root, write

import sslmed as sm
from sslmed.modalities.eeg import copies as eeg
from sslmed.modalities.picture_copies import copies
from sslmed.modalities.volumes.copies import copies as copies_of_volumes

TESTS = Path(__file__).parent.parent / "tests/python"


def module(path: str) -> ModuleType:
    """A test module with its changes."""
    sys.path[:0] = [str(TESTS), str(TESTS / "support")]
    spec = importlib.util.spec_from_file_location(path.replace("/", "_"), TESTS / "modalities" / path)
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def scored(base: list[Any], changed: dict[str, list[Any]], find: Any, whose: list[str] | None = None) -> dict[str, Any]:
    """Recall of each change, and the pairs between rows of different people (by default all) that are no copies of each other."""
    whose = whose or [str(i) for i in range(len(base))]
    start = time.perf_counter()
    false = [pair for pair in find(base, np.arange(len(base))) if whose[pair.a] != whose[pair.b]]
    pairs = sum(a != b for i, a in enumerate(whose) for b in whose[:i])
    out: dict[str, Any] = {
        "rows": len(base), "non-pairs": pairs, "false alarms": len(false),
        "largest similarity of a false alarm": max((round(pair.similarity, 2) for pair in false), default=0.0),
        "seconds": round(time.perf_counter() - start, 2), "recall": {},
    }  # fmt: skip
    for name, rows in changed.items():
        found = {(pair.a, pair.b - len(base)) for pair in find(base + rows, np.repeat([0, 1], [len(base), len(rows)]))}
        step = len(base) // len(rows)
        right = {(i * step, i) for i in range(len(rows))}
        out["recall"][name] = f"{len(right & found)} of {len(rows)}"
        out["non-pairs"] += sum(whose[i] != whose[j * step] for i in range(len(base)) for j in range(len(rows)))
        out["false alarms"] += sum(whose[i] != whose[j * step] for i, j in found - right)
    return out


def pictures(images: list[Any], tests: ModuleType, copied: int, whose: list[str] | None = None) -> dict[str, Any]:
    """Of RGB pictures."""
    base = tests.of(images)
    some = images[:: len(images) // copied][:copied]
    more = {"a part of 25 %": lambda x: x[x.shape[0] // 4 : x.shape[0] * 3 // 4, x.shape[1] // 4 : x.shape[1] * 3 // 4]}
    names = {k: f for k, f in tests.CHANGES.items() if "part" not in k and "half" not in k and k not in ("a quarter", "double", "in a black frame")}
    names |= {f"a part of {round(100 * s * s)} %": _part(s) for s in (0.9, 0.7, 0.6)} | more
    return scored(base, {name: tests.of([np.ascontiguousarray(f(x)) for x in some]) for name, f in names.items()}, copies, whose)


def _part(side: float) -> Any:
    def cut(x: Any) -> Any:
        h, w = (round(n * side) for n in x.shape[:2])
        top, left = (x.shape[0] - h) // 3, (x.shape[1] - w) // 2
        return x[top : top + h, left : left + w]

    return cut


def recordings(cohort: sm.Cohort, values: list[Any], names: list[str], rate: float, tests: ModuleType) -> dict[str, Any]:
    """Of recordings of one montage."""
    base = [eeg.fingerprint(cohort.subset([i])) for i in range(len(cohort))]
    tests.RATE, tests.NAMES = rate, names
    changed: dict[str, list[Any]] = {}
    for name, change in tests.CHANGES.items():
        made = [change(x) for x in values]
        one = [tests.cohort([np.ascontiguousarray(x, np.float32)], other, channels) for x, other, channels in made]
        changed[name] = [eeg.fingerprint(c) for c in one]
    return scored(base, changed, eeg.copies)


def volumes(paths: list[Path], tests: ModuleType, copied: int, whose: list[str]) -> dict[str, Any]:
    """Of NIfTI files."""
    values = [sm.io.read_volume(path).data.to(torch.float32).numpy() for path in paths]
    some = values[:: len(values) // copied][:copied]
    return scored(tests.of(values), {name: tests.of([change(x) for x in some]) for name, change in tests.CHANGES.items()}, copies_of_volumes, whose)


def main() -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    image_tests, eeg_tests = module("images/test_copies.py"), module("eeg/test_copies.py")
    body: dict[str, Any] = {"made pictures": pictures(image_tests.textures(40), image_tests, 10)}
    values = eeg_tests.signals(30)
    body["made recordings"] = recordings(eeg_tests.cohort(values), values[::3], list(eeg_tests.NAMES), 250.0, eeg_tests)
    if (root := data_root()) is not None:
        for name, pattern, most in (("tissue", "pathology/tcga_lgg_patches/*.png", 100), ("chest X-rays of 64 pixels", "2d/nih_cxr64/images/*.png", 100)):
            paths = sorted(root.glob(pattern))[:most]
            images = [sm.io.read_image(path)[..., :3].numpy() for path in paths]
            images = [x if x.shape[2] == 3 else np.repeat(x[..., :1], 3, axis=2) for x in images]
            if images:
                body[name] = pictures(images, image_tests, min(10, len(images)), [path.name.split("_")[0] for path in paths] if "nih" in pattern else None)
                write("study_leakage", body)
        volume_tests = module("volumes/test_copies.py")
        for name, pattern in (("ixi_hh_2mm", "*_T1w_brain.nii.gz"), ("oasis_malf", "**/*_T1w.nii.gz"), ("cdi_fdg_pet", "*_FDGPET.nii.gz")):
            paths = sorted((root / "mri" / name).glob(pattern))
            if paths:
                body[f"volumes of {name}"] = volumes(paths, volume_tests, min(10, len(paths)), [path.name.split("_")[0] for path in paths])
                write("study_leakage", body)
        for name in ("msu_schizophrenia", "gb_epilepsy", "fsu_alzheimer", "eegmat"):
            cohort = sm.Cohort.from_bids(root / "eeg" / name)
            base = [made for made in map(_read, (cohort.subset([i]) for i in range(len(cohort)))) if made is not None]
            body[f"recordings of {name}"] = scored(base, {}, eeg.copies)
            write("study_leakage", body)
    write("study_leakage", body)


def _read(rows: sm.Cohort) -> Any:
    try:
        return eeg.fingerprint(rows)
    except ValueError:
        return None


if __name__ == "__main__":
    main()
