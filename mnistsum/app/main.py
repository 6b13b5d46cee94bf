"""The command line of `mnistsum`: parsed before JAX is imported."""

import argparse
import importlib
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mnistsum.app.program import Parser, run
from mnistsum.config import split_overrides

MODEL = "base or best (shipped with the package), a run's folder, or exported weights"


def parser() -> Parser:
    """Return the parser of all commands."""
    top = Parser(
        prog="mnistsum",
        description="Use networks that read a handwritten digit and add to it.",
    )
    top.add_argument(
        "--version", action="version", version=f"mnistsum {version('mnistsum')}"
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_predict(commands)
    _add_evaluate(commands)
    _add_export(commands)
    _add_draw(commands)
    return top


def _add(commands: Any, name: str, text: str, model_first: bool = True) -> Parser:
    """Add a command, and the options of all commands: a model and its file."""
    command = commands.add_parser(name, help=text, description=text)
    model = command.add_mutually_exclusive_group()
    if model_first:
        model.add_argument(
            "model", nargs="?", default=argparse.SUPPRESS, help="the same as --model"
        )
    model.add_argument("--model", default="base", help=MODEL)
    command.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="your .py file that defines the network",
    )
    return command


def _add_predict(commands: Any) -> None:
    text = "Read the digit in each picture and add a number to it."
    predict = _add(commands, "predict", text, model_first=False)
    predict.add_argument(
        "files",
        nargs="+",
        help="PNG, JPEG, GIF or BMP files of one digit, folders or patterns; - for "
        "stdin",
    )
    predict.add_argument(
        "--number",
        type=int,
        choices=range(10),
        metavar="0-9",
        help="number to add; default: each",
    )
    predict.add_argument(
        "--json", action="store_true", help="print a list of objects instead of a table"
    )


def _add_evaluate(commands: Any) -> None:
    text = (
        "Test a network on every image of a split, with all ten numbers. Fields such "
        "as data.name=fashion_mnist or data.dir=mine.npz take another data set."
    )
    evaluate = _add(commands, "evaluate", text)
    splits = ("test", "validation", "train")
    evaluate.add_argument(
        "--split", choices=splits, default="test", help="images to use"
    )
    evaluate.add_argument(
        "--json", action="store_true", help="print an object instead of a table"
    )


def _add_export(commands: Any) -> None:
    text = "Write a network as weights for mnistsum, or as a graph for other programs."
    export = _add(commands, "export", text)
    export.add_argument(
        "--to", choices=("safetensors", "stablehlo"), required=True, help="the format"
    )
    export.add_argument(
        "--output",
        type=Path,
        metavar="FOLDER",
        help="default: export/ in the run's folder",
    )


def _add_draw(commands: Any) -> None:
    text = (
        "Open a page to draw digits on, with predictions as you draw. Ctrl-C ends it."
    )
    draw = _add(commands, "draw", text)
    draw.add_argument("--port", type=int, default=0, help="0: any free port")
    draw.add_argument(
        "--no-browser",
        action="store_true",
        help="only print the address, without opening it",
    )


def parse(arguments: list[str]) -> argparse.Namespace:
    """Return the options of a command line; with `fields`, for `evaluate`."""
    fields = []
    if arguments[:1] == ["evaluate"]:
        fields, arguments = split_overrides(arguments)
    return parser().parse_args(arguments, argparse.Namespace(fields=fields))


def command(arguments: list[str]) -> int:
    """Run a command line; return the exit status."""
    options = parse(arguments)
    # imports JAX, so only for a valid command line
    module = importlib.import_module(f"mnistsum.app.{options.command}")
    return getattr(module, f"run_{options.command}")(options)


def main() -> None:
    """Run the console command.

    A user's file may also import modules from the working directory.
    """
    sys.path.append("")
    run(command, sys.argv[1:])
