"""What the ranks of test_distributed.py run: ``distributed_job.py NAME FOLDER COHORT``, under torchrun or alone."""

import json
import os
import signal
import sys
import time
from pathlib import Path

import pandas as pd
import torch

import sslmed as sm
from sslmed._core import C
from sslmed.distributed import is_first, ranks, under_torchrun
from sslmed.encoders import Encoder
from sslmed.methods import Detect, Distill, MaskedAutoencoder, PythonObjective, Segment, Supervised

sys.path.append(str(Path(__file__).parents[1] / "toy"))

PRE = sm.EegPreprocessing(sfreq=100, window=2, patch=0.5, h_freq=45)


class Contrast(PythonObjective):
    """Written in Python: every sample against those of all ranks."""

    def loss(self, batch, step):
        view = batch.views[0]
        pooled = self.encoder.forward_tokens(view.values, view.lengths, view.coords, view.extra)[1]
        return torch.logsumexp(pooled @ step.all_gather(pooled).T, 1).mean()

    def absent(self, step):
        step.all_gather(torch.empty(0, self.encoder.dim, dtype=torch.float64))


def group_robust(encoder):
    """Where samples interact by the groups' weights."""
    return Supervised(encoder, classes=2, groups=2, group_step=0.5, drop_path=0.0)


def masked(encoder):
    return MaskedAutoencoder(encoder, sm.methods.Mae(decoder_dim=64, decoder_depth=1, decoder_heads=2), seed=3)


def distilled(encoder):
    """From a wider encoder, samples and tokens."""
    return Distill(Encoder("vit_tiny", PRE, depth=1, dim=96, heads=2, seed=7), token_weight=0.5).objective(encoder, seed=3)


def train(cohort, *, batch=5, fp64=True, accumulate=1, epochs=2, lr=1e-3, make=masked):
    """Batches that two ranks cannot share evenly, and a last one that leaves a rank without samples; recordings of two montages."""
    targets = {"target": [float(i % 2) for i in range(len(cohort))], "group": [float(i % 3 == 0) for i in range(len(cohort))]}
    loader = sm.Loader(cohort, PRE, batch_size=batch, order="shuffle", seed=1, drop_last=False, targets=targets)
    objective = make(Encoder("vit_tiny", PRE, depth=1, seed=3))
    trainer = sm.Trainer(objective, loader, epochs=epochs, accumulate=accumulate, lr=lr, fp64=fp64, clip_norm=1.0, ema_decay=0.9)
    losses = []
    assert trainer.fit(lambda rows: losses.extend((row["loss"], row["grad_norm"], row["samples"]) for row in rows))
    average = {f"ema.{k}": v for k, v in trainer.encoder_weights().items()}
    return {k: v.detach().clone() for k, v in objective.state_dict().items()} | average, losses


def equal(folder, cohort):
    for name, options in CASES.items():
        weights, losses = train(cohort, **options)
        if is_first():
            sm.io.save_safetensors(weights, folder / f"{name}.safetensors")
            (folder / f"{name}.json").write_text(json.dumps(losses))


CASES = {
    "fp64": {"fp64": True, "epochs": 5},
    "fp64_accumulate": {"fp64": True, "accumulate": 2, "epochs": 4},
    "python_fp64": {"fp64": True, "make": Contrast, "epochs": 5},
    "groups_fp64": {"fp64": True, "make": group_robust, "epochs": 5},
    "distill_fp64": {"fp64": True, "make": distilled, "epochs": 5},
    "fp32": {"fp64": False, "lr": 1e-4, "epochs": 5},
}


def layers(folder, _cohort):
    """Gradients through gathers and the batch statistics of all ranks."""
    comm, rank = ranks(), 0 if ranks() is None else ranks().rank
    torch.manual_seed(0)
    x = torch.randn(8, 3, 5, dtype=torch.float64)
    weights = torch.randn(8, 3, 5, dtype=torch.float64)
    part = slice(0, 8) if comm is None else (slice(0, 3), slice(3, 8))[rank]
    mine = x[part].clone().requires_grad_()
    layer = sm.nn.BatchNorm(3).double()
    out = layer(mine, comm)
    (out * weights[part]).sum().backward()
    # Every sample against every other, as contrastive losses have it: the own rows' part of the loss alone.
    rows = x[part, :, 0].clone().requires_grad_()
    everyone = rows if comm is None else comm.all_gather(rows)
    torch.logsumexp(rows @ everyone.T, 1).sum().backward()
    sm.io.save_safetensors(
        {"out": out.detach(), "x": mine.grad, "rows": rows.grad, "weight": layer.weight.grad, "mean": layer.running_mean, "var": layer.running_var},
        folder / f"layers-{rank}-of-{1 if comm is None else comm.size}.safetensors",
    )


def lost(folder, cohort):
    """Rank 1 dies once, with step 6; the restarted job goes on from the checkpoint and finishes."""
    mark = folder / "died"

    def callback(rows):
        if os.environ["RANK"] == "1" and rows[-1]["step"] >= 5 and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    pretrain(folder / "run", cohort, callback)


def pretrain(out, cohort, callback=None, **options):
    return sm.pretrain(
        cohort, encoder="vit_tiny", depth=1, out=out, batch_size=4, epochs=4, preprocessing=PRE, progress=False, tensorboard=False, checkpoint_every=2,
        resume=True, callback=callback, **options,
    )  # fmt: skip


def silent(folder, cohort):
    """Rank 1 stops answering; the others give it up after the time-out."""

    def callback(rows):
        if ranks().rank == 1:
            time.sleep(120)

    start = time.time()
    try:
        pretrain(folder / "run", cohort, callback)
    except sm.DistributedError as error:
        (folder / f"error-{ranks().rank}").write_text(f"{time.time() - start:.1f} {error}")
        raise


def stopped(folder, cohort):
    """A SIGTERM that only rank 1 gets: all save and stop together."""

    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))

    def callback(rows):
        if ranks().rank == 1 and rows[-1]["step"] >= 3:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.1)

    run = pretrain(folder / "run", cohort, callback)
    assert run.interrupted
    (folder / f"stopped-{ranks().rank}").write_text(str(len(run.history)))


def refused(folder, cohort):
    """Ranks that do not see the same run; then a loss that overflows in one rank's share alone."""
    try:
        pretrain(folder / "a", cohort, seed=ranks().rank)
    except ValueError as error:
        (folder / f"seed-{ranks().rank}").write_text(str(error))
    raw = sm.EegPreprocessing(sfreq=100, window=2, patch=0.5, l_freq=0, h_freq=0, scale="none", clip=0, average_reference=False)
    values = torch.randn(8, 4, 200)
    values[7] *= 1e30
    import pandas as pd

    arrays = sm.Cohort.from_arrays(values, 100, ["Fz", "Cz", "Pz", "Oz"], pd.DataFrame({"subject": list("abcdefgh")}))
    loader = sm.Loader(arrays, raw, batch_size=8, order="sequential", drop_last=True)
    objective = MaskedAutoencoder(Encoder("vit_tiny", raw, depth=1), sm.methods.Mae(decoder_dim=64, decoder_depth=1, decoder_heads=2, norm_target=False))
    try:
        sm.Trainer(objective, loader, epochs=2).fit()
    except sm.NonFiniteError as error:
        (folder / f"finite-{ranks().rank}").write_text(str(error))


def unlike(folder, cohort):
    """Ranks that list other data: one in another order, one with fewer rows, one with another subject."""
    several = {
        "order": cohort.subset(range(len(cohort))[::-1]),
        "fewer": cohort.subset(range(len(cohort) - 1)),
        "subject": cohort.with_columns(subject=["someone", *cohort.table["subject"][1:]]),
    }
    for name, other in several.items():
        try:
            pretrain(folder / name, cohort if ranks().rank == 0 else other)
        except ValueError as error:
            (folder / f"{name}-{ranks().rank}").write_text(str(error))


def part_way(folder, cohort):
    """Goes on to the step named in FOLDER/until, whatever the number of ranks."""
    until = int((folder / "until").read_text())
    loader = sm.Loader(cohort, PRE, batch_size=5, seed=1, drop_last=False)
    objective = MaskedAutoencoder(Encoder("vit_tiny", PRE, depth=1, seed=3), sm.methods.Mae(decoder_dim=64, decoder_depth=1, decoder_heads=2), seed=3)
    trainer = sm.Trainer(objective, loader, epochs=4, lr=1e-3, fp64=True, checkpoints=folder / "c", checkpoint_every=1)
    found = sorted((folder / "c").glob("step-*"))
    if found and is_first():
        trainer.resume(found[-1])
    trainer.fit(lambda rows: trainer.step < until)
    if is_first():
        sm.io.save_safetensors({k: v.detach() for k, v in objective.state_dict().items()}, folder / "weights.safetensors")
        (folder / "step").write_text(str(trainer.step))


def volumes(folder, _cohort):
    """A convolutional encoder, whose norms gather over the ranks; batches of two of five samples leave the second rank without any."""
    from ramps import RampPreprocessing, ramps

    dense = RampPreprocessing(patch=None)
    loader = sm.Loader(ramps(5, 1), dense, batch_size=2, order="shuffle", seed=1, targets={"target": [0.0, 1.0, 0.0, 1.0, 0.0]})
    objective = Supervised(sm.ConvEncoder(dense, (4, 8)), classes=2)
    trainer = sm.Trainer(objective, loader, epochs=3, lr=1e-3, fp64=True, clip_norm=1.0)
    assert trainer.fit()
    if is_first():
        sm.io.save_safetensors(
            {k: v.detach() for k, v in objective.state_dict().items()}, folder / f"volumes-{1 if ranks() is None else ranks().size}.safetensors"
        )


SMALL_HEADS = {"hidden": 24, "out_dim": 12}
PROTOTYPES = {"prototypes": 20, "hidden": 24, "bottleneck": 12, "local": 2, "freeze_last": 0.0}
VIEWS = {
    "simclr": SMALL_HEADS,
    "byol": SMALL_HEADS,
    "moco": SMALL_HEADS,
    "vicreg": SMALL_HEADS,
    "barlow_twins": SMALL_HEADS,
    "dino": PROTOTYPES,
    "dinov2": PROTOTYPES | {"drop_path": 0.3, "gram_weight": 1.0, "gram_start": 0.0, "gram_refresh": 2},
    "dinov2 softmax": PROTOTYPES | {"centering": "softmax", "regularizer": "uniformity", "p_mask": 0.2},
    "y_aware": SMALL_HEADS | {"sigma": 10.0},
    "y_aware l_exp": SMALL_HEADS | {"sigma": 10.0, "kernel": "l_exp"},
}


def joint_embedding(folder, _cohort):
    """Every method of several views. Three ranks get two, two and one sample of each batch of five, and one, one and none of the last."""
    from ramps import RampPreprocessing, ramps

    patches, dense = RampPreprocessing(), RampPreprocessing(patch=None)
    ages = [20.0, 31.0, 33.0, float("nan"), 60.0, 61.0, 70.0, 35.0, 24.0, 66.0, 50.0, 45.0]
    for name, options in VIEWS.items():
        for kind in ("vit", "cnn"):
            if kind == "cnn" and name.startswith("dinov2"):
                continue
            made = Encoder("vit_tiny", patches, depth=2, dim=24, heads=2) if kind == "vit" else sm.ConvEncoder(dense, (4, 8))
            objective = sm.methods.get(name.split()[0])(**options).objective(made, seed=1)
            loader = sm.Loader(ramps(12, 1), made.preprocessing, batch_size=5, seed=1, random=True, targets={"age": ages})
            trainer = sm.Trainer(objective, loader, epochs=3, lr=1e-3, fp64=True, clip_norm=1.0)
            losses = []
            assert trainer.fit(lambda rows, losses=losses: losses.extend((row["loss"], row["grad_norm"]) for row in rows))
            if is_first():
                weights = {key: value.detach().clone() for key, value in objective.state_dict().items()}
                sm.io.save_safetensors(weights, folder / f"{name} {kind}.safetensors")
                (folder / f"{name} {kind}.json").write_text(json.dumps(losses))


def pretext(folder, _cohort):
    """Every pretext task. Two ranks get three and two samples of each batch of five, and one and none of the last."""
    from pretext_tasks import NAMES, on_ramps
    from ramps import ramps

    for name in NAMES:
        for kind in ("cnn", "vit"):
            if kind == "vit" and name in ("spark", "cross_sequence"):
                continue
            if name == "cross_sequence":  # which needs two sequences
                cohort = sm.Cohort.open(folder.parent / "heads" / "cohort.parquet")
                how = sm.VolumePreprocessing(spacing=4.0, patch=None, size=16, sequences=("T1w", "FLAIR"))
                options, made = sm.methods.CrossSequence(), sm.ConvEncoder(how, (8, 12))
            else:
                cohort, (options, made) = ramps(11, 1), on_ramps(name, kind)
            objective = options.objective(made, seed=1)
            loader = sm.Loader(cohort, made.preprocessing, batch_size=5, seed=1, random=True)
            trainer = sm.Trainer(objective, loader, epochs=3, lr=1e-3, fp64=True, clip_norm=1.0)
            losses = []
            assert trainer.fit(lambda rows, losses=losses: losses.extend((row["loss"], row["grad_norm"]) for row in rows))
            if is_first():
                weights = {key: value.detach().clone() for key, value in objective.state_dict().items()}
                sm.io.save_safetensors(weights, folder / f"{name} {kind}.safetensors")
                (folder / f"{name} {kind}.json").write_text(json.dumps(losses))


def segment(folder, _cohort):
    """Label maps, with Dice by sample and over the batch. Two ranks get three and two samples of each batch of five, and one and none of the last."""
    cohort = sm.Cohort.open(folder.parent / "heads" / "cohort.parquet")
    how = sm.VolumePreprocessing(spacing=4.0, patch=None, size=16, labels=True)
    for name, loss in (("sample", {}), ("batch", {"batch": True, "include_background": False})):
        for encoder in (sm.DenseEncoder("unet", how, filters=[4, 8], seed=2), sm.ConvEncoder(how, (4, 8))):
            objective = Segment(encoder, values=(0, 1, 2, 3), loss=loss, seed=1)
            loader = sm.Loader(cohort, how, batch_size=5, seed=1, random=True)
            assert sm.Trainer(objective, loader, epochs=3, lr=1e-3, fp64=True, clip_norm=1.0).fit()
            if is_first():
                weights = {key: value.detach().clone() for key, value in objective.state_dict().items()}
                sm.io.save_safetensors(weights, folder / f"{name} {type(encoder).__name__}.safetensors")


def detect(folder, _cohort):
    """Points, boxes and instances. Two ranks get three and two samples of each batch of five, and one and none of the last."""
    cohort = sm.Cohort.from_table(pd.read_csv(folder.parent / "discs.csv"), name="discs")
    how = sm.ImagePreprocessing(size=32, patch=None)
    for kind in ("points", "boxes", "stars"):
        entries = torch.load(folder.parent / f"{kind}.pt")
        for encoder in (sm.DenseEncoder("unet", how, filters=[4, 8], seed=2), sm.ConvEncoder(how, (4, 8))):
            objective = Detect(encoder, kind, classes=2, features=4, rays=8, seed=1)
            loader = sm.Loader(cohort, how, batch_size=5, seed=1, random=True, targets={"objects": entries})
            assert sm.Trainer(objective, loader, epochs=3, lr=1e-3, fp64=True, clip_norm=1.0).fit()
            if is_first():
                weights = {key: value.detach().clone() for key, value in objective.state_dict().items()}
                sm.io.save_safetensors(weights, folder / f"{kind} {type(encoder).__name__}.safetensors")


if __name__ == "__main__":
    torch.set_num_threads(1)
    name, folder, root = sys.argv[1:4]
    assert C is not None
    with under_torchrun(timeout=float(os.environ.get("JOB_TIMEOUT", "60"))):
        globals()[name](Path(folder), sm.Cohort.from_bids(root))
