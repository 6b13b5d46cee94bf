"""A comparison's tables and notes, for the terminal, for Markdown and for the page."""

from itertools import zip_longest
from typing import Any

from rich.markup import escape
from rich.table import Table

from experiments.comparison.summary import GOOD, MEASURES
from experiments.environment import machine
from experiments.report import console, markdown
from experiments.run_folder import OUTPUTS
from experiments.training.plan import LEARNED, WATCH_EXAMPLES, WATCH_IMAGES
from experiments.training.seed_run import FAILED
from mnistsum.app.errors import printable

GOOD_AFTER = f"s to {100 * GOOD:.1f} %"  # a column
# Explanations of the first tables' columns, in the order of the tables.
MEANINGS = (
    "Mean ± standard deviation over seeds, of all pairs of an image and a number. The column “sum = digit + number” is "
    "the share whose sum is the digit that was read plus the number, right or wrong; “on impossible sums” is the mean "
    "probability of sums that the number excludes (a 3 cannot be added to make 2). “failed” counts the seeds that "
    f"ended below {100 * FAILED:.0f} % in an output that is trained, after an epoch or more, or with a number that is "
    "not finite; they are part of every figure.",
    "Each difference is the config's accuracy minus that of the first, paired by seed and by image. Seeds and test "
    "images both count as samples; all intervals of the table, of both outputs, hold together at 95 % (Bonferroni). "
    "Better or worse: the interval lies on one side of zero. At most 0.1 points worse: it lies above -0.1, and no seed "
    "failed. Undecided: anything else.",
    "“training, s” is seconds of training steps, without waiting for their compilation or for evaluation; for seeds in "
    f"one program, each seed's share. “{GOOD_AFTER}” is the training seconds until both outputs had read "
    f"{100 * GOOD:.1f} % of the held-out images right (of sums, those of trained pairs). The "
    f"adder lag is the steps from {100 * LEARNED:.0f} % of digits to {100 * LEARNED:.0f} % "
    f"of sums, on up to {WATCH_IMAGES:,} unshifted validation images, evaluated about every {WATCH_EXAMPLES} examples "
    "at first, then less and less often; runs of experiments.run are not watched in this way (-).",
    "The first three are of all pairs; a sum is right by luck if its digit is misread. “digit, permuted” counts digits "
    "under their best one-to-one renaming, fitted on validation; “held-out cells” are sums of the (digit, number) "
    "pairs that were never trained.",
)
FEW_SEEDS = 5  # seeds; fewer decide little


def percent(spread: dict[str, Any]) -> str:
    """Return a spread of fractions, in percent."""
    if spread["mean"] is None:
        return "-"
    sd = "" if spread["sd"] is None else f" ± {100 * spread['sd']:.2f}"
    return f"{100 * spread['mean']:.2f}{sd}"


def number(spread: dict[str, Any], form: str) -> str:
    """Return a spread's mean, with the number of seeds that reached it unless all did; a dash if none was watched."""
    if spread["mean"] is None:
        return "not reached" if spread["of"] else "-"
    rest = "" if spread["reached"] == spread["of"] else f" ({spread['reached']} of {spread['of']})"
    return f"{spread['mean']:{form}}{rest}"


def points(contrast: dict[str, Any]) -> str:
    """Return a difference in percentage points, with its interval."""
    return f"{100 * contrast['mean']:+.2f} [{100 * contrast['low']:+.2f}, {100 * contrast['high']:+.2f}]"


def tables(summary: dict[str, Any]) -> dict[str, tuple[list[str], list[list[str]]]]:
    """Return the tables for the terminal, Markdown and the page: title to header and rows."""
    rows, first = summary["rows"], summary["first"]
    accuracy, verdicts, cost, errors = [], [], [], []
    for row in rows:
        name = row["config"]
        shares = [percent(row[key]) for key in ("digit_accuracy", "sum_accuracy", "consistency", "impossible")]
        accuracy.append([name, str(row["n"]), *shares, str(len(row["failed"]))])
        if name != first:
            contrasts = [row["against_first"][output] for output in OUTPUTS]
            verdicts.append([name, *(text for one in contrasts for text in (points(one), one["verdict"]))])
        forms = {"train_seconds": ".1f", "seconds_to_good": ".1f", "images_per_second": ",.0f", "adder_lag": ",.0f"}
        sizes = [f"{row['parameters']:,}", f"{row['multiply_adds']:,}"]
        cost.append([name, *sizes, *(number(row[key], form) for key, form in forms.items())])
        kinds = [f"{100 * row['errors'][kind]:.2f}" for kind in ("digit_misread", "adder_wrong", "right_by_luck")]
        errors.append([name, *kinds, percent(row["digit_accuracy_permuted"]), percent(row["sum_accuracy_held_out"])])
    tables_by_title = {
        "Accuracy on the test set, %": (
            ["config", "n", "digit", "sum", "sum = digit + number", "on impossible sums", "failed"],
            accuracy,
        ),
        f"Against {first}, points": (["config", "digit [95 %]", "verdict", "sum [95 %]", "verdict"], verdicts),
        "Cost": (
            [
                "config",
                "parameters",
                "multiply-adds per answer",
                "training, s",
                GOOD_AFTER,
                "images/s",
                "adder lag, steps",
            ],
            cost,
        ),
        "Where sums go wrong, % of pairs": (
            ["config", "digit misread", "adder wrong", "right by luck", "digit, permuted", "held-out cells"],
            errors,
        ),
    }
    tried = [
        [
            name,
            f"{trial['learning_rate']:g}",
            *(f"{100 * trial[output]:.2f}" for output in OUTPUTS),
            "taken" if trial["taken"] else "",
        ]
        for name, one in summary["tuned"].items()
        for trial in one["trials"]
    ]
    if tried:
        tables_by_title["Learning rates tried, % of validation images"] = (
            ["config", "learning rate", *OUTPUTS, ""],
            tried,
        )
    return tables_by_title


def notes(summary: dict[str, Any]) -> list[str]:
    """Return what a reader must know besides the tables."""
    lines = [f"Warning: {alarm}" for alarm in summary["alarms"]]
    fewest = min(row["n"] for row in summary["rows"])
    if fewest < FEW_SEEDS:
        lines.append(f"With {fewest} seeds, only large differences can be detected: the intervals are wide")
    for row in summary["rows"]:
        if row["failed"]:
            lines.append(f"Failed, and counted in every figure: {row['config']}: {'; '.join(row['failed'])}")
    for row in summary["rows"]:
        if row["longest"] not in row["curve"]["epoch"]:
            end = max(row["curve"]["epoch"], default=0)
            lines.append(
                f"{row['config']}: the curves end at epoch {end:g}, the last that all its seeds reached; the longest "
                f"run ended at {row['longest']:g}"
            )
    for name, tuned in summary["tuned"].items():
        if tuned["at_the_edge"]:
            lines.append(
                f"{name}: the learning rate that was taken is the last that tuning may try; a better one may lie beyond"
            )
    return lines + summary["notes"]


def show(summary: dict[str, Any]) -> None:
    """Print the tables."""
    for title, (header, rows) in tables(summary).items():
        style = {"title_justify": "left", "title_style": "bold", "box": None, "header_style": "bold"}
        table = Table(*header, title=escape(printable(title)), **style)
        table.columns[0].overflow = "fold"
        for column in table.columns[1:]:
            column.justify = "right"
        for row in rows:
            table.add_row(*(escape(printable(cell)) for cell in row))
        console.show(table)
        console.say("")
    for note in notes(summary):
        console.say(note)


def in_markdown(summary: dict[str, Any]) -> str:
    """Return the tables as Markdown, with how the runs were made."""
    provenance = dict(summary["trained"])
    commit, cores, hardware = (provenance.pop(name) for name in ("commit", "cores", "hardware"))
    versions = ", ".join(f"{name} {version}" for name, version in provenance.items())
    lines = [f"# {' / '.join(row['config'] for row in summary['rows'])}", "", f"`{summary['command']}`", ""]
    lines += [f"Trained at commit {commit}; {versions}; {machine(cores, hardware)}; {modes(summary)}."]
    for (title, (header, rows)), meaning in zip_longest(tables(summary).items(), MEANINGS):
        lines += ["", f"## {title}", "", markdown.table(header, rows)]
        lines += ["", meaning] if meaning else []
    return "\n".join([*lines, "", *(f"- {printable(note)}" for note in notes(summary))]).rstrip() + "\n"


def modes(summary: dict[str, Any]) -> str:
    """Return how the seeds were trained."""
    return "; ".join(sorted({row["mode"] for row in summary["rows"]}))


def flat(summary: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a row of plain values for each config."""
    rows = []
    for row in summary["rows"]:
        line = {
            name: row[name] for name in ("config", "classifier", "adder", "parameters", "multiply_adds", "epochs", "n")
        }
        line["failed"] = len(row["failed"])
        for measure in MEASURES:
            line |= {f"{measure}_{part}": row[measure][part] for part in ("mean", "sd", "low", "high")}
        for output in OUTPUTS:
            contrast = row.get("against_first", {}).get(output, {})
            line |= {f"{output}_difference_{part}": contrast.get(part) for part in ("mean", "low", "high", "verdict")}
        rows.append(line)
    return rows
