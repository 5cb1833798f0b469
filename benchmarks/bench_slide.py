"""Random 256-pixel regions of a JPEG-tiled slide: openslide-python and ours, with and without a tile cache, and the limit that decoding sets.

Needs SSLMED_DATA, openslide-python and simplejpeg.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable

import numpy as np
import openslide
import simplejpeg
import tifffile
from common import data_root, paired, write

import sslmed as sm

SIZE, BATCH = 256, 32
CACHE = 256 << 20  # bytes; the slide has 30 million in OpenSlide's pixels


def main() -> None:
    root = data_root()
    if root is None:
        sys.exit("SSLMED_DATA does not name a folder with the real recordings")
    path = str(root / "pathology/wsi/CMU-1-Small-Region.svs")
    sm.io.set_slide_cache(CACHE)
    slide = sm.io.open_slide(path)
    width, height = slide.dimensions
    draws = np.random.default_rng(0)
    places = np.stack([draws.integers(0, width - SIZE, 4096), draws.integers(0, height - SIZE, 4096)], 1).tolist()
    turn = iter(range(1 << 62))

    def batch() -> list[list[int]]:
        first = next(turn) * BATCH % len(places)
        return places[first : first + BATCH]

    def openslide_python(cache: int) -> Callable[[], None]:
        handle = openslide.OpenSlide(path)
        handle.set_cache(openslide.OpenSlideCache(cache))

        def read() -> None:
            for x, y in batch():
                np.asarray(handle.read_region((x, y), 0, (SIZE, SIZE)).convert("RGB"))

        return read

    def ours(cached: bool, fast: bool = True) -> Callable[[], None]:
        handle = sm.io.open_slide(path, cached=cached, fast=fast)

        def read() -> None:
            for x, y in batch():
                handle.read(x, y, 0, SIZE, SIZE).numpy()

        return read

    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages[0]
        tile = page.tile[0]
        tables = page.jpegtables
        stored = []
        for offset, size in zip(page.dataoffsets, page.databytecounts, strict=True):
            tiff.filehandle.seek(offset)
            stored.append(tables[:-2] + tiff.filehandle.read(size)[2:])
    per_region = ((SIZE + tile - 1) / tile) ** 2

    def decode() -> None:
        # Whole tiles, as many pixels as the regions have, one call of libjpeg-turbo a tile (through simplejpeg).
        for i in range(round(BATCH * SIZE * SIZE / tile**2)):
            simplejpeg.decode_jpeg(stored[i % len(stored)], fastdct=False, fastupsample=False)

    results = paired(
        {
            "openslide-python, cache off": openslide_python(0),
            "openslide-python, all in the cache": openslide_python(CACHE),
            "sslmed, cache off": ours(False),
            "sslmed, all in the cache": ours(True),
            "sslmed through OpenSlide, all in the cache": ours(True, fast=False),
            "decoding as many pixels": decode,
        },
        rounds=11,
    )

    aligned = [(x, y) for y in range(0, height - tile, tile) for x in range(0, width - tile, tile)]
    plain = sm.io.open_slide(path, cached=False)
    order = iter(range(1 << 62))

    def native() -> None:
        for _ in range(BATCH):
            x, y = aligned[next(order) % len(aligned)]
            plain.read(x, y, 0, tile, tile)

    def native_limit() -> None:
        for _ in range(BATCH):
            simplejpeg.decode_jpeg(stored[next(order) % len(stored)], fastdct=False, fastupsample=False)

    results |= paired({"aligned tiles": native, "decoding the same tiles": native_limit}, rounds=11)

    def threads(n: int) -> float:
        handle = sm.io.open_slide(path, cached=False)

        def work(k: int) -> None:
            for x, y in places[k * 600 : (k + 1) * 600]:
                handle.read(x, y, 0, SIZE, SIZE)

        workers = [threading.Thread(target=work, args=(k,)) for k in range(n)]
        start = time.perf_counter()
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        return n * 600 / (time.perf_counter() - start)

    one, two = [], []
    for _ in range(7):
        one.append(threads(1))
        two.append(threads(2))
    median = {name: value["median"] for name, value in results.items()}
    write(
        "slide",
        {
            "slide": "CMU-1-Small-Region.svs, 240-pixel tiles",
            "regions_a_second": {name: round(BATCH / value, 1) for name, value in median.items()},
            "seconds_for_32": results,
            "tiles_a_region_touches": round(per_region, 2),
            "ratios": {
                "against openslide-python, cache off": median["openslide-python, cache off"] / median["sslmed, cache off"],
                "against openslide-python, all in the cache": median["openslide-python, all in the cache"] / median["sslmed, all in the cache"],
                "aligned tiles against decoding alone": median["decoding the same tiles"] / median["aligned tiles"],
                "two threads against one": float(np.median(two) / np.median(one)),
            },
        },
    )


if __name__ == "__main__":
    main()
