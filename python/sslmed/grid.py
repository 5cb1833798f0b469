"""Experiments by the grid: every combination of method, encoder, protocol, adaptation and seed, in one tidy table. Resumable, and sharded over jobs."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from sslmed._core import FormatError, ReadError
from sslmed.cohort import Cohort
from sslmed.encoders import Encoder
from sslmed.evaluation.transfer import transfer
from sslmed.finetuning import FineTuning
from sslmed.modalities import Augmentation, default_preprocessing
from sslmed.pretraining import pretrain

__all__ = ["cells", "run", "shard_of_this_job"]

_SECTIONS = ("public", "clinic", "test", "target", "preprocessing", "pretrain", "transfer", "seed")
_TABLE = "table.parquet"


def run(
    grid: str | os.PathLike[str] | Mapping[str, Any],
    out: str | os.PathLike[str],
    *,
    cohorts: Mapping[str, Cohort] | None = None,
    shard: tuple[int, int] | None = None,
    threads: int = 2,
    progress: bool = True,
) -> pd.DataFrame:
    """Runs what is not done yet, and gives the table of all that is.

    A grid has the sections ``public``, ``clinic`` and, if another cohort is to be tested, ``test`` (paths), ``target``, ``pretrain`` (arguments of
    :func:`sslmed.pretrain`, with the method's options), ``transfer`` (arguments of :func:`sslmed.transfer`), ``preprocessing`` (fields of
    that of the cohort's modality) and ``seed``. Wherever a value is a list, each entry is tried with each of the others. Runs that share their
    pretraining share its folder under ``out/pretrain``; an interrupted one goes on from its newest checkpoint.

    Args:
        grid: A YAML file (its paths count from its folder), or the same as a mapping.
        out: Folder: pretrain/, cells/ (a table each), table.parquet and report.html.
        cohorts: Cohorts by section, instead of paths.
        shard: (k, n): only the k-th of n parts, for jobs that run side by side. All runs of one pretraining are in one part.
        threads: Loader threads.
        progress: Say which run is under way.

    Returns:
        One row a run, row and metric: the settings as columns, then row, metric, value, low, high, n_subjects.

    Raises:
        FormatError: The grid is not as it must be.
        ReadError: A file is missing.
    """
    settings, folder = _read(grid), Path(out)
    base = Path(grid).parent if isinstance(grid, (str, os.PathLike)) else Path()
    people = {
        name: (cohorts or {}).get(name) or _cohort(base, settings, name) for name in ("public", "clinic", "test") if name in {*settings, *(cohorts or {})}
    }
    if "clinic" not in people or "target" not in settings:
        raise FormatError(f"{_name(grid)}: expected 'clinic' and 'target', found {', '.join(settings)}")
    if "pretrain" in settings and "public" not in people:
        raise FormatError(f"{_name(grid)}: expected 'public' to pretrain on, found none")
    # A cohort in memory has no path that would tell it from another.
    settings |= {name: _who(cohort) for name, cohort in (cohorts or {}).items()}
    for kind in ("pretrain", "cells"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    for cell in cells(settings, shard):
        path = folder / "cells" / f"{cell['id']}.parquet"
        if path.exists():
            continue
        if progress:
            print(f"grid: {_label(cell)}", flush=True)
        encoder = _encoder(folder, cell, people["public"], threads) if "public" in people else None
        options = dict(cell["transfer"])
        if isinstance(options.get("protocol"), dict):
            options["protocol"] = FineTuning(**_made(options["protocol"]))
        target = str(settings["target"])
        result = transfer(encoder, people["clinic"], target, test=people.get("test"), seed=cell["seed"], threads=threads, **options)
        table = result.table.assign(id=cell["id"], **_columns(cell))
        temporary = path.with_suffix(f".tmp-{uuid.uuid4().hex}")
        table.to_parquet(temporary, index=False)
        temporary.replace(path)  # whole, or not there
    return _collect(folder, settings)


def cells(settings: Mapping[str, Any], shard: tuple[int, int] | None = None) -> Iterator[dict[str, Any]]:
    """The runs of a grid, or of its k-th of n parts: id, pretrain_id, pretrain, transfer, preprocessing, seed.

    Raises:
        FormatError: A shard that is not one.
    """
    if shard is not None and not 0 <= shard[0] < shard[1]:
        raise FormatError(f"expected a shard k/n with 0 <= k < n, found {shard[0]}/{shard[1]}")
    seeds = settings.get("seed", 0)
    shared = {name: settings[name] for name in ("public", "clinic", "test", "target") if name in settings}
    trainings = list(
        itertools.product(_product(settings.get("preprocessing", {})), _product(settings.get("pretrain", {})), seeds if isinstance(seeds, list) else [seeds])
    )
    for number, (preprocessing, training, seed) in enumerate(trainings):
        if shard is not None and number % shard[1] != shard[0]:
            continue
        first = {"preprocessing": preprocessing, "pretrain": training, "seed": seed, "public": shared.get("public")}
        for protocol in _product(settings.get("transfer", {})):
            yield {"id": _digest({**shared, **first, "transfer": protocol}), "pretrain_id": _digest(first), "transfer": protocol} | first


def shard_of_this_job() -> tuple[int, int] | None:
    """(k, n) of a SLURM array job (SLURM_ARRAY_TASK_ID, _MIN and _COUNT), or None outside of one."""
    if "SLURM_ARRAY_TASK_ID" not in os.environ:
        return None
    place = int(os.environ["SLURM_ARRAY_TASK_ID"]) - int(os.environ.get("SLURM_ARRAY_TASK_MIN", 0))
    return place // int(os.environ.get("SLURM_ARRAY_TASK_STEP", 1)), int(os.environ["SLURM_ARRAY_TASK_COUNT"])


def _read(grid: str | os.PathLike[str] | Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(grid, Mapping):
        settings: Any = dict(grid)
    else:
        try:
            settings = yaml.safe_load(Path(grid).read_text())
        except FileNotFoundError:
            raise ReadError(f"{grid}: no such file") from None
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise FormatError(f"{grid}: expected YAML, found {error}") from error
    if not isinstance(settings, dict):
        raise FormatError(f"{_name(grid)}: expected sections, found {type(settings).__name__}")
    if unknown := [str(key) for key in settings if key not in _SECTIONS]:
        raise FormatError(f"{_name(grid)}: expected the sections {', '.join(_SECTIONS)}, found {', '.join(unknown)}")
    return settings


def _cohort(base: Path, settings: Mapping[str, Any], section: str) -> Cohort:
    return Cohort.open(base / str(settings[section]))


def _who(cohort: Cohort) -> list[Any]:
    return [cohort.name, len(cohort), hashlib.sha256("\n".join(cohort.table["subject"] + cohort.table["path"].astype(str)).encode()).hexdigest()[:16]]


def _product(section: Mapping[str, Any]) -> list[dict[str, Any]]:
    axes = [value if isinstance(value, list) else [value] for value in section.values()]
    return [dict(zip(section, values, strict=True)) for values in itertools.product(*axes)]


def _made(options: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments, where a mapping in YAML stands for an augmentation."""
    out = dict(options)
    if isinstance(given := out.get("augmentation"), Mapping):
        known = [field.name for field in fields(Augmentation)]
        if unknown := [str(name) for name in given if name not in known]:
            raise FormatError(f"expected an augmentation of {', '.join(known)}, found {', '.join(unknown)}")
        values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
        out["augmentation"] = Augmentation(**values)
    return out


def _digest(settings: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _encoder(folder: Path, cell: Mapping[str, Any], public: Cohort, threads: int) -> Encoder:
    """Pretrained by an earlier run, or now."""
    out = folder / "pretrain" / str(cell["pretrain_id"])
    if not (out / "encoder.safetensors").exists():
        resume = any((out / "checkpoints").glob("step-*.safetensors"))
        default = default_preprocessing(public.modality)
        known = [field.name for field in fields(default)]
        if unknown := [str(name) for name in cell["preprocessing"] if name not in known]:
            raise FormatError(f"expected fields of {type(default).__name__} ({', '.join(known)}), found {', '.join(unknown)}")
        preprocessing = replace(default, **cell["preprocessing"])
        options = _made(cell["pretrain"])
        run = pretrain(public, out=out, preprocessing=preprocessing, seed=cell["seed"], threads=threads, resume=resume, progress=False, **options)
        if run.interrupted:
            raise KeyboardInterrupt
    return Encoder.load(out / "encoder.safetensors")


def _columns(cell: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a run as columns; two sections may have a name in common."""
    out: dict[str, Any] = {"seed": cell["seed"]}
    for section in ("preprocessing", "pretrain", "transfer"):
        for key, value in cell[section].items():
            out[f"{section}.{key}"] = value if isinstance(value, (str, int, float, bool)) else json.dumps(value, sort_keys=True, default=str)
    return out


def _label(cell: Mapping[str, Any]) -> str:
    return ", ".join(f"{key.rpartition('.')[2]} {value}" for key, value in _columns(cell).items())


def _collect(folder: Path, settings: Mapping[str, Any]) -> pd.DataFrame:
    """All that is done of this grid, by any job."""
    wanted = {cell["id"] for cell in cells(settings)}
    done = [pd.read_parquet(path) for path in sorted((folder / "cells").glob("*.parquet")) if path.stem in wanted]
    if not done:
        return pd.DataFrame()
    table = pd.concat(done, ignore_index=True)
    last = ["row", "metric", "value", "low", "high", "n_subjects"]
    table = table[[c for c in table.columns if c not in (*last, "id")] + last]
    temporary = folder / f"{_TABLE}.tmp-{uuid.uuid4().hex}"  # of any job, on any machine
    table.to_parquet(temporary, index=False)
    temporary.replace(folder / _TABLE)
    from sslmed.reporting.page import write_report

    settings_of = [c for c in table.columns if c not in (*last, "seed")]
    shown = table.groupby(["row", "metric", *settings_of], dropna=False, sort=False)["value"]
    means = pd.DataFrame({"mean": shown.mean(), "min": shown.min(), "max": shown.max(), "runs": shown.size()}).reset_index()
    title = f"Grid: {settings['target']}"
    write_report(
        folder / "report.html", title, [("Means over seeds", means, []), ("All runs", table, [])], notes=[f"{len(done)} of {len(wanted)} runs are done."]
    )
    return table


def _name(grid: Any) -> str:
    return os.fspath(grid) if isinstance(grid, (str, os.PathLike)) else "grid"
