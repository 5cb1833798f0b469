"""Too long for every commit: ``make soak``."""

import os
import statistics

import psutil
import pytest

import sslmed as sm
from sslmed.nn import Encoder, MaskedAutoencoder

pytestmark = pytest.mark.skipif(not os.environ.get("SSLMED_SOAK"), reason="takes minutes; make soak sets SSLMED_SOAK")
PRE = sm.EegPreprocessing(sfreq=100, window=2, patch=0.5, high=45)


def test_ten_thousand_steps_keep_memory_and_rate(tiny_site, tmp_path):
    loader = sm.Loader(tiny_site, PRE, batch_size=8, mask="random", jitter=True, drop_last=True)
    steps = 10_000
    epochs = -(-steps // loader.sampler.batches_per_epoch)
    objective = MaskedAutoencoder(Encoder("vit_tiny", PRE, depth=2), decoder_dim=64, decoder_depth=1, decoder_heads=2)
    trainer = sm.Trainer(objective, loader, epochs=epochs, lr=1e-4, checkpoints=tmp_path, checkpoint_every=1000, ema_decay=0.99)
    process, memory, seconds = psutil.Process(), [], []

    def callback(rows):
        memory.append((rows[-1]["step"], process.memory_info().rss))
        seconds.extend(row["seconds"] for row in rows)

    assert trainer.fit(callback)
    assert len(seconds) >= steps

    def level(low, high):
        return statistics.median(rss for step, rss in memory if low <= step < high)

    early, late = level(1_000, 3_000), level(len(seconds) - 2_000, len(seconds))
    chunks = [seconds[i + 500] - seconds[i] for i in range(1_000, len(seconds) - 500, 500)]
    rates = statistics.median(chunks[: len(chunks) // 2]) / statistics.median(chunks[len(chunks) // 2 :])
    print(f"resident memory {early / 2**20:.1f} to {late / 2**20:.1f} MiB, late rate {rates:.3f} of the early one")
    assert abs(late / early - 1) < 0.01
    assert abs(rates - 1) < 0.05
