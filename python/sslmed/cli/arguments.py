"""Options that a command does not list: fields of dataclasses, given as ``--name value``."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import Field, fields
from typing import Any


def extra(arguments: list[str]) -> dict[str, str]:
    """Options that a command does not list: texts by name."""
    out, rest = {}, list(arguments)
    while rest:
        name, equals, value = rest.pop(0).partition("=")
        if not name.startswith("--") or len(name) < 3:
            raise ValueError(f"unexpected argument {name}")
        if not equals:
            if not rest or rest[0].startswith("--"):
                raise ValueError(f"{name} needs a value")
            value = rest.pop(0)
        out[name[2:].replace("-", "_")] = value
    return out


def value_of(option: str, text: str, default: Any) -> Any:
    """A text as what the default of its field is: a flag, a number, a text, or several separated by commas."""
    try:
        if isinstance(default, bool):
            return {"true": True, "false": False}[text.lower()]
        if isinstance(default, (int, float, str)):
            return type(default)(text)
        if isinstance(default, (tuple, list)):
            return tuple(value_of(option, part, default[0] if default else "") for part in text.split(","))
    except (KeyError, ValueError):
        raise ValueError(f"--{option.replace('_', '-')} {text}: expected {type(default).__name__}, such as {default}") from None
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return {"true": True, "false": False, "none": None}.get(text.lower(), text)


def field_value(option: str, text: str, field: Field[Any]) -> Any:
    """A text as what the field of a dataclass takes: none and several values where its type has them, otherwise what its default is."""
    kind, default = str(field.type), field.default
    if text.lower() == "none" and "None" in kind and not isinstance(default, str):
        return None
    if "," in text and "tuple" in kind and not isinstance(default, tuple):
        return value_of(option, text, (default,))
    return value_of(option, text, default)


def chosen(texts: dict[str, str], *places: Any, listed: Collection[str] = ()) -> list[dict[str, Any]]:
    """The fields of each dataclass from texts by name; a name goes to the first dataclass that has it, and an unknown one is refused.

    ``listed`` are fields that are options of the command under their own names.
    """
    known = [{field.name: field for field in fields(place) if field.name not in listed} for place in places]
    for name in texts:
        if not any(name in names for names in known):
            where = " and ".join(f"{place.__name__} ({', '.join(names)})" for place, names in zip(places, known, strict=True))
            raise ValueError(f"--{name.replace('_', '-')} is no option of this command, and no field of {where}")
    out: list[dict[str, Any]] = []
    for names in known:
        out.append({name: field_value(name, text, names[name]) for name, text in texts.items() if name in names and not any(name in done for done in out)})
    return out


def listed(text: str) -> list[str]:
    """Names separated by commas."""
    return [part.strip() for part in text.split(",") if part.strip()]


def shard_of(text: str | None) -> tuple[int, int] | None:
    """``k/n`` as two numbers; without a text, those of the scheduler's array job, if it is one."""
    from sslmed.grid import shard_of_this_job

    if text is None:
        return shard_of_this_job()
    numbers = text.split("/")
    if len(numbers) != 2 or not all(n.isdigit() for n in numbers):
        raise ValueError(f"--shard must be k/n, got {text!r}")
    return int(numbers[0]), int(numbers[1])
