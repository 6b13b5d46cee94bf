"""The command-line parsing of every program: tyro, with help that fits the terminal, and hints on mistakes.

JAX is not imported here.
"""

import contextlib
import dataclasses
import difflib
import io
import itertools
import re
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from mnistsum.errors import InputError

FRAME = ("╭", "│", "╰")  # start the lines that tyro itself fits to the terminal
COLOR = re.compile(r"(?:\x1b\[[0-9;]*m)*")
NO_DEFAULT = re.compile(rf"\(default:{COLOR.pattern} {COLOR.pattern}\)")
# A dotted field of a config and the placeholder of its value, at the start of a line of help.
FIELD = re.compile(
    rf"([│ ]{COLOR.pattern} {COLOR.pattern})--([a-z]+\.[a-z-]+)({COLOR.pattern} {COLOR.pattern}[^ \x1b]+)(?= )"
)
# Python's messages for a word that is not a number, and ours.
NO_NUMBER = (
    ("could not convert string to float: ", "expected a number, found "),
    ("invalid literal for int() with base 10: ", "expected an integer, found "),
)
# The name of a missing argument, before its help.
MISSING = re.compile(r"(--\S+(?: \{.*?\}| [A-Z|]+)?|[A-Z]+)(?= ).*? \(required\)")
TYPES = ConstructorRegistry()  # rules for types that tyro itself would describe with None and nested brackets


def parse(program: Any, arguments: list[str], known: Iterable[str], help_at: str = "--help", **options: Any) -> Any:
    """Return the parsed command line.

    On --help, tyro prints help and ends the process.

    Args:
        program: what tyro parses: a dataclass, or a union of them as subcommands.
        arguments: the command line's words.
        known: valid words, for hints.
        help_at: where the user finds what there is, for errors.
        options: options of `tyro.cli`.

    Raises:
        InputError: if a value is missing or cannot be parsed, or a word is unknown; the message then suggests the
            nearest known word.
    """
    markers = (tyro.conf.FlagCreatePairsOff, tyro.conf.PositionalMetavarFromFieldName)
    stderr = io.StringIO()
    try:
        with contextlib.redirect_stderr(stderr):
            parsed, unknown = tyro.cli(
                program, args=arguments, return_unknown_args=True, registry=TYPES, config=markers, **options
            )
    except SystemExit as end:
        if end.code != 2:
            raise
        raise InputError(_in_one_line(stderr.getvalue(), help_at)) from None
    if unknown:
        word = unknown[0].partition("=")[0]
        raise InputError(f"{word}: not understood; {hint(word, known)}{help_at} lists what there is")
    return parsed


def _in_one_line(box: str, help_at: str) -> str:
    """Return tyro's framed error message of several lines as one line, with config fields as users type them."""
    _, *lines = (line.strip("│ ") for line in COLOR.sub("", box).splitlines())  # the first line is a title

    def is_rule(line: str) -> bool:  # a terminal without these characters has one below the title, too
        return not line.strip("─-")

    message = " ".join(itertools.takewhile(lambda line: not is_rule(line), itertools.dropwhile(is_rule, lines)))
    message = re.sub(r"--([a-z]+\.[a-z-]+)", lambda match: match[1].replace("-", "_"), message)
    for python, plain in NO_NUMBER:
        message = message.replace(python, plain)
    if message.startswith("Missing from "):
        message = f"{message.partition(': ')[0]}: {', '.join(MISSING.findall(message))}"
    return f"{message.removeprefix('Error parsing ').rstrip('.')}; {help_at} lists what there is"


def options_of(program: type) -> list[str]:
    """Return the command-line options of a dataclass."""
    return [f"--{field.name.replace('_', '-')}" for field in dataclasses.fields(program)]


def hint(word: str, known: Iterable[str]) -> str:
    """Return a question that suggests a known word: one with this ending or abbreviation, or the nearest."""
    if word == "--version":
        return "did you mean python -m mnistsum --version? "
    known, last = list(known), word.lstrip("-")
    short = [one for one in known if one.endswith((f" {word}", f".{last}")) or _abbreviate(one) == word]
    near = (short or difflib.get_close_matches(word, known, 1) or [""])[0]
    if near.startswith("--") and "." in near and not word.startswith(near):  # a field of a config
        near = f"{near.removeprefix('--')}=VALUE"
    return f"did you mean {near}? " if near else ""


def _abbreviate(field: str) -> str:
    """Return a dotted field with its name reduced to initials, such as `optimizer.lr`."""
    section, dot, name = field.rpartition(".")
    return section + dot + "".join(part[:1] for part in name.split("_"))


class _Page(io.TextIOWrapper):
    """A buffer for printed text, in the colors and characters that standard output would show."""

    def isatty(self) -> bool:
        """Return whether a terminal reads standard output."""
        return sys.__stdout__ is not None and sys.__stdout__.isatty()


@contextlib.contextmanager
def fitted_help() -> Iterator[None]:
    """Fit the help that tyro prints in this context to the terminal."""
    content = io.BytesIO()
    encoding = sys.stdout.encoding if sys.stdout else "utf-8"  # None if the command was started with it closed
    page = _Page(content, encoding, errors="backslashreplace", write_through=True)
    try:
        with contextlib.redirect_stdout(page):
            yield
    finally:
        print(fit(content.getvalue().decode(page.encoding), shutil.get_terminal_size().columns), end="")


def fit(page: str, width: int) -> str:
    """Wrap the lines of a help page that are wider than the terminal, which would break them within words.

    tyro wraps framed text, but neither the usage line nor the description. Config fields are shown as users type them.
    """
    lines = []
    for line in page.splitlines():
        plain = COLOR.sub("", line)
        if len(plain) > width and not plain.startswith(FRAME):
            indent = " " * len("usage: ") if plain.startswith("usage: ") else ""
            line = textwrap.fill(plain, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
        lines.append(NO_DEFAULT.sub(lambda match: " " * len(COLOR.sub("", match[0])), line) + "\n")
    return FIELD.sub(lambda match: f"{match[1]}{match[2].replace('-', '_')}{match[3]}  ", "".join(lines))


@TYPES.primitive_rule
def _optional(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec | None:
    """Read `X | None` like X, and the word None as None."""
    parts = [part for part in get_args(info.type) if part is not NoneType]
    if get_origin(info.type) not in (UnionType, Union) or len(parts) != 1 or NoneType not in get_args(info.type):
        return None
    spec = ConstructorRegistry.get_primitive_spec(PrimitiveTypeInfo.make(parts[0], info.markers))
    assert isinstance(spec, PrimitiveConstructorSpec)
    return dataclasses.replace(
        spec,
        choices=spec.choices and (*spec.choices, "None"),
        instance_from_str=lambda words: None if words == ["None"] else spec.instance_from_str(words),
        is_instance=lambda value: value is None or spec.is_instance(value),
        str_from_instance=lambda value: ["None"] if value is None else spec.str_from_instance(value),
    )


@TYPES.primitive_rule
def _many(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec | None:
    """Read `tuple[X, ...]` as any number of X."""
    if get_origin(info.type) is not tuple or get_args(info.type)[1:] != (Ellipsis,):
        return None
    spec = ConstructorRegistry.get_primitive_spec(PrimitiveTypeInfo.make(get_args(info.type)[0], info.markers))
    assert isinstance(spec, PrimitiveConstructorSpec)
    return PrimitiveConstructorSpec(
        nargs="*",
        metavar=f"{spec.metavar},...",
        instance_from_str=lambda words: tuple(spec.instance_from_str([word]) for word in words),
        is_instance=lambda value: isinstance(value, tuple) and all(map(spec.is_instance, value)),
        str_from_instance=lambda value: [
            ",".join(word for one in value for word in spec.str_from_instance(one)) or "none"
        ],
    )
