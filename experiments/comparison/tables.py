"""A comparison's tables and notes, for the terminal, Markdown and the page."""

import hashlib
import re
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any, NamedTuple

from rich.table import Table as Grid

from experiments.comparison.measures import (
    ACCURACY,
    COSTS,
    ERRORS,
    Measure,
    same_weights,
)
from experiments.report import pages
from experiments.training.folder import Finished
from experiments.training.record import identify_record
from mnistsum.app.console import console
from mnistsum.config import to_json
from mnistsum.types import OUTPUTS

MAX_NAME = 80  # maximum characters of the configs' names in the name of a report


class Table(NamedTuple):
    """A table of text and, in most columns, numbers."""

    title: str
    header: Sequence[str]
    rows: list[list[str]]
    meaning: str = ""  # of its columns
    texts: Sequence[int] = (0,)  # the columns that hold text


def summary_tables(summary: dict[str, Any]) -> list[Table]:
    """Return the tables of a comparison."""
    rows = summary["rows"]
    over_seeds = "Mean ± standard deviation over seeds, with those that failed."
    errors = {}
    for key, each in ERRORS.items():
        if any(row[key]["mean"] is not None for row in rows):
            errors[key] = each
    times = f"{_conditions(rows)}. Multiply-adds are for one image and one number."
    return [
        _verdicts(rows),
        measure_table(
            f"On the test set, {rows[0]['n']} seeds", rows, ACCURACY, over_seeds
        ),
        measure_table("Cost", rows, COSTS, times, ("parameters", "multiply_adds")),
        measure_table("Where sums go wrong", rows, errors, over_seeds),
        *_tuning(summary["tuned"]),
    ]


def notes(summary: dict[str, Any]) -> list[str]:
    """Return what a reader must know besides the tables."""
    rows, tuned = summary["rows"], summary["tuned"].items()
    return [
        *(f"Warning: {alarm}" for alarm in summary["alarms"]),
        *(
            f"Failed, but included: {row['config']}: {'; '.join(row['failed'])}"
            for row in rows
            if row["failed"]
        ),
        *(f"{name}: {how['note']}" for name, how in tuned if how["note"]),
        *summary["notes"],
        _conditions(rows),
    ]


def print_table(table: Table) -> None:
    """Print a table and an empty line."""
    style = {
        "box": None,
        "pad_edge": False,
        "header_style": "bold",
        "title_style": "bold",
        "title_justify": "left",
    }
    grid = Grid(title=table.title, **style)
    for i, title in enumerate(table.header):
        grid.add_column(
            title, justify="left" if i in table.texts else "right", overflow="fold"
        )
    for row in table.rows:
        grid.add_row(*row)
    console.print(grid, "")


def report_name(runs: dict[str, list[Finished]]) -> str:
    """Return a report's name: the configs, and a digest of what decides its runs."""
    shown = chain.from_iterable(runs.values())
    parts = [to_json(run.config) + identify_record(run.about) for run in shown]
    names = re.sub(r"[^\w.+=-]", "_", "-".join(runs))[:MAX_NAME].lstrip(".")
    return f"{names}-{hashlib.sha256(''.join(parts).encode()).hexdigest()[:6]}"


def describe_runs(
    runs: dict[str, list[Finished]], command: str, notes: Sequence[str] = ()
) -> dict[str, Any]:
    """Return what a summary of runs holds besides its rows."""
    shown = chain.from_iterable(runs.values())
    return {
        "command": command,
        "made_with": pages.made_with([run.about for run in shown]),
        "alarms": same_weights(runs),
        "notes": notes,
        "tuned": {},
    }


def in_markdown(summary: dict[str, Any], tables: Sequence[Table]) -> str:
    """Return tables and the notes on them as Markdown, and how the runs were made."""
    made_with = ", ".join(
        f"{name} {value}" for name, value in summary["made_with"].items()
    )
    title = " / ".join(row["config"] for row in summary["rows"])
    parts = [f"# {title}", f"`{summary['command']}`", f"Trained with {made_with}."]
    for table in tables:
        parts += [
            f"## {table.title}",
            markdown(table.header, table.rows, table.texts),
            table.meaning,
        ]
    return (
        "\n\n".join([*parts, "\n".join(f"- {note}" for note in notes(summary))]) + "\n"
    )


def markdown(
    header: Sequence[str], rows: Iterable[Sequence[object]], texts: Sequence[int] = (0,)
) -> str:
    """Return a table in Markdown.

    All columns except `texts` hold numbers, which are aligned right.
    """
    alignment = ["---" if i in texts else "--:" for i in range(len(header))]

    def line(cells: Sequence[object]) -> str:
        return "| " + " | ".join(str(cell).replace("|", r"\|") for cell in cells) + " |"

    return "\n".join([line(header), f"|{'|'.join(alignment)}|", *map(line, rows)])


def format_spread(spread: dict[str, Any], form: str) -> str:
    """Return a spread as text; a dash if it has no value.

    It is mean ± sd in percent for a share, and the mean for another measure.
    """
    if spread["mean"] is None:
        return "-"
    if form == "%":
        sd = "" if spread["sd"] is None else f" ± {100 * spread['sd']:.2f}"
        text = f"{100 * spread['mean']:.2f}{sd}"
    else:
        text = f"{spread['mean']:{form}}"
    known = sum(value is not None for value in spread["values"])
    if known < len(spread["values"]):
        text += f" ({known} of {len(spread['values'])})"
    return text


def measure_table(
    title: str,
    rows: list[dict[str, Any]],
    measures: dict[str, Measure],
    meaning: str,
    sizes: Sequence[str] = (),
) -> Table:
    """Return a table of the measures of configs, and of their networks' sizes."""
    header = [
        "config",
        *(size.replace("_", "-") for size in sizes),
        *(each.title for each in measures.values()),
    ]
    cells = []
    for row in rows:
        own = [row["config"], *(f"{row[size]:,}" for size in sizes)]
        for key, each in measures.items():
            if key in COSTS and row["not_compared"]:
                own.append("other machine or mode")
            else:
                own.append(format_spread(row[key], each.form))
        cells.append(own)
    explained = [
        f"“{one.title}”: {one.meaning}." for one in measures.values() if one.meaning
    ]
    return Table(title, header, cells, " ".join([meaning, *explained]))


def _verdicts(configs: list[dict[str, Any]]) -> Table:
    rows = []
    for row in configs[1:]:
        for output, found in row["against_first"].items():
            # A difference of accuracies is from -100 to 100 points.
            low, high = max(found["low"], -1.0), min(found["high"], 1.0)
            mean, low, high = (f"{100 * x:+.2f}" for x in (found["mean"], low, high))
            points = f"{mean} [{low}, {high}]"
            rows.append([row["config"], output, found["verdict"], points])
    meaning = (
        "Each difference is the config's accuracy minus that of the first. It is "
        "paired by image, and also by seed if the seed chooses the training images. "
        "Both seeds and test images are treated as samples. The intervals of this "
        "table are joint: the chance that any of them misses the true difference is "
        "5 %. Better or worse: the interval excludes zero. At most 0.1 points worse: "
        "the interval lies above -0.1, and no seed failed. Undecided: else."
    )
    header = ["config", "output", "verdict", "points [95 %]"]
    return Table(
        f"Against {configs[0]['config']}", header, rows, meaning, texts=(0, 1, 2)
    )


def _conditions(rows: list[dict[str, Any]]) -> str:
    """Return where the training times of the configs were measured."""
    if not any(row["not_compared"] for row in rows):
        return f"Times were measured on {rows[0]['timed_on']}"
    each = "; ".join(f"{row['config']} on {row['timed_on']}" for row in rows)
    return (
        "Times are compared only between runs of one kind of machine and one mode: "
        f"{each}"
    )


def _tuning(tuned: dict[str, Any]) -> list[Table]:
    rows = []
    for name, how in tuned.items():
        for trial in how["trials"]:
            scores = [f"{100 * trial[output]:.2f}" for output in OUTPUTS]
            rows.append(
                [
                    name,
                    f"{trial['learning_rate']:g}",
                    *scores,
                    "taken" if trial["taken"] else "",
                ]
            )
    header = ["config", "learning rate", *OUTPUTS, ""]
    if not rows:
        return []
    return [Table("Learning rates tried, % of validation images", header, rows)]
