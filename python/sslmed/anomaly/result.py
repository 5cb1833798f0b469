"""The result of :func:`sslmed.detect_anomalies`: tables, maps of new scans, and its files."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from sslmed import io
from sslmed._core import FormatError
from sslmed._world import own_settings
from sslmed.anomaly.calibration import Calibration
from sslmed.anomaly.classical import Atlas, Dummy, Histogram
from sslmed.anomaly.conformal import Adjustment, Thresholds, check_columns
from sslmed.anomaly.gaussian import Mahalanobis
from sslmed.anomaly.methods import AnomalyMethod, LatentSvm, PatchCore, detected
from sslmed.anomaly.reconstruction import Reconstruction
from sslmed.anomaly.scans import scans_of
from sslmed.anomaly.scoring import areas
from sslmed.cohort import Cohort
from sslmed.encoders import CohortEncoder, SavedEncoder
from sslmed.encoders.base import load
from sslmed.leakage import refuse_overlap
from sslmed.modalities.registry import described, preprocessing_from
from sslmed.reporting import plots

__all__ = ["AnomalyResult", "FittedMethod"]

Array = np.ndarray[Any, Any]
_FORMAT = "sslmed-anomaly-1"
_KINDS: tuple[Any, ...] = (PatchCore, Mahalanobis, LatentSvm, Reconstruction, Atlas, Histogram, Dummy)
_SAVED: dict[str, Any] = {kind.__name__: kind for kind in _KINDS}


@dataclass(frozen=True)
class FittedMethod:
    """A method with what was fitted to training people, and its thresholds from validation people."""

    method: AnomalyMethod
    """Options."""
    state: Mapping[str, torch.Tensor]
    """What :meth:`sslmed.anomaly.AnomalyMethod.fit` made."""
    calibration: Calibration
    """Thresholds."""

    def limits(self, table: pd.DataFrame, where: str) -> dict[str, Array]:
        """Thresholds of each row of a table: "scan", and of cells "share" and "any cell" where there are maps."""
        out = {"scan": self.calibration.scan.of(table, where)}
        if self.calibration.share is not None and self.calibration.any_cell is not None:
            out |= {
                "share": self.calibration.share.of(table, where),
                "any cell": self.calibration.any_cell.of(table, where),
            }
        return out


class AnomalyResult:
    """What :func:`sslmed.detect_anomalies` found.

    Attributes:
        table: A line a method and metric: row, metric, threshold ("scan", "share", "any cell", "best" or empty),
            value, low, high (95 %, over people), n_subjects, n (scans or lesions), note. "best Dice" is an upper
            bound: its threshold is chosen on the tested scans.
        scores: A line a method and scan: method, part ("validation" or "tested"), row, path, subject, anomalous, score,
            threshold (an alarm is above it), alarm; of tested scans with maps also lesions, and for both thresholds
            of cells those that are found, and the regions that touch none.
        methods: The fitted methods by name.
        encoder: Encoder of the patches; None: there is none.
        about: Options of the call, and numbers of people.
    """

    def __init__(
        self,
        table: pd.DataFrame,
        scores: pd.DataFrame,
        methods: Sequence[FittedMethod],
        encoder: CohortEncoder | None,
        preprocessing: Any,
        people: Mapping[str, Sequence[str]],
        about: dict[str, Any],
    ) -> None:
        self.table, self.scores, self.about = table, scores, about
        self.methods = {fitted.method.name: fitted for fitted in methods}
        self.encoder = encoder
        self._preprocessing, self._people = preprocessing, {name: list(some) for name, some in people.items()}

    def __repr__(self) -> str:
        found = self.table[self.table["metric"] == "AUROC of scans"]
        told = ", ".join(f"{row} {value:.2f}" for row, value in zip(found["row"], found["value"], strict=True))
        return f"<AnomalyResult AUROC of scans: {told}>"

    @own_settings()
    def predict(
        self,
        cohort: Cohort,
        out: str | os.PathLike[str] | None = None,
        *,
        method: str | None = None,
    ) -> pd.DataFrame:
        """Scores new scans, and writes their maps: NIfTI with the affine of the row's file for volumes, .npy for
        images.

        Args:
            cohort: Rows of the same modality, of people who are in neither the training nor the validation group.
            out: Folder for maps; None: none are written.
            method: Name of a method; None: the first one.

        Returns:
            The cohort's table with score, threshold, alarm, and where maps are written ``path_anomaly`` (scores),
            ``threshold_share`` and ``threshold_any_cell`` (of their cells).

        Raises:
            TypeError: ``cohort`` is not a cohort.
            ValueError: The method is unknown, a person took part in fitting or thresholds, a group has no threshold, a
                column of groups or covariates is missing or has no value, or a score is not finite.
        """
        if not isinstance(cohort, Cohort):
            raise TypeError(f"predict: cohort={cohort!r} must be a Cohort, got {type(cohort).__name__}")
        name = next(iter(self.methods)) if method is None else method
        if name not in self.methods:
            raise ValueError(f"predict: method={name!r} is unknown, expected one of {', '.join(self.methods)}")
        where = f"predict: cohort={cohort.name!r}"
        for part in ("training", "validation"):
            refuse_overlap(self._people[part], cohort.table["subject"], where)
        fitted = self.methods[name]
        scan_limits = fitted.calibration.scan
        check_columns(where, cohort.table, scan_limits.groups, scan_limits.adjustment.columns)
        limits = fitted.limits(cohort.table, where)
        how = {key: self.about[key] for key in ("levels", "neighborhood")}
        scans = scans_of(cohort, self.encoder, self._preprocessing, patches=fitted.method.needs == "patches", **how)
        scores, paths = [], []
        for scan in scans:
            found = detected(fitted.method, fitted.state, scan, self.about["seed"])
            scores.append(found.score)
            if out is not None and found.cells is not None and scan.maps is not None:
                folder = Path(out)
                folder.mkdir(parents=True, exist_ok=True)
                placed = scan.maps.placed(scan.row, found.cells.float(), 0)
                stem = str(folder / f"{scan.row:04d}_{_file_name(scan.subject)}_anomaly")
                paths.append(scan.maps.write_scores(scan.row, placed, stem))
        table = cohort.table.assign(score=scores, threshold=limits["scan"], alarm=np.array(scores) > limits["scan"])
        if not paths:
            return table
        return table.assign(path_anomaly=paths, threshold_share=limits["share"], threshold_any_cell=limits["any cell"])

    def between(self, cohort: Cohort, column: str) -> pd.DataFrame:
        """How well scores tell tested scans of different values of a column apart, such as healthy ones of two
        scanners.

        Where healthy people of another source score as the anomalous ones do, the score tells the source, not the
        disease.

        Args:
            cohort: The tested cohort.
            column: Column of its table.

        Returns:
            A line a method and pair of groups (value of the column and anomalous or healthy): method, a, b, auroc
            (probability that a scan of b scores higher), n_a, n_b.

        Raises:
            ValueError: The column is missing, or the cohort has other rows than the tested one.
        """
        if column not in cohort.table:
            raise ValueError(f"{cohort.name}: between: column={column!r} is not a column of the table")
        tested = self.scores[self.scores["part"] == "tested"]
        lines = []
        for name, part in tested.groupby("method", sort=False):
            if part["path"].tolist() != cohort.table["path"].tolist():
                raise ValueError(f"{cohort.name}: between: cohort must be the tested one, its rows differ")
            kind = np.where(part["anomalous"], "anomalous", "healthy")
            label = np.array([f"{value}, {word}" for value, word in zip(cohort.table[column], kind, strict=True)])
            known = list(dict.fromkeys(label))
            for i, a in enumerate(known):
                for b in known[i + 1 :]:
                    x, y = (part["score"].to_numpy(float)[label == one] for one in (a, b))
                    area = areas(np.concatenate([x, y]), np.repeat([False, True], [len(x), len(y)])).auroc
                    lines.append({"method": name, "a": a, "b": b, "auroc": area, "n_a": len(x), "n_b": len(y)})
        return pd.DataFrame(lines, columns=["method", "a", "b", "auroc", "n_a", "n_b"])

    def plot(self, metric: str = "AUROC of scans", ax: Any = None) -> Any:
        """Draws a metric of all methods with its intervals.

        Raises:
            ValueError: The table has no such metric.
        """
        lines = self.table[self.table["metric"] == metric]
        if lines.empty:
            known = ", ".join(self.table["metric"].unique())
            raise ValueError(f"plot: metric={metric!r} is not in the table, expected one of {known}")
        several = lines["row"].duplicated().any()
        names = lines["row"] + (", " + lines["threshold"] if several else "")
        return plots.plot_rows(lines.assign(row=names).reset_index(drop=True), metric, ax)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Writes ``table.csv``, ``scores.csv``, ``anomaly.json``, the fitted methods and the encoder.

        Raises:
            TypeError: A method or an encoder is written in Python outside of this package, and cannot be loaded by
                its file. The tables are written all the same.
        """
        path = Path(folder)
        path.mkdir(parents=True, exist_ok=True)
        self.table.to_csv(path / "table.csv", index=False)
        self.scores.to_csv(path / "scores.csv", index=False)
        if self.encoder is not None and not isinstance(self.encoder, SavedEncoder):
            kind = type(self.encoder).__name__
            raise TypeError(f"save: encoder={kind} is written in Python and cannot be loaded by its file")
        methods = []
        for number, fitted in enumerate(self.methods.values()):
            kind = type(fitted.method).__name__
            if _SAVED.get(kind) is not type(fitted.method):
                raise TypeError(f"save: method {fitted.method.name!r}: load() does not know its class, {kind}")
            state, options = fitted.state, _options(fitted.method)
            if isinstance(fitted.method, Reconstruction):
                state = fitted.method.objective.state_dict()
            if state:
                tensors = {key: value.contiguous() for key, value in state.items()}
                io.save_safetensors(tensors, path / f"method-{number}.safetensors")
            methods.append({"kind": kind, "options": options, "calibration": _plain(fitted.calibration)})
        if isinstance(self.encoder, SavedEncoder):
            self.encoder.save(path / "encoder.safetensors")
        text = {
            "format": _FORMAT,
            "about": self.about,
            "people": self._people,
            "methods": methods,
            "has_encoder": self.encoder is not None,
        }
        text["preprocessing"] = None if self._preprocessing is None else described(self._preprocessing)
        (path / "anomaly.json").write_text(json.dumps(text, indent=1, default=str))

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> AnomalyResult:
        """Reads what :meth:`save` wrote.

        Raises:
            FormatError: The folder does not hold a saved result.
            ReadError: A file cannot be read.
        """
        path = Path(folder)
        try:
            text = json.loads((path / "anomaly.json").read_text())
            if text["format"] != _FORMAT:
                raise FormatError(f"{path / 'anomaly.json'}: expected format {_FORMAT!r}, found {text['format']!r}")
            methods = []
            for number, one in enumerate(text["methods"]):
                file, kind = path / f"method-{number}.safetensors", _SAVED[one["kind"]]
                state = io.load_safetensors(file) if kind is not Dummy else {}
                if kind is Reconstruction:
                    method, state = Reconstruction.from_described(one["options"], state), {}
                else:
                    method = kind(**one["options"])
                methods.append(FittedMethod(method, state, _calibration(one["calibration"])))
            how = None if text["preprocessing"] is None else preprocessing_from(text["preprocessing"])
            encoder = load(path / "encoder.safetensors") if text["has_encoder"] else None
            files = [path / name for name in ("table.csv", "scores.csv")]
            texts = dict.fromkeys(("row", "metric", "threshold", "note"), str), dict.fromkeys(("subject", "path"), str)
            texts[1].update(method=str, part=str)
            tables = [pd.read_csv(name, keep_default_na=False, na_values=[""], dtype=dtype) for name, dtype in zip(files, texts, strict=True)]
        except (OSError, KeyError, TypeError, json.JSONDecodeError) as error:
            raise FormatError(f"{path}: expected a folder that AnomalyResult.save() wrote, found {error!r}") from error
        for column in ("threshold", "note"):
            tables[0][column] = tables[0][column].fillna("")
        return cls(tables[0], tables[1], methods, encoder, how, text["people"], text["about"])


def _options(method: Any) -> dict[str, Any]:
    """Options of a method as plain values."""
    return method.described() if isinstance(method, Reconstruction) else asdict(method)


def _file_name(text: str) -> str:
    """A subject's name as part of a file name."""
    return "".join(c if c.isalnum() or c in "-_" else "-" for c in text)


def _plain(calibration: Calibration) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for field in fields(calibration):
        given: Thresholds | None = getattr(calibration, field.name)
        if given is not None:
            by_group = [[list(key), value, given.n.get(key, 0)] for key, value in given.by_group.items()]
            out[field.name] = {
                "groups": list(given.groups),
                "by_group": by_group,
                "adjustment": asdict(given.adjustment),
            }
    return out


def _calibration(values: Mapping[str, Any]) -> Calibration:
    made = {}
    for name, one in values.items():
        adjustment = Adjustment(tuple(one["adjustment"]["columns"]), tuple(one["adjustment"]["coefficients"]))
        limits = {tuple(key): float(value) for key, value, _ in one["by_group"]}
        counts = {tuple(key): n for key, _, n in one["by_group"]}
        made[name] = Thresholds(tuple(one["groups"]), limits, adjustment, counts)
    return Calibration(**made)
