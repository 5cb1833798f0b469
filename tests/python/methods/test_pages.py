"""The pages of methods: every option is in its page, with the default of the code."""

import re
from dataclasses import MISSING, fields
from fractions import Fraction
from pathlib import Path

import pytest

from sslmed import methods

PAGES = Path(__file__).parents[3] / "docs" / "methods"


def told(name):
    """Options of a page's table, and what is told of their defaults."""
    found = {}
    for row in re.findall(r"^\|( `.*)\|$", (PAGES / f"{name}.md").read_text(encoding="utf-8"), re.MULTILINE):
        options, default = (cell.strip() for cell in row.split(" | ", 2)[:2])
        options = re.findall(r"`(\w+)`", options)
        parts = re.split(r", (?![^(]*\))", default)
        found |= dict(zip(options, parts if len(parts) == len(options) else [default] * len(options), strict=True))
    return found


def as_told(value, text):
    if isinstance(value, bool):
        return text == ("on" if value else "off")
    if isinstance(value, str):
        return text == f"`{value}`"
    if isinstance(value, tuple):
        numbers = re.findall(r"[\d.e/-]+", text)
        return [float(Fraction(number)) for number in numbers] == pytest.approx(list(value))
    return float(text) == value


@pytest.mark.parametrize("name", [name for name in methods.names() if name != "supervised"])
def test_options_and_defaults_are_those_of_the_code(name):
    kind, found = methods.get(name), told(name)
    known = {field.name: field.default for field in fields(kind)}
    assert sorted(found) == sorted([*known, "weight_decay"])
    for option, value in known.items():
        assert value is not MISSING
        if value is not None:
            assert as_told(value, found[option]), (option, value, found[option])
    start, end = kind.weight_decay
    assert [float(number) for number in found["weight_decay"].split(" to ")] == ([start] if start == end else [start, end])
