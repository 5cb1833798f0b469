"""Check that two versions of sslmed compute the same numbers, bit for bit.

``run`` does a fixed set of small CPU jobs (pretraining, fine-tuning, resuming, two ranks, transfer tables, a shift report)
with the sslmed that Python imports, and writes hashes and numbers to a JSON file. ``compare`` compares two such files.
``between`` does both for two commits, each built in its own folder::

    python tools/golden_runs.py run after.json
    python tools/golden_runs.py compare before.json after.json
    python tools/golden_runs.py between v0.1.0 HEAD --folder /tmp/golden

Compare files of one machine only: processors differ in the last bits. The script must run with old and new versions of the
package. When a public name changes, add the old spelling to the tables at the top of this file, and nowhere else.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import inspect
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import cached_property, reduce
from pathlib import Path
from typing import Any

np: Any
pd: Any
torch: Any
sm: Any
SCRIPT = Path(__file__).resolve()
EPOCHS = 2
PREFIX = "GOLDEN_SSLMED"  # environment variable: the folder that sslmed must come from

# --- names that differ between versions -------------------------------------------------------------------------------

# Parameters: the newest name, and the names that other versions have.
ALIASES = {
    "l_freq": ("low",), "h_freq": ("high",), "scale": ("area",), "p_grayscale": ("grey",), "p_blur": ("blur",), "p_solarize": ("solarise",),
    "reconstruct": ("target",), "reconstruct_bins": ("target_bins",), "groups": ("group",), "cv": ("folds",), "millimeters": ("millimetres",),
    "unlabeled": ("unlabelled",),
}  # fmt: skip
# Columns of comparisons that older versions lack.
ADDED = ["low", "high"]
# Modules that write the synthetic cohorts.
PLACES = {"eeg": ("sslmed.demo.eeg", "sslmed.demo"), "slides": ("sslmed.demo.slides", "sslmed.demo_slides")}
# Words in labels and names of columns.
SPELLINGS = {"shuffled": "permuted", "colour": "color", "normalise": "normalize", "tumour": "tumor"}


def made(what: Callable[..., Any], *args: Any, **wanted: Any) -> Any:
    """Calls ``what`` with keywords under the names that it has."""
    parameters = inspect.signature(what).parameters
    anything = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    keywords = {}
    for name, value in wanted.items():
        found = next((n for n in (name, *ALIASES.get(name, ())) if n in parameters), name if anything else None)
        if found is None:
            raise TypeError(f"{what.__name__} has no parameter {name!r} under any known name; it has {', '.join(parameters)}")
        keywords[found] = value
    return what(*args, **keywords)


def demo(modality: str) -> Any:
    """The module that writes a modality's synthetic cohorts."""
    for name in PLACES[modality]:
        with suppress(ModuleNotFoundError):
            if hasattr(module := importlib.import_module(name), "PUBLIC"):
                return module
    raise ImportError(f"none of {', '.join(PLACES[modality])} has PUBLIC")


def attribute(thing: Any, *names: str) -> Any:
    """The first of these attributes that ``thing`` has."""
    return next(getattr(thing, name) for name in names if hasattr(thing, name))


def protocol(name: str) -> Any:
    """Fine-tuning options of a protocol, with few epochs."""
    modules = [sys.modules[thing.__module__] for thing in (sm.FineTuning, sm.finetune)]
    return replace(next(m.PROTOCOLS for m in modules if hasattr(m, "PROTOCOLS"))[name], epochs=EPOCHS)


def spelled(text: object) -> str:
    """``text`` in the newest spelling."""
    return reduce(lambda done, word: done.replace(word, SPELLINGS[word]), SPELLINGS, str(text))


def load() -> None:
    """Imports torch on one thread and sslmed, past the hook of an editable installation where a folder is asked for."""
    os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))
    if folder := os.environ.get(PREFIX):
        kinds = {f: f if isinstance(f, type) else type(f) for f in sys.meta_path}
        sys.meta_path[:] = [f for f, kind in kinds.items() if "editable" not in kind.__module__ and "Redirecting" not in kind.__name__]
        sys.path.insert(0, folder)
    global np, pd, torch, sm
    np, pd, torch, sm = (importlib.import_module(name) for name in ("numpy", "pandas", "torch", "sslmed"))
    torch.set_num_threads(1)
    if folder and not Path(sm.__file__).resolve().is_relative_to(Path(folder).resolve()):
        raise ImportError(f"sslmed must come from {folder}, but Python imported {sm.__file__}")


def digest(*parts: bytes) -> str:
    return hashlib.sha256(b"".join(len(part).to_bytes(8, "little") + part for part in parts)).hexdigest()


def weights(module: Any) -> str:
    """Of all parameters and buffers: names and bytes."""
    found = []
    for name, value in sorted(module.state_dict().items()):
        found += [name.encode(), value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()]
    return digest(*found)


def numbers(values: Any) -> str:
    return digest(np.ascontiguousarray(values, dtype=np.float64).tobytes())


def pretrained(run: Any) -> dict[str, Any]:
    loss = run.history["loss"]
    found = {"steps": len(loss), "last_loss": repr(float(loss.iloc[-1])), "loss": numbers(loss), "grad_norm": numbers(run.history["grad_norm"])}
    return found | {"encoder": weights(run.encoder)}


def table(frame: Any) -> dict[str, Any]:
    """Every number of a table by column and row; its words apart, because they may be renamed."""
    found: dict[str, Any] = {}
    words = []
    for name in frame.columns:
        if pd.api.types.is_numeric_dtype(frame[name]):
            found[spelled(name)] = [repr(float(v)) for v in frame[name]]
        else:
            words.append([spelled(v) for v in frame[name]])
    return found | {"labels": [" / ".join(row) for row in zip(*words, strict=True)]}


class Lab:
    """Data and encoders that jobs share, made when first asked for."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def pair(self, modality: str, write: str, sizes: tuple[int, int], **options: Any) -> tuple[Any, Any]:
        where = demo(modality)
        sites = zip("ab", (where.PUBLIC, where.CLINIC), sizes, strict=True)
        return tuple(made(getattr(where, write), self.root / modality / letter, site, n, seed=5, **options) for letter, site, n in sites)

    @cached_property
    def eeg(self) -> tuple[Any, Any]:
        return self.pair("eeg", "write_cohort", (8, 15), seconds=24)

    @cached_property
    def slides(self) -> tuple[Any, Any]:
        return self.pair("slides", "write_archive", (6, 9), millimeters=0.25)

    @cached_property
    def images(self) -> Any:
        from PIL import Image

        rng, folder = np.random.default_rng(5), self.root / "images"
        folder.mkdir()
        rows = [(str(folder / f"{i:02d}.png"), f"p{i // 2}") for i in range(12)]
        for path, _ in rows:
            Image.fromarray(rng.integers(0, 256, (6, 7, 3), dtype=np.uint8)).resize((90, 72), Image.Resampling.BILINEAR).save(path)
        return sm.Cohort.from_table(pd.DataFrame(rows, columns=["path", "subject"]), name="images")

    def pretrain(self, cohort: Any, method: Any, preprocessing: Any, out: str = "", **options: Any) -> Any:
        folder = self.root / "runs" / out if out else tempfile.mkdtemp(dir=self.root)
        settings = {"epochs": EPOCHS, "batch_size": 16, "depth": 2, "seed": 3, "progress": False, "tensorboard": False} | options
        return made(sm.pretrain, cohort, method, "vit_tiny", folder, preprocessing=preprocessing, **settings)

    def pretrain_eeg(self, method: Any, out: str = "", **options: Any) -> Any:
        return self.pretrain(self.eeg[0], method, made(sm.EegPreprocessing, sfreq=100.0, window=2.0, patch=0.5, l_freq=0.5, h_freq=45.0), out, **options)

    def pretrain_slides(self, method: Any) -> Any:
        return self.pretrain(self.slides[0], method, made(sm.SlidePreprocessing, mpp=0.5, size=64, patch=8))

    @cached_property
    def eeg_run(self) -> Any:
        return self.pretrain_eeg(mae())

    @cached_property
    def slide_run(self) -> Any:
        return self.pretrain_slides(mae(norm_target=False))

    def finetune(self, options: Any, **more: Any) -> dict[str, Any]:
        tuned = made(sm.finetune, self.eeg_run.encoder, self.eeg[1], "diagnosis", options, seed=3, **more)
        predicted = attribute(tuned, "predict_proba", "predict")(self.eeg[0])
        found = {"task": weights(attribute(tuned, "task", "task_", "model_")), "first": [repr(float(v)) for v in predicted[0]]}
        return found | {"predictions": numbers(predicted)}


def transferred(lab: Lab, target: str, kind: str = "linear", slides: bool = False, **options: Any) -> dict[str, Any]:
    encoder, cohort = (lab.slide_run.encoder, lab.slides[1]) if slides else (lab.eeg_run.encoder, lab.eeg[1])
    result = made(sm.transfer, encoder, cohort, target, kind, bootstrap=50, **options)
    wide = result.wide() if hasattr(result, "wide") else result.predictions
    comparisons = result.comparisons.drop(columns=ADDED, errors="ignore")
    return {"table": table(result.table), "comparisons": table(comparisons), "predictions": numbers(wide.drop(columns=["subject", "truth"]))}


def mae(**options: Any) -> Any:
    return made(sm.methods.Mae, **({"decoder_depth": 1, "decoder_dim": 64} | options))


def ijepa(**options: Any) -> Any:
    return made(sm.methods.IJepa, **({"predictor_depth": 1, "predictor_dim": 64} | options))


def augmented(on_device: bool) -> Any:
    colors = {"macenko": 0.3, "hed": 0.05, "brightness": 0.2, "contrast": 0.2, "saturation": 0.2, "hue": 0.05}
    return mae(augmentation=made(sm.Augmentation, scale=(0.4, 1.0), p_grayscale=0.2, p_blur=0.3, p_solarize=0.2, on_device=on_device, **colors))


def resumed(lab: Lab) -> dict[str, Any]:
    """A run that is stopped twice must end with the weights of one that is not."""
    options = {"batch_size": 4, "checkpoint_every": 5}
    whole = pretrained(lab.pretrain_eeg(mae(), **options))
    options["out"] = "cut"
    cut = lab.pretrain_eeg(mae(), callback=lambda rows: False, **options)
    if not cut.interrupted:
        raise RuntimeError("the run ended before the callback could stop it")
    lab.pretrain_eeg(mae(), callback=lambda rows: False, resume=True, **options)
    return whole | {"resumed_is_equal": pretrained(lab.pretrain_eeg(mae(), resume=True, **options)) == whole}


def two_ranks(lab: Lab) -> dict[str, Any]:
    assert lab.eeg
    out = lab.root / "ranks.json"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(SCRIPT), "rank", str(out), str(lab.root / "eeg" / "a")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    return json.loads(out.read_text())


def rank(out: Path, cohort: Path) -> int:
    """What each process of :func:`two_ranks` does."""
    load()
    with sm.distributed.under_torchrun(timeout=120.0), tempfile.TemporaryDirectory() as folder:
        lab = Lab(Path(folder))
        lab.eeg = (sm.Cohort.from_bids(cohort, name="public"), None)
        run = lab.pretrain_eeg(mae())
        if os.environ["RANK"] == "0":
            out.write_text(json.dumps(pretrained(run)))
    return 0


def data(lab: Lab) -> dict[str, Any]:
    assert len(lab.eeg) == len(lab.slides) == 2
    files = sorted(p for p in lab.root.rglob("*") if p.suffix in (".edf", ".tsv", ".tif"))
    return {str(p.relative_to(lab.root)): digest(p.read_bytes()) for p in files}


JOBS: dict[str, Callable[[Lab], dict[str, Any]]] = {
    "data": data,
    "eeg/mae_random": lambda lab: pretrained(lab.eeg_run),
    "eeg/mae_spectrum": lambda lab: pretrained(lab.pretrain_eeg(mae(reconstruct="spectrum", reconstruct_bins=3))),
    "eeg/mae_complementary": lambda lab: pretrained(lab.pretrain_eeg(mae(complementary=True))),
    "eeg/mae_space": lambda lab: pretrained(lab.pretrain_eeg(mae(mask="space"))),
    "eeg/mae_time": lambda lab: pretrained(lab.pretrain_eeg(mae(mask="time"))),
    "eeg/mae_ema_accumulate": lambda lab: pretrained(lab.pretrain_eeg(mae(), ema_decay=0.9, accumulate=2, order="subject")),
    "eeg/ijepa": lambda lab: pretrained(lab.pretrain_eeg(ijepa(mask="multiblock"))),
    "eeg/ijepa_exact": lambda lab: pretrained(lab.pretrain_eeg(ijepa(mask="multiblock_exact"))),
    "slides/mae": lambda lab: pretrained(lab.slide_run),
    "slides/ijepa": lambda lab: pretrained(lab.pretrain_slides(ijepa())),
    "slides/augmentation": lambda lab: pretrained(lab.pretrain_slides(augmented(on_device=False))),
    "slides/augmentation_on_device": lambda lab: pretrained(lab.pretrain_slides(augmented(on_device=True))),
    "images/mae": lambda lab: pretrained(lab.pretrain(lab.images, mae(), made(sm.ImagePreprocessing, size=64, patch=16), batch_size=4)),
    **{f"finetune/{name}": lambda lab, name=name: lab.finetune(protocol(name)) for name in ("finetune", "lora", "attentive")},
    "finetune/dann": lambda lab: lab.finetune(made(sm.FineTuning, epochs=EPOCHS, dann=0.1), unlabeled=lab.eeg[0]),
    "finetune/groups": lambda lab: lab.finetune(made(sm.FineTuning, epochs=EPOCHS, groups="sex")),
    "resume": resumed,
    "two_ranks": two_ranks,
    "transfer/diagnosis": lambda lab: transferred(lab, "diagnosis", cv=3),
    "transfer/age": lambda lab: transferred(lab, "age", cv=3),
    "transfer/age_bias_correction": lambda lab: transferred(lab, "age", cv=3, bias_correction=True, baselines=["dummy", "band power"]),
    "transfer/age_coral": lambda lab: transferred(lab, "age", test=lab.eeg[0], adaptation="coral"),
    "transfer/knn": lambda lab: transferred(lab, "diagnosis", "knn", cv=3),
    "transfer/regions": lambda lab: transferred(lab, "age", cv=3, pooling="regions", baselines=False),
    "transfer/slides": lambda lab: transferred(lab, "diagnosis", slides=True, cv=3),
    "few_shot": lambda lab: table(sm.few_shot(lab.eeg_run.encoder, lab.eeg[1], "diagnosis", (1, 2), repeats=5)),
    "shift": lambda lab: table(sm.shift.report(*lab.eeg, lab.eeg_run.encoder, ["age", "sex", "site"], target="age", bootstrap=50).table),
}


def run(out: Path, only: list[str]) -> int:
    """Does the jobs and writes the file; 1 where a job failed."""
    load()
    names = [name for name in JOBS if not only or any(name.startswith(p) for p in only)]
    if not names:
        raise SystemExit(f"--only {' '.join(only)} matches no job; there are {', '.join(JOBS)}")
    describe = ["git", "-C", str(Path(sm.__file__).parent), "describe", "--always", "--dirty"]
    commit = os.environ.get("GOLDEN_COMMIT") or subprocess.run(describe, capture_output=True, text=True).stdout.strip()
    models = [line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    cpu = f"{models[0] if models else 'unknown'}, {torch.backends.cpu.get_cpu_capability()}"
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="golden-") as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        lab = Lab(Path(folder))
        for name in names:
            start = time.perf_counter()
            try:
                results[name] = JOBS[name](lab)
            except Exception as error:  # one job that fails must not hide the others
                results[name] = {"error": f"{type(error).__name__}: {error}"}
            print(f"{time.perf_counter() - start:6.1f} s  {name}  {results[name].get('error', '')}", flush=True)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps({"commit": commit, "torch": torch.__version__, "cpu": cpu, "results": results}, indent=1) + "\n")
    return int(any("error" in result for result in results.values()))


def flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every number and hash with its place."""
    if not isinstance(value, (dict, list)):
        yield path, value
        return
    for key, part in value.items() if isinstance(value, dict) else enumerate(value):
        yield from flat(part, f"{path} > {key}" if path else str(key))


def compare(first: Path, second: Path) -> int:
    """Prints every difference; 1 where there is one, or an entry is missing or failed. Labels may differ: that is only noted."""
    a, b = (json.loads(path.read_text()) for path in (first, second))
    print(f"A: {first} ({a['commit']})\nB: {second} ({b['commit']})")
    for key in (key for key in ("cpu", "torch") if a[key] != b[key]):
        print(f"warning: {key} differs, so the last bits may: A {a[key]}, B {b[key]}")
    ours, theirs = dict(flat(a["results"])), dict(flat(b["results"]))
    equal = different = 0
    for path in dict.fromkeys([*ours, *theirs]):
        x, y = ours.get(path, "missing"), theirs.get(path, "missing")
        failed = path.endswith("> error") or (path.endswith("resumed_is_equal") and not (x is True and y is True))
        if x == y and not failed:
            equal += 1
        elif "> labels >" in path and "missing" not in (x, y):
            print(f"note: {path}: {x!r} is now {y!r}")
        else:
            different += 1
            print(f"{path}\n  A {x}\n  B {y}")
    print(f"{equal} entries equal, {different} different")
    return int(different > 0 or equal == 0)


def built(commit: str, folder: Path) -> tuple[str, Path]:
    """A commit's name and a folder with its package; a folder that holds the package already is taken as it is."""
    if (Path(commit) / "sslmed").is_dir():
        return commit, Path(commit).resolve()

    def git(*arguments: str) -> str:
        return subprocess.run(["git", "-C", str(SCRIPT.parents[1]), *arguments], check=True, capture_output=True, text=True).stdout.strip()

    name = git("rev-parse", "--short=12", f"{commit}^{{commit}}")
    target, tree = folder / name, folder / f"{name}-tree"
    if not (target / "sslmed").is_dir():
        print(f"building {commit} ({name}) in {target}", flush=True)
        git("worktree", "add", "--force", "--detach", str(tree), name)
        try:
            # ccache then knows a file again that is the same in the other commit's tree.
            environment = os.environ | {"CCACHE_BASEDIR": str(tree), "CCACHE_NOHASHDIR": "1"}
            pip = [sys.executable, "-m", "pip", "install", "-q", "--no-build-isolation", "--no-deps", "--target", str(target), str(tree)]
            subprocess.run([*pip, "-C", f"build-dir={tree / 'build'}"], check=True, env=environment)
        finally:
            git("worktree", "remove", "--force", str(tree))
    return name, target


def between(first: str, second: str, folder: Path | None, only: list[str]) -> int:
    """Builds, runs and compares two commits."""
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="golden-between-") as temporary:
            return between(first, second, Path(temporary), only)
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / "a.json", folder / "b.json"]
    for file, commit in zip(files, (first, second), strict=True):
        name, target = built(commit, folder)
        file.unlink(missing_ok=True)
        command = [sys.executable, str(SCRIPT), "run", str(file), *(["--only", *only] if only else [])]
        subprocess.run(command, env=os.environ | {PREFIX: str(target), "GOLDEN_COMMIT": name})
        if not file.exists():
            raise SystemExit(f"{commit}: the runs wrote no file")
    return compare(*files)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    jobs, files, commits, process = (commands.add_parser(name) for name in ("run", "compare", "between", "rank"))
    two, job = ("first", "second"), ("out", "cohort")
    for part, kind, names in ((jobs, Path, job[:1]), (files, Path, two), (commits, str, two), (process, Path, job)):
        for name in names:
            part.add_argument(name, type=kind)
    commits.add_argument("--folder", type=lambda path: Path(path).resolve(), help="keep builds and JSON files here, and use the builds again")
    for part in (jobs, commits):
        part.add_argument("--only", nargs="+", default=[], metavar="PREFIX", help="only jobs whose names start with one of these")
    given = vars(parser.parse_args())
    return {"run": run, "compare": compare, "between": between, "rank": rank}[given.pop("command")](**given)


if __name__ == "__main__":
    sys.exit(main())
