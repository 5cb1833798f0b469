import importlib.util
import os
from pathlib import Path

import numpy as np
import pytest
import torch


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder of real recordings; tests that need it skip visibly without it."""
    root = os.environ.get("SSLMED_DATA")
    if not root or not Path(root).is_dir():
        pytest.skip("SSLMED_DATA does not name a folder with the real recordings")
    return Path(root)


@pytest.fixture
def rng() -> np.random.Generator:
    # Fresh numbers in every run; the seed is printed with a failure.
    seed = int.from_bytes(os.urandom(4), "little")
    print(f"rng seed {seed}")
    torch.manual_seed(seed)
    return np.random.default_rng(seed)


@pytest.fixture(scope="session")
def tiny_site(tmp_path_factory):
    """A small synthetic cohort as real EDF+ files."""
    from sslmed.demo import eeg as demo

    root = tmp_path_factory.mktemp("site")
    return demo.write_cohort(root / "public", demo.PUBLIC, 6, seconds=16, seed=3)


@pytest.fixture(scope="session")
def tiny_clinic(tmp_path_factory):
    from sslmed.demo import eeg as demo

    root = tmp_path_factory.mktemp("site")
    return demo.write_cohort(root / "clinic", demo.CLINIC, 15, seconds=16, seed=3)


@pytest.fixture(scope="session")
def slide_table(tmp_path_factory):
    """Six slides of three patients, two stains, two scales."""
    import pandas as pd
    from slide_files import blob

    import sslmed as sm

    folder = tmp_path_factory.mktemp("slides")
    rows = []
    for i in range(6):
        mpp = 0.5 if i % 3 else 0.4
        path = folder / f"TCGA-AA-000{i // 2}-{i}.tif"
        sm.io.write_slide(path, blob(900, i), mpp, tile=128)
        rows.append({"path": str(path), "subject": f"p{i // 2}", "stain": "H&E" if i < 4 else "IHC", "site": f"s{i % 2}", "label": i % 2})
    return pd.DataFrame(rows)


@pytest.fixture(scope="session")
def slide_cohort(slide_table, tmp_path_factory):
    import sslmed as sm

    return sm.Cohort.from_table(slide_table, name="six").index(tmp_path_factory.mktemp("index") / "index.parquet")


def _make_torchvision_importable() -> None:
    """timm and transformers import torchvision where it is installed. Its compiled operators may not fit this torch; their names are all it takes."""
    if importlib.util.find_spec("torchvision") is None:
        return
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        names = ["nms", "qnms", "deform_conv2d", "_deform_conv2d_backward", "qroi_align"]
        names += [f"{a}{p}roi_{kind}{b}" for kind in ("align", "pool") for p in ("", "ps_") for a, b in (("", ""), ("_", "_backward"))]
        for name in names:
            _LIBRARY.define(f"{name}(Tensor a) -> Tensor")


_LIBRARY = torch.library.Library("torchvision", "FRAGMENT")
_make_torchvision_importable()
