"""Why does pretraining help, or not? On the embedded cohort: what its features could hold, what they hold, what a probe makes of it.

    python benchmarks/study_pretraining.py ceiling 100 101 102
    python benchmarks/study_pretraining.py train 201 --epochs 100

``ceiling`` probes hand-made spectra that went through the encoder's own preprocessing and pooling: what these steps leave of the labels.
``train`` pretrains, and says without any label how much of a window's log spectrum a ridge regression reads from its features
(R², left-out recordings of the public site); then what the linear probe scores on the clinic, beside the random encoder.
Seeds 100-102 were for trying things out. Seeds from 201 on are for settings that were fixed before.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import GroupKFold, cross_val_predict

import sslmed as sm
from sslmed.demo import eeg as demo
from sslmed.encoders import Encoder
from sslmed.evaluation import features, metrics, probes, splits

PRE = {"sfreq": 100.0, "l_freq": 0.5, "h_freq": 45.0}


def cohorts(folder: str, seed: int) -> tuple[sm.Cohort, sm.Cohort]:
    root = Path(folder) / str(seed)
    return demo.write_cohort(root / "public", demo.PUBLIC, 48, seed=seed), demo.write_cohort(root / "clinic", demo.CLINIC, 60, seed=seed)


def power(cohort: sm.Cohort, scale: str) -> tuple[np.ndarray, np.ndarray]:
    """[windows, channels, patches, bins] of the encoder's patches, and each window's recording."""
    source = cohort.source(sm.EegPreprocessing(**PRE, scale=scale, clip=15.0 if scale == "zscore" else 0.0))
    windows = [source.sample(i)[0].numpy() for i in range(len(source))]
    return np.stack([np.abs(np.fft.rfft(w.reshape(len(w), 4, 100), axis=2)) ** 2 / 100 for w in windows]), source.recording_of.numpy()


def probe(x: np.ndarray, cohort: sm.Cohort) -> dict[str, float]:
    """Balanced accuracy of the diagnosis and MAE of age: means over two seeds of the folds."""
    scores = {}
    for target, metric in (("diagnosis", "balanced_accuracy"), ("age", "mae")):
        y = cohort.table[target].to_numpy()
        y = y if target == "age" else y.astype(str)
        values = []
        for seed in range(2):
            plan = splits(cohort, 5, stratify=None if target == "age" else target, seed=seed)
            predicted = probes.cross_predict(x, y, cohort.table["subject"].to_numpy(), plan, "linear", target == "age")
            values.append(metrics.score(metric, y, predicted, np.unique(y)))
        scores[target] = float(np.mean(values))
    return scores


def ceiling(folder: str, seed: int) -> None:
    _, clinic = cohorts(folder, seed)
    recordings = range(len(clinic))
    rows = {"band power": features.band_power(clinic)}
    for scale in ("zscore", "none"):
        p, recording = power(clinic, scale)
        mean = np.log(np.stack([p[recording == r].mean(axis=(0, 2)) for r in recordings]) + 1e-4)
        rows[f"scale {scale}: channels x bins"] = mean.reshape(len(mean), -1)
        rows[f"scale {scale}: mean over channels"] = mean.mean(axis=1)
    rows["random encoder"] = features.encoder_features(Encoder("vit_tiny", sm.EegPreprocessing(**PRE), depth=4, seed=0), clinic)
    for name, x in rows.items():
        scores = probe(x, clinic)
        print(f"seed {seed}  {name:34s} diagnosis {scores['diagnosis']:.3f}  age {scores['age']:.2f}", flush=True)


def spectrum_r2(encoder: Encoder, cohort: sm.Cohort) -> tuple[float, float]:
    """How much of a window's log spectrum ridge regression reads from its features, over left-out recordings; their effective rank. No labels."""
    x, recording = sm.encode(encoder, cohort)
    y = np.log(power(cohort, "zscore")[0].mean(axis=(1, 2))[:, 1:45] + 1e-4)
    x = (x - x.mean(0)).double()
    share = torch.linalg.svdvals(x).square()
    share /= share.sum()
    rank = float(torch.exp(-(share * torch.log(share + 1e-12)).sum()))
    z = (x / (x.std(0) + 1e-9)).numpy()
    predicted = cross_val_predict(RidgeCV(np.logspace(-4, 4, 9)), z, y, groups=recording.numpy(), cv=GroupKFold(5))
    return 1 - ((predicted - y) ** 2).sum() / ((y - y.mean(0)) ** 2).sum(), rank


def describe(name: str, seed: int, encoder: Encoder, public: sm.Cohort, clinic: sm.Cohort) -> None:
    r2, rank = spectrum_r2(encoder, public)
    scores = probe(features.encoder_features(encoder, clinic), clinic)
    print(f"seed {seed}  {name:10s} R2 {r2:.3f}  rank {rank:.1f}  diagnosis {scores['diagnosis']:.3f}  age {scores['age']:.2f}", flush=True)


def train(folder: str, seed: int, epochs: int, bins: int) -> None:
    public, clinic = cohorts(folder, seed)
    preprocessing = sm.EegPreprocessing(**PRE)
    describe("random", seed, Encoder("vit_tiny", preprocessing, depth=4, seed=seed), public, clinic)
    start = time.perf_counter()
    run = sm.pretrain(
        public, encoder="vit_tiny", out=Path(folder) / f"run{seed}", depth=4, epochs=epochs, batch_size=16, reconstruct="spectrum", reconstruct_bins=bins,
        decoder_depth=1, decoder_dim=64, preprocessing=preprocessing, seed=seed, progress=False, tensorboard=False,
    )  # fmt: skip
    print(f"seed {seed}  {len(run.history)} steps in {time.perf_counter() - start:.0f} s, last loss {run.history['loss'].tail(50).mean():.3f}")
    describe("pretrained", seed, run.encoder, public, clinic)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("ceiling", "train"))
    parser.add_argument("seeds", type=int, nargs="+")
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--bins", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for seed in arguments.seeds:
            if arguments.what == "ceiling":
                ceiling(folder, seed)
            else:
                train(folder, seed, arguments.epochs, arguments.bins)


if __name__ == "__main__":
    main()
