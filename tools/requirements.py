"""Prints the dependencies of pyproject.toml, and of the extras named as arguments, one a line; after --only, the extras alone."""

import re
import sys
from pathlib import Path

text = (Path(__file__).resolve().parent.parent / "pyproject.toml").read_text()


def listed(name: str) -> list[str]:
    block = re.search(rf"^{re.escape(name)} = \[(.*?)\]", text, re.S | re.M)
    if block is None:
        raise SystemExit(f"pyproject.toml has no {name}")
    return re.findall(r'"([^"]+)"', block[1])


extras = sys.argv[1:]
only = extras[:1] == ["--only"]
# torch is installed first and by itself, so that its pin decides.
base = [] if only else [r for r in listed("dependencies") if not r.startswith("torch")]
for requirement in base + [r for extra in extras[only:] for r in listed(extra)]:
    print(requirement)
