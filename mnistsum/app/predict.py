"""`mnistsum predict`: reads the digits in pictures, and adds numbers to them."""

import csv
import glob
import json
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column, Table

from mnistsum.app.compiler import set_up_compiler
from mnistsum.app.console import console
from mnistsum.app.errors import printable
from mnistsum.app.options import Predict
from mnistsum.errors import InputError
from mnistsum.picture import Picture, inspect_picture
from mnistsum.predict import Predictor, load_pretrained

NAMES = ("digit", "sum")
COLUMNS: tuple[str, ...] = (
    "file",
    "number",
    "digit",
    "digit_probability",
    "sum",
    "sum_probability",
    "agree",
    "warnings",
    "error",
)
SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".bmp")  # of the files read from a folder
MAX_NAME = 24  # characters of a file name that a table keeps on one line
UNSURE = 0.8  # a digit with a lower probability is not to be trusted
CHUNK = 100  # pictures held at the same time; if there are more, a bar shows the progress


def predict(options: Predict) -> int:
    """Read pictures and print what they show; return the exit status.

    Raises:
        InputError: if an option is wrong or, at the end, a picture could not be read.
    """
    if options.number is not None and not 0 <= options.number <= 9:
        raise InputError(f"--number: expected 0 to 9, found {options.number}")
    if options.json and options.csv:
        raise InputError("--csv: expected one form of output, found --json, too; drop one")
    if not options.files:
        raise InputError("predict: expected one picture or more, found none")
    files = [file for argument in options.files for file in _expand(argument)]
    set_up_compiler()
    predictor = load_pretrained(options.model, options.config)
    numbers = list(range(10)) if options.number is None else [options.number]
    bad: list[str] = []
    rows = _answer(predictor, files, numbers, bad)
    if options.json:
        _print_json(rows)
    elif options.csv:
        _print_csv(rows)
    else:
        _print_table(rows)
    if bad:
        message = bad[0] if len(files) == 1 else f"{len(bad):,} of {len(files):,} pictures could not be read: {bad[0]}"
        raise InputError(message + (f"; and {len(bad) - 1:,} more" if len(bad) > 1 else ""))
    return 0


def describe(digit: Any, total: Any, number: int, warnings: tuple[str, ...]) -> dict[str, Any]:
    """Return one prediction for JSON: digit and sum, their likeliest values, and reasons to doubt them."""
    best = {"digit": int(digit.argmax()), "sum": int(total.argmax())}
    three = {
        f"{name}_top3": [{"value": int(i), "probability": float(values[i])} for i in values.argsort()[:-4:-1]]
        for name, values in zip(NAMES, (digit, total), strict=True)
    }
    agree = best["digit"] + number == best["sum"]
    doubts = {"low confidence": digit.max() < UNSURE, "digit and sum disagree": not agree}
    all_warnings = [*warnings, *(doubt for doubt, holds in doubts.items() if holds)]
    return best | {"agree": agree, "warnings": all_warnings} | three


def _is_picture(file: Path) -> bool:
    hidden = file.name.startswith(".")  # such as macOS's companions
    return file.suffix.lower() in SUFFIXES and not hidden and not file.is_dir()


def _expand(argument: str) -> list[str]:
    """Return the files that an argument stands for: a folder's pictures, a pattern's matches, or the argument."""
    path = Path(argument)
    try:
        if path.is_dir():
            # A folder without pictures is reported when it is read as one.
            return sorted(str(file) for file in path.iterdir() if _is_picture(file)) or [argument]
        if argument == "-" or path.exists():  # even if its name looks like a pattern
            return [argument]
    except OSError:  # such as a name that is too long: reported when it is read
        return [argument]
    matches = sorted(glob.glob(argument, recursive=True))  # noqa: PTH207 - Path.glob takes no absolute patterns
    return [file for file in matches if not Path(file).is_dir()] or matches or [argument]


def _answer(predictor: Predictor, files: list[str], numbers: list[int], bad: list[str]) -> Iterator[dict[str, Any]]:
    """Yield a row for each picture and number, or one with the error of a bad picture, which is also added to `bad`.

    Only CHUNK pictures are held at the same time.
    """
    bar = Progress(
        TextColumn("{task.completed:,.0f}/{task.total:,.0f} pictures"),
        BarColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal or len(files) <= CHUNK,
    )
    with ThreadPoolExecutor() as readers, bar:
        task = bar.add_task("", total=len(files))
        for start in range(0, len(files), CHUNK):
            chunk = files[start : start + CHUNK]
            results = list(readers.map(_read, chunk))
            images = [result.image for result in results if isinstance(result, Picture)]
            pairs = np.zeros((0, 28, 28, 1), np.uint8) if not images else np.repeat(images, len(numbers), 0)
            predicted = zip(*predictor.predict(pairs, np.tile(numbers, len(images))), strict=True)
            for file, result in zip(chunk, results, strict=True):
                if isinstance(result, Picture):
                    for number in numbers:
                        digit, total = next(predicted)
                        yield {"file": file, "number": number, **describe(digit, total, number, result.warnings)}
                else:
                    bad.append(result)
                    yield {"file": file, "error": result.removeprefix(f"{_name(file)}: ")}
            bar.advance(task, len(chunk))


def _read(file: str) -> Picture | str:
    """Return what was found in a picture, or an error message of one line."""
    try:
        if file != "-":
            return inspect_picture(Path(file))
        if sys.stdin is None:
            raise InputError(f"{_name(file)}: closed")
        return inspect_picture(sys.stdin.buffer, _name(file))
    except InputError as error:
        return str(error)


def _name(file: str) -> str:
    return "standard input" if file == "-" else file


def _print_json(rows: Iterable[dict[str, Any]]) -> None:
    """Print the rows as a list of objects, each as it comes."""
    before = "["
    for row in rows:
        print(before, json.dumps(row, indent=1), sep="\n", end="")
        before = ","
    print("\n]")


def _print_csv(rows: Iterable[dict[str, Any]]) -> None:
    """Print the rows as lines of CSV, each as it comes."""
    # Look up sys.stdout at each write: a progress bar replaces it while it is shown.
    output: Any = SimpleNamespace(write=lambda text: sys.stdout.write(text))
    table = csv.DictWriter(output, COLUMNS, extrasaction="ignore", lineterminator="\n")
    table.writeheader()
    for row in rows:
        if "error" not in row:
            likely = {f"{name}_probability": f"{row[f'{name}_top3'][0]['probability']:.6f}" for name in NAMES}
            row |= likely | {"agree": "yes" if row["agree"] else "no", "warnings": "; ".join(row["warnings"])}
        table.writerow(row)


def _print_table(rows: Iterable[dict[str, Any]]) -> None:
    def likeliest(values: list[dict[str, Any]]) -> str:
        first, *others = (f"{value['value']} {value['probability']:.0%}" for value in values)
        return f"[bold]{first}[/bold]  [dim]{'  '.join(others)}[/dim]"

    lines = []
    for row in rows:
        if "error" in row:
            note, answers = f"[red]{escape(printable(row['error']))}[/red]", [""] * 4
        else:
            note = f"[yellow]{', '.join(row['warnings'])}[/yellow]" if row["warnings"] else ""
            likely = (likeliest(row[f"{name}_top3"]) for name in NAMES)
            answers = [str(row["number"]), *likely, "yes" if row["agree"] else "[red]no[/red]"]
        lines.append([escape(printable(row["file"])), *answers, note])
    if len(lines) == 1 and not lines[0][1]:  # the error message says enough
        return
    answers = [Column(f"{name}, likeliest", no_wrap=True) for name in NAMES]
    width = min(MAX_NAME, max(len(line[0]) for line in lines))
    doubtful = any(note for *_, note in lines)  # if not, names get more room
    file = Column("file", overflow="fold", min_width=width)
    table = Table(file, "number", *answers, "agree", *(["warnings"] if doubtful else []), box=None)
    for *line, note in lines:
        table.add_row(*line, *([note] if doubtful else []))
    console.print(table)
