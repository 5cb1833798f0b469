"""A fine-tuned network: it predicts subjects that it was not trained on, and is kept in one file."""

from __future__ import annotations

import hashlib
import json
import os
from typing import Any, get_args

import numpy as np

from sslmed import io
from sslmed._checks import OnError, choice, whole
from sslmed._core import FormatError
from sslmed._world import own_settings
from sslmed.cohort import Cohort
from sslmed.encoders import CohortEncoder
from sslmed.encoders.base import description_of, from_description
from sslmed.labels import class_names, labeled
from sslmed.leakage import refuse_overlap
from sslmed.methods import Supervised
from sslmed.provenance import Provenance, overlap
from sslmed.training import predict, recording_means

__all__ = ["FineTuned", "fingerprint"]

Array = np.ndarray[Any, Any]

_FORMAT = "sslmed-task-1"


def fingerprint(subject: str, salt: str) -> str:
    """A salted hash of a name: whoever knows or guesses a name can check it, none can be read."""
    return hashlib.sha256(f"{salt}{subject}".encode()).hexdigest()[:32]


class FineTuned:
    """A network with a head that :func:`finetune` fitted on the labels of a cohort.

    It is an estimator as scikit-learn has them: predict, predict_proba, score.

    Attributes:
        encoder: The trained encoder.
        task: Encoder and head as one module.
        target_: Column that was learned.
        classes_: Names of the classes, in the order of the columns of :meth:`predict_proba`; empty for a regressed
            target.
        provenance: What the network has seen (:mod:`sslmed.provenance`): what the encoder had seen, and the cohort with
            its labels. The encoder's own lacks the latter where it was not tuned. None of a file written before this was kept.
    """

    def __init__(
        self,
        task: Supervised,
        encoder: CohortEncoder,
        target: str,
        classes: Array,
        seen: frozenset[str],
        salt: str,
        options: dict[str, Any],
        provenance: Provenance | None = None,
    ) -> None:
        self.task, self.encoder, self.target_, self.classes_, self.provenance = task, encoder, target, classes, provenance
        # Hashes of the training subjects: a file that is handed on must not name patients.
        self._seen, self._salt, self._options = seen, salt, options

    def __repr__(self) -> str:
        classes = f": {', '.join(map(str, self.classes_))}" if len(self.classes_) else ", regressed"
        return f"<FineTuned {self.target_}{classes}; {self.encoder!r}>"

    @own_settings()
    def predict(self, cohort: Cohort, *, threads: int = 2, batch_size: int = 64, on_error: OnError = "raise") -> Array:
        """Predicts the class or the value of each recording.

        Args:
            cohort: Recordings of any montage and rate, of subjects that the network was not trained on.
            threads: Number of loader threads.
            batch_size: Samples in a batch; does not change the result beyond rounding.
            on_error: "raise", or "skip" samples that cannot be read, with a warning.

        Returns:
            Names of classes [recordings], or regressed values [recordings]; NaN for a recording without a usable
            sample.

        Raises:
            TypeError: ``cohort`` is not a cohort.
            ValueError: A subject of the training data, or a recording without a usable sample whose class is asked for.
        """
        values = self._means(cohort, "predict", threads=threads, batch_size=batch_size, on_error=on_error)
        if not len(self.classes_):
            return values[:, 0]
        if (bad := ~np.isfinite(values).all(axis=1)).any():
            path = cohort.table["path"].to_numpy()[bad][0]
            raise ValueError(f"{cohort.name}: {int(bad.sum())} recordings have no usable sample, such as {path}; predict_proba gives NaN for them")
        return np.asarray(self.classes_[values.argmax(axis=1)])

    @own_settings()
    def predict_proba(self, cohort: Cohort, *, threads: int = 2, batch_size: int = 64, on_error: OnError = "raise") -> Array:
        """Predicts the probabilities of the classes, averaged over the samples of each recording.

        Args:
            cohort: As in :meth:`predict`.
            threads: As in :meth:`predict`.
            batch_size: As in :meth:`predict`.
            on_error: As in :meth:`predict`.

        Returns:
            Probabilities [recordings, classes], in the order of ``classes_``; NaN for a recording without a usable
            sample.

        Raises:
            TypeError: ``cohort`` is not a cohort.
            ValueError: The target is regressed, or a subject of the training data.
        """
        if not len(self.classes_):
            raise ValueError(f"predict_proba: target_={self.target_!r} is regressed and has no classes; use predict")
        return self._means(cohort, "predict_proba", threads=threads, batch_size=batch_size, on_error=on_error)

    @own_settings()
    def score(self, cohort: Cohort, *, threads: int = 2, batch_size: int = 64, on_error: OnError = "raise") -> float:
        """Scores the predictions of a labeled cohort.

        Args:
            cohort: As in :meth:`predict`, with the column ``target_``; recordings without a value are left out.
            threads: As in :meth:`predict`.
            batch_size: As in :meth:`predict`.
            on_error: As in :meth:`predict`.

        Returns:
            Balanced accuracy of classes, or R² of a regressed target (NaN if all values are equal).

        Raises:
            TypeError: ``cohort`` is not a cohort.
            ValueError: No such column, or a subject of the training data.
        """
        cohort, y = labeled(cohort, self.target_)
        predicted = self.predict(cohort, threads=threads, batch_size=batch_size, on_error=on_error)
        if len(self.classes_):
            right, truth = predicted == class_names(y), class_names(y)
            return float(np.mean([right[truth == c].mean() for c in np.unique(truth)]))
        y = y.astype(float)
        spread = ((y - y.mean()) ** 2).sum()
        return float(1 - ((y - predicted) ** 2).sum() / spread) if spread > 0 else float("nan")

    def _means(self, cohort: Cohort, where: str, *, threads: int, batch_size: int, on_error: OnError) -> Array:
        """Probabilities or values [recordings, n], averaged over samples."""
        if not isinstance(cohort, Cohort):
            raise TypeError(f"{where}: cohort={cohort!r} must be a Cohort, got {type(cohort).__name__}")
        whole(where, "threads", threads, 1)
        whole(where, "batch_size", batch_size, 1)
        choice(where, "on_error", on_error, get_args(OnError))
        renamed = set(cohort.table["subject"][overlap(self, cohort).label_rows])
        known = {s for s in cohort.table["subject"].unique() if fingerprint(s, self._salt) in self._seen}
        refuse_overlap(known, known, f"{where}: cohort={cohort.name!r}")
        refuse_overlap(renamed, renamed, f"{where}: cohort={cohort.name!r}, recognized by their signals")
        values, recording = predict(self.task, self.encoder, cohort, threads=threads, batch_size=batch_size, on_error=on_error)
        if len(self.classes_):
            values = values.double().softmax(1)
        return recording_means(values, recording, len(cohort))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes weights, architecture, preprocessing and classes to one safetensors file.

        The file holds salted hashes of the training subjects, by which :meth:`predict` recognizes them: no name
        is in it, and whoever knows a name, or guesses one that follows a scheme (``sub-01``), can check it.

        Args:
            path: File.

        Raises:
            TypeError: The encoder is written in Python; save ``task.state_dict()`` beside its class.
        """
        try:
            description = description_of(self.encoder)
        except TypeError as error:
            raise TypeError(f"save: encoder is a {type(self.encoder).__name__}: {error}; save task.state_dict() beside the class") from None
        task = {"target": self.target_, "classes": self.classes_.tolist(), "seen": sorted(self._seen), "salt": self._salt, "options": self._options}
        metadata = {
            "format": _FORMAT,
            "encoder": json.dumps(description),
            "task": json.dumps(task),
        }
        if self.provenance is not None:
            metadata["provenance"] = self.provenance.dumps()
        if (own := self.encoder.provenance) != self.provenance:
            metadata["encoder_provenance"] = "" if own is None else own.dumps()
        io.save_safetensors(self.task.state_dict(), path, metadata)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> FineTuned:
        """Reads a file that :meth:`save` wrote.

        Args:
            path: File.

        Raises:
            FormatError: The file holds no fine-tuned network, or its weights do not fit.
        """
        metadata = io.load_metadata(path, _FORMAT)
        try:
            saved = json.loads(metadata["task"])
            encoder = from_description(json.loads(metadata["encoder"]))
            task = Supervised(encoder, **saved["options"])
            seen = Provenance.loads(metadata.get("provenance"))
            encoder.provenance = Provenance.loads(metadata["encoder_provenance"] or None) if "encoder_provenance" in metadata else seen
            out = cls(task, encoder, saved["target"], np.array(saved["classes"]), frozenset(saved["seen"]), saved["salt"], saved["options"], seen)
            task.load_state_dict(io.load_safetensors(path))
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            if isinstance(error, FormatError):
                raise
            raise FormatError(f"{os.fspath(path)}: expected a fine-tuned network, found {error!r}") from error
        task.eval()
        return out
