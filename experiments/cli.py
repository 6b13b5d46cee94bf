"""The command line that all programs share: configs, overrides, and help."""

import dataclasses
import importlib
import os
import re
import shlex
import sys
from argparse import ArgumentTypeError, Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from mnistsum.app.program import Parser, run
from mnistsum.config import FIELDS, Config, as_dict, field_comments, override
from mnistsum.errors import InputError, did_you_mean

DEFAULT = "base"  # the config that programs use if none is named
CONFIG_FOLDER = Path(__file__).parent / "configs"
CLASSIFIERS = Path(__file__).parents[1] / "mnistsum" / "models" / "classifiers"
VARIANT = re.compile(r"\+(?=[a-z][a-z_.]*=)")


def config_names() -> list[str]:
    """Return the names of the configs that ship with this project."""
    return sorted(path.stem for path in CONFIG_FOLDER.glob("[!_]*.py"))


class ConfigParser(Parser):
    """A parser whose help lists all fields, with the values of the named config."""

    def parse_known_args(self, *arguments: Any, **options: Any) -> Any:
        """Parse arguments as argparse does."""
        words = arguments[0]
        if not {"-h", "--help"}.isdisjoint(words):
            names = [word.removeprefix("--config=") for word in words]
            named = [
                name
                for name in names
                if own_file(name) or VARIANT.split(name)[0] in config_names()
            ]
            self.epilog = describe_fields(next(iter(named), DEFAULT))
        return super().parse_known_args(*arguments, **options)

    def error(self, message: str) -> NoReturn:
        """Raise an InputError, with a hint on a field that was typed as an option."""
        option, *others = message.removeprefix("unrecognized arguments: ").split()
        unknown, _, value = option.partition("=")
        name = unknown.removeprefix("--").replace("-", "_")
        if fields := [
            key
            for key in FIELDS
            if name in (key, key.split(".")[-1]) and unknown.startswith("--")
        ]:
            value = value or next(iter(others), "VALUE")
            raise InputError(
                f"{unknown}: no such option; set the field by {fields[0]}={value}, "
                "without dashes"
            )
        super().error(message)


def parser(program: str, description: str | None) -> Parser:
    """Return the parser of a program that takes configs and overrides."""
    return ConfigParser(
        prog=f"python -m experiments.{program}", description=description
    )


def add_config(parser: Parser) -> None:
    """Add the argument that names a config, which may also be given as an option."""
    parser.add_argument(
        "name",
        nargs="?",
        metavar="CONFIG",
        help=f"config, variant or your .py file; default: {DEFAULT}",
    )
    parser.add_argument("--config", help="the same")


def named_config(options: Namespace) -> str | None:
    """Return the name of the config that is given, if one is."""
    if options.name and options.config:
        raise InputError(
            f"--config {options.config}: expected one config, found {options.name}, too"
        )
    return options.name or options.config


def add_workers(parser: Parser) -> None:
    """Add the option that says how many runs are trained at the same time."""
    parser.add_argument(
        "--workers",
        type=_count,
        default=cores(),
        help=(
            "on CPUs, runs to train at the same time, each on one core, with 0.6 to "
            "0.9 GB; 0: in this process"
        ),
    )


def _count(text: str) -> int:
    if not text.isdecimal():
        raise ArgumentTypeError(f"expected 0 or more, found {text}")
    return int(text)


def cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def own_file(name: str) -> Path | None:
    """Return the .py file that a name refers to; None for any other name."""
    file = VARIANT.split(name)[0]
    return Path(file) if file.endswith(".py") else None


def load_config(text: str, overrides: Sequence[str] = ()) -> Config:
    """Return the config that NAME or NAME+field=value+... stands for, with overrides.

    NAME may be a .py file.

    A variant's own changes become part of its name, as in base-adder-shift, and take
    precedence over overrides.

    Raises:
        InputError: if there is no such config, or a field or a value is wrong.
    """
    name, *assignments = VARIANT.split(text)
    config = override(_load(name), [*overrides, *assignments])
    if config.name != name and config.name in (*config_names(), Config().name):
        raise InputError(
            f"{name}: expected Config(name=...) with a name of its own, found "
            f"{config.name}"
        )
    for assignment in assignments:
        key, _, value = assignment.partition("=")
        change = re.sub(r"[^\w.-]", "_", f"{short_name(key)}-{value}")
        config = dataclasses.replace(config, name=f"{config.name}-{change}")
    return config


def short_name(key: str) -> str:
    """Return a field's name without its section, unless two have that name."""
    name = key.split(".")[-1]
    alike = [field for field in FIELDS if field.split(".")[-1] == name]
    return name if alike == [key] else key


def format_command(program: str, arguments: list[str]) -> str:
    """Return a program's command line as a user would type it."""
    return shlex.join(["python", "-m", f"experiments.{program}", *arguments])


def main(command: Callable[[list[str]], int]) -> None:
    """Run a program on the command line."""
    run(command, sys.argv[1:])


def describe_fields(name: str) -> str:
    """Return the end of a program's help: configs, and the fields of one."""
    from mnistsum.registry import KINDS, NAME_FIELDS  # loads JAX, only for help

    comments = field_comments()
    for kind, field in NAME_FIELDS.items():
        comments[field] = f"{', '.join(KINDS[kind])}, or your own"
    fields = [
        f"  {key}={as_typed(value)}  {comments[key]}"
        for key, value in as_dict(load_config(name)).items()
    ]
    return (
        f"Configs: {', '.join(config_names())},\n"
        "a variant such as base+model.adder=shift, or your own .py file with a "
        "variable `config`.\n"
        "Override fields without dashes, as in training.epochs=2.\n\n"
        f"Fields, with the values of {name}:\n" + "\n".join(fields)
    )


def as_typed(value: Any) -> str:
    """Return a field's value as a user would type it on the command line."""
    if isinstance(value, tuple):
        return ",".join(map(str, value)) or "none"
    return str(value)


def _load(name: str) -> Config:
    if name in config_names():
        return importlib.import_module(f"experiments.configs.{name}").config
    if not name.endswith(".py"):
        hint = did_you_mean(name, config_names())
        if Path(f"{name}.py").is_file():
            hint = f"; did you mean {name}.py?"
        elif (CLASSIFIERS / f"{name}.py").is_file():
            hint = f"; it is a classifier: base+model.classifier={name}"
        raise InputError(
            f"{name}: expected a config ({', '.join(config_names())}) or a .py file, "
            f"found neither{hint}"
        )
    from mnistsum.registry import load_file  # imports JAX, as the file itself does

    config = getattr(load_file(name), "config", None)
    if not isinstance(config, Config):
        raise InputError(
            f"{name}: expected a variable `config` of type mnistsum.Config, found "
            f"{config!r}"
        )
    return config
