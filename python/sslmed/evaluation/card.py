"""The card of an encoder: what can be told from its frozen features about the people of a cohort."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from sslmed._checks import OnError, whole
from sslmed._core import FormatError, SslmedWarning, regular
from sslmed.cohort import Cohort
from sslmed.encoders import CohortEncoder, EncoderLike, resolve
from sslmed.evaluation import exposure
from sslmed.evaluation.card_text import sentence
from sslmed.evaluation.evaluate import evaluate
from sslmed.evaluation.features import encoder_features
from sslmed.evaluation.identification import cosine, differs, rank_one, verification
from sslmed.labels import class_names, is_regression
from sslmed.provenance import origin, overlap
from sslmed.reporting.escape import html_block, write_csv
from sslmed.training.inference import encode_samples

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["COLUMNS", "Card", "card"]

Array = np.ndarray[Any, Any]

COLUMNS = ("what", "metric", "value", "low", "high", "chance", "p_chance", "random", "random_low", "random_high", "difference", "p", "n_subjects")
"""Columns of a card's table."""
_METRICS = {True: ("mae", "r2"), False: ("balanced_accuracy", "auroc")}
_SUFFIX = ".card.json"


@dataclass(repr=False)
class Card:
    """What can be told from an encoder's frozen features (:func:`sslmed.card`)."""

    table: pd.DataFrame
    """One line a question and score: what, metric, value, low, high (95 %), chance, p_chance (against chance), random (the same architecture with untrained
    weights), random_low, random_high, difference (from random), p (of that difference), n_subjects. A metric "not known" has no values."""
    sentences: list[str]
    """The table in words, one sentence a line."""
    encoder: str
    """Where the encoder's weights come from."""
    cohort: str
    """Name of the cohort."""
    n_subjects: int
    """Number of people of the cohort."""
    transductive: int = 0
    """Number of these people whose signals the encoder was trained on."""
    options: dict[str, Any] = field(default_factory=dict)
    """Arguments of the call."""

    def __repr__(self) -> str:
        lines = "\n".join(f"- {line}" for line in self.sentences)
        return f"<Card of an encoder ({self.encoder}) on {self.n_subjects} people of {self.cohort}>\n{lines}"

    def _repr_html_(self) -> str:
        after = f" on {self.n_subjects} people of {self.cohort}"
        return html_block(self.encoder, self.table, items=self.sentences, after=after)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draws the scores between 0 and 1 with their intervals, beside the untrained encoder and chance.

        Args:
            ax: Axes to draw on; new ones by default.

        Returns:
            The matplotlib axes.
        """
        from sslmed.reporting.plots import plot_card

        return plot_card(self.table[~self.table["metric"].isin(["not known", "mae"])], ax)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes the card.

        Args:
            path: File: a table (.csv), a page with sentences, table and plot (.html) or all of it (.json). With the path of an encoder (.safetensors) the card
                is written beside it, as ``<encoder>.card.json``.

        Returns:
            The file that was written.

        Raises:
            ValueError: Another ending.
        """
        file = Path(path)
        if file.suffix == ".safetensors":
            file = file.with_suffix(_SUFFIX)
        if file.suffix == ".csv":
            write_csv(self.table, file)
        elif file.suffix == ".html":
            from sslmed.reporting.page import write_report

            title = f"What the encoder knows of {self.n_subjects} people of {self.cohort}"
            write_report(file, title, [("Scores", self.table, [self.plot().figure])], notes=[f"Encoder: {self.encoder}.", *self.sentences])
        elif file.suffix == ".json":
            values = asdict(self) | {"format": "sslmed-card-1", "table": self.table.astype(object).where(self.table.notna(), None).to_dict("records")}
            file.write_text(json.dumps(values, indent=1), encoding="utf-8")
        else:
            raise ValueError(f"Card.save: path={os.fspath(path)!r} must end in .json, .csv, .html or .safetensors")
        return file

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Card:
        """Reads a card that :meth:`save` wrote as JSON.

        Args:
            path: The file, or the encoder that it lies beside.

        Raises:
            FormatError: The file is not a card.
        """
        file = Path(path)
        file = file.with_suffix(_SUFFIX) if file.suffix == ".safetensors" else file
        try:
            values = json.loads(Path(regular(file)).read_text(encoding="utf-8"))
            if values.pop("format") != "sslmed-card-1":
                raise KeyError("format")
            table = pd.DataFrame(values.pop("table"), columns=list(COLUMNS))
            numbers: dict[str, Any] = dict.fromkeys(COLUMNS[2:-1], float)
            return cls(table=table.astype(numbers), **values)
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise FormatError(f"{file}: expected a card that was saved as JSON, found {error!r}") from error


def card(
    encoder: EncoderLike,
    cohort: Cohort,
    *,
    columns: Sequence[str] = ("sex", "site", "age"),
    session: str | None = None,
    out: str | os.PathLike[str] | None = None,
    pooling: str = "mean",
    cv: int = 5,
    repeats: int = 10,
    permutations: int = 199,
    seed: int = 0,
    threads: int = 2,
    on_error: OnError = "raise",
) -> Card:
    """Says what can be told from an encoder's frozen features: who somebody is, and their sex, site, age or any other column.

    Each score stands beside chance and beside the same architecture with untrained weights. Features that tell a site or a person may be what a probe of a
    diagnosis uses, so read the card before you trust a score.

    - A person is found again by another recording: the first recording of everybody is a gallery, and each person's last one is compared with all of it
      (cosine of standardized features). With ``session`` the two are of different sessions. Where nobody has two recordings, they are the first and the second
      half of a recording, which is easier.
    - A column is predicted by a linear probe in folds over people, as :func:`sslmed.evaluate` does it.

    Args:
        encoder: Encoder, name or path.
        cohort: Recordings or images.
        columns: Columns of the cohort's table to predict. One that is missing, or has one value only, is listed as not known.
        session: Column of the session of each recording: a person is then found across sessions, and the session is one more column to predict.
        out: File to write the card to (:meth:`Card.save`), such as the encoder's own path: the card is then written beside it.
        pooling: How the tokens of a sample become its features (:func:`sslmed.encode`).
        cv: Number of folds over people, fewer where a class has fewer people.
        repeats: Number of draws of the folds.
        permutations: Number of permuted label vectors for the tests against chance.
        seed: Seed of folds and permutations.
        threads: Number of loader threads.
        on_error: "raise", or "skip" samples that cannot be read or carry no signal, with a warning.

    Returns:
        The card.

    Raises:
        TypeError, ValueError: Arguments that do not fit, or an encoder that was fine-tuned on labels of these people.

    Warns:
        TransductiveWarning: The encoder was pretrained on signals of some of these people.

    See Also:
        :func:`sslmed.features`, :func:`sslmed.transfer`, :func:`sslmed.shift.identity_variance`

    Examples:
        >>> import numpy as np, pandas as pd
        >>> import sslmed as sm
        >>> rng, sex = np.random.default_rng(0), np.tile(["F", "M"], 12)
        >>> x = rng.normal(size=(24, 2, 800)) * np.where(sex == "F", 3.0, 1.0)[:, None, None]
        >>> cohort = sm.Cohort.from_arrays(x, 100, ["Cz", "Pz"], pd.DataFrame({"subject": [f"s{i}" for i in range(24)], "sex": sex}))
        >>> found = sm.card("vit_tiny", cohort, columns=["sex", "age"], repeats=1, permutations=19)
        >>> found.table["what"].unique().tolist(), found.sentences[-1]
        (['person', 'sex', 'age'], 'The age of these people is not known: the table has no such column.')
    """
    if isinstance(columns, str):
        raise TypeError(f"card: columns={columns!r} must be a list of columns, such as [{columns!r}]")
    for name, value, least in (("cv", cv, 2), ("repeats", repeats, 1), ("permutations", permutations, 0), ("seed", seed, 0), ("threads", threads, 1)):
        whole("card", name, value, least)
    model = resolve(encoder, cohort)
    if "subject" in columns:
        raise ValueError("card: columns: 'subject' is always part of the card (the line 'person'); leave it out")
    if session is not None and session not in cohort.table:
        raise ValueError(f"card: session={session!r} is not a column of the table; there are {', '.join(map(str, cohort.table.columns))}")
    if out is not None and Path(out).suffix not in (".json", ".csv", ".html", ".safetensors"):
        raise ValueError(f"card: out={os.fspath(out)!r} must end in .json, .csv, .html or .safetensors")
    exposure.check(model, cohort, str(next(iter(columns), "subject")))
    how: dict[str, Any] = {"pooling": pooling, "threads": threads, "on_error": on_error}
    models = {"encoder": model, "random": model.randomized()}
    matrices = {name: encoder_features(one, cohort, **how) for name, one in models.items()}
    lines, said = _person(models, matrices, cohort, session, seed, how)
    asked = [*dict.fromkeys([*columns, *([session] if session is not None else [])])]
    for column in asked:
        found, text = _column(matrices, cohort.table, column, cv, {"repeats": repeats, "permutations": permutations, "seed": seed})
        lines, said = lines + found, said + text
    options = {"columns": list(columns), "session": session, "pooling": pooling, "cv": cv, "repeats": repeats, "permutations": permutations, "seed": seed}
    n = int(cohort.table["subject"].nunique())
    made = Card(pd.DataFrame(lines, columns=list(COLUMNS)), said, origin(model), cohort.name, n, overlap(model, cohort).people, options)
    if out is not None:
        made.save(out)
    return made


def _person(
    models: dict[str, CohortEncoder], matrices: dict[str, Array], cohort: Cohort, session: str | None, seed: int, how: dict[str, Any]
) -> tuple[list[tuple[Any, ...]], list[str]]:
    """Lines and sentences of re-identification."""
    subjects = cohort.table["subject"].astype(str).to_numpy()
    codes, first = np.unique(subjects, return_inverse=True)[1], np.unique(subjects, return_index=True)[1]
    pairs = _pairs(codes, None if session is None else cohort.table[session].to_numpy())
    if len(first) < 2 or (session is not None and len(pairs) < 2):
        why = "there are fewer than two people" if len(first) < 2 else f"fewer than two people have recordings of two values of {session!r}"
        return [_unknown("person")], [f"Whether a person is found again is not known: {why}."]
    halves = len(pairs) < 2
    similarity = {}
    for name, x in matrices.items():
        gallery, probes, owner = (x[first], None, None)
        if halves:
            gallery, probes, owner = _halves(models[name], cohort, codes, how)
            if len(owner) < 2:
                return [_unknown("person")], ["Whether a person is found again is not known: fewer than two recordings have two samples."]
        else:
            rows = np.array([b for _, b in pairs.values()])
            gallery = gallery.copy()
            owner = np.array(list(pairs))
            gallery[owner] = x[[a for a, _ in pairs.values()]]
            probes = x[rows]
        similarity[name] = (cosine(gallery, probes), owner)
    lines, said = [], []
    other = "the other half of the recording" if halves else ("a recording of another session" if session is not None else "another recording")
    for metric, score in (("rank1", rank_one), ("auroc", verification)):
        own, random = (score(*similarity[name], seed=seed) for name in ("encoder", "random"))
        difference, p = differs(own, random)
        n, size = similarity["encoder"][0].shape
        chance = 1 / size if metric == "rank1" else 0.5
        line = ("person", metric, own.value, own.low, own.high, chance, own.p, random.value, random.low, random.high, difference, p, n)
        lines.append(line)
        said.append(sentence(dict(zip(COLUMNS, line, strict=True)), other=other, gallery=size))
    return lines, said


def _pairs(codes: Array, sessions: Array | None) -> dict[int, tuple[int, int]]:
    """First and last recording of each person who has two; of the first and the last session where these are known."""
    out = {}
    for person in range(int(codes.max()) + 1):
        rows = np.flatnonzero(codes == person)
        if sessions is not None:
            known = rows[pd.notna(sessions[rows])]
            order = known[np.argsort(sessions[known].astype(str), kind="stable")]
            rows = order[[0, -1]] if len(order) and str(sessions[order[0]]) != str(sessions[order[-1]]) else order[:0]
        if len(rows) > 1:
            out[person] = (int(rows[0]), int(rows[-1]))
    return out


def _halves(model: CohortEncoder, cohort: Cohort, codes: Array, how: dict[str, Any]) -> tuple[Array, Array, Array]:
    """Features of the first half of everybody's first recording, of the second half where there is one, and whose the latter are."""
    first = np.unique(codes, return_index=True)[1]
    with warnings.catch_warnings():  # said already of the whole recordings
        warnings.simplefilter("ignore", SslmedWarning)
        values, places = encode_samples(model, cohort.subset(first), **how)
    x, row, number = values.double().numpy(), places["row"].to_numpy(), places["number"].to_numpy()
    gallery, probes, owner = [], [], []
    for person in range(len(first)):
        own = np.flatnonzero(row == person)
        own = own[np.argsort(number[own])]
        half = max(1, len(own) // 2)
        gallery.append(x[own[:half]].mean(axis=0))
        if len(own) > 1:
            probes.append(x[own[half:]].mean(axis=0))
            owner.append(person)
    return np.stack(gallery), np.stack(probes) if probes else np.empty((0, x.shape[1])), np.array(owner, int)


def _column(matrices: dict[str, Array], table: pd.DataFrame, column: str, cv: int, options: dict[str, Any]) -> tuple[list[tuple[Any, ...]], list[str]]:
    """Lines and sentences of a column."""
    if why := _not_known(table, column):
        return [_unknown(column)], [f"The {column} of these people is not known: {why}."]
    kept = np.array(table[column].notna())
    people = table[kept].reset_index(drop=True)
    values = people[column].infer_objects().to_numpy()
    regression = is_regression(values, None, people["subject"].to_numpy())
    rare = 0
    if not regression:
        names = class_names(values)
        sizes = people["subject"].groupby(names).nunique()
        common = np.isin(names, sizes.index[sizes >= 2])
        if len(set(names[common])) < 2:
            return [_unknown(column)], [f"The {column} of these people cannot be scored: fewer than two of its values are those of two people."]
        rare, cv = int(people["subject"][~common].nunique()), min(cv, int(sizes[sizes >= 2].min()))
        kept[np.flatnonzero(kept)[~common]] = False
        people = people[common].reset_index(drop=True).assign(**{column: names[common]})
    cv = min(cv, int(people["subject"].nunique()))
    given = {name: matrices[name][kept] for name in ("random", "encoder")}
    result = evaluate(given, people, column, cv=cv, regression=regression, **options)
    scores = {(line["row"], line["metric"]): line for line in result.table.to_dict("records")}
    compared = {(line["against"], line["metric"]): line for line in result.comparisons.to_dict("records")}
    p_chance = next((float(line["p"]) for (against, _), line in compared.items() if against == "chance"), np.nan)
    lines, said = [], []
    for metric in _METRICS[regression]:
        own, random = scores["encoder", metric], scores["random", metric]
        chance = float(scores["dummy", metric]["value"])
        here = compared.get(("random", metric), {"p": np.nan})
        apart = (own["value"] - random["value"], here["p"])
        ends = (random["value"], random["low"], random["high"])
        line = (column, metric, own["value"], own["low"], own["high"], chance, p_chance, *ends, *apart, own["n_subjects"])
        lines.append(line)
        classes = None if regression else len(np.unique(people[column]))
        said.append(sentence(dict(zip(COLUMNS, line, strict=True)), rare=rare, classes=classes))
    return lines, said


def _not_known(table: pd.DataFrame, column: str) -> str:
    if column not in table:
        return "the table has no such column"
    known = table[column].dropna()
    if not len(known):
        return "the column is empty"
    if known.nunique() < 2:
        return f"all have the value {str(known.iloc[0])!r}"
    return ""


def _unknown(what: str) -> tuple[Any, ...]:
    return (what, "not known", *[np.nan] * (len(COLUMNS) - 3), 0)
