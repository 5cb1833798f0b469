"""What a method of self-supervised training is, and the registry of methods."""

from __future__ import annotations

from dataclasses import asdict, fields, is_dataclass
from typing import Any, ClassVar, Protocol, TypeVar

from sslmed._checks import whole
from sslmed.encoders import CohortEncoder, Encoder
from sslmed.nn import Mirror

__all__ = ["Method", "at_least_one", "check_run", "get", "names", "needs_encoder", "options_of", "recipe_for", "register", "resolve"]

_Kind = TypeVar("_Kind", bound=type[Any])


class Method(Protocol):
    """What :func:`sslmed.pretrain` asks of a method: a frozen dataclass of its options."""

    name: ClassVar[str]
    class_token: ClassVar[bool]
    """Whether encoders that are made for it have a class token."""
    weight_decay: ClassVar[tuple[float, float]]
    """Default weight decay at the start and the end of a run."""
    # targets: tuple[str, ...], optional: columns of numbers of the cohort's table that come with the samples (batch.targets)
    # least_batch: int, optional: the smallest batch that anything is learned from, where samples are compared

    def objective(self, encoder: CohortEncoder, seed: int) -> Any:
        """What is trained, around the encoder: a C++ objective or a :class:`sslmed.PythonObjective`."""
        ...


_METHODS: dict[str, type[Any]] = {}


def register(method: _Kind) -> _Kind:
    """Makes a method known by its name to :func:`sslmed.pretrain` and the command line; usable as a decorator.

    Args:
        method: A dataclass that follows :class:`Method`.

    Raises:
        TypeError: It is not a dataclass with a ``name`` and an ``objective``.
        ValueError: Its name is taken.
    """
    if not is_dataclass(method) or not isinstance(getattr(method, "name", None), str) or not callable(getattr(method, "objective", None)):
        raise TypeError(f"register: method={method!r} must be a dataclass with a class attribute name and a method objective(encoder, seed)")
    name: str = getattr(method, "name")  # noqa: B009
    taken = _METHODS.get(name)
    if taken is not None and taken.__qualname__ != method.__qualname__:
        raise ValueError(f"register: name={name!r} is taken by {taken.__qualname__}")
    _METHODS[name] = method
    return method


def names() -> list[str]:
    """The names that :func:`sslmed.pretrain` takes."""
    return list(_METHODS)


def get(name: str) -> type[Any]:
    """A method's dataclass by name.

    Raises:
        ValueError: There is none of this name.
    """
    if name not in _METHODS:
        raise ValueError(f"method={name!r} is unknown, expected one of {', '.join(_METHODS)}")
    return _METHODS[name]


def options_of(method: str | Method) -> list[str]:
    """Names of a method's options."""
    kind: Any = get(method) if isinstance(method, str) else method
    return [field.name for field in fields(kind)]


def resolve(method: str | Method, options: dict[str, Any]) -> tuple[Method, dict[str, Any]]:
    """A method by name with its options, and all of them as they are kept in a checkpoint's configuration.

    Raises:
        ValueError: The name is unknown.
        TypeError: The method has no such option, or options are given beside a method that has them already.
    """
    if not isinstance(method, str):
        if options:
            raise TypeError(f"method={method!r} has its options already: give {', '.join(options)} to it")
        return method, _plain(method)
    kind, known = get(method), options_of(method)
    if unknown := [name for name in options if name not in known]:
        raise TypeError(f"method={method!r} has no option {', '.join(unknown)}; it has {', '.join(known)}")
    chosen = kind(**options)
    return chosen, _plain(chosen)


def _plain(method: Any) -> dict[str, Any]:
    """A method's options as plain values: its own ``described()`` where it has one."""
    own = getattr(method, "described", None)
    values: dict[str, Any] = own() if callable(own) else asdict(method)
    return values


def at_least_one(method: Any, *options: str) -> None:
    """Checks widths and counts among a method's options; None is the method's own choice.

    Raises:
        ValueError: One is no whole number of at least 1.
    """
    for option in options:
        value = getattr(method, option)
        if value is not None:
            whole(method.name, option, value, 1)


def check_run(method: Method, encoder: CohortEncoder, batch_size: int) -> None:
    """Refuses runs in which the encoder would learn nothing.

    Raises:
        ValueError: All weights of the encoder are fixed, or the method compares the samples of a batch and there is one.
    """
    if not any(parameter.requires_grad for parameter in encoder.parameters()):  # type: ignore[attr-defined]
        raise ValueError(f"pretrain: encoder={type(encoder).__name__} has fixed weights, expected one that can be trained")
    least = getattr(method, "least_batch", 1)
    if batch_size < least:
        told = f"method={method.name!r} compares the samples of a batch"
        raise ValueError(f"pretrain: batch_size={batch_size} must be at least {least}: {told}")


def needs_encoder(encoder: CohortEncoder, method: str) -> Encoder:
    """The encoder, for methods that embed only visible patches; TypeError for one that is written in Python."""
    if not isinstance(encoder, Encoder):
        raise TypeError(f"method={method!r} needs an sslmed.Encoder, which embeds only visible patches, got {type(encoder).__name__}")
    return encoder


def recipe_for(encoder: Mirror | CohortEncoder, *, default_augmentation: bool = True, augmentation: Any = None, **options: Any) -> Any:
    """How samples are cut and masked for an encoder; None for one of dense inputs, which a loader refuses.

    Args:
        encoder: The encoder.
        default_augmentation: Whether ``augmentation=None`` means that of the preprocessing, or none.
        augmentation: Random changes of samples.
        **options: Options of the preprocessing's recipe.
    """
    if not isinstance(encoder, CohortEncoder):
        return None
    if augmentation is None and default_augmentation:
        augmentation = encoder.preprocessing.augmentation
    return encoder.preprocessing.recipe(augmentation=augmentation, **options)
