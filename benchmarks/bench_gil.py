"""Claim: training holds the interpreter lock for less than 1 % of its time, history, TensorBoard and progress bar included."""

import tempfile
import time
from pathlib import Path

from common import write

import sslmed as sm
from sslmed.demo import eeg as demo
from sslmed.encoders import Encoder
from sslmed.methods import MaskedAutoencoder
from sslmed.training import Reporter


def main() -> None:
    preprocessing = sm.EegPreprocessing(sfreq=100, l_freq=0.5, h_freq=45)
    with tempfile.TemporaryDirectory() as folder:
        cohort = demo.write_cohort(Path(folder) / "site", demo.PUBLIC, 12, seconds=62)
        shares = []
        for seed in range(5):
            objective = MaskedAutoencoder(Encoder("vit_tiny", preprocessing, depth=4), sm.methods.Mae(decoder_dim=96, decoder_depth=2, decoder_heads=3))
            loader = sm.Loader(cohort, preprocessing, batch_size=8, mask="random", seed=seed, random=True)
            trainer = sm.Trainer(objective, loader, epochs=6)
            with Reporter(Path(folder), trainer, progress=True, tensorboard=True, callback=None) as reporter:
                start = time.perf_counter()
                trainer.fit(reporter)
                shares.append(trainer.gil_seconds / (time.perf_counter() - start))
    write("gil", {"share of the time": {"median": sorted(shares)[2], "min": min(shares), "max": max(shares)}, "ratios": {}})
    print(f"gil: held {100 * sorted(shares)[2]:.3f} % of the time ({100 * min(shares):.3f}-{100 * max(shares):.3f} %)")


if __name__ == "__main__":
    main()
