"""Small pretext tasks around small encoders."""

import torch
from ramps import RampPreprocessing

import sslmed as sm
from sslmed import methods

DENSE = RampPreprocessing(patch=None)
# The options of a small run on ramps, whose samples are 12 cells wide.
SMALL = {
    "jigsaw": {"grid": 2, "permutations": 20, "tile_dim": 8, "hidden": 24},
    "rotation": {},
    "autoencoder": {"noise": 0.1},
    "inpainting": {"boxes": 2},
    "simmim": {"mask_cell": 3},
    "spark": {},
    "voco": {"grid": 2, "crops": 3, "hidden": 16, "out_dim": 8},
}
NAMES = [*SMALL, "cross_sequence"]
SIZES = {1: (48,), 2: (24, 20), 3: (12, 14, 12)}
WHOLE = {"spark": {3: (12, 16, 12)}}  # of tasks that need multiples of the encoder's stride


def net(rank, channels=2, seed=0):
    return sm.nn.ConvNet(rank, channels, (8, 12), seed=seed)


def task(name, rank, channels=2, seed=1, **options):
    if name == "jigsaw" and rank == 1:
        options = {"grid": 4} | options  # two tiles have two orders
    found = methods.get(name)(**(SMALL.get(name, {}) | options)).objective(net(rank, channels), seed=seed)
    return found.double()


def samples(rank, count=4, channels=2, sizes=None):
    return torch.randn(count, channels, *(sizes or SIZES[rank]), dtype=torch.float64)


def on_ramps(name, kind="cnn"):
    """A task on one channel of ramps; of several sequences there is only one."""
    encoder = sm.ConvEncoder(DENSE, (8, 12)) if kind == "cnn" else sm.Encoder("vit_tiny", RampPreprocessing(), depth=1, dim=24, heads=2)
    return methods.get(name)(**SMALL[name]), encoder
