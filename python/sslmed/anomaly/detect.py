"""Anomaly detection from end to end: methods are fitted to healthy people, thresholds to others, scores are of a
third group."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch

from sslmed._checks import number, whole
from sslmed._core import TransductiveWarning
from sslmed._world import own_settings
from sslmed.anomaly.calibration import calibrate, out_of_fold, summary_of
from sslmed.anomaly.classical import Atlas, Dummy, Histogram
from sslmed.anomaly.conformal import check_columns, least_people
from sslmed.anomaly.gaussian import Mahalanobis
from sslmed.anomaly.methods import AnomalyMethod, LatentSvm, PatchCore, detected, knn
from sslmed.anomaly.result import AnomalyResult, FittedMethod
from sslmed.anomaly.scans import Detection, Scan, scans_of
from sslmed.anomaly.scoring import Case, false_alarms, lesions_of, table_of
from sslmed.cohort import Cohort
from sslmed.encoders import CohortEncoder, EncoderLike, resolve
from sslmed.leakage import refuse_overlap, refuse_shared_files
from sslmed.modalities import registry
from sslmed.provenance import overlap

__all__ = ["METHODS", "detect_anomalies"]

Array = np.ndarray[Any, Any]

METHODS: Mapping[str, Any] = {
    "patchcore": PatchCore,
    "knn": knn,
    "mahalanobis": Mahalanobis,
    "one-class svm": LatentSvm,
    "atlas": Atlas,
    "histogram": Histogram,
    "dummy": Dummy,
}
"""Methods that are known by name, with their defaults."""


@own_settings()
def detect_anomalies(
    healthy: Cohort,
    tested: Cohort,
    encoder: EncoderLike | None = None,
    *,
    methods: Sequence[str | AnomalyMethod] = ("patchcore", "mahalanobis", "atlas", "histogram", "dummy"),
    validation: Cohort | float = 0.4,
    target: str | None = None,
    lesions: Sequence[int] | None = None,
    rate: float = 0.1,
    cell_rate: float | None = None,
    groups: Sequence[str] = (),
    covariates: Sequence[str] = (),
    sizes: Sequence[float] = (100.0, 1000.0),
    levels: Sequence[int] | None = None,
    neighborhood: int = 3,
    folds: int = 5,
    seed: int = 0,
    threads: int = 2,
    out: str | os.PathLike[str] | None = None,
) -> AnomalyResult:
    """Detects anomalies with methods fitted to healthy people, at thresholds with a promised rate of false alarms.

    Every method is fitted to healthy training people. Healthy validation people, of whom no method has seen anything,
    set the thresholds (split conformal prediction): of new healthy people who are exchangeable with them, at most
    ``rate`` have an alarm, in the mean over draws of the validation people. People of another scanner or age are not
    exchangeable with them: ``groups`` gives each value of a column a threshold of its own, ``covariates`` subtracts
    what a linear regression, fitted to training people, expects. Tested people set nothing.

    Args:
        healthy: Scans of healthy people.
        tested: Scans of other people, anomalous and healthy ones, of the same modality.
        encoder: Name, path or encoder of the features of patches, see :func:`sslmed.anomaly.patch_features`; None: no
            method needs one.
        methods: Names out of :data:`sslmed.anomaly.METHODS`, or methods with options such as
            :class:`sslmed.anomaly.PatchCore` and :class:`sslmed.anomaly.Reconstruction`. Their names are the table's
            rows.
        validation: Scans of other healthy people, or the share of the healthy people who are set apart.
        target: Column of ``tested``, true or 1 for anomalous scans; None: scans with lesions in their label map
            (``path_labels``, or what was prepared of it) are.
        lesions: Values of label maps that are lesions; None: all above 0. Of healthy scans label maps are not read.
        rate: Promised rate of false alarms among people, within (0, 1).
        cell_rate: Promised share of a healthy scan's cells above the threshold "share"; None: ``rate``.
        groups: Columns such as sex or scanner, whose values have thresholds of their own.
        covariates: Columns of numbers such as age, by which scores are adjusted.
        sizes: Limits in mm³ between groups of lesions by size.
        levels: Maps of an encoder's pyramid, see :func:`sslmed.anomaly.patch_features`.
        neighborhood: Cells over which those are averaged.
        folds: Folds over training people for the regression on covariates.
        seed: Seed of the split, of methods and of intervals.
        threads: Number of loader threads.
        out: Folder to save the result to; None: it is not saved.

    Returns:
        The table, a line a scan, and the fitted methods.

    Raises:
        TypeError: An argument is of another type.
        ValueError: People, files or signals are in two of the three groups, the encoder was trained on validation
            people, the validation people are too few for the rate (the message says how many are needed), no tested
            scan says whether it is anomalous, or an option is out of range.

    Warns:
        TransductiveWarning: The encoder was trained on signals of tested people.

    Examples:
        >>> import numpy as np, pandas as pd, sslmed as sm
        >>> x = np.random.default_rng(0).normal(size=(30, 2, 400))
        >>> x[26:] *= 3.0
        >>> table = pd.DataFrame({"subject": [f"s{i}" for i in range(30)], "sick": [i >= 26 for i in range(30)]})
        >>> people = sm.Cohort.from_arrays(x, 100.0, ["Cz", "Pz"], table)
        >>> healthy, tested = people.subset(range(22)), people.subset(range(22, 30))
        >>> how = sm.EegPreprocessing(scale="none", average_reference=False)
        >>> result = sm.detect_anomalies(
        ...     healthy, tested, sm.Encoder("vit_tiny", how, depth=1), methods=["knn", "dummy"], target="sick", rate=0.2
        ... )
        >>> sorted(result.table["row"].unique()), len(result.scores)
        (['dummy', 'knn'], 34)
    """
    where = "detect_anomalies"
    chosen = _methods(methods)
    for name, given, least in (("seed", seed, 0), ("threads", threads, 1), ("folds", folds, 2)):
        whole(where, name, given, least)
    number(where, "rate", rate, 0, 1 - 1e-12, strict=True)
    number(where, "cell_rate", rate if cell_rate is None else cell_rate, 0, 1 - 1e-12, strict=True)
    parts = _parts(healthy, validation, tested, rate, seed)
    for cohort in parts.values():
        check_columns(f"{cohort.name}: detect_anomalies", cohort.table, groups, covariates)
    model = _encoder(encoder, chosen, parts)
    how: dict[str, Any] = {"levels": levels, "neighborhood": neighborhood, "threads": threads}
    patched = any(method.needs == "patches" for method in chosen)
    preprocessing = None if model is not None else registry.get(tested.modality).default(tested)
    scans = {name: scans_of(cohort, model, preprocessing, patches=patched, **how) for name, cohort in parts.items()}
    truths = _truths(scans["tested"], target, lesions)
    fitted, lines, tables = [], [], []
    for method in chosen:
        state = method.fit(scans["training"], seed)
        kept = _calibrated(method, state, scans, parts, groups, covariates, rate, cell_rate or rate, folds, seed)
        fitted.append(FittedMethod(method, dict(state), kept.calibration))
        lines.append(_scan_lines(method.name, "validation", parts["validation"], kept.summaries, kept.limits))
        cases, limits = _tested(fitted[-1], scans["tested"], truths, seed)
        lines.append(_tested_lines(method.name, parts["tested"], cases, limits))
        tables.append(table_of(method.name, cases, limits, sizes, seed))
    about = {
        "healthy": healthy.name,
        "tested": tested.name,
        "encoder": repr(model),
        "rate": rate,
        "cell_rate": cell_rate or rate,
    }
    about |= {
        "groups": list(groups),
        "covariates": list(covariates),
        "seed": seed,
        "levels": levels,
        "neighborhood": neighborhood,
    }
    about |= {f"{name} people": int(cohort.table["subject"].nunique()) for name, cohort in parts.items()}
    people = {name: sorted(set(map(str, cohort.table["subject"]))) for name, cohort in parts.items()}
    result = AnomalyResult(
        pd.concat(tables, ignore_index=True),
        pd.concat(lines, ignore_index=True),
        fitted,
        model,
        preprocessing,
        people,
        about,
    )
    if out is not None:
        result.save(out)
    return result


def _methods(given: Sequence[str | AnomalyMethod]) -> list[AnomalyMethod]:
    if isinstance(given, str) or not given:
        raise TypeError(f"detect_anomalies: methods={given!r} must be a list of names or methods")
    out: list[AnomalyMethod] = []
    for method in given:
        if isinstance(method, str):
            if method not in METHODS:
                known = ", ".join(METHODS)
                raise ValueError(f"detect_anomalies: method {method!r} is unknown, expected one of {known}")
            out.append(METHODS[method]())
        elif callable(getattr(method, "fit", None)) and callable(getattr(method, "detect", None)):
            out.append(method)
        else:
            kind = type(method).__name__
            raise TypeError(f"detect_anomalies: methods: {method!r} must be a name or a method, got {kind}")
    names = [method.name for method in out]
    if len(set(names)) < len(names):
        raise ValueError(f"detect_anomalies: methods: names {names} must differ; give one a name=")
    return out


def _parts(healthy: Cohort, validation: Cohort | float, tested: Cohort, rate: float, seed: int) -> dict[str, Cohort]:
    """The three groups of people, nobody in two of them."""
    for name, cohort in (("healthy", healthy), ("tested", tested)):
        if not isinstance(cohort, Cohort):
            raise TypeError(f"detect_anomalies: {name}={cohort!r} must be a Cohort, got {type(cohort).__name__}")
    if isinstance(validation, Cohort):
        training, apart = healthy, validation
    else:
        number("detect_anomalies", "validation", validation, 0, 1 - 1e-12, strict=True)
        training, apart = healthy.split(validation, seed=seed)
    parts = {"training": training, "validation": apart, "tested": tested}
    if len({cohort.modality for cohort in parts.values()}) > 1:
        kinds = ", ".join(cohort.modality for cohort in parts.values())
        raise ValueError(f"detect_anomalies: cohorts are of {kinds}, expected one modality")
    for a, b in (("training", "validation"), ("training", "tested"), ("validation", "tested")):
        refuse_overlap(
            parts[a].table["subject"],
            parts[b].table["subject"],
            f"detect_anomalies: {a} and {b} (people of other data sets: Cohort.qualified())",
        )
    refuse_shared_files(*parts.values())
    n = apart.table["subject"].nunique()
    if n < least_people(rate):
        told = f"{n} healthy validation people cannot promise rate={rate:g}: at least {least_people(rate)} are needed"
        raise ValueError(f"detect_anomalies: {told}; raise the rate, or give more people to validation")
    return parts


def _encoder(
    encoder: EncoderLike | None,
    methods: Sequence[AnomalyMethod],
    parts: Mapping[str, Cohort],
) -> CohortEncoder | None:
    """The encoder, and whether it and those of methods have seen people they must not have."""
    needed = [method.name for method in methods if method.needs == "patches"]
    if encoder is None and needed:
        raise ValueError(f"detect_anomalies: encoder=None, but {', '.join(needed)} need features of patches")
    model = None if encoder is None else resolve(encoder, *parts.values())
    for one in [model, *(getattr(method, "encoder", None) for method in methods)]:
        if one is None:
            continue
        held = overlap(one, parts["validation"])
        if held.people:
            raise ValueError(
                f"detect_anomalies: the encoder was trained on {held.people} of {held.of} validation people: scores of "
                f"people whom it has seen are lower, and a threshold from them breaks its promise; split first, "
                f"pretrain on the training part alone, and pass the other one as validation="
            )
        found = overlap(one, parts["tested"])
        if found.labels:
            told = f"{found.labels} of {found.of} tested people"
            raise ValueError(f"detect_anomalies: the encoder was fine-tuned on labels of {told}")
        if found.people:
            text = f"the encoder was trained on signals of {found.people} of {found.of} tested people"
            warnings.warn(f"{text}; scores of others may differ", TransductiveWarning, stacklevel=3)
    return model


@dataclass(frozen=True)
class _Truth:
    anomalous: bool
    lesions: Array | None
    """[spatial…] bool on the grid of the file; None: there is no label map."""


def _truths(scans: Sequence[Scan], target: str | None, lesions: Sequence[int] | None) -> list[_Truth]:
    """Which tested scans are anomalous, and where."""
    cohort, given = scans[0].cohort, None
    if lesions is not None and not len(lesions):
        raise ValueError(f"{cohort.name}: detect_anomalies: lesions=[] must hold at least one value of label maps")
    where = f"{cohort.name}: detect_anomalies: target={target!r}"
    if target is not None:
        if target not in cohort.table:
            raise ValueError(f"{where} is not a column of the table")
        if not set(cohort.table[target].unique()) <= {0, 1}:
            raise ValueError(f"{where} must be True or False (1 or 0) in every row")
        given = cohort.table[target].astype(bool).tolist()
    out = []
    for scan in scans:
        healthy = given is not None and not given[scan.row]
        labels = None if healthy or scan.maps is None else scan.maps.truth(scan.row)
        if given is None and labels is None:
            raise ValueError(f"{where}, but row {scan.row} has no label map; name a column")
        mask = None
        if labels is not None:
            named = torch.tensor(list(lesions or ()), dtype=labels.dtype)
            mask = (labels > 0 if lesions is None else torch.isin(labels, named)).numpy()
        out.append(_Truth(bool(mask.any()) if given is None and mask is not None else not healthy, mask))
    return out


@dataclass(frozen=True)
class _Calibrated:
    calibration: Any
    summaries: list[Any]
    limits: Array


def _calibrated(
    method: AnomalyMethod,
    state: Any,
    scans: Mapping[str, Sequence[Scan]],
    parts: Mapping[str, Cohort],
    groups: Sequence[str],
    covariates: Sequence[str],
    rate: float,
    cell_rate: float,
    folds: int,
    seed: int,
) -> _Calibrated:
    found = [summary_of(detected(method, state, scan, seed), keep=True) for scan in scans["validation"]]
    expected = out_of_fold(method, scans["training"], folds, seed) if covariates else []
    table = parts["validation"].table
    made = calibrate(
        f"detect_anomalies: {method.name}", table, found, rate=rate, cell_rate=cell_rate, groups=groups,
        covariates=covariates, training=parts["training"].table, expected=expected,
    )  # fmt: skip
    return _Calibrated(made, found, made.scan.of(table, method.name))


def _tested(
    fitted: FittedMethod,
    scans: Sequence[Scan],
    truths: Sequence[_Truth],
    seed: int,
) -> tuple[list[Case], dict[str, Any]]:
    """What a method says of the tested scans, and the thresholds of each."""
    table = scans[0].cohort.table
    where = f"detect_anomalies: {fitted.method.name}"
    limits = fitted.limits(table, where)
    cases = []
    for scan, truth, limit in zip(scans, truths, limits["scan"], strict=True):
        found = detected(fitted.method, fitted.state, scan, seed)
        cases.append(_case(scan, truth, found, float(limit)))
    return cases, {name: values for name, values in limits.items() if name != "scan"}


def _case(scan: Scan, truth: _Truth, found: Detection, limit: float) -> Case:
    if found.cells is None or found.covered is None or scan.maps is None:
        return Case(scan.subject, truth.anomalous, found.score, limit)
    scores = scan.maps.placed(scan.row, found.cells.float(), 0).numpy()
    looked = scan.maps.placed(scan.row, found.covered.to(torch.uint8), 0).numpy() > 0
    mask = truth.lesions
    if mask is None and not truth.anomalous:
        mask = np.zeros(scores.shape, bool)
    if mask is not None and mask.shape != scores.shape:
        told = f"the label map is {mask.shape}, expected {scores.shape} like {scan.key}"
        raise ValueError(f"{scan.cohort.name}: row {scan.row}: {told}")
    return Case(
        scan.subject, truth.anomalous, found.score, limit, scores.astype(np.float32),
        looked if mask is None else looked | mask, mask, scan.maps.spacing(scan.row),
    )  # fmt: skip


def _scan_lines(name: str, part: str, cohort: Cohort, found: Sequence[Any], limits: Array) -> pd.DataFrame:
    scores = np.array([one.score for one in found])
    columns = {
        "row": np.arange(len(cohort)),
        "path": cohort.table["path"],
        "subject": cohort.table["subject"].astype(str),
    }
    said = {"anomalous": False, "score": scores, "threshold": limits, "alarm": scores > limits}
    return pd.DataFrame({"method": name, "part": part} | columns | said)


def _tested_lines(name: str, cohort: Cohort, cases: Sequence[Case], limits: Mapping[str, Array]) -> pd.DataFrame:
    """A line a tested scan, with what its map says at each threshold of cells."""
    lines = _scan_lines(name, "tested", cohort, cases, np.array([case.threshold for case in cases]))
    lines["anomalous"] = [case.anomalous for case in cases]
    for kind, each in limits.items():
        label = kind.replace(" ", "_")
        both = list(zip(cases, map(float, each), strict=True))
        found = [lesions_of(case, limit, kind) if case.truth is not None else None for case, limit in both]
        lines["lesions"] = [np.nan if one is None else len(one) for one in found]
        lines[f"found_{label}"] = [np.nan if one is None else int(one["found"].sum()) for one in found]
        # Where lesions of an anomalous scan lie is not known without a label map.
        lines[f"false_{label}"] = [np.nan if case.anomalous and case.truth is None else false_alarms(case, limit) for case, limit in both]
    return lines
