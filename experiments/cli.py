"""The command line that all programs share: `--config NAME`, bare `field=value` overrides, and one-line errors."""

import argparse
import dataclasses
import difflib
import gc
import importlib
import importlib.util
import logging
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import tyro

from mnistsum.config import ADDERS, CLASSIFIERS, Config, InputError, lookup

CONFIGS = Path(__file__).parent / "configs"
ASSIGNMENT = re.compile(r"([a-z][a-z_.]*)=(.*)")
EXPECTED = (InputError, OSError, FloatingPointError)  # errors that are told in one line
VARIANT = re.compile(r"\+(?=[a-z][a-z_.]*=)")
# As a program's field: the config's fields, without a prefix; a bool takes a value, as in model.adder_gradient=False.
Settings = Annotated[Config, tyro.conf.arg(name=""), tyro.conf.FlagConversionOff]


def config_names() -> list[str]:
    """The names that `--config` takes."""
    return sorted(path.stem for path in CONFIGS.glob("[!_]*.py"))


def load_config(name: str) -> Config:
    """The `config` of experiments/configs/NAME.py, or of a .py file that the user typed."""
    if name.endswith(".py"):
        path = Path(name)
        if not path.is_file():
            raise InputError(f"--config {name}: no such file")
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None and spec.loader is not None  # a .py suffix always has a loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    elif name in config_names():
        module = importlib.import_module(f"experiments.configs.{name}")
    else:
        near = difflib.get_close_matches(name, config_names(), 1, 0.0)[0]
        raise InputError(f"--config {name}: no such config; did you mean {near}? (one of {', '.join(config_names())})")
    config = getattr(module, "config", None)
    if not isinstance(config, Config):
        raise InputError(f"--config {name}: expected a variable `config` of type mnistsum.Config, found {config!r}")
    own = {part: getattr(module, part, {}) for part in ("CLASSIFIERS", "ADDERS")}
    if any(own.values()):
        from mnistsum import models  # which the file's own networks have loaded anyway

        for part, classes in own.items():
            getattr(models, part).update(classes)
    _check_names(config)
    return config


def _check_names(config: Config) -> None:
    """InputError, before JAX loads, where the classifier or adder is neither known nor of a file that was typed."""
    models = sys.modules.get("mnistsum.models")
    for part, known in (("classifier", CLASSIFIERS), ("adder", ADDERS)):
        choices = known if models is None else tuple(getattr(models, f"{part.upper()}S"))
        found = getattr(config.model, part)
        if found not in choices:
            near = difflib.get_close_matches(found, choices, 1, 0.0)[0]
            raise InputError(f"model.{part}: expected one of {', '.join(choices)}, found {found}; did you mean {near}?")


def parse(program: Any, arguments: list[str]) -> Any:
    """The command line as an instance of `program`, a dataclass with the fields `config: str` and `settings: Settings`.

    The settings start from the named config. tyro exits with status 2 on what it does not understand.
    """
    finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    finder.add_argument("--config", default="base")
    settings = load_config(finder.parse_known_args(arguments)[0].config)
    docstring = (program.__doc__ or "") + (
        "\n\nFields of the config are overridden bare: optimizer.learning_rate=3e-4 training.epochs=2"
        f"\nConfigs: {', '.join(config_names())}, or a .py file of yours with a variable `config`."
    )
    options = tyro.cli(
        program,
        prog=f"python -m experiments.{Path(sys.modules[program.__module__].__file__ or '').stem}",
        description=docstring,
        args=_as_flags(settings, arguments),
        default=program(settings=settings),
        use_underscores=True,
        config=(tyro.conf.FlagCreatePairsOff,),
    )
    _check_names(options.settings)
    return options


def override(config: Config, assignments: list[str]) -> Config:
    """The config with its fields changed as `training.epochs=2` says; exits with status 2 where it cannot."""
    flags = _as_flags(config, assignments)
    changed = tyro.cli(Config, args=flags, default=config, use_underscores=True, config=(tyro.conf.FlagConversionOff,))
    _check_names(changed)
    return changed


def load_variant(text: str) -> Config:
    """The config of NAME or NAME+field=value+...; its changes are part of its name, as in base-adder-shift."""
    name, *assignments = VARIANT.split(text)
    config = override(load_config(name), assignments)
    changes = [re.sub(r"^.*?(\w+)=", r"\1-", assignment) for assignment in assignments]
    return dataclasses.replace(config, name=re.sub(r"[^\w.-]", "_", "-".join([config.name, *changes])))


def _as_flags(settings: Config, arguments: list[str]) -> list[str]:
    """The arguments with each bare `a.b=v` written as tyro reads it."""
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
    """Runs a program on the command line; an error is one line on standard error, exit status 2 for an InputError.

    What the machine or the numbers do (a full disk, a loss that is not finite) ends with status 1.
    """
    _quieten_orbax()
    # What JAX, Flax and Matplotlib make stays: to look through it for garbage all the time, and again at the end, would
    # take a second of each command.
    gc.set_threshold(100_000, 10, 10)
    try:
        sys.exit(command(sys.argv[1:]))
    except EXPECTED as error:
        sys.exit(tell(error))
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        gc.freeze()


def tell(error: BaseException) -> int:
    """Prints an expected error in one line on standard error; the exit status."""
    print(f"error: {error}", file=sys.stderr)
    return 2 if isinstance(error, InputError) else 1


def _quieten_orbax() -> None:
    """Orbax, its tasks and its storage layer's threads each print tracebacks of an error that it raises as well."""
    for name in ("absl", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    report = sys.unraisablehook
    sys.unraisablehook = lambda what: None if str(what.exc_value) == "Event loop is closed" else report(what)
