"""Every parameter that can be wrong, below the evaluation: one bad value each, and an error that names the parameter.

As ``evaluation/test_errors.py``: a parameter with neither a bad value nor a place in ``FREE`` fails the test, so that a new one is not forgotten.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from ramps import RampPreprocessing

import sslmed as sm
from sslmed import methods, modalities, nn
from sslmed.training import predict

TABLE = pd.DataFrame({"subject": list("abcd"), "age": [1.0, 2, 3, 4]})
VALUES = np.random.default_rng(0).normal(size=(4, 2, 800))


@lru_cache
def people() -> sm.Cohort:
    return sm.Cohort.from_arrays(VALUES, 100, ["Cz", "Pz"], TABLE)


@lru_cache
def encoder() -> sm.Encoder:
    return sm.Encoder("vit_tiny", sm.EegPreprocessing(sfreq=100, window=4, patch=1), depth=1)


def pictures() -> sm.Encoder:
    return sm.Encoder("vit_tiny", sm.ImagePreprocessing(size=32, patch=8), depth=1)


def masked(**options: Any) -> methods.MaskedAutoencoder:
    return methods.MaskedAutoencoder(encoder(), methods.Mae(**options))


def predicted(**options: Any) -> methods.JointEmbeddingPredictor:
    return methods.JointEmbeddingPredictor(pictures(), methods.IJepa(**options))


def distilled(**options: Any) -> methods.Distillation:
    return methods.Distill(**{"teacher": pictures()} | options).objective(pictures(), seed=0)


def sliced(**options: Any) -> sm.SliceEncoder:
    how = sm.VolumePreprocessing(patch=None, size=32)
    return sm.SliceEncoder(**{"encoder_2d": pictures(), "preprocessing": how, "strategy": "triplanar"} | options)


def lifted(**options: Any) -> Any:
    return sm.to_volumes(**{"encoder_2d": pictures(), "strategy": "axial"} | options)


def inflated(**options: Any) -> Any:
    flat, deep = nn.ConvNet(2, 3, (4,)), nn.ConvNet(3, 1, (4,))
    return nn.inflate(**{"source": flat, "module": deep} | options)


def task(**options: Any) -> methods.Supervised:
    return methods.Supervised(encoder(), **({"classes": 2, "readout": "attentive"} | options))


def trainer(**options: Any) -> sm.Trainer:
    return sm.Trainer(task(classes=2), sm.Loader(people(), encoder().preprocessing, batch_size=2), **options)


def source(**fields: Any) -> Any:
    return people().source(sm.EegPreprocessing(**{"sfreq": 100.0, "window": 4.0, "patch": 1.0} | fields))


def images(**fields: Any) -> Any:
    return sm.ImagePreprocessing(**{"size": 32, "patch": 8} | fields).recipe()


def augmentation(**fields: Any) -> Any:
    return sm.ImagePreprocessing(size=32, patch=8).recipe(augmentation=sm.Augmentation(**fields))


def volumes(**options: Any) -> Any:
    how = sm.VolumePreprocessing(**options)
    how.preparation()
    return how.recipe()


def volume_augmentation(**options: Any) -> Any:
    return sm.VolumePreprocessing().recipe(augmentation=sm.VolumeAugmentation(**options))


def eeg_augmentation(**fields: Any) -> Any:
    return sm.EegPreprocessing().recipe(augmentation=sm.EegAugmentation(**fields))


def eeg_view(**fields: Any) -> Any:
    return sm.EegPreprocessing().recipe(views=[sm.EegView(**{"mask": "random"} | fields)])


def volume_view(**fields: Any) -> Any:
    return sm.VolumePreprocessing().recipe(views=[sm.VolumeView(**{"mask": "random"} | fields)])


def contrast(**fields: Any) -> Any:
    how = sm.ImagePreprocessing(size=32, patch=8)
    return how.recipe(views=how.contrast(**{"style": "dino", "local": 2} | fields))


def view(**fields: Any) -> Any:
    return sm.ImagePreprocessing(size=32, patch=8).recipe(views=[sm.View(**{"size": 32, "mask": "random"} | fields)])


def pretrain(**options: Any) -> Any:
    given = {"method": "mae", "encoder": encoder(), "out": "unused", "batch_size": 2, "progress": False} | options
    return sm.pretrain(people(), **given)


# What is called, and (parameter, bad value) of all that can be wrong.
BAD: list[tuple[Callable[..., Any], list[tuple[str, Any]]]] = [
    (masked, [("mask", "blob"), ("ratio", 1.0), ("block", 0), ("radius", -1.0), ("reconstruct", "pixels"), ("reconstruct_bins", 0), ("decoder_dim", -2),
              ("decoder_depth", 0), ("decoder_heads", 5), ("augmentation", 3)]),
    (predicted, [("mask", "random"), ("predictor_dim", -2), ("predictor_depth", 0), ("predictor_heads", 5), ("ema_start", -0.1), ("ema_end", 1.5),
                 ("augmentation", 3)]),
    (task, [("classes", 1), ("class_weights", [1.0]), ("label_smoothing", 1.0), ("mean", float("nan")), ("scale", 0.0), ("readout", "max"),
            ("readout_heads", 5), ("tuned", "half"), ("layer_decay", 0.0), ("drop_path", 1.0), ("groups", 1), ("group_step", 0.0), ("domains", 1),
            ("domain_weight", -1.0)]),
    (trainer, [("epochs", 0), ("accumulate", 0), ("lr", -1.0), ("min_lr", -1.0), ("start_lr", -1.0), ("warmup_steps", -1), ("weight_decay", -0.1),
               ("optimizer", "adam"), ("momentum", 1.0),
               ("clip_norm", -1.0), ("ema_decay", 1.0), ("device", "abacus"), ("checkpoint_every", -1), ("keep_last", 0), ("monitor_every", -1),
               ("intra_op_threads", -1)]),
    (sm.Loader, [("batch_size", 0), ("order", "nose"), ("mask", "blob"), ("block", 0), ("radius", -1.0), ("threads", 0),
                 ("on_error", "ignore"), ("augmentation", 3), ("targets", {"age": [1.0]}), ("rank", 2), ("ranks", 0),
                 ("preprocessing", sm.ImagePreprocessing())]),
    (source, [("sfreq", 0.0), ("window", 0.0), ("l_freq", -1.0), ("h_freq", 0.1), ("margin", -1.0), ("clip", -1.0), ("unit", 0.0), ("scale", "big"),
              ("flat_gap", -1.0), ("montage", ("Cz", "Cz")), ("channels", "Cz"), ("exclude", "Cz")]),
    (images, [("size", 0), ("patch", 5), ("voi", "cubic")]),
    (augmentation, [("scale", (0.5, 0.2)), ("p_turn", 0.3), ("p_flip", 0.3), ("brightness", -1.0), ("contrast", -1.0), ("saturation", -1.0), ("hue", 0.7),
                    ("p_jitter", 2.0), ("p_grayscale", 2.0), ("p_blur", 2.0), ("blur_sigma", (2.0, 1.0)), ("p_solarize", 2.0)]),
    (volumes, [("spacing", -1.0), ("patch", 0), ("size", 0), ("sequences", "T1w"), ("anatomy", 2.0), ("crop", "box"), ("margin", -1.0), ("clip", (9.0, 1.0)),
               ("normalize", "minmax"), ("storage", "float32"), ("positions", "grid")]),
    (volume_augmentation, [("p_flip", (2.0, 0.0, 0.0)), ("p_affine", 2.0), ("scales", -1.0), ("degrees", -1.0), ("translation", -1.0), ("p_elastic", 2.0),
                           ("max_displacement", -1.0), ("p_anisotropy", 2.0), ("anisotropy", (0.5, 2.0)), ("p_inversion", 2.0), ("p_gamma", 2.0),
                           ("log_gamma", (1.0, -1.0)), ("p_motion", 2.0), ("p_ghosting", 2.0), ("p_blur", 2.0), ("blur_sigma", (2.0, 1.0)),
                           ("p_bias", 2.0), ("bias", -1.0), ("p_noise", 2.0), ("noise_std", (2.0, 1.0)), ("p_drop", 2.0)]),
    (view, [("count", 0), ("size", 5), ("zoom", 0.0), ("mask", "blob"), ("ratio", 1.0), ("ratio", (0.5, 0.1)), ("p_mask", 2.0), ("augmentation", 3)]),
    (volume_view, [("count", 0), ("size", (-1, 8, 8)), ("share", 0.0), ("mask", "blob"), ("ratio", 1.0), ("ratio", (0.5, 0.1)), ("p_mask", 2.0),
                   ("augmentation", 3)]),
    (eeg_view, [("count", 0), ("length", 9.0), ("length", 0.7), ("mask", "blob"), ("ratio", 1.0), ("ratio", (0.5, 0.1)), ("p_mask", 2.0),
                ("augmentation", 3)]),
    (eeg_augmentation, [("p_band_stop", 2.0), ("band_width", 0.0), ("band", (9.0, 3.0)), ("p_shift", 2.0), ("max_shift", -1.0), ("p_scale", 2.0),
                        ("scale", (0.0, 1.0)), ("p_flip", 2.0), ("p_noise", 2.0), ("noise_std", (0.2, 0.1)), ("p_time_mask", 2.0), ("max_time_mask", -1.0),
                        ("p_channel_drop", 2.0), ("channel_drop", 1.0)]),
    (contrast, [("style", "moco"), ("local", -1), ("local_size", 5)]),
    (sm.Encoder, [("name", "vit"), ("dim", 7), ("depth", 0), ("heads", 5), ("lora_rank", -1), ("lora_alpha", -1.0), ("preprocessing", {"images": 3}),
                  ("positions", "rope"), ("registers", -1), ("layer_scale", -1.0), ("mlp", "relu"), ("mlp_dim", -1), ("norm_eps", 0.0)]),
    (lambda **o: sm.ConvEncoder(**{"preprocessing": RampPreprocessing(patch=None)} | o), [("preprocessing", RampPreprocessing()), ("widths", (0,))]),
    (lambda **o: nn.create(**{"name": "vit_tiny"} | o), [("name", "vit"), ("patch_size", 0), ("img_size", 100), ("in_chans", 0), ("num_classes", -1),
                                                         ("positions", "none"), ("dim", 7), ("depth", 0), ("heads", 5), ("registers", -1),
                                                         ("layer_scale", -1.0), ("mlp", "relu"), ("mlp_dim", -1), ("norm_eps", 0.0)]),
    (lambda **o: nn.load_weights(**{"module": nn.create("vit_tiny", depth=1), "path": "w.pth", "layout": "timm"} | o), [("module", 3), ("layout", "keras"),
                                                                                                                      ("inflate", "median")]),
    (lambda **o: nn.save_weights(**{"module": nn.create("vit_tiny", depth=1), "path": "w.pth", "layout": "timm"} | o), [("module", 3), ("layout", "keras"),
                                                                                                                      ("path", "w.npz")]),
    (lambda **o: sm.export(**{"encoder": nn.create("vit_tiny", depth=1), "path": "e.pt"} | o), [("encoder", 3), ("path", "e.h5"), ("size", (3, 3)),
                                                                                               ("pooling", "max")]),
    (nn.ConvNet, [("rank", 4), ("in_chans", 0), ("widths", ())]),
    (pretrain, [("method", "mea"), ("encoder", "vit"), ("epochs", 0), ("batch_size", 0), ("lr", -1.0), ("warmup", 2.0), ("accumulate", 0), ("order", "nose"),
                ("optimizer", "adam"), ("optimizer_momentum", 2.0),
                ("on_error", "ignore"), ("probe_every", 0), ("probe", 3), ("threads", 0), ("clip_norm", -1.0), ("mask", "blob"), ("seeds", [0, 0])]),
    (lambda **o: sm.encode(**{"encoder": encoder(), "cohort": people()} | o), [("encoder", 3), ("pooling", "max"), ("threads", 0), ("batch_size", 0),
                                                                               ("on_error", "ignore")]),
    (lambda **o: predict(**{"task": task(), "encoder": encoder(), "cohort": people()} | o), [("threads", 0), ("batch_size", 0), ("on_error", "ignore")]),
    (lambda **o: sm.Cohort.from_arrays(**{"values": VALUES, "sfreq": 100, "ch_names": ["Cz", "Pz"], "table": TABLE} | o),
     [("values", VALUES[:2]), ("sfreq", 0.0), ("ch_names", ["Cz"]), ("table", TABLE[["age"]])]),
    (lambda **o: sm.Cohort(**{"table": TABLE.assign(path="x"), "name": "c"} | o), [("table", TABLE), ("arrays", [None])]),
    (modalities.get, [("name", "smell")]),
    (modalities.register, [("modality", 3)]),
    (methods.register, [("method", 3)]),
    (nn.BatchNorm, [("channels", 0)]),
    (distilled, [("teacher", 3), ("loss", "l1"), ("layers", 0), ("hidden", 0), ("token_weight", -1.0), ("augmentation", 3)]),
    (sliced, [("encoder_2d", 3), ("preprocessing", RampPreprocessing()), ("strategy", "flat"), ("stride", 0), ("around", -1), ("pool", "max"),
              ("feature", "max"), ("join", "sum"), ("slice_size", (0, 0)), ("chunk", -1)]),
    (lifted, [("encoder_2d", 3), ("strategy", "flat"), ("preprocessing", RampPreprocessing())]),
    (inflated, [("strategy", "max"), ("channels", "keep"), ("axis", 3)]),
]  # fmt: skip
CASES = [pytest.param(call, name, value, id=f"{getattr(call, '__name__', '')}-{name}-{i}") for i, (call, bad) in enumerate(BAD) for name, value in bad]


@pytest.mark.parametrize(("call", "name", "value"), CASES)
def test_a_bad_value_is_told_by_the_name_of_its_parameter(call: Any, name: str, value: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    given = {name: value}
    if call is sm.Loader:
        given = {"cohort": people()} | given
    if call is nn.BatchNorm or call is nn.ConvNet:
        given = ({"rank": 3} if call is nn.ConvNet else {}) | given

    def run() -> None:
        made = call(**given)
        if isinstance(made, sm.Loader):
            next(iter(made))

    with pytest.raises((ValueError, TypeError), match=rf"\b{name}\b"):
        run()
    assert not list(tmp_path.iterdir()), "nothing is written before arguments are checked"


# Whose parameters or fields a call of BAD covers.
OF: dict[Callable[..., Any], Any] = {
    masked: methods.Mae, predicted: methods.IJepa, task: methods.Supervised, trainer: sm.Trainer, sm.Loader: sm.Loader, source: sm.EegPreprocessing,
    images: sm.ImagePreprocessing, augmentation: sm.Augmentation, view: sm.View, volume_view: sm.VolumeView,
    eeg_view: sm.EegView, eeg_augmentation: sm.EegAugmentation, volumes: sm.VolumePreprocessing,
    volume_augmentation: sm.VolumeAugmentation, nn.ConvNet: nn.ConvNet, pretrain: sm.PretrainConfig,
    distilled: methods.Distill, sliced: sm.SliceEncoder, inflated: nn.inflate,
}  # fmt: skip
# Those of which no value is wrong, that are checked where they are used (on_device, weight decays …), or that have tests of their own.
FREE = {
    "complementary", "norm_target", "seed", "target", "augmentation", "encoder", "objective", "loader", "labels", "final_weight_decay",
    "bf16", "fp64", "checkpoints",
    "config", "collapse_std", "group", "cohort", "epochs", "random", "recipe", "extra_channels", "drop_last", "shrink", "start", "ratio",
    "source", "module", "upright",
    "notch", "average_reference", "align", "overlap", "patch", "mean", "std", "fit", "region", "on_device", "macenko", "hed", "middle", "preprocessing",
    "order", "role", "min_lr", "weight_decay", "ema_decay", "depth", "device", "checkpoint_every", "keep_last", "tensorboard",
}  # fmt: skip


@pytest.mark.parametrize(("call", "of"), OF.items(), ids=[getattr(of, "__name__", "") for of in OF.values()])
def test_no_parameter_is_forgotten(call: Any, of: Any) -> None:
    known = {name for other, bad in BAD if other is call for name, _ in bad}
    parameters = set(inspect.signature(of).parameters) - {"self"}
    assert parameters - known - FREE == set()
