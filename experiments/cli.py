"""The command line that all programs share: `--config NAME`, bare `field=value` overrides, and one-line errors."""

import argparse
import dataclasses
import difflib
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import tyro

from mnistsum import registry
from mnistsum.app.errors import printable, run
from mnistsum.config import Config, check_names, lookup
from mnistsum.errors import InputError

CONFIGS = Path(__file__).parent / "configs"
ASSIGNMENT = re.compile(r"([a-z][a-z_.]*)=(.*)")
VARIANT = re.compile(r"\+(?=[a-z][a-z_.]*=)")
# As a program's field: the config's fields, without a prefix; a bool takes a value, as in model.adder_gradient=False.
Settings = Annotated[Config, tyro.conf.arg(name=""), tyro.conf.FlagConversionOff]


def config_names() -> list[str]:
    """Return the names that `--config` takes."""
    return sorted(path.stem for path in CONFIGS.glob("[!_]*.py"))


def own_file(name: str) -> Path | None:
    """Return the .py file that a config's name, or a variant's, is the path of; None for one of ours."""
    file = VARIANT.split(name)[0]
    return Path(file) if file.endswith(".py") else None


def load_config(name: str) -> Config:
    """Return the `config` of experiments/configs/NAME.py, or of a .py file that the user typed."""
    if name.endswith(".py"):
        try:
            module = registry.load_file(name)
        except InputError as error:
            raise InputError(f"--config {error}") from None
    elif name in config_names():
        module = registry.load_module(f"experiments.configs.{name}")
    else:
        near = difflib.get_close_matches(name, config_names(), 1, 0.0)[0]
        raise InputError(f"--config {name}: no such config; did you mean {near}? (one of {', '.join(config_names())})")
    config = getattr(module, "config", None)
    if not isinstance(config, Config):
        raise InputError(f"--config {name}: expected a variable `config` of type mnistsum.Config, found {config!r}")
    return check_names(config)


def typed(program: str, arguments: list[str]) -> str:
    """Return the command line of a program, as a user types it; characters that are no text are escaped."""
    return printable(shlex.join(["python", "-m", f"experiments.{program}", *arguments]))


def parse(program: Any, arguments: list[str]) -> Any:
    """Return the command line as an instance of `program`, a dataclass with `config: str` and `settings: Settings`.

    The settings start from the named config. tyro exits with status 2 on what it does not understand.
    """
    finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    finder.add_argument("--config", default="base")
    settings = load_config(finder.parse_known_args(arguments)[0].config)
    docstring = (program.__doc__ or "") + (
        "\n\nFields of the config are overridden bare: optimizer.learning_rate=3e-4 training.epochs=2"
        f"\nConfigs: {', '.join(config_names())}, or a .py file of yours with a variable `config`."
    )
    return tyro.cli(
        program,
        prog=f"python -m experiments.{Path(sys.modules[program.__module__].__file__ or '').stem}",
        description=docstring,
        args=_as_flags(settings, arguments),
        default=program(settings=settings),
        use_underscores=True,
        config=(tyro.conf.FlagCreatePairsOff,),
    )


def override(config: Config, assignments: list[str]) -> Config:
    """Return the config with its fields changed as `training.epochs=2` says; exits with status 2 where it cannot."""
    flags = _as_flags(config, assignments)
    return tyro.cli(Config, args=flags, default=config, use_underscores=True, config=(tyro.conf.FlagConversionOff,))


def load_variant(text: str) -> Config:
    """Return the config of NAME or NAME+field=value+...; its changes are part of its name, as in base-adder-shift."""
    name, *assignments = VARIANT.split(text)
    config = override(load_config(name), assignments)
    changes = [re.sub(r"^.*?(\w+)=", r"\1-", assignment) for assignment in assignments]
    return dataclasses.replace(config, name=re.sub(r"[^\w.-]", "_", "-".join([config.name, *changes])))


def _as_flags(settings: Config, arguments: list[str]) -> list[str]:
    """Return the arguments with each bare `a.b=v` written as tyro reads it."""
    flags: list[str] = []
    for argument in arguments:
        assignment = ASSIGNMENT.fullmatch(argument)
        if assignment is None:
            flags.append(argument)
            continue
        key, value = assignment.groups()
        try:
            many = isinstance(lookup(settings, key), tuple)
        except AttributeError:
            many = False  # an unknown key: tyro answers with the nearest
        flags += [f"--{key}", *value.split(",")] if many else [f"--{key}={value}"]
    return flags


def main(command: Callable[[list[str]], int]) -> None:
    """Run a program on the command line."""
    run(command, sys.argv[1:])
