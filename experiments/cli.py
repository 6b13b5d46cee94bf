"""The command line that all programs share: `--config NAME`, bare `field=value` overrides, and one-line errors."""

import argparse
import dataclasses
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import tyro

from mnistsum import registry
from mnistsum.app import command_line
from mnistsum.app.errors import printable, run
from mnistsum.config import Config, as_dict
from mnistsum.errors import InputError

CONFIGS = Path(__file__).parent / "configs"
ASSIGNMENT = re.compile(r"([a-z][a-z_.]*)=(.*)", re.DOTALL)
VARIANT = re.compile(r"\+(?=[a-z][a-z_.]*=)")
# For a program's field: config fields get no prefix, and a bool takes a value, as in model.adder_gradient=False.
Settings = Annotated[Config, tyro.conf.arg(name=""), tyro.conf.FlagConversionOff]


def config_names() -> list[str]:
    """Return the names that `--config` takes."""
    return sorted(path.stem for path in CONFIGS.glob("[!_]*.py"))


def own_file(name: str) -> Path | None:
    """Return the .py file that the name of a config or variant refers to; None for a built-in config."""
    file = VARIANT.split(name)[0]
    return Path(file) if file.endswith(".py") else None


def load_own(file: Path) -> ModuleType:
    """Load the user's .py file as a module, and add the names that it defines to the registries."""
    try:
        return registry.load_file(file)
    except InputError as error:
        raise InputError(f"--config {error}") from None


def load_config(name: str) -> Config:
    """Return the `config` variable of experiments/configs/NAME.py, or of the user's .py file."""
    if name.endswith(".py"):
        module = load_own(Path(name))
    elif name in config_names():
        module = registry.load_module(f"experiments.configs.{name}")
    else:
        own = Path(f"{name}.py").is_file()
        near = f"did you mean {name}.py? " if own else command_line.hint(name, config_names())
        raise InputError(f"--config {name}: no such config; {near}one of {', '.join(config_names())}, or a .py file")
    config = getattr(module, "config", None)
    if not isinstance(config, Config):
        raise InputError(f"--config {name}: expected a variable `config` of type mnistsum.Config, found {config!r}")
    for known, chosen in config.names():  # not checked while the file was being run
        known.check(chosen)
    return config


def format_command(program: str, arguments: list[str]) -> str:
    """Return a program's command line as the user typed it, with unprintable characters escaped."""
    return printable(shlex.join(["python", "-m", f"experiments.{program}", *arguments]))


def parse(program: Any, arguments: list[str]) -> Any:
    """Parse the command line into an instance of `program`, a dataclass with `config: str` and `settings: Settings`.

    The settings default to the named config. Anything that cannot be parsed raises an InputError.
    """
    finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    finder.add_argument("--config", default="base", nargs="?", const="base")  # tyro reports a missing value
    settings = load_config(finder.parse_known_args(arguments)[0].config)
    docstring = (program.__doc__ or "") + (
        "\n\nOverride fields of the config without dashes: optimizer.learning_rate=3e-4 training.epochs=2"
        f"\n\nConfigs: {', '.join(config_names())}, or a .py file of yours with a variable `config`."
    )
    files = [f"--config {word}" for word in arguments if word in config_names() or word.endswith(".py")]
    return command_line.parse(
        program,
        _as_flags(settings, arguments),
        known=[*command_line.options_of(program), *(f"--{field}" for field in as_dict(settings)), *files],
        prog="python -m experiments.run",
        description=docstring,
        default=program(settings=settings),
    )


def parse_plain(program: Any, arguments: list[str]) -> Any:
    """Parse the command line into an instance of `program`, a dataclass named after its program."""
    prog = f"python -m experiments.{program.__name__.lower()}"
    return command_line.parse(program, arguments, command_line.options_of(program), prog=prog)


def override(config: Config, assignments: list[str]) -> Config:
    """Return the config with assignments such as `training.epochs=2` applied; raise InputError if one is invalid."""
    flags = _as_flags(config, assignments)
    kind = tyro.conf.FlagConversionOff[Config]
    return command_line.parse(kind, flags, known=(), help_at="--help of experiments.run", default=config)


def load_variant(text: str, overrides: Sequence[str] = ()) -> Config:
    """Return the config of NAME or NAME+field=value+..., with the overrides that apply to all configs.

    A variant's own changes become part of its name, as in base-adder-shift.
    """
    name, *assignments = VARIANT.split(text)
    pairs = [assignment.split("=", 1) for assignment in assignments]
    keys = [key for key, _ in pairs]
    if twice := [each for each in overrides if each.partition("=")[0] in keys]:
        raise InputError(f"{twice[0]}: expected a field that {text} does not set itself; drop one of the two")
    config = override(load_config(name), [*assignments, *overrides])
    changes = [f"{short_name(key)}-{value}" for key, value in pairs]
    return dataclasses.replace(config, name=re.sub(r"[^\w.-]", "_", "-".join([config.name, *changes])))


def short_name(key: str) -> str:
    """Return a field's name without its section, if no other section has a field of that name."""
    name = key.split(".")[-1]
    alike = [field for field in as_dict(Config()) if field.split(".")[-1] == name]
    return name if alike == [key] else key


def _as_flags(settings: Config, arguments: list[str]) -> list[str]:
    """Return the arguments with each bare `a.b=v` rewritten as a flag for tyro."""
    flags: list[str] = []
    for argument in arguments:
        assignment = ASSIGNMENT.fullmatch(argument)
        if assignment is None:
            flags.append(argument)
            continue
        key, value = assignment.groups()
        if "\n" in value:
            raise InputError(f"{key}: expected a value of one line, found {value!r}")
        fields = as_dict(settings)
        if key not in fields:
            near = command_line.hint(key, fields)
            raise InputError(f"{key}: no such field of a config; {near}--help of experiments.run lists them")
        if isinstance(fields[key], tuple):
            flags += [f"--{key}", *(value.split(",") if value not in ("", "none") else [])]
        else:
            flags.append(f"--{key}={value}")
    return flags


def main(command: Callable[[list[str]], int]) -> None:
    """Run a program on the command line."""
    run(command, sys.argv[1:])
