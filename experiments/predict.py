"""Reads digits on pictures and adds numbers to them: `python -m experiments.predict digit.png --number 7`."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from tyro.conf import Positional

from experiments import cli
from mnistsum.errors import InputError

NAMES = ("digit", "sum")


@dataclass(frozen=True)
class Predict:
    """Reads the digit on each picture, dark on light or light on dark, and adds a number to it."""

    files: Positional[tuple[str, ...]]  # PNG, JPEG, GIF or BMP files of one digit each; - for standard input
    number: int | None = None  # 0-9, added to each digit; without it, all ten are, one after another
    model: str = "base"  # a network that ships with the package, a run's folder, or exported weights
    config: str | None = None  # the .py file that defines the model's architecture, where it is your own
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False  # print a list of objects instead of a table


def command(arguments: list[str]) -> int:
    """The exit status of the program."""
    options = tyro.cli(Predict, prog="python -m experiments.predict", args=arguments, use_underscores=True)
    if options.number is not None and not 0 <= options.number <= 9:
        raise InputError(f"--number: expected 0 to 9, found {options.number}")
    if not options.files:
        raise InputError("predict: expected one picture or more, found none")
    if options.config is not None:
        cli.load_config(options.config)
    from mnistsum.picture import read_picture

    pictures = [_read(file, read_picture) for file in options.files]

    import numpy as np

    from experiments import environment
    from mnistsum.predict import load_pretrained

    environment.set_up_compiler()
    numbers = range(10) if options.number is None else [options.number]
    pairs = [(i, number) for i in range(len(pictures)) for number in numbers]
    predictor = load_pretrained(options.model)
    predicted = predictor.predict(np.stack([pictures[i] for i, _ in pairs]), np.array([number for _, number in pairs]))
    rows = [
        {"file": options.files[i], "number": number, **describe(digit, total, number)}
        for (i, number), digit, total in zip(pairs, *predicted, strict=True)
    ]
    if options.json:
        print(json.dumps(rows, indent=1))
    else:
        _print(rows)
    return 0


def describe(digit: Any, total: Any, number: int) -> dict[str, Any]:
    """One prediction in words of JSON: digit and sum, their three likeliest values, and whether they agree."""
    best = {"digit": int(digit.argmax()), "sum": int(total.argmax())}
    three = {
        f"{name}_top3": [{"value": int(i), "probability": float(values[i])} for i in values.argsort()[:-4:-1]]
        for name, values in zip(NAMES, (digit, total), strict=True)
    }
    return best | {"agree": best["digit"] + number == best["sum"]} | three


def _read(file: str, read_picture: Any) -> Any:
    if file == "-":
        if sys.stdin is None:
            raise InputError("-: standard input is closed")
        return read_picture(sys.stdin.buffer.read(), "standard input")
    return read_picture(Path(file), file)


def _print(rows: list[dict[str, Any]]) -> None:
    from rich.markup import escape
    from rich.table import Column, Table

    from experiments.screen import console

    def likeliest(values: list[dict[str, Any]]) -> str:
        first, *others = (f"{value['value']} {value['probability']:.0%}" for value in values)
        return f"[bold]{first}[/bold]  [dim]{'  '.join(others)}[/dim]"

    answers = [Column(f"{name}, likeliest", no_wrap=True) for name in NAMES]
    table = Table(Column("file", overflow="fold"), "number", *answers, "agree", box=None)
    for row in rows:
        agree = "yes" if row["agree"] else "[red]no[/red]"
        table.add_row(
            escape(row["file"]), str(row["number"]), *(likeliest(row[f"{name}_top3"]) for name in NAMES), agree
        )
    console.print(table)


if __name__ == "__main__":
    cli.main(command)
