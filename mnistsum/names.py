"""Lookup of the names that a config uses, with hints for misspelled names."""

import difflib
from collections.abc import Iterable, Mapping
from typing import TypeVar

from mnistsum.errors import InputError

Meaning = TypeVar("Meaning")


def find(known: Mapping[str, Meaning], field: str, name: str) -> Meaning:
    """Return what a name stands for in a field of a config.

    Raises:
        InputError: if the name is unknown. The message suggests a similar one if there is one.
    """
    if name not in known:
        raise InputError(
            f"{field}: expected one of {', '.join(known)}, found {name}{did_you_mean(name, known)} (if it is your own, "
            "also give the .py file that defines it)"
        )
    return known[name]


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a question that suggests the nearest known word, or nothing if none is near.

    Examples:
        >>> from mnistsum.names import did_you_mean
        >>> did_you_mean("lenet", ["mlp", "lenet5"])
        '; did you mean lenet5?'
    """
    by_last_part = {one.rpartition(".")[2]: one for one in known}
    near = difflib.get_close_matches(word.rpartition(".")[2], by_last_part, 1)
    return f"; did you mean {by_last_part[near[0]]}?" if near else ""
