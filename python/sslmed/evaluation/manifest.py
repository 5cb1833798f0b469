"""Manifests: making the same table again, bit for bit, from features, a table of people and what a result recorded."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sslmed._core import regular
from sslmed.evaluation.assess import Options, assess
from sslmed.evaluation.crossfit import Pipeline, Study
from sslmed.evaluation.evaluate import Prepared, covariate_pipelines, positive_class, prepared
from sslmed.evaluation.record import digest
from sslmed.evaluation.result import TransferResult
from sslmed.evaluation.splits import Fold

__all__ = ["load_manifest", "remake"]

Array = np.ndarray[Any, Any]

_CORRECTED = ", bias-corrected"


def load_manifest(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads a manifest that :meth:`sslmed.TransferResult.save_manifest` wrote.

    Args:
        path: JSON file.

    Returns:
        The manifest, equal to ``result.manifest``.

    Raises:
        ValueError: The file is not a manifest.

    Examples:
        >>> import tempfile, pathlib
        >>> import numpy as np, pandas as pd
        >>> import sslmed as sm
        >>> from sslmed.evaluation.manifest import load_manifest
        >>> table = pd.DataFrame({"subject": range(12), "y": ["a", "b"] * 6})
        >>> result = sm.evaluate(np.random.default_rng(0).normal(size=(12, 3)), table, "y", cv=3, repeats=2, permutations=9)
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "manifest.json"
        >>> result.save_manifest(path)
        >>> load_manifest(path) == result.manifest
        True
    """
    try:
        found = json.loads(Path(regular(path)).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"load_manifest: path={os.fspath(path)!r} must be JSON that save_manifest wrote: {error}") from error
    _check(found, "load_manifest", f"path={os.fspath(path)!r}")
    return dict(found)


def remake(manifest: Mapping[str, Any], features: Array | pd.DataFrame | Mapping[str, Array | pd.DataFrame], table: pd.DataFrame) -> TransferResult:
    """Makes the table of a result again, bit for bit, from its manifest.

    Hashes of features, target and people are compared first. The folds are those that the manifest holds; nothing is
    drawn anew but by its seeds. The same versions of NumPy and of the package are needed for the last bits.

    Args:
        manifest: ``result.manifest``, or what :func:`load_manifest` reads.
        features: Features [rows, D], or several by the names of the rows of the result: as they were given to
            :func:`sslmed.evaluate`; of a transfer, those of each row that is a probe of features, such as "pretrained
            encoder" (:func:`sslmed.evaluation.features.encoder_features`).
        table: One row a recording, as it was given to :func:`sslmed.evaluate`; of a transfer, ``cohort.table``.

    Returns:
        The same result.

    Raises:
        TypeError: ``table`` is not a table.
        ValueError: Features, target or people differ from those of the manifest, a row is missing, or the result was
            not made from frozen features in folds.

    Examples:
        >>> import numpy as np, pandas as pd
        >>> import sslmed as sm
        >>> from sslmed.evaluation.manifest import remake
        >>> x, table = np.random.default_rng(0).normal(size=(12, 3)), pd.DataFrame({"subject": range(12), "y": ["a", "b"] * 6})
        >>> result = sm.evaluate(x, table, "y", cv=3, repeats=2, permutations=9)
        >>> remake(result.manifest, x, table).table.equals(result.table)
        True
    """
    _check(manifest, "remake", "manifest")
    if manifest["kind"] != "folds":
        raise ValueError("remake: manifest is of fitted models on another cohort (test=), which are not made again from features; call sslmed.transfer")
    asked: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in manifest["options"].items()}
    options = Options(**asked)
    classes = manifest["classes"]
    data = prepared("remake", features, table, options.target, classes is None)
    _compare_people(manifest, data, options.target)
    study = _study(manifest, data, options)
    pipelines = _pipelines(manifest, data)
    extra: dict[str, Pipeline] = {}
    design = None
    if options.covariates:
        extra, design = covariate_pipelines("remake", data.people.table, options.covariates, pipelines[options.main], options.main, options.target)
        for name, how in extra.items():
            if digest(how.x) != manifest["rows"][name]["features"]:
                raise ValueError(f"remake: table: the covariates {', '.join(options.covariates)} differ from those of the manifest's row {name!r}")
    rows: dict[str, Pipeline | list[Array] | None] = {
        name: None if how["probe"] == "dummy" else (extra | pipelines)[name] for name, how in manifest["rows"].items()
    }
    result = assess(study, rows, data.people.table, options, design)
    result.manifest |= {name: manifest[name] for name in manifest if name not in result.manifest}
    return result


def _check(found: Any, where: str, name: str) -> None:
    if not isinstance(found, Mapping) or (missing := [key for key in ("kind", "options", "rows", "target", "persons") if key not in found]):
        what = f"{', '.join(missing)} is missing" if isinstance(found, Mapping) and found else f"got {type(found).__name__}" if found else "it is empty"
        raise ValueError(f"{where}: {name} must be the manifest of a result of sslmed.evaluate or sslmed.transfer; {what}")


def _compare_people(manifest: Mapping[str, Any], data: Prepared, target: str) -> None:
    """Refuses other people, other values, or another order."""
    if (n := len(data.values)) != manifest["recordings"]:
        raise ValueError(f"remake: table has {n} recordings with a value of {target!r}, and the manifest {manifest['recordings']}")
    classes = None if data.classes is None else [str(c) for c in data.classes]
    if classes != manifest["classes"]:
        raise ValueError(f"remake: table: target={target!r} has the classes {classes}, and the manifest {manifest['classes']}")
    if digest(data.values) != manifest["target"]:
        raise ValueError(f"remake: table: the values of target={target!r}, or their order, differ from those of the manifest")
    person = np.unique(data.people.table["subject"].to_numpy().astype(str), return_inverse=True)[1]
    if digest(person) != manifest["persons"]:
        raise ValueError("remake: table: which rows are of the same subject, or their order, differs from the manifest")


def _study(manifest: Mapping[str, Any], data: Prepared, options: Options) -> Study:
    """The people with the folds of the manifest."""
    rows = np.arange(manifest["recordings"])
    repeats: list[list[Fold]] = []
    for r, tests in enumerate(manifest["folds"]):
        folds = []
        for f, listed in enumerate(tests):
            test = np.array(listed, dtype=int)
            train = manifest["train"].get(f"{r}, {f}")
            folds.append((np.setdiff1d(rows, test) if train is None else np.array(train, dtype=int), test))
        repeats.append(folds)
    positive = positive_class("remake", options.positive, data.classes)
    subjects = data.people.table["subject"].to_numpy()
    return Study.of(data.values, subjects, data.classes, repeats, level=manifest["level"], balanced=manifest["balanced"], positive=positive)


def _pipelines(manifest: Mapping[str, Any], data: Prepared) -> dict[str, Pipeline]:
    """The rows that are probes of the given features."""
    covariates = {"covariates", f"{manifest['options']['main']} + covariates"} if manifest["options"]["covariates"] else set()
    found: dict[str, Pipeline] = {}
    for name, how in manifest["rows"].items():
        if name in covariates or how.get("probe") == "dummy":
            continue
        if "predictions" in how:
            raise ValueError(f"remake: manifest: row {name!r} is of networks that are trained in each fold; only rows of frozen features are made again")
        if not how["named"]:
            raise ValueError(
                f"remake: manifest: row {name!r} used the adaptation {how['adaptation']}, an object; only adaptations that have a name are made again"
            )
        source = name.removesuffix(_CORRECTED) if how["corrected"] else name
        if source not in data.matrices:
            raise ValueError(f"remake: features must hold the row {source!r} of the manifest, got {', '.join(data.matrices)}")
        x = data.matrices[source]
        if list(x.shape) != how["shape"] or digest(x) != how["features"]:
            raise ValueError(
                f"remake: features[{source!r}] {list(x.shape)} differ from those of the manifest {how['shape']}, in values or in the order of rows"
            )
        line = None
        if how["line"] is not None:
            line = np.isin(np.arange(len(x)), how["line"])
        found[name] = Pipeline(x.astype(how["dtype"]), how["probe"], how["adaptation"], seed=how["seed"], correct=how["corrected"], line=line)
    return found
