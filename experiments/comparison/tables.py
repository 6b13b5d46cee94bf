"""A comparison's tables and notes, for the terminal, Markdown and the page."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from rich.markup import escape
from rich.table import Table as Grid

from experiments.comparison.measures import ACCURACY, COSTS, ERRORS, LEARNING, Measure
from experiments.training.fit import FAILED
from experiments.training.folder import OUTPUTS
from mnistsum.app.console import console, say


class Table(NamedTuple):
    """A table of text and, in most columns, numbers."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    meaning: str = ""  # of its columns
    texts: Sequence[int] = (0,)  # the columns that hold text


def summary_tables(summary: dict[str, Any]) -> list[Table]:
    """Return the tables of a comparison."""
    return [_verdicts(summary), _accuracy(summary), _costs(summary), _errors(summary), *_tuning(summary)]


def notes(summary: dict[str, Any]) -> list[str]:
    """Return what a reader must know besides the tables."""
    rows, tuned = summary["rows"], summary["tuned"].items()
    return [
        *(f"Warning: {alarm}" for alarm in summary["alarms"]),
        *(f"Failed, but included: {row['config']}: {'; '.join(row['failed'])}" for row in rows if row["failed"]),
        *(
            f"{name}: tuning stopped at its limit; a better rate may lie beyond"
            for name, how in tuned
            if how["at_the_edge"]
        ),
        *summary["notes"],
        _conditions(rows),
    ]


def print_tables(summary: dict[str, Any]) -> None:
    """Print the tables."""
    for table in summary_tables(summary):
        style = {"title_justify": "left", "title_style": "bold", "box": None, "header_style": "bold"}
        grid = Grid(title=escape(table.title), pad_edge=False, **style)
        for i, title in enumerate(table.header):
            width = max(
                map(len, [*title.split(), *(row[i] for row in table.rows)])
            )  # of the title, it keeps words whole
            justify = "left" if i in table.texts else "right"
            grid.add_column(escape(title), justify=justify, overflow="fold", max_width=width)
        for row in table.rows:
            grid.add_row(*map(escape, row))
        console.print(grid)
        say("")
    for note in notes(summary):
        say(note)


def in_markdown(summary: dict[str, Any]) -> str:
    """Return the tables and the notes as Markdown, and how the runs were made."""
    made_with = ", ".join(f"{name} {value}" for name, value in summary["made_with"].items())
    title = " / ".join(row["config"] for row in summary["rows"])
    parts = [f"# {title}", f"`{summary['command']}`", f"Trained with {made_with}."]
    for table in summary_tables(summary):
        parts += [f"## {table.title}", markdown(table.header, table.rows, table.texts)]
        parts += [table.meaning] if table.meaning else []
    return "\n\n".join([*parts, "\n".join(f"- {note}" for note in notes(summary))]) + "\n"


def markdown(header: Sequence[str], rows: Iterable[Sequence[object]], texts: Sequence[int] = (0,)) -> str:
    """Return a table in Markdown. All columns except `texts` hold numbers, which are aligned right."""
    alignment = ["---" if i in texts else "--:" for i in range(len(header))]

    def line(cells: Sequence[object]) -> str:
        return "| " + " | ".join(str(cell).replace("|", r"\|") for cell in cells) + " |"

    return "\n".join([line(header), f"|{'|'.join(alignment)}|", *map(line, rows)])


def format_spread(spread: dict[str, Any], form: str) -> str:
    """Return a spread as text: mean ± sd in percent for a share, the mean for another measure, a dash for none."""
    if spread["mean"] is None:
        return "-"
    if form == "%":
        sd = "" if spread["sd"] is None else f" ± {100 * spread['sd']:.2f}"
        text = f"{100 * spread['mean']:.2f}{sd}"
    else:
        text = f"{spread['mean']:{form}}"
    return text if spread["reached"] == spread["of"] else f"{text} ({spread['reached']} of {spread['of']})"


def points(contrast: dict[str, Any]) -> str:
    """Return a difference in percentage points, with its interval."""
    return f"{100 * contrast['mean']:+.2f} [{100 * contrast['low']:+.2f}, {100 * contrast['high']:+.2f}]"


def _cells(row: dict[str, Any], measures: dict[str, Measure]) -> list[str]:
    return [format_spread(row[key], measure.form) for key, measure in measures.items()]


def _explain(measures: dict[str, Measure]) -> str:
    """Return the meanings of columns as sentences."""
    return " ".join(f"“{each.title}”: {each.meaning}." for each in measures.values() if each.meaning)


def _verdicts(summary: dict[str, Any]) -> Table:
    first, *others = summary["rows"]
    contrasts = [(row["config"], output, row["against_first"][output]) for row in others for output in OUTPUTS]
    rows = [[name, output, each["verdict"], points(each)] for name, output, each in contrasts]
    meaning = (
        "Each difference is the config's accuracy minus that of the first. It is paired by image, and also by seed if "
        "the seed chooses the training images. Both seeds and test images are treated as samples. The chance that any "
        "interval of this table misses the true difference is 5 % (Bonferroni). Better or worse: the interval excludes "
        "zero. At most 0.1 points worse: the interval lies above -0.1, and no seed failed. Undecided: anything else."
    )
    header = ["config", "output", "verdict", "points [95 %]"]
    return Table(f"Against {first['config']}", header, rows, meaning, texts=(0, 1, 2))


def _accuracy(summary: dict[str, Any]) -> Table:
    header = [each.title for each in ACCURACY.values()]
    rows = [[row["config"], *_cells(row, ACCURACY), str(len(row["failed"]))] for row in summary["rows"]]
    meaning = (
        f"Mean ± standard deviation over seeds. {_explain(ACCURACY)} “failed”: the number of seeds that ended with an "
        f"accuracy below {100 * FAILED:.0f} % in a trained output after an epoch or more, or with a non-finite number. "
        "All columns include them."
    )
    title = f"On the test set, {summary['rows'][0]['n']} seeds"
    return Table(title, ["config", *header, "failed"], rows, meaning)


def _costs(summary: dict[str, Any]) -> Table:
    rows = []
    for row in summary["rows"]:
        costs = [row["not_compared"]] * len(COSTS) if row["not_compared"] else _cells(row, COSTS)
        sizes = [f"{row['parameters']:,}", f"{row['multiply_adds']:,}"]
        rows.append([row["config"], *sizes, *costs, *_cells(row, LEARNING)])
    shown = {**COSTS, **LEARNING}
    header = ["config", "parameters", "multiply-adds", *(each.title for each in shown.values())]
    meaning = f"{_conditions(summary['rows'])}. Multiply-adds are for one image and one number. {_explain(shown)}"
    return Table("Cost", header, rows, meaning)


def _conditions(rows: list[dict[str, Any]]) -> str:
    """Return where the training times of the configs were measured."""
    if not any(row["not_compared"] for row in rows):
        return f"Times were measured on {rows[0]['machine']}, {rows[0]['mode']}"
    each = "; ".join(f"{row['config']} on {row['machine']}, {row['mode']}" for row in rows)
    return f"Times are compared only between runs of one kind of machine and one mode: {each}"


def _errors(summary: dict[str, Any]) -> Table:
    shown = {key: each for key, each in ERRORS.items() if any(row[key]["mean"] is not None for row in summary["rows"])}
    rows = [[row["config"], *_cells(row, shown)] for row in summary["rows"]]
    meaning = f"The first three columns are shares of all pairs. {_explain(shown)}"
    return Table("Where sums go wrong, %", ["config", *(each.title for each in shown.values())], rows, meaning)


def _tuning(summary: dict[str, Any]) -> list[Table]:
    rows = []
    for name, tuned in summary["tuned"].items():
        for trial in tuned["trials"]:
            scores = [f"{100 * trial[output]:.2f}" for output in OUTPUTS]
            rows.append([name, f"{trial['learning_rate']:g}", *scores, "taken" if trial["taken"] else ""])
    header = ["config", "learning rate", *OUTPUTS, ""]
    return [Table("Learning rates tried, % of validation images", header, rows)] if rows else []
