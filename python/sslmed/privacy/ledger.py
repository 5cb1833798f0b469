"""The ledger: which private steps were taken, and what they cost together."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from sslmed import _checks
from sslmed._core import FormatError
from sslmed.privacy.accounting import RELATIONS, Accountant, Relation, check_accountant, check_delta, epsilon_of
from sslmed.privacy.calibration import last_below
from sslmed.privacy.journal import Journal

__all__ = ["Budget", "BudgetError", "Ledger"]

Key = tuple[float, float]
_MOST = 10**9  # steps of one spend


class BudgetError(RuntimeError):
    """A step would cost more than the budget of its ledger. Nothing was written."""


class Budget(NamedTuple):
    """What a ledger may spend: ``epsilon`` at ``delta``, as the ``accountant`` counts."""

    epsilon: float
    delta: float
    accountant: str


class Ledger:
    """A file of the private steps that were taken, each written before its noisy result is used.

    A step clips what each unit contributes to a norm C, sums over a Poisson-sampled batch, and adds Gaussian noise of
    standard deviation ``noise_multiplier * C``. Call :meth:`spend` before the result of such a step leaves the private
    code. When it returns the step is on the disk, so that a run that is killed and started again, or a round of a
    federation, cannot forget what it has spent. The ledger counts; it makes nothing private by itself.

    Several processes, and several ledgers of one process, may write one file: a lock of the operating system lets in
    one at a time, and a budget holds for all of them together. The file belongs on a local file system.

    Args:
        path: The file, which is made where it does not exist; its folder must exist. Lines are readable JSON, each with
            a checksum that covers the line before it too.
        unit: What one step is bounded for, such as "record", "subject" or "client". The sampling rate and the clipping
            norm must be of this unit.
        relation: What neighboring data sets differ by: "add_or_remove_one" unit, or "replace_one" by another, which
            costs more.

    Attributes:
        path: The file.
        unit: As given.
        relation: As given.

    Raises:
        ValueError: An argument is wrong, or the file was made for another unit or relation.
        FormatError: The file is no ledger, or a line in it was changed, moved or removed.
        ReadError: The file cannot be opened, made or locked.

    Warns:
        FormatWarning: The last line was written in part, as by a spend that was killed before it returned; it is cut
            off.

    Examples:
        >>> import tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> ledger = Ledger(f"{folder.name}/privacy.ledger", unit="subject")
        >>> ledger.budget(epsilon=3.0, delta=1e-5)
        >>> ledger.spend(noise_multiplier=1.1, sampling_rate=256 / 60_000, steps=14_062)
        >>> round(ledger.epsilon(delta=1e-5), 2)
        2.38
        >>> again = Ledger(f"{folder.name}/privacy.ledger", unit="subject")
        >>> again.limit
        Budget(epsilon=3.0, delta=1e-05, accountant='pld')
        >>> try:
        ...     again.spend(noise_multiplier=1.1, sampling_rate=256 / 60_000, steps=14_062)
        ... except BudgetError:
        ...     print("not within the budget")
        not within the budget
        >>> folder.cleanup()

    See Also:
        :func:`sslmed.privacy.noise_multiplier`: The noise that a planned run needs.
    """

    def __init__(self, path: str | os.PathLike[str], unit: str, relation: Relation = "add_or_remove_one") -> None:
        if not isinstance(unit, str) or not unit.strip():
            expected = "must say what a step is bounded for, such as 'record', 'subject' or 'client'"
            raise ValueError(f"Ledger: unit={unit!r} {expected}")
        _checks.choice("Ledger", "relation", relation, RELATIONS)
        self._journal = Journal(path, {"unit": unit, "relation": relation})
        self.path, self.unit, self.relation = self._journal.path, unit, relation
        for name, value in (("unit", unit), ("relation", relation)):
            stored = self._journal.header.get(name)
            if stored != value:
                text = f"differs from {name}={stored!r} of {self.path}; open it with that, or begin another file"
                raise ValueError(f"Ledger: {name}={value!r} {text}")
        self._lock = threading.RLock()
        self._steps: Counter[Key] = Counter()
        self._limit: Budget | None = None
        self._counted = 0
        self._fitting: Counter[Key] = Counter()
        self._ahead = 1
        self._count()

    def spend(
        self,
        noise_multiplier: float,
        sampling_rate: float,
        steps: int = 1,
        *,
        sampling: str = "poisson",
    ) -> None:
        """Writes down steps that are about to be taken. They are on the disk when this returns.

        Args:
            noise_multiplier: Standard deviation of the noise in units of the clipping norm, at least 0. Without noise
                epsilon is infinite.
            sampling_rate: Probability with which each unit is in a batch, above 0 and at most 1.
            steps: Number of steps, up to 1e9. Many at once save time; those that are then not taken stay spent.
            sampling: How batches are drawn. Only "poisson" (each unit by itself, with the same probability in each
                step) is accounted for: the batches of a shuffled epoch have a fixed size, no such sampling, and a
                larger epsilon.

        Raises:
            BudgetError: The steps would pass the budget. Nothing is written.
            ValueError: An argument is out of range.
            OSError: The file cannot be written. The steps may count all the same, and must not be taken.
            FormatError: The file was damaged since it was opened.
            ImportError: There is a budget, and dp-accounting is not installed (the extra ``privacy``).
        """
        where = "Ledger.spend"
        key = _key(where, noise_multiplier, sampling_rate)
        _checks.whole(where, "steps", steps, 1)
        _checks.number(where, "steps", steps, 1, _MOST)
        if sampling != "poisson":
            raise ValueError(
                f"{where}: sampling={sampling!r} must be 'poisson': batches of a fixed size or of a shuffled epoch are "
                "no Poisson samples, and counted as such their epsilon would be too small; draw each unit by itself, "
                "with probability sampling_rate in every step"
            )
        with self._lock, self._journal.locked():
            self._count()
            self._check_budget(key, int(steps))
            entry = {
                "kind": "spend",
                "time": time.time(),
                "noise_multiplier": key[0],
                "sampling_rate": key[1],
                "steps": int(steps),
            }
            self._journal.append(entry)
            self._count()

    def epsilon(self, delta: float, accountant: Accountant = "pld") -> float:
        """Epsilon of all steps in the file, those of other processes included.

        Args:
            delta: Delta, between 0 and 1; below one over the number of units. Privacy loss distributions are
                rounded by up to about 1e-15 for each step, which is taken off delta: epsilon is infinite where nothing
                is left (below about 1e-12 for a thousand steps, 1e-9 for a million).
            accountant: "pld" (privacy loss distributions) gives the smaller bound, and the only one for "replace_one".
                "rdp" (Rényi) is what older papers report; it is also the smaller one where a step loses less than 1e-4
                (sampling_rate / noise_multiplier below that), because "pld" rounds losses up to multiples of 1e-4.

        Returns:
            An upper bound of epsilon; 0 for an empty ledger, infinite after a step without noise.

        Raises:
            ValueError: An argument is out of range, or the accountant does not know the relation.
            FormatError: The file was damaged since it was opened.
            ImportError: dp-accounting is not installed (the extra ``privacy``).
        """
        check_delta("Ledger.epsilon", delta)
        check_accountant("Ledger.epsilon", accountant, self.relation)
        with self._lock:
            self._refresh()
            return epsilon_of(self._steps, float(delta), self.relation, accountant)

    def budget(self, epsilon: float, delta: float, accountant: Accountant = "pld") -> None:
        """Sets what may be spent: from now on :meth:`spend` refuses steps that would pass it, in every process.

        It is stored in the file. The same budget again changes nothing, so that a program may set it at each start.

        Args:
            epsilon: Largest epsilon, above 0.
            delta: Delta, between 0 and 1.
            accountant: Who counts: "pld" or "rdp" (see :meth:`epsilon`).

        Raises:
            BudgetError: More is spent already. Nothing is written.
            ValueError: An argument is out of range, or the budget is no tighter than the one in the file; a wider one
                needs a new ledger.
            ImportError: dp-accounting is not installed (the extra ``privacy``).
        """
        where = "Ledger.budget"
        _checks.number(where, "epsilon", epsilon, 0, strict=True)
        check_delta(where, delta)
        check_accountant(where, accountant, self.relation)
        wanted = Budget(float(epsilon), float(delta), accountant)
        with self._lock, self._journal.locked():
            self._count()
            limit = self._limit
            if limit == wanted:
                return
            if limit is not None and (accountant != limit.accountant or epsilon > limit.epsilon or delta > limit.delta):
                raise ValueError(
                    f"{where}: epsilon={epsilon!r}, delta={delta!r}, accountant={accountant!r} must be at most those "
                    f"of {self.path}, with the same accountant: {limit}; a budget can only become smaller"
                )
            spent = epsilon_of(self._steps, wanted.delta, self.relation, accountant)
            if spent > wanted.epsilon:
                stand = f"is spent already: {self.path} stands at {spent:.6g}"
                raise BudgetError(f"{where}: epsilon={epsilon!r} at delta={delta!r} {stand}")
            self._journal.append({"kind": "budget", "time": time.time(), **wanted._asdict()})
            self._count()

    def remaining(self, noise_multiplier: float, sampling_rate: float) -> int:
        """How many steps of one kind still fit into the budget.

        Args:
            noise_multiplier: As in :meth:`spend`.
            sampling_rate: As in :meth:`spend`.

        Returns:
            The largest ``steps`` that :meth:`spend` takes now, counted up to 1e9. Another process may spend them first.

        Raises:
            ValueError: An argument is out of range, or the ledger has no budget.
        """
        where = "Ledger.remaining"
        key = _key(where, noise_multiplier, sampling_rate)
        with self._lock:
            self._refresh()
            if self._limit is None:
                text = "has no budget, so that any number of steps fits; call budget(epsilon, delta) first"
                raise ValueError(f"{where}: {self.path} {text}")
            low = last_below(lambda steps: self._excess(key, steps), _MOST)
            if low:
                self._fitting = self._with(key, low)
            return low

    @property
    def limit(self) -> Budget | None:
        """The budget in the file; None without one."""
        with self._lock:
            self._refresh()
            return self._limit

    @property
    def events(self) -> pd.DataFrame:
        """What the file holds, in its order.

        Columns: ``time`` (UTC), ``kind`` ("spend" or "budget"), ``noise_multiplier``, ``sampling_rate``, ``steps`` of a
            spend, ``epsilon``, ``delta``,
        ``accountant`` of a budget; missing where they do not belong.
        """
        with self._lock:
            self._refresh()
            entries = list(self._journal.entries)
        columns: dict[str, pd.Series[Any]] = {
            "time": pd.to_datetime(pd.Series([e["time"] for e in entries], dtype=float), unit="s", utc=True),
            "kind": pd.Series([e["kind"] for e in entries], dtype=object),
        }
        for name in ("noise_multiplier", "sampling_rate", "steps", "epsilon", "delta"):
            if name == "steps":
                columns[name] = pd.Series([e.get(name) for e in entries], dtype="Int64")
            else:
                columns[name] = pd.Series([e.get(name, np.nan) for e in entries], dtype=float)
        columns["accountant"] = pd.Series([e.get("accountant") for e in entries], dtype=object)
        return pd.DataFrame(columns)

    def __repr__(self) -> str:
        steps = sum(self._steps.values())
        kind = f"unit={self.unit!r}, relation={self.relation!r}"
        return f"Ledger({str(self.path)!r}, {kind}, steps={steps}, limit={self._limit})"

    def _refresh(self) -> None:
        """Reads what other processes have written."""
        with self._journal.locked():
            self._count()

    def _count(self) -> None:
        """Takes in the entries that were read since the last time."""
        for number, entry in enumerate(self._journal.entries[self._counted :], self._counted + 2):
            try:
                if entry["kind"] == "spend":
                    self._steps[_key("line", entry["noise_multiplier"], entry["sampling_rate"])] += entry["steps"]
                elif entry["kind"] == "budget":
                    self._limit = Budget(entry["epsilon"], entry["delta"], entry["accountant"])
                    self._fitting = Counter()
                else:
                    raise ValueError(f"kind {entry['kind']!r}")
            except (KeyError, TypeError, ValueError) as error:
                text = f"expected a spend or a budget, found {error!r}; use the sslmed that wrote it"
                raise FormatError(f"{self.path}: line {number}: {text}") from error
            self._counted += 1

    def _with(self, key: Key, steps: int) -> Counter[Key]:
        total = self._steps.copy()
        total[key] += steps
        return total

    def _excess(self, key: Key, steps: int) -> float:
        """By how much epsilon would pass the budget with these steps; up to 0 they fit."""
        assert self._limit is not None
        limit = self._limit
        return epsilon_of(self._with(key, steps), limit.delta, self.relation, limit.accountant) - limit.epsilon

    def _check_budget(self, key: Key, steps: int) -> None:
        """Raises BudgetError where the steps do not fit.

        An epsilon takes about a second, and a run spends step by step. So it is asked for many more steps than these,
        and what fits is remembered: all ledgers with no more steps of any kind fit too.
        """
        if self._limit is None:
            return
        wanted = self._with(key, steps)
        if wanted <= self._fitting:
            return
        while self._ahead > 1:
            if self._excess(key, steps * self._ahead) <= 0:
                self._fitting = self._with(key, steps * self._ahead)
                self._ahead *= 2
                return
            self._ahead //= 4
        self._ahead = 2
        excess = self._excess(key, steps)
        if excess <= 0:
            self._fitting = wanted
            return
        spent = epsilon_of(self._steps, self._limit.delta, self.relation, self._limit.accountant)
        cost = self._limit.epsilon + excess
        raise BudgetError(
            f"Ledger.spend: steps={steps} with noise_multiplier={key[0]!r} and sampling_rate={key[1]!r} would bring "
            f"{self.path} from epsilon {spent:.6g} to {cost:.6g}, past its budget of {self._limit.epsilon:g} at delta "
            f"{self._limit.delta:g}; nothing was written"
        )


def _key(where: str, noise_multiplier: Any, sampling_rate: Any) -> Key:
    _checks.number(where, "noise_multiplier", noise_multiplier, 0)
    _checks.number(where, "sampling_rate", sampling_rate, 0, 1, strict=True)
    return float(noise_multiplier), float(sampling_rate)
