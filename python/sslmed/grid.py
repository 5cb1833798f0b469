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

import numpy as np
import pandas as pd
import yaml

from sslmed._core import FormatError, ReadError, regular
from sslmed.cohort import Cohort
from sslmed.encoders import Encoder
from sslmed.evaluation.features import encoder_features
from sslmed.evaluation.scoring import HIGHER
from sslmed.evaluation.selection import SELECTED, select
from sslmed.evaluation.transfer import transfer
from sslmed.finetuning import FineTuning
from sslmed.labels import labeled
from sslmed.modalities import Augmentation, registry
from sslmed.pretraining import pretrain
from sslmed.provenance import overlap

__all__ = ["cells", "run", "shard_of_this_job"]

_SECTIONS = ("public", "clinic", "test", "target", "preprocessing", "pretrain", "transfer", "seed")
_TABLE = "table.parquet"
_ENCODER = "pretrained encoder"
_SCORES = ["row", "metric", "value", "low", "high", "n_subjects", "sd_folds"]
# What decides who is scored and how, of the arguments of transfer: candidates of one choice must have it in common.
_STUDY = ("cv", "repeats", "regression", "positive", "balanced", "level", "prevalence")


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

    The best run of many is the best partly by luck. So once all runs are done, the choice among those with frozen features ("linear", "knn", no ``test``)
    is made anew inside the training people of each fold (:func:`sslmed.evaluation.select`): the row ``selected by nested folds``. Seeds are averaged,
    never chosen.

    Args:
        grid: A YAML file (its paths count from its folder), or the same as a mapping.
        out: Folder: pretrain/, cells/ (a table each), features/ (of the clinic), selection/, table.parquet and report.html.
        cohorts: Cohorts by section, instead of paths.
        shard: (k, n): only the k-th of n parts, for jobs that run side by side. All runs of one pretraining are in one part.
        threads: Loader threads.
        progress: Say which run is under way.

    Returns:
        One row a run, row and metric: the settings as columns, then row, metric, value, low, high, n_subjects, sd_folds (over draws of the folds), sd_seeds
        (over the seeds of a setting), chosen (whether the setting is the best of all, by AUROC or mean absolute error); and the rows
        ``selected by nested folds``, without settings.

    Raises:
        FormatError: The grid is not as it must be.
        ReadError: A file is missing.
    """
    settings, folder = _read(grid), Path(out)
    base = Path(grid).parent if isinstance(grid, (str, os.PathLike)) else Path()
    people: dict[str, Cohort] = {
        name: (cohorts or {}).get(name) or _cohort(base, settings, name) for name in ("public", "clinic", "test") if name in {*settings, *(cohorts or {})}
    }
    if "clinic" not in people or "target" not in settings:
        raise FormatError(f"{_name(grid)}: expected 'clinic' and 'target', found {', '.join(settings)}")
    if "pretrain" in settings and "public" not in people:
        raise FormatError(f"{_name(grid)}: expected 'public' to pretrain on, found none")
    # A cohort in memory has no path that would tell it from another.
    settings |= {name: _who(cohort) for name, cohort in (cohorts or {}).items()}
    for kind in ("pretrain", "cells", "features", "selection"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    for cell in cells(settings, shard):
        path, kept = folder / "cells" / f"{cell['id']}.parquet", _kept(folder, cell, settings, people)
        if path.exists() and (kept is None or kept.exists()):
            continue
        if progress:
            print(f"grid: {_label(cell)}", flush=True)
        encoder = _encoder(folder, cell, people["public"], threads) if "public" in people else None
        if not path.exists():
            _run_cell(path, cell, encoder, people, str(settings["target"]), threads)
        if kept is not None and encoder is not None and not kept.exists():
            _keep_features(kept, cell, encoder, people["clinic"], str(settings["target"]), threads)
    return _collect(folder, settings, people)


def _run_cell(path: Path, cell: Mapping[str, Any], encoder: Encoder | None, people: Mapping[str, Cohort], target: str, threads: int) -> None:
    options = dict(cell["transfer"])
    if isinstance(options.get("protocol"), dict):
        options["protocol"] = FineTuning(**_made(options["protocol"]))
    result = transfer(encoder, people["clinic"], target, test=people.get("test"), seed=cell["seed"], threads=threads, **options)
    _write(result.table.assign(id=cell["id"], **_columns(cell)), path)


def _write(table: pd.DataFrame, path: Path) -> None:
    temporary = path.with_suffix(f".tmp-{uuid.uuid4().hex}")  # of any job, on any machine
    table.to_parquet(temporary, index=False)
    temporary.replace(path)  # whole, or not there


def _kept(folder: Path, cell: Mapping[str, Any], settings: Mapping[str, Any], people: Mapping[str, Cohort]) -> Path | None:
    """Where the clinic's features of a run are kept, for the choice among runs; None where it has no frozen features or is scored elsewhere."""
    options = cell["transfer"]
    frozen = options.get("protocol", "linear") in ("linear", "knn") and options.get("adaptation", "none") == "none" and not options.get("bias_correction")
    if not frozen or "public" not in people or "test" in people:
        return None
    named = {name: options.get(name) for name in ("pooling", "on_error", "transductive")}
    return folder / "features" / f"{_digest({'pretrain': cell['pretrain_id'], 'clinic': settings.get('clinic'), 'target': settings['target'], **named})}.npz"


def _keep_features(path: Path, cell: Mapping[str, Any], encoder: Encoder, clinic: Cohort, target: str, threads: int) -> None:
    """Writes the features of the rows that are scored, and which rows of the clinic they are."""
    options = cell["transfer"]
    scored, _ = labeled(clinic, target)
    rows = np.flatnonzero(clinic.table[target].notna())
    if options.get("transductive") == "exclude":
        left = ~overlap(encoder, scored).rows
        scored, rows = scored.subset(left), rows[left]
    x = encoder_features(encoder, scored, pooling=options.get("pooling", "mean"), threads=threads, on_error=options.get("on_error", "raise"))
    temporary = path.with_suffix(f".tmp-{uuid.uuid4().hex}.npz")
    np.savez(temporary, x=x, rows=rows)
    temporary.replace(path)


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
            settings = yaml.safe_load(Path(regular(grid)).read_text())
        except FileNotFoundError:
            raise ReadError(f"{grid}: no such file") from None
        except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
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
        default = registry.get(public.modality).default(public)
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


def _collect(folder: Path, settings: Mapping[str, Any], people: Mapping[str, Cohort]) -> pd.DataFrame:
    """All that is done of this grid, by any job."""
    wanted = {cell["id"]: cell for cell in cells(settings)}
    done = [pd.read_parquet(path) for path in sorted((folder / "cells").glob("*.parquet")) if path.stem in wanted]
    if not done:
        return pd.DataFrame()
    table = pd.concat(done, ignore_index=True)
    own = [c for c in table.columns if c not in (*_SCORES, "seed", "id")]
    table = table.reindex(columns=["seed", *own, *_SCORES])
    grouped = table.groupby(["row", "metric", *own], dropna=False, sort=False)["value"]
    table["sd_seeds"] = grouped.transform(lambda values: values.std(ddof=1))
    table["chosen"], notes = _best(table, own)
    nested: list[pd.DataFrame] = []
    if len(done) == len(wanted):
        for found in _nested(folder, settings, people, list(wanted.values())):
            nested.append(pd.DataFrame(found["table"]))
            notes.append(found["note"])
    elif notes:
        notes.append("The choice among them by nested folds is made once all runs are done.")
    if nested:
        # Rows without settings: whole numbers stay whole beside missing ones.
        table[["seed", *own]] = table[["seed", *own]].convert_dtypes()
        lines = pd.concat(nested, ignore_index=True).reindex(columns=table.columns).astype({c: table[c].dtype for c in ("seed", *own)})
        table = pd.concat([table, lines.assign(chosen=False)], ignore_index=True)
    _write(table, folder / _TABLE)
    _report(folder, settings, table, own, [f"{len(done)} of {len(wanted)} runs are done.", *notes])
    return pd.read_parquet(folder / _TABLE)


def _best(table: pd.DataFrame, own: list[str]) -> tuple[pd.Series[bool], list[str]]:
    """Marks the setting whose mean over seeds is best, and says of how many."""
    marked = pd.Series(True, index=table.index)
    main = table[(table["row"] == _ENCODER) & table["value"].notna()]
    metric = next((name for name in ("auroc", "balanced_accuracy", "mae") if (main["metric"] == name).any()), "")
    main = main[main["metric"] == metric]
    means = main.groupby(own, dropna=False, sort=False)["value"].mean() if own else pd.Series(dtype=float)
    if len(means) < 2 or not means.notna().any():
        return ~marked, []
    best: Any = means.idxmax() if HIGHER.get(metric, True) else means.idxmin()
    values = dict(zip(own, best if isinstance(best, tuple) else (best,), strict=True))
    name: Any
    for name, value in values.items():
        marked &= table[name].isna() if pd.isna(value) else table[name] == value
    varying = {str(name): value for name, value in values.items() if table[name].nunique(dropna=False) > 1}
    said = ", ".join(f"{name.rpartition('.')[2]} {value}" for name, value in varying.items())
    text = (
        f"{said}: {metric} {means[best]:.3f} is the best of {len(means)} settings (mean over seeds). It was picked for this score, which is therefore too high."
    )
    return marked, [text]


def _nested(folder: Path, settings: Mapping[str, Any], people: Mapping[str, Cohort], wanted: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The choice among runs with frozen features, for each way to score them that the grid has; kept, so that it is made once."""
    columns = pd.DataFrame([_columns(cell) for cell in wanted])
    axes = [str(c) for c in columns if c != "seed" and columns[c].nunique(dropna=False) > 1]
    studies: dict[str, dict[str, list[tuple[Path, str]]]] = {}
    shared: dict[str, dict[str, Any]] = {}
    for cell, line in zip(wanted, columns.to_dict("records"), strict=True):
        path = _kept(folder, cell, settings, people)
        if path is None or not path.exists():
            continue
        same = {name: cell["transfer"][name] for name in (*_STUDY, "transductive") if name in cell["transfer"]}
        key, name = _digest(same), ", ".join(f"{str(axis).rpartition('.')[2]} {line[axis]}" for axis in axes if not pd.isna(line[axis]))
        shared[key] = same
        studies.setdefault(key, {}).setdefault(name, []).append((path, str(cell["transfer"].get("protocol", "linear"))))
    out = []
    for key, candidates in studies.items():
        if len(candidates) < 2:
            continue
        kept = folder / "selection" / f"{_digest({'study': shared[key], 'of': {n: [(p.stem, how) for p, how in c] for n, c in candidates.items()}})}.json"
        if not kept.exists():
            found = _select(people["clinic"], str(settings["target"]), candidates, shared[key])
            temporary = kept.with_suffix(f".tmp-{uuid.uuid4().hex}")
            temporary.write_text(json.dumps(found))
            temporary.replace(kept)
        out.append(json.loads(kept.read_text()))
    return out


def _select(clinic: Cohort, target: str, candidates: Mapping[str, list[tuple[Path, str]]], shared: Mapping[str, Any]) -> dict[str, Any]:
    features: dict[str, list[Any]] = {}
    rows: Any = None
    for name, many in candidates.items():
        loaded = [np.load(path) for path, _ in many]
        for one in loaded:
            if rows is not None and not np.array_equal(rows, one["rows"]):
                raise FormatError(f"grid: {name}: its features are of other recordings than those of the other runs; leave out transductive='exclude'")
            rows = one["rows"]
        features[name] = [one["x"] for one in loaded]
    protocols: Any = {name: many[0][1] for name, many in candidates.items()}
    options = {name: value for name, value in shared.items() if name in _STUDY}
    people = clinic.table.take(rows).reset_index(drop=True)
    result = select(features, people, target, protocols, **options)
    lines = result.table[result.table["row"] == SELECTED]
    settings = {f"transfer.{name}": value for name, value in shared.items()}
    value, low, high = lines[lines["metric"] == result.by][["value", "low", "high"]].iloc[0]
    interval = "too few people for an interval" if np.isnan(low) else f"95 % interval {low:.3f} to {high:.3f}"
    often = ", ".join(f"{name} in {n}" for name, n in result.chosen[result.chosen > 0].sort_values(ascending=False).items())
    note = f"Chosen among {len(features)} inside the training people of each fold, {result.by} is {value:.3f} ({interval}). Folds chose: {often}."
    return {"table": lines.assign(**settings).to_dict("list"), "chosen": {k: int(v) for k, v in result.chosen.items()}, "note": note}


def _report(folder: Path, settings: Mapping[str, Any], table: pd.DataFrame, own: list[str], notes: list[str]) -> None:
    from sslmed.reporting.page import write_report

    runs, chosen = table[table["row"] != SELECTED], table[table["row"] == SELECTED]
    grouped = runs.groupby(["row", "metric", *own], dropna=False, sort=False)
    values = grouped["value"]
    means = pd.DataFrame({"mean": values.mean(), "sd_seeds": values.std(ddof=1), "sd_folds": grouped["sd_folds"].mean(), "min": values.min(),
                          "max": values.max(), "runs": values.size(), "chosen": grouped["chosen"].first()}).reset_index()  # fmt: skip
    first: list[Any] = [("Chosen inside the training people", chosen[[*_SCORES, "sd_seeds"]], [])] if len(chosen) else []
    sections = [*first, ("Means over seeds", means, []), ("All runs", runs, [])]
    write_report(folder / "report.html", f"Grid: {settings['target']}", sections, notes=notes)


def _name(grid: Any) -> str:
    return os.fspath(grid) if isinstance(grid, (str, os.PathLike)) else "grid"
