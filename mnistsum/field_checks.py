"""Dataclasses whose fields are checked for type and range on construction.

JAX is not imported here.
"""

import difflib
import functools
import numbers
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from mnistsum import registry
from mnistsum.errors import InputError


class Checked:
    """A config or a part of one: its types and ranges are checked on every construction."""

    def __post_init__(self):
        for name, hint in hints(type(self)).items():
            object.__setattr__(self, name, _coerce(hint, getattr(self, name), self._key(name)))
        for name, holds, expected in self._ranges():
            if not holds:
                raise InputError(f"{self._key(name)}: expected {expected}, found {getattr(self, name)!r}")
        if not registry.is_loading():
            for known, name in self.names():
                known.check(name)

    def names(self) -> list[tuple[registry.Registry, str]]:
        """Return a pair of registry and name for each field, here or in a part, that holds a registered name."""
        parts = [part for part in vars(self).values() if isinstance(part, Checked)]
        own = [(known, getattr(self, field)) for field, known in self._names().items()]
        return [*own, *(pair for part in parts for pair in part.names())]

    def own_files(self) -> list[Path]:
        """Return the user's files that define the names in this config."""
        return [known.file_of(name) for known, name in self.names() if known.is_added(name)]

    def _ranges(self) -> list[tuple[str, bool, str]]:
        """Return fields, whether their values are in range, and the ranges in words."""
        return []

    def _names(self) -> dict[str, registry.Registry]:
        """Return the fields that hold a name, and the registries of the names."""
        return {}

    @classmethod
    def _key(cls, name: str) -> str:
        """Return the dotted key of a field, such as `optimizer.learning_rate`."""
        section = cls.__name__.removesuffix("Config").lower()
        return f"{section}.{name}" if section else name


@functools.cache
def hints(kind: type) -> dict[str, Any]:
    """Return the types of a dataclass's fields."""
    return get_type_hints(kind)


def _coerce(hint: Any, value: Any, key: str) -> Any:
    """Return the value, with a number converted to int or float; InputError if it does not have the type."""
    choices, literals = get_args(hint), []
    kind = get_origin(hint)
    if kind is Literal:
        return _check_choice(choices, value, key)
    if choices and kind is not tuple:  # a choice, None, or else a value of a type
        literals = [choice for part in choices for choice in get_args(part)]
        kinds = [part for part in choices if not get_args(part) and part is not type(None)]
        if value in literals or (value is None and type(None) in choices):
            return value
        hint = kinds[0]
    if kind is tuple:
        if isinstance(value, tuple):
            return tuple(_coerce(choices[0], item, key) for item in value)
        raise InputError(f"{key}: expected a tuple of {choices[0].__name__}, found {value!r}")
    if hint is float and isinstance(value, numbers.Real) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            raise InputError(f"{key}: expected a number below 1.8e308, found a larger one") from None
    if hint is int and isinstance(value, numbers.Integral) and not isinstance(value, bool):
        return int(value)
    if hint not in (int, float) and isinstance(value, hint):
        return value
    expected = " or ".join([*map(str, literals), hint.__name__])
    raise InputError(f"{key}: expected {expected}, found {value!r}")


def _check_choice(choices: tuple[Any, ...], value: Any, key: str) -> Any:
    if value in choices:
        return value
    near = "".join(f"; did you mean {name}?" for name in difflib.get_close_matches(str(value), choices, 1))
    raise InputError(f"{key}: expected one of {', '.join(choices)}, found {value!r}{near}")
