"""Who a network was trained on, in files that name nobody."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sslmed.leakage import refuse_overlap

__all__ = ["SeenPeople"]


@dataclass(frozen=True)
class SeenPeople:
    """Salted hashes of training subjects: whoever knows or guesses a name can check it, none can be read."""

    salt: str
    hashes: frozenset[str]

    @classmethod
    def of(cls, subjects: Iterable[object]) -> SeenPeople:
        """The hashes of subjects, with a new salt."""
        salt = secrets.token_hex(16)
        return cls(salt, frozenset(_hashed(str(subject), salt) for subject in subjects))

    @classmethod
    def loaded(cls, values: Mapping[str, Any]) -> SeenPeople:
        """What :meth:`saved` gave."""
        return cls(str(values["salt"]), frozenset(map(str, values["seen"])))

    def saved(self) -> dict[str, Any]:
        """Plain values for a file."""
        return {"salt": self.salt, "seen": sorted(self.hashes)}

    def refuse(self, subjects: Iterable[object], where: str) -> None:
        """Raises a ValueError where one of the subjects was trained on."""
        known = {str(subject) for subject in subjects if _hashed(str(subject), self.salt) in self.hashes}
        refuse_overlap(known, known, where)


def _hashed(subject: str, salt: str) -> str:
    return hashlib.sha256(f"{salt}{subject}".encode()).hexdigest()[:32]
