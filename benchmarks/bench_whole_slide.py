"""Claim: prediction of a whole slide by overlapping tiles takes less time than the usual loop, and half the memory.

The usual loop is that of tiatoolbox's and others' semantic segmentors: a PyTorch ``DataLoader`` over a dataset that opens the slide with openslide-python
and reads one tile an item, a network, sums of predictions and of weights for the whole slide in memory, and the argmax at the end. Both call the same
PyTorch module on the same tiles (constant weights), and their maps are compared. Peaks are of processes of their own, workers of the loop not counted.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from common import in_turns, peak_above, ratio_of, summary, write

import sslmed as sm
from sslmed._core import C

CLASSES = 5


def network() -> torch.nn.Module:
    """A small fully convolutional network that decides at a quarter of the resolution."""
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, stride=2, padding=1),
        torch.nn.ReLU(),
        torch.nn.Conv2d(8, 16, 3, stride=2, padding=1),
        torch.nn.ReLU(),
        torch.nn.Conv2d(16, CLASSES, 1),
        torch.nn.Upsample(scale_factor=4, mode="nearest"),
    ).eval()


def synthetic(path: Path, side: int) -> None:
    """A slide whose middle has tissue-like blobs."""
    generator = np.random.default_rng(0)
    small = generator.integers(60, 220, (side // 64 + 1, side // 64 + 1, 3), dtype=np.uint8)
    rgb = np.kron(small, np.ones((64, 64, 1), np.uint8))[:side, :side]
    rgb = np.clip(rgb.astype(np.int16) + generator.integers(-12, 13, (side, side, 1), dtype=np.int16), 0, 255).astype(np.uint8)
    sm.io.write_slide(path, torch.from_numpy(rgb), 0.5)


class Tiles(torch.utils.data.Dataset):
    """Tiles by openslide-python, opened anew in each worker."""

    def __init__(self, path: str, places: list[tuple[int, int]], size: int) -> None:
        self.path, self.places, self.size, self.slide = path, places, size, None

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int, int]:
        import openslide

        if self.slide is None:
            self.slide = openslide.OpenSlide(self.path)
        x, y = self.places[index]
        rgb = np.asarray(self.slide.read_region((x, y), 0, (self.size, self.size)).convert("RGB"))
        return torch.from_numpy(rgb.copy()).permute(2, 0, 1).float() / 255, x, y


def usual(path: str, net: torch.nn.Module, size: int, overlap: float, workers: int) -> np.ndarray:
    import openslide

    width, height = openslide.OpenSlide(path).dimensions
    rows, columns = (C.window_starts(side, size, overlap, "monai") for side in (height, width))
    data = Tiles(path, [(x, y) for y in rows for x in columns], size)
    loader = torch.utils.data.DataLoader(data, batch_size=8, num_workers=workers)
    sums = np.zeros((CLASSES, height, width), np.float32)
    counts = np.zeros((height, width), np.float32)
    with torch.inference_mode():
        for tiles, xs, ys in loader:
            for found, x, y in zip(net(tiles).numpy(), xs.tolist(), ys.tolist(), strict=True):
                sums[:, y : y + size, x : x + size] += found
                counts[y : y + size, x : x + size] += 1
    sums /= counts
    return sums.argmax(0).astype(np.uint8)


def contestants(path: str, size: int, overlap: float):
    net = network()

    def ours() -> np.ndarray:
        return sm.inference.tiled(path, net, size=size, overlap=overlap, mode="constant", batch_size=8).classes.numpy()

    return {
        "loop, no workers": lambda: usual(path, net, size, overlap, 0),
        "loop, 2 workers": lambda: usual(path, net, size, overlap, 2),
        "sslmed": ours,
    }


def memory(name: str, path: str, size: int, overlap: float) -> None:
    """Prints how far a call's peak memory is above what the process had before, in MB."""
    call = contestants(path, size, overlap)[name]
    with tempfile.TemporaryDirectory() as folder:
        synthetic(Path(folder) / "small.tif", size)
        contestants(str(Path(folder) / "small.tif"), size, overlap)[name]()  # what a first call loads
    print(json.dumps(peak_above(call)))


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--slide", help="a slide beside the synthetic one, such as CMU-1-Small-Region.svs")
    options.add_argument("--side", type=int, default=4096, help="pixels of the synthetic slide's sides")
    options.add_argument("--size", type=int, default=512)
    options.add_argument("--overlap", type=float, default=0.25)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--memory", nargs=2, metavar=("NAME", "SLIDE"), help="measure one in this process")
    given = options.parse_args()
    if given.memory:
        memory(*given.memory, given.size, given.overlap)
        return
    body: dict[str, dict] = {"ratios": {}, "same classes": {}}
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "synthetic.tif"
        synthetic(made, given.side)
        for path in [*([given.slide] if given.slide else []), str(made)]:
            width, height = sm.io.open_slide(path).dimensions
            row = f"{Path(path).name}, {width} x {height}, tiles of {given.size}"
            rivals = contestants(path, given.size, given.overlap)
            maps = {name: call() for name, call in rivals.items()}
            body["same classes"][row] = float((maps["sslmed"] == maps["loop, no workers"]).mean())
            del maps
            times = in_turns(rivals, given.rounds)
            body[f"{row}, s"] = {name: summary(values) for name, values in times.items()}
            print(json.dumps(body, indent=1), flush=True)
            peaks = {}
            for name in rivals:
                base = [sys.executable, __file__, "--size", str(given.size), "--overlap", str(given.overlap), "--memory", name, path]
                peaks[name] = json.loads(subprocess.run(base, check=True, capture_output=True, text=True).stdout)
            body[f"{row}, MB"] = peaks
            for name in ("loop, no workers", "loop, 2 workers"):
                body["ratios"][f"{row}: times as fast as the {name}"] = ratio_of(times, name)
                body["ratios"][f"{row}: share of the memory of the {name}"] = peaks["sslmed"] / peaks[name]
            print(json.dumps(body, indent=1))
    write("whole_slide", body)


if __name__ == "__main__":
    main()
