"""What the runs of a comparison amount to: numbers, verdicts, tables and a page."""

import csv
import io
import json
import math
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from experiments.comparison import figures
from experiments.report import console, html
from experiments.run_folder import OUTPUTS, Finished
from mnistsum.app.errors import printable
from mnistsum.errors import InputError
from mnistsum.files import write_whole, writing
from mnistsum.objective import held_out_cells
from mnistsum.statistics import difference, interval

MEASURES = (  # of each run, summarized over seeds
    "digit_accuracy",
    "sum_accuracy",
    "consistency",
    "impossible",
    "digit_accuracy_permuted",
    "sum_accuracy_trained_cells",
    "sum_accuracy_held_out",
    "adder_lag",
    "train_seconds",
    "seconds_to_good",
    "images_per_second",
)
GOOD = 0.988  # of both accuracies on held-out images
FEW = 5  # seeds; fewer decide little
RANGE = 0.01  # accuracies of one config's seeds that differ by more are warned of


def summarize(runs: dict[str, list[Finished]], labels: np.ndarray) -> dict[str, Any]:
    """Return all that the files and the page show. Failed runs are counted, and left out of nothing.

    Args:
        runs: of each config, by the name that it is shown under, in the order of their seeds, the same for all.
        labels: of the test images.
    """
    right = {name: _right(of, labels) for name, of in runs.items()}
    first, *others = runs
    contrasts = len(others) * len(OUTPUTS)
    rows, alarms = [], []
    for name, of in runs.items():
        config = of[0].config
        measured = [_measure(run, labels) for run in of]
        row: dict[str, Any] = {
            "config": name,
            "classifier": config.model.classifier,
            "adder": config.model.adder,
            "parameters": of[0].summary["parameters"],
            "multiply_adds": of[0].summary["multiply_adds"],
            "epochs": config.training.epochs,
            "n": len(of),
            "seeds": [run.config.seed for run in of],
            "failed": [f"seed {run.config.seed}: {run.summary['failure']}" for run in of if run.summary["failure"]],
            "mode": "; ".join(sorted({run.summary["mode"] for run in of})),
        }
        for measure in MEASURES:
            row[measure] = _spread([one[measure] for one in measured if one[measure] is not None], len(of))
        row["errors"] = _attribute(of, labels)
        row["curve"] = _band(of)
        row["cells"] = np.mean([run.summary["test"]["sum_accuracy_by_cell"] for run in of], 0).round(5).tolist()
        if name != first:
            failures = len(rows[0]["failed"]) + len(row["failed"])
            row["against_first"] = {
                output: difference(right[first][output], right[name][output], contrasts, failures)._asdict()
                for output in OUTPUTS
            }
        rows.append(row)
        if len({run.summary["weights"] for run in of}) < len(of):
            alarms.append(f"{name}: two seeds ended with the same weights, bit for bit")
        for output in OUTPUTS:
            values = [one[f"{output}_accuracy"] for one in measured]
            if max(values) - min(values) > RANGE:
                spread = f"{min(values):.2%} to {max(values):.2%}"
                alarms.append(f"{name}: {output} accuracy differs by more than a point between seeds: {spread}")
    dataset = next(iter(runs.values()))[0].config.data.name
    return {"first": first, "dataset": dataset, "images": len(labels), "rows": rows, "alarms": alarms}


def _measure(run: Finished, labels: np.ndarray) -> dict[str, Any]:
    """Return the MEASURES of a run; None where it was not watched, or came to no such point."""
    summary, test, learned = run.summary, run.summary["test"], run.summary["learned"] or {}
    cells, not_trained = np.array(test["sum_accuracy_by_cell"]), held_out_cells(run.config.objective)
    permutation = summary["permutation"]
    good = (line["clock"]["train_seconds"] for line in run.lines if _worst(line) >= GOOD)
    return {
        **{name: test[name] for name in ("digit_accuracy", "sum_accuracy", "consistency", "impossible")},
        "digit_accuracy_permuted": permutation
        and float((np.array(permutation)[run.predictions["digit"]] == labels).mean()),
        "sum_accuracy_held_out": float(np.mean(cells[not_trained])) if not_trained.any() else None,
        "sum_accuracy_trained_cells": float(np.mean(cells[~not_trained])),
        "adder_lag": learned["sum"] - learned["digit"] if len(learned) == len(OUTPUTS) else None,
        "train_seconds": summary["train_seconds"],
        "seconds_to_good": next(good, None),
        "images_per_second": summary["steps"] * run.config.training.batch_size / summary["train_seconds"],
    }


def _held_out(line: dict[str, Any]) -> dict[str, float]:
    """Return the scores of a line of metrics on the images that were held out, or else on the test images."""
    return line["validation"] if "validation" in line else line["test"]


def _worst(line: dict[str, Any]) -> float:
    return min(_held_out(line)[f"{output}_accuracy"] for output in OUTPUTS)


def _right(runs: list[Finished], labels: np.ndarray) -> dict[str, np.ndarray]:
    """Which images each seed reads right [seeds, images], and the share of its ten sums that are."""
    sums = labels[:, None] + np.arange(10)
    for run in runs:
        if run.predictions["sum"].shape != sums.shape:
            raise InputError(f"{run.folder}: expected predictions of {len(labels):,} test images")
    return {
        "digit": np.stack([run.predictions["digit"] == labels for run in runs]).astype(np.float32),
        "sum": np.stack([(run.predictions["sum"] == sums).mean(1) for run in runs]).astype(np.float32),
    }


def _spread(values: list[float], runs: int) -> dict[str, Any]:
    if not values:
        return {"mean": None, "sd": None, "low": None, "high": None, "reached": 0, "of": runs}
    mean, low, high = interval(np.array(values))
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else None
    finite = [None if math.isinf(bound) else bound for bound in (low, high)]
    return {"mean": mean, "sd": sd, "low": finite[0], "high": finite[1], "reached": len(values), "of": runs}


def _attribute(runs: list[Finished], labels: np.ndarray) -> dict[str, float]:
    """Shares of all pairs, over all seeds, in which the sum is wrong or right for a reason of its own."""
    digit = np.stack([run.predictions["digit"] for run in runs])[..., None] == labels[:, None]
    total = np.stack([run.predictions["sum"] for run in runs]) == labels[:, None] + np.arange(10)
    return {
        "digit_misread": float((~digit & ~total).mean()),
        "adder_wrong": float((digit & ~total).mean()),
        "right_by_luck": float((~digit & total).mean()),
    }


def _band(runs: list[Finished]) -> dict[str, list[float]]:
    """Held-out accuracy by epoch: mean, lowest and highest over seeds, as far as all of them came."""
    length = min(len(run.lines) for run in runs)
    band = {"epoch": [line["epoch"] for line in runs[0].lines[:length]]}
    for output in OUTPUTS:
        curves = np.array([[_held_out(line)[f"{output}_accuracy"] for line in run.lines[:length]] for run in runs])
        band |= {
            f"{output}_{name}": function(curves, 0).tolist()
            for name, function in (("mean", np.mean), ("low", np.min), ("high", np.max))
        }
    return band


def percent(spread: dict[str, Any]) -> str:
    """Return a spread of fractions, in per cent."""
    if spread["mean"] is None:
        return "-"
    sd = "" if spread["sd"] is None else f" ± {100 * spread['sd']:.2f}"
    return f"{100 * spread['mean']:.2f}{sd}"


def number(spread: dict[str, Any], form: str) -> str:
    """Return a spread's mean, with how many seeds reached it where not all did."""
    if spread["mean"] is None:
        return "not reached"
    rest = "" if spread["reached"] == spread["of"] else f" ({spread['reached']} of {spread['of']})"
    return f"{spread['mean']:{form}}{rest}"


def points(contrast: dict[str, Any]) -> str:
    """Return a difference in points of per cent, with its interval."""
    return f"{100 * contrast['mean']:+.2f} [{100 * contrast['low']:+.2f}, {100 * contrast['high']:+.2f}]"


def tables(summary: dict[str, Any]) -> dict[str, tuple[list[str], list[list[str]]]]:
    """Return the tables of the terminal, of the Markdown and of the page: title to header and rows."""
    rows, first = summary["rows"], summary["first"]
    accuracy, verdicts, cost, errors = [], [], [], []
    for row in rows:
        name = row["config"]
        shares = [percent(row[key]) for key in ("digit_accuracy", "sum_accuracy", "consistency", "impossible")]
        accuracy.append([name, str(row["n"]), *shares, str(len(row["failed"]))])
        if name != first:
            contrasts = [row["against_first"][output] for output in ("digit", "sum")]
            verdicts.append([name, *(text for one in contrasts for text in (points(one), one["verdict"]))])
        forms = {"train_seconds": ".1f", "seconds_to_good": ".1f", "images_per_second": ",.0f", "adder_lag": ",.0f"}
        sizes = [f"{row['parameters']:,}", f"{row['multiply_adds']:,}"]
        cost.append([name, *sizes, *(number(row[key], form) for key, form in forms.items())])
        kinds = [f"{100 * row['errors'][kind]:.2f}" for kind in ("digit_misread", "adder_wrong", "right_by_luck")]
        errors.append([name, *kinds, percent(row["digit_accuracy_permuted"]), percent(row["sum_accuracy_held_out"])])
    found = {
        "Accuracy on the test set, %": (
            ["config", "n", "digit", "sum", "sum = digit + number", "on impossible sums", "failed"],
            accuracy,
        ),
        f"Against {first}, points": (["config", "digit [95 %]", "verdict", "sum [95 %]", "verdict"], verdicts),
        "Cost": (
            ["config", "parameters", "multiply-adds", "training, s", "s to 98.8 %", "images/s", "adder lag, steps"],
            cost,
        ),
        "Where sums go wrong, % of pairs": (
            ["config", "digit misread", "adder wrong", "right by luck", "digit, permuted", "held-out cells"],
            errors,
        ),
    }
    tried = [
        [name, f"{trial['learning_rate']:g}", *(f"{100 * trial[output]:.2f}" for output in OUTPUTS), taken]
        for name, one in summary["tuned"].items()
        for trial in one["trials"]
        for taken in ["taken" if trial["taken"] else ""]
    ]
    if tried:
        found["Learning rates tried, % of validation images"] = (["config", "learning rate", *OUTPUTS, ""], tried)
    return found


def notes(summary: dict[str, Any]) -> list[str]:
    """Return what a reader must know beside the tables."""
    failed = [f"{row['config']}: {failure}" for row in summary["rows"] for failure in row["failed"]]
    fewest = min(row["n"] for row in summary["rows"])
    few = [f"With {fewest} seeds only large differences can be told: the intervals are as wide as so few allow"]
    return (
        [f"Warning: {alarm}" for alarm in summary["alarms"]]
        + (few if fewest < FEW else [])
        + [f"Failed, and counted in every figure: {failure}" for failure in failed]
        + [
            f"{name}: the learning rate that was taken is the last that tuning may try; a better one may lie beyond"
            for name, one in summary["tuned"].items()
            if one["at_the_edge"]
        ]
        + summary["notes"]
    )


def show(summary: dict[str, Any]) -> None:
    """Print the tables."""
    for title, (header, rows) in tables(summary).items():
        table = Table(*header, title=title, title_justify="left", title_style="bold", box=None, header_style="bold")
        for column in table.columns[1:]:
            column.justify = "right"
        for row in rows:
            table.add_row(*row)
        console.show(table)
        console.say("")
    for note in notes(summary):
        console.say(note)


def markdown(summary: dict[str, Any]) -> str:
    """Return the tables as Markdown, with how they were made."""
    made = summary["environment"]
    versions = ", ".join(f"{name} {version}" for name, version in made["versions"].items())
    lines = [f"# {' / '.join(row['config'] for row in summary['rows'])}", "", f"`{summary['command']}`", ""]
    lines += [f"Commit {made['commit']}; {versions}; {made['cores']} cores of {made['hardware']}; {_modes(summary)}."]
    for title, (header, rows) in tables(summary).items():
        lines += ["", f"## {title}", "", "| " + " | ".join(header) + " |", "|---|" + "--:|" * (len(header) - 1)]
        lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([*lines, "", *(f"- {printable(note)}" for note in notes(summary))]).rstrip() + "\n"


def _modes(summary: dict[str, Any]) -> str:
    """How the seeds were trained."""
    return "; ".join(sorted({row["mode"] for row in summary["rows"]}))


def write(summary: dict[str, Any], folder: Path) -> None:
    """Write the files of a comparison into its folder."""
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    table = io.StringIO(newline="")
    rows = flat(summary)
    writer = csv.DictWriter(table, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    write_whole(folder / "comparison.json", json.dumps(summary, indent=1) + "\n")
    write_whole(folder / "comparison.md", markdown(summary))
    write_whole(folder / "comparison.csv", table.getvalue())
    write_whole(folder / "comparison.html", page(summary))


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
        for output in ("digit", "sum"):
            contrast = row.get("against_first", {}).get(output, {})
            line |= {f"{output}_difference_{part}": contrast.get(part) for part in ("mean", "low", "high", "verdict")}
        rows.append(line)
    return rows


def page(summary: dict[str, Any]) -> str:
    """One self-contained HTML file."""
    made, names = summary["environment"], [row["config"] for row in summary["rows"]]
    n = summary["rows"][0]["n"]
    sections = {title: html.table(header, rows) for title, (header, rows) in tables(summary).items()}
    accuracy, verdicts, cost, errors, *tuned = (f"<h2>{escape(title)}</h2>{html}" for title, html in sections.items())
    pictures = [
        html.picture(figures.png(figure), alternative)
        for figure, alternative in (
            (figures.intervals(summary), "Accuracies of each config with intervals over seeds"),
            (figures.curves(summary), "Validation accuracy by epoch, band over seeds"),
            (figures.costs(summary), "Error against parameters, multiply-adds and seconds"),
            (figures.cells(summary), "Sum accuracy by digit and number"),
        )
    ]
    settings = {"commit": made["commit"], **made["versions"], "cores": made["cores"], "hardware": made["hardware"]}
    settings |= {"mode": _modes(summary)}
    body = f"""
<h1>{escape(", ".join(names))}</h1>
<p class="quiet">{escape(summary["dataset"])}, {n} seeds each, {summary["images"]:,} test images, each with all ten
numbers; seeds are paired: seed k gives every config the same images in the same order with the same numbers</p>
{"".join(f"<p><b>{escape(note)}</b></p>" for note in notes(summary))}
{accuracy}<p>Mean ± standard deviation over seeds. The bars below are 95 % intervals of the mean over seeds on
these test images (Student's t; of seeds that differ by most of their error rate, they hold in nine of ten cases).</p>
{pictures[0]}{verdicts}<p>Each difference is the config's accuracy minus that of {escape(summary["first"])}, paired by
seed and by image. Seeds and test images both count as samples; all intervals of the table, of both outputs, hold
together at 95 % (Bonferroni). Better or worse: the interval lies on one side of zero. No worse by 0.1 points: it lies
above -0.1, and no seed failed. Undecided: anything else.</p>
<h2>Learning</h2>{pictures[1]}<p>Validation accuracy: mean, and a band from the lowest to the highest seed.</p>
{cost}<p>Seconds of training alone, without compilation and evaluation; of seeds in one program, a seed's share. The
adder lag is the number of steps from 98 % of digits to 98 % of sums, on 1,000 validation images looked at every 512
examples.</p>{pictures[2]}
<p>The line joins the configs that no other one beats in both.</p>
{errors}<p>Permuted: digits under their best one-to-one renaming, fitted on validation. Held-out cells: sums of the
(digit, number) pairs that were never trained.</p>{pictures[3]}
{"".join(tuned)}
<h2>How it was made</h2><pre>{escape(summary["command"])}</pre>
{html.settings(settings)}
"""
    return html.page(f"Comparison: {', '.join(names)}", body)
