import os
import zlib

import numpy as np
import pytest
import torch

FRESH = ("test_linear.py", "test_scoring.py", "test_metrics.py", "test_statistics.py")


@pytest.fixture
def rng(request):
    """Fresh numbers where results are exact, and in make soak. What chance decides, such as a rejection, has the same numbers in every run."""
    fresh = request.path.name in FRESH or bool(os.environ.get("SSLMED_SOAK"))
    seed = int.from_bytes(os.urandom(4), "little") if fresh else zlib.crc32(request.node.name.encode())
    print(f"rng seed {seed}")
    torch.manual_seed(seed)
    return np.random.default_rng(seed)
