"""What an encoder has seen: whose signals and labels went into its weights, as salted hashes that are saved with them.

Names and signals are hashed with a salt of the encoder's own. A person can be checked against the hashes, and none can be read from them; but whoever has
the file can try names, so names that can be guessed are not secret.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args

import numpy as np
import torch

from sslmed._checks import choice
from sslmed._core import LeftOutWarning
from sslmed.contents import contents
from sslmed.nn.mirror import Mirror

if TYPE_CHECKING:
    from sslmed.cohort import Cohort

__all__ = ["Kind", "Overlap", "Provenance", "Stage", "after_pretraining", "origin", "overlap", "record", "row_name", "untrained"]

Array = np.ndarray[Any, Any]

Kind = Literal["pretraining", "probe", "finetuning"]
"""What was done with a cohort: its signals were trained on; its labels were scored on while training; its signals and labels were trained on."""

_DIGITS = 16  # of a hash
_MOST = 4_000_000  # contents of an encoder: its file's header holds 100 MB


@dataclass(frozen=True)
class Stage:
    """One cohort that an encoder was trained or watched on."""

    kind: Kind
    """"pretraining" (signals), "probe" (labels that were looked at while training) or "finetuning" (signals and labels)."""
    cohort: str
    """Name of the cohort."""
    target: str | None
    """Column of the labels; None: no labels."""
    n_subjects: int
    """Number of subjects."""
    n_recordings: int
    """Number of rows."""
    subjects: frozenset[str] = field(repr=False)
    """Salted hashes of the subjects, each with its site."""
    contents: frozenset[str] = field(repr=False)
    """Salted hashes of the signals of each row."""

    def __str__(self) -> str:
        labels = "" if self.target is None else f" with target {self.target!r}"
        return f"{self.kind} on {self.cohort}{labels} ({self.n_subjects} subjects, {self.n_recordings} rows)"


@dataclass(frozen=True)
class Provenance:
    """What an encoder has seen, stage by stage."""

    salt: str
    """Random hexadecimal digits of this encoder, which every hash depends on."""
    stages: tuple[Stage, ...]
    """In the order of training."""

    def __deepcopy__(self, memo: Any) -> Provenance:
        return self  # nothing of it changes

    def of_subject(self, site: str, subject: str) -> str:
        """The hash of a subject of a site."""
        return self._hash(f"subject\0{site}\0{subject}".encode())

    def of_content(self, digest: bytes) -> str:
        """The hash of a row's content (:func:`sslmed.contents.contents`)."""
        return self._hash(b"content\0" + digest)

    def _hash(self, value: bytes) -> str:
        return hashlib.blake2b(self.salt.encode() + value, digest_size=_DIGITS // 2).hexdigest()

    def dumps(self) -> str:
        """Plain JSON, for :meth:`loads`; hashes stand one after the other in one text."""
        stages = [vars(stage) | {name: "".join(sorted(getattr(stage, name))) for name in ("subjects", "contents")} for stage in self.stages]
        return json.dumps({"salt": self.salt, "stages": stages})

    @classmethod
    def loads(cls, text: str | None) -> Provenance | None:
        """Reads what :meth:`dumps` wrote; None for None: a file that says nothing.

        Raises:
            KeyError, TypeError, ValueError: The text is something else.
        """
        if text is None:
            return None
        values = json.loads(text)
        stages = [Stage(**(stage | {name: _cut(stage[name]) for name in ("subjects", "contents")})) for stage in values["stages"]]
        return cls(str(values["salt"]), tuple(stages))


class _Seen(Protocol):
    """Anything that says what it has seen: a :class:`sslmed.CohortEncoder`, a :class:`sslmed.FineTuned`."""

    @property
    def provenance(self) -> Provenance | None: ...


@dataclass(frozen=True, eq=False)
class Overlap:
    """Which people of a cohort an encoder has seen (:func:`overlap`)."""

    people: int
    """Number of subjects whose signals the encoder was trained on, in pretraining or fine-tuning."""
    of: int
    """Number of subjects of the cohort."""
    labels: int
    """Number of subjects whose labels the encoder was fine-tuned on."""
    probe: int
    """Number of subjects whose labels a probe looked at while the encoder was trained."""
    by_content: int
    """Number of the ``people`` who were found by a signal; the others were found by subject and site."""
    targets: tuple[str, ...]
    """Columns that the encoder was fine-tuned on with labels of these people."""
    rows: Array = field(repr=False)
    """[rows] bool: rows of ``people``, all rows of a person."""
    label_rows: Array = field(repr=False)
    """[rows] bool: rows of the people behind ``labels``."""


def record(provenance: Provenance | None, kind: Kind, cohort: Cohort, target: str | None = None) -> Provenance:
    """Adds a cohort to what an encoder has seen.

    Files that cannot be read have no content, and are known by their subject only.

    Args:
        provenance: What it has seen before; None: nothing that is known.
        kind: What is done with the cohort.
        cohort: The cohort; of one with a target, only rows with a value count.
        target: Column of the labels; None: no labels.

    Raises:
        TypeError: ``cohort`` is not a cohort.
        ValueError: ``kind`` is unknown.

    Warns:
        LeftOutWarning: The encoder has seen more than four million rows: the signals of this cohort are not recorded, its subjects are.

    Examples:
        >>> import numpy as np, pandas as pd
        >>> import sslmed as sm
        >>> table = pd.DataFrame({"subject": ["a", "b"]})
        >>> cohort = sm.Cohort.from_arrays(np.random.default_rng(0).normal(size=(2, 1, 800)), 100, ["Cz"], table)
        >>> [str(stage) for stage in sm.provenance.record(None, "pretraining", cohort).stages]
        ['pretraining on arrays (2 subjects, 2 rows)']
    """
    choice("record", "kind", kind, get_args(Kind))
    _check_cohort("record", cohort)
    whole = Provenance(secrets.token_hex(16), ()) if provenance is None else provenance
    if target is not None and target in cohort.table and cohort.table[target].isna().any():
        cohort = cohort.subset(cohort.table[target].notna().to_numpy())
    known = sum(len(stage.contents) for stage in whole.stages)
    if known + len(cohort) > _MOST:
        text = f"{cohort.name}: the encoder has seen {known + len(cohort):,} rows, more than {_MOST:,}: signals are not recorded, subjects are"
        warnings.warn(text, LeftOutWarning, stacklevel=3)
        found: set[bytes | None] = set()
    else:
        found = set(contents(cohort))
    stage = Stage(
        kind,
        cohort.name,
        target,
        int(cohort.table["subject"].nunique()),
        len(cohort),
        frozenset(whole.of_subject(*person) for person in set(_people(cohort))),
        frozenset(whole.of_content(digest) for digest in found if digest is not None),
    )
    return replace(whole, stages=(*whole.stages, stage))


def after_pretraining(provenance: Provenance | None, cohort: Cohort, probe: Any = None) -> Provenance:
    """What an encoder has seen after pretraining on a cohort, watched by a probe.

    Args:
        provenance: What it has seen before; None: nothing that is known.
        cohort: What it is pretrained on.
        probe: Probe; one with attributes ``cohort`` and ``target`` looks at labels. None: no probe.
    """
    out = record(provenance, "pretraining", cohort)
    if getattr(probe, "cohort", None) is not None and getattr(probe, "target", None) is not None:
        out = record(out, "probe", probe.cohort, probe.target)
    return out


def overlap(encoder: _Seen, cohort: Cohort) -> Overlap:
    """Finds the people of a cohort whom an encoder has seen.

    A person was seen if the signal of one of their rows was, under whatever name, or if subject and site are those of a person who was seen: this finds new
    recordings too. Subjects alone are not compared, because every data set has a "sub-01"; without a column ``site`` the cohort's name stands in for it. All
    rows of a person who was seen count.

    Args:
        encoder: Encoder, or fitted network. One of unknown origin has seen nobody that is known.
        cohort: Cohort to look through.

    Returns:
        The numbers of people, and which rows are theirs.

    Raises:
        TypeError: ``encoder`` is not an encoder, or ``cohort`` not a cohort.

    See Also:
        :func:`sslmed.leakage.find`: The same signals and people in two cohorts.

    Examples:
        >>> import numpy as np, pandas as pd
        >>> import sslmed as sm
        >>> table = pd.DataFrame({"subject": list("abcd")})
        >>> cohort = sm.Cohort.from_arrays(np.random.default_rng(0).normal(size=(4, 1, 800)), 100, ["Cz"], table)
        >>> encoder = sm.Encoder("vit_tiny", depth=1)
        >>> encoder.provenance = sm.provenance.record(None, "pretraining", cohort.subset([0, 1]))
        >>> found = sm.provenance.overlap(encoder, cohort)
        >>> found.people, found.of, found.rows.tolist()
        (2, 4, [True, True, False, False])
    """
    if not hasattr(encoder, "provenance"):
        raise TypeError(f"overlap: encoder={encoder!r} must be an encoder, such as sslmed.Encoder.load(path), got {type(encoder).__name__}")
    _check_cohort("overlap", cohort)
    subjects = cohort.table["subject"].astype(str).to_numpy()
    of, nobody, seen = len(set(subjects)), np.zeros(len(cohort), bool), encoder.provenance
    if seen is None:
        return Overlap(0, of, 0, 0, 0, (), nobody, nobody)
    hashes: dict[tuple[str, str], str] = {person: seen.of_subject(*person) for person in set(_people(cohort))}
    names = [hashes[person] for person in _people(cohort)]
    signals = [None if digest is None else seen.of_content(digest) for digest in contents(cohort)]

    def rows_of(stages: Iterable[Stage], by_name: bool = True) -> Array:
        """All rows of the people in some stages."""
        hit = nobody.copy()
        for stage in stages:
            hit |= np.array([signal in stage.contents or (by_name and name in stage.subjects) for name, signal in zip(names, signals, strict=True)])
        return np.isin(subjects, list(set(subjects[hit])))

    def count(rows: Array) -> int:
        return len(set(subjects[rows]))

    trained = [stage for stage in seen.stages if stage.kind != "probe"]
    labels = [stage for stage in seen.stages if stage.kind == "finetuning"]
    rows, label_rows = rows_of(trained), rows_of(labels)
    targets = tuple(dict.fromkeys(str(stage.target) for stage in labels if rows_of([stage]).any()))
    probe = rows_of(stage for stage in seen.stages if stage.kind == "probe")
    return Overlap(count(rows), of, count(label_rows), count(probe), count(rows_of(trained, by_name=False)), targets, rows, label_rows)


def untrained(encoder: Any) -> bool:
    """Whether an encoder has the very weights that its configuration starts with.

    Args:
        encoder: Encoder. The weights that one written in Python starts with are not known: False.

    Examples:
        >>> import sslmed as sm
        >>> encoder = sm.Encoder("vit_tiny", depth=1)
        >>> sm.provenance.untrained(encoder), sm.provenance.row_name(encoder)
        (True, 'random encoder')
    """
    if not isinstance(encoder, Mirror):
        return False
    fresh = encoder._build()
    now: dict[str, torch.Tensor] = dict(encoder.named_parameters()) | dict(encoder.named_buffers())
    starts = (*fresh.named_parameters(), *fresh.named_buffers())
    return all(torch.equal(now[name].detach().cpu(), start.detach().to(now[name].dtype)) for name, start in starts)


def origin(encoder: _Seen) -> str:
    """Where an encoder's weights come from: "untrained", "unknown origin", or its stages.

    Args:
        encoder: Encoder.
    """
    if untrained(encoder):
        return "untrained"
    return "unknown origin" if encoder.provenance is None else "; ".join(map(str, encoder.provenance.stages))


def row_name(encoder: _Seen) -> str:
    """What an encoder's row is called in a table of scores: "random encoder", "pretrained encoder" or "fine-tuned encoder".

    Args:
        encoder: Encoder. One of unknown origin counts as pretrained; :func:`origin` tells.
    """
    if untrained(encoder):
        return "random encoder"
    stages = [] if encoder.provenance is None else [stage for stage in encoder.provenance.stages if stage.kind != "probe"]
    return "fine-tuned encoder" if stages and stages[-1].kind == "finetuning" else "pretrained encoder"


def _check_cohort(where: str, cohort: Any) -> None:
    if not hasattr(cohort, "modalities"):
        raise TypeError(f"{where}: cohort={cohort!r} must be a Cohort, got {type(cohort).__name__}")


def _people(cohort: Cohort) -> list[tuple[str, str]]:
    """(site, subject) of each row."""
    return list(zip(cohort.table["site"].astype(str), cohort.table["subject"].astype(str), strict=True))


def _cut(text: str) -> frozenset[str]:
    """Hashes that stand one after the other."""
    if len(text) % _DIGITS or not set(text) <= set("0123456789abcdef"):
        raise ValueError(f"expected hashes of {_DIGITS} hexadecimal digits each, found {len(text)} characters that are not")
    return frozenset(text[at : at + _DIGITS] for at in range(0, len(text), _DIGITS))
