"""`mnistsum predict`: the digits on pictures, and their sums with numbers."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from rich.markup import escape
from rich.table import Column, Table

from mnistsum.app.compiler import set_up_compiler
from mnistsum.app.console import console
from mnistsum.app.errors import printable
from mnistsum.app.options import Predict
from mnistsum.errors import InputError
from mnistsum.picture import Picture, inspect_picture
from mnistsum.predict import load_pretrained

NAMES = ("digit", "sum")
UNSURE = 0.8  # a probability of the digit below which it is not to be believed


def predict(options: Predict) -> int:
    """Read pictures and print what they show; return the exit status."""
    if options.number is not None and not 0 <= options.number <= 9:
        raise InputError(f"--number: expected 0 to 9, found {options.number}")
    if not options.files:
        raise InputError("predict: expected one picture or more, found none")
    pictures = [_read(file) for file in options.files]
    set_up_compiler()
    numbers = range(10) if options.number is None else [options.number]
    pairs = [(i, number) for i in range(len(pictures)) for number in numbers]
    predictor = load_pretrained(options.model, options.config)
    predicted = predictor.predict(
        np.stack([pictures[i].image for i, _ in pairs]), np.array([number for _, number in pairs])
    )
    rows = [
        {"file": options.files[i], "number": number, **describe(digit, total, number, pictures[i].warnings)}
        for (i, number), digit, total in zip(pairs, *predicted, strict=True)
    ]
    if options.json:
        print(json.dumps(rows, indent=1))
    else:
        _print(rows)
    return 0


def describe(digit: Any, total: Any, number: int, warnings: tuple[str, ...]) -> dict[str, Any]:
    """Return one prediction in words of JSON: digit and sum, their likeliest values, and why not to believe them."""
    best = {"digit": int(digit.argmax()), "sum": int(total.argmax())}
    three = {
        f"{name}_top3": [{"value": int(i), "probability": float(values[i])} for i in values.argsort()[:-4:-1]]
        for name, values in zip(NAMES, (digit, total), strict=True)
    }
    agree = best["digit"] + number == best["sum"]
    doubts = {"low confidence": digit.max() < UNSURE, "digit and sum disagree": not agree}
    said = [*warnings, *(doubt for doubt, holds in doubts.items() if holds)]
    return best | {"agree": agree, "warnings": said} | three


def _read(file: str) -> Picture:
    if file == "-":
        if sys.stdin is None:
            raise InputError("-: standard input is closed")
        return inspect_picture(sys.stdin.buffer, "standard input")
    return inspect_picture(Path(file), file)


def _print(rows: list[dict[str, Any]]) -> None:
    def likeliest(values: list[dict[str, Any]]) -> str:
        first, *others = (f"{value['value']} {value['probability']:.0%}" for value in values)
        return f"[bold]{first}[/bold]  [dim]{'  '.join(others)}[/dim]"

    answers = [Column(f"{name}, likeliest", no_wrap=True) for name in NAMES]
    doubtful = ["warnings"] if any(row["warnings"] for row in rows) else []  # else there is more room for names
    table = Table(Column("file", overflow="fold"), "number", *answers, "agree", *doubtful, box=None)
    for row in rows:
        agree = "yes" if row["agree"] else "[red]no[/red]"
        likely = (likeliest(row[f"{name}_top3"]) for name in NAMES)
        warnings = f"[yellow]{', '.join(row['warnings'])}[/yellow]"
        table.add_row(
            escape(printable(row["file"])), str(row["number"]), *likely, agree, *([warnings] if doubtful else [])
        )
    console.print(table)
