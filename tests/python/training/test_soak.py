"""Too long for every commit: ``make soak``."""

import os
import statistics
import time

import numpy as np
import psutil
import pytest
import torch

import sslmed as sm
from sslmed.encoders import Encoder
from sslmed.methods import MaskedAutoencoder

pytestmark = pytest.mark.skipif(not os.environ.get("SSLMED_SOAK"), reason="takes minutes; make soak sets SSLMED_SOAK")
PRE = sm.EegPreprocessing(sfreq=100, window=2, patch=0.5, h_freq=45)


def machine_seconds():
    """A fixed piece of work like that of a step: what the machine gives to whoever asks, which other programs change."""
    a = torch.ones(384, 384)
    start = time.perf_counter()
    for _ in range(40):
        a = torch.nn.functional.gelu(a @ a / 384)
    return time.perf_counter() - start


def test_ten_thousand_steps_keep_memory_and_rate(tiny_site, tmp_path):
    loader = sm.Loader(tiny_site, PRE, batch_size=8, mask="random", random=True, drop_last=True)
    steps = 10_000
    epochs = -(-steps // loader.sampler.batches_per_epoch)
    objective = MaskedAutoencoder(Encoder("vit_tiny", PRE, depth=2), sm.methods.Mae(decoder_dim=64, decoder_depth=1, decoder_heads=2))
    trainer = sm.Trainer(objective, loader, epochs=epochs, lr=1e-4, checkpoints=tmp_path, checkpoint_every=1000, ema_decay=0.99)
    process, memory, seconds, machine = psutil.Process(), [], [], []

    def callback(rows):
        memory.append((rows[-1]["step"], process.memory_info().rss))
        start = time.perf_counter()
        own = machine_seconds()
        machine.append((rows[-1]["step"], own, time.perf_counter() - start))
        seconds.extend(row["seconds"] for row in rows)

    assert trainer.fit(callback)
    assert len(seconds) >= steps

    def level(low, high):
        return statistics.median(rss for step, rss in memory if low <= step < high)

    early, late = level(1_000, 3_000), level(len(seconds) - 2_000, len(seconds))
    # Seconds of 500 steps without the measuring, in units of what the machine's own work took meanwhile.
    at, own, spent = np.array(machine).T
    chunks, paired = [], []
    for first in range(1_000, len(seconds) - 500, 500):
        within = (at >= first) & (at < first + 500)
        chunks.append(seconds[first + 500] - seconds[first] - spent[within].sum())
        paired.append(chunks[-1] / np.median(own[within]))

    def drift(values):
        return statistics.median(values[len(values) // 2 :]) / statistics.median(values[: len(values) // 2])

    print(
        f"resident memory {early / 2**20:.1f} to {late / 2**20:.1f} MiB; time a step in the second half over the first: {drift(chunks):.3f}, "
        f"paired with the machine's own rate {drift(paired):.3f}; seconds of 500 steps {[round(float(c), 2) for c in chunks]}"
    )
    assert abs(late / early - 1) < 0.01
    assert abs(drift(paired) - 1) < 0.05
