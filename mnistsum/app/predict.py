"""`mnistsum predict`: reads the digits in pictures, and adds numbers to them."""

import glob
import json
import sys
from argparse import Namespace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track
from rich.table import Column, Table
from rich.text import Text

from mnistsum.app.console import console
from mnistsum.errors import InputError
from mnistsum.picture import read_picture
from mnistsum.predict import Predictor, load_pretrained
from mnistsum.programs import set_up_compiler
from mnistsum.types import OUTPUTS

SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".bmp")  # of the files read from a folder
UNSURE = 0.8  # below this probability, a digit is not to be trusted


def run_predict(options: Namespace) -> int:
    """Read pictures and print the predictions; return the exit status.

    Raises:
        InputError: at the end, if any picture could not be read.
    """
    files = list(chain.from_iterable(map(_expand, options.files)))
    set_up_compiler()
    predictor = load_pretrained(options.model, options.config)
    numbers = list(range(10)) if options.number is None else [options.number]
    shown = track(
        files,
        "pictures",
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    rows = []
    for file in shown:
        rows += _answer(predictor, file, numbers)
    errors = [f"{row['file']}: {row['error']}" for row in rows if "error" in row]
    if options.json:
        print(json.dumps(rows, indent=1))
    elif len(errors) < len(rows):
        _print_table(rows)
    if errors:
        message = errors[0]
        if len(errors) > 1:
            message += f" (and {len(errors) - 1:,} more of {len(files):,} pictures)"
        raise InputError(message)
    return 0


def _expand(argument: str) -> list[str]:
    """Return the files that an argument names: a folder's pictures, or a pattern's."""
    if argument == "-" or Path(argument).is_file():
        return [argument]
    if not Path(argument).is_dir():
        # Path.glob takes no absolute pattern
        found = glob.glob(argument, recursive=True)  # noqa: PTH207
        return sorted(found) or [argument]
    pictures = [
        file for file in Path(argument).iterdir() if file.suffix.lower() in SUFFIXES
    ]
    if not pictures:
        raise InputError(
            f"{argument}: expected pictures ({', '.join(SUFFIXES)}) in this folder, "
            "found none"
        )
    return sorted(map(str, pictures))


def _answer(
    predictor: Predictor, file: str, numbers: list[int]
) -> list[dict[str, Any]]:
    """Return a row for each number, or one with the error of the picture."""
    name = "standard input" if file == "-" else file
    try:
        image = read_picture(sys.stdin.buffer if file == "-" else Path(file), name)
    except InputError as error:
        return [{"file": name, "error": str(error).removeprefix(f"{name}: ")}]
    answers = predictor.predict(
        np.repeat(image[None], len(numbers), 0), np.array(numbers)
    )
    rows = []
    for number, *answer in zip(numbers, *answers, strict=True):
        row: dict[str, Any] = {"file": name, "number": number}
        for output, values in zip(OUTPUTS, answer, strict=True):
            top = [
                {"value": int(i), "probability": float(values[i])}
                for i in values.argsort()[:-4:-1]
            ]
            row |= {
                output: top[0]["value"],
                f"{output}_probability": top[0]["probability"],
                f"{output}_top3": top,
            }
        row["agree"] = row["digit"] + number == row["sum"]
        reasons = {
            "low confidence": row["digit_probability"] < UNSURE,
            "digit and sum disagree": not row["agree"],
        }
        row["warnings"] = [reason for reason, holds in reasons.items() if holds]
        rows.append(row)
    return rows


def _print_table(rows: list[dict[str, Any]]) -> None:
    answers = [Column(f"{name}, likeliest", no_wrap=True) for name in OUTPUTS]
    file = Column("file", overflow="fold")
    table = Table(file, "number", *answers, "agree", "", box=None)
    for row in rows:
        if "error" in row:
            cells = [row["file"], "", "", "", "", row["error"]]
        else:
            likely = [_likeliest(row[f"{name}_top3"]) for name in OUTPUTS]
            agree = "yes" if row["agree"] else "no"
            note = ", ".join(row["warnings"])
            cells = [row["file"], str(row["number"]), *likely, agree, note]
        table.add_row(*map(Text, cells))
    console.print(table)


def _likeliest(values: list[dict[str, Any]]) -> str:
    return "  ".join(f"{each['value']} {each['probability']:.0%}" for each in values)
