"""The command line of `mnistsum`: parsed before JAX is imported."""

import functools
import operator
import sys
from importlib.metadata import version
from typing import Annotated

from tyro.conf import subcommand

from mnistsum.app import command_line
from mnistsum.app.errors import run
from mnistsum.app.options import Draw, Evaluate, Export, Predict
from mnistsum.errors import InputError

COMMANDS = {"predict": Predict, "evaluate": Evaluate, "export": Export, "draw": Draw}


def command(arguments: list[str]) -> int:
    """Parse and run a command line; return the exit status."""
    if arguments == ["--version"]:
        print(f"mnistsum {version('mnistsum')}")
        return 0
    first = arguments[0] if arguments else "--help"
    if first not in (*COMMANDS, "-h", "--help"):
        near = command_line.hint(first, [*COMMANDS, "--version", "--help"])
        raise InputError(f"mnistsum {first}: no such command; {near}(one of {', '.join(COMMANDS)})")
    options = command_line.parse(
        functools.reduce(operator.or_, [Annotated[kind, subcommand(name)] for name, kind in COMMANDS.items()]),
        arguments,
        known=command_line.options_of(COMMANDS[first]) if first in COMMANDS else (),
        prog="mnistsum",
        description="Use networks that read a handwritten digit and add a number to it.",
    )
    # Each command imports what it needs, including JAX, only once the command line is valid.
    if isinstance(options, Predict):
        from mnistsum.app import predict

        return predict.predict(options)
    if isinstance(options, Evaluate):
        from mnistsum.app import evaluate

        return evaluate.evaluate(options)
    if isinstance(options, Export):
        from mnistsum.app import export

        return export.export(options)
    from mnistsum.app import draw

    return draw.draw(options)


def main() -> None:
    """Run the console command; a user's file may also import modules from the working directory."""
    sys.path.append("")
    run(command, sys.argv[1:])
