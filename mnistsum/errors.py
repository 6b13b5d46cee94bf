"""`InputError`, for wrong user input, and what its messages are made of."""

import difflib
from collections.abc import Iterable, Mapping
from typing import TypeVar

Meaning = TypeVar("Meaning")


class InputError(Exception):
    """Raised if a config, a command line or a file cannot be used.

    The message is one line that says what was expected.

    Examples:
        >>> import mnistsum
        >>> try:
        ...     mnistsum.load_pretrained("bass")
        ... except mnistsum.InputError as error:
        ...     print(error)
        bass: no such model; expected base, best, a run's folder or a file of weights
    """


def first_line(error: BaseException) -> str:
    r"""Return the first line of an error's text, or the name of its type.

    Examples:
        >>> from mnistsum.errors import first_line
        >>> first_line(ValueError("one\ntwo")), first_line(ValueError())
        ('one', 'ValueError')
    """
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def look_up(known: Mapping[str, Meaning], field: str, name: str) -> Meaning:
    """Return what a name stands for in a field of a config.

    Raises:
        InputError: if the name is unknown. The message suggests a similar one if there
            is one.
    """
    if name not in known:
        raise InputError(
            f"{field}: expected one of {', '.join(known)}, found "
            f"{name}{did_you_mean(name, known)} (if it is your own, also give the .py "
            "file that defines it)"
        )
    return known[name]


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a question that suggests the nearest known word, or nothing.

    Examples:
        >>> from mnistsum.errors import did_you_mean
        >>> did_you_mean("lenet", ["mlp", "lenet5"])
        '; did you mean lenet5?'
    """
    by_last_part = {one.rpartition(".")[2]: one for one in known}
    near = difflib.get_close_matches(word.rpartition(".")[2], by_last_part, 1)
    return f"; did you mean {by_last_part[near[0]]}?" if near else ""
