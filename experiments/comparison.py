"""What the runs of a comparison amount to: numbers, verdicts, tables and a page."""

import math
from html import escape
from typing import Any

import numpy as np
from rich.table import Table

from experiments import comparison_plots, report, screen
from mnistsum.config import Config, InputError
from mnistsum.models.summary import count_multiply_adds, count_parameters
from mnistsum.statistics import difference, interval

MEASURES = (  # of each run, summarised over seeds
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
RANGE = 0.01  # accuracies of one config's seeds that differ by more raise an alarm


def summarise(configs: list[Config], results: dict[str, list[dict[str, Any]]], labels: np.ndarray) -> dict[str, Any]:
    """All that the files and the page show. Failed runs are counted, and left out of nothing."""
    right = {name: _right(runs, labels) for name, runs in results.items()}
    first, others = configs[0].name, [config.name for config in configs[1:]]
    rows, alarms = [], []
    for config in configs:
        runs = results[config.name]
        row: dict[str, Any] = {
            "config": config.name,
            "classifier": config.model.classifier,
            "adder": config.model.adder,
            "parameters": count_parameters(config.model),
            "multiply_adds": count_multiply_adds(config.model),
            "epochs": config.training.epochs,
            "n": len(runs),
            "failed": [f"seed {run['seed']}: {run['failure']}" for run in runs if run["failure"]],
            "mode": "; ".join(sorted({run["mode"] for run in runs})),
        }
        for measure in MEASURES:
            values = [run[measure] for run in runs if run[measure] is not None]
            row[measure] = _spread(values, len(runs))
        row["errors"] = _attribute(runs, labels)
        row["curve"] = _band(runs)
        row["cells"] = np.mean([run["sum_accuracy_by_cell"] for run in runs], 0).round(5).tolist()
        if config.name != first:
            row["against_first"] = {
                output: difference(right[first][output], right[config.name][output], len(others))._asdict()
                for output in ("digit", "sum")
            }
        rows.append(row)
        weights = [run["weights"] for run in runs]
        if len(set(weights)) < len(weights):
            alarms.append(f"{config.name}: two seeds ended with the same weights, bit for bit")
        for measure in ("digit_accuracy", "sum_accuracy"):
            values = [run[measure] for run in runs]
            if max(values) - min(values) > RANGE:
                alarms.append(f"{config.name}: {measure} ranges from {min(values):.2%} to {max(values):.2%} over seeds")
    return {"first": first, "dataset": configs[0].data.name, "images": len(labels), "rows": rows, "alarms": alarms}


def _right(runs: list[dict[str, Any]], labels: np.ndarray) -> dict[str, np.ndarray]:
    """Which images each seed reads right [seeds, images], and the share of its ten sums that are."""
    sums = labels[:, None] + np.arange(10)
    for run in runs:
        if run["predictions"]["sum"].shape != sums.shape:
            raise InputError(f"{run['config']}, seed {run['seed']}: a run on another test set; delete its folder")
    return {
        "digit": np.stack([run["predictions"]["digit"] == labels for run in runs]).astype(np.float32),
        "sum": np.stack([(run["predictions"]["sum"] == sums).mean(1) for run in runs]).astype(np.float32),
    }


def _spread(values: list[float], runs: int) -> dict[str, Any]:
    if not values:
        return {"mean": None, "sd": None, "low": None, "high": None, "reached": 0, "of": runs}
    mean, low, high = interval(np.array(values))
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else None
    finite = [None if math.isinf(bound) else bound for bound in (low, high)]
    return {"mean": mean, "sd": sd, "low": finite[0], "high": finite[1], "reached": len(values), "of": runs}


def _attribute(runs: list[dict[str, Any]], labels: np.ndarray) -> dict[str, float]:
    """Shares of all pairs, over all seeds, in which the sum is wrong or right for a reason of its own."""
    digit = np.stack([run["predictions"]["digit"] for run in runs])[..., None] == labels[:, None]
    total = np.stack([run["predictions"]["sum"] for run in runs]) == labels[:, None] + np.arange(10)
    return {
        "digit_misread": float((~digit & ~total).mean()),
        "adder_wrong": float((digit & ~total).mean()),
        "right_by_luck": float((~digit & total).mean()),
    }


def _band(runs: list[dict[str, Any]]) -> dict[str, list[float]]:
    """Validation accuracy by epoch: mean, lowest and highest over seeds, as far as all of them came."""
    length = min(len(run["curve"]) for run in runs)
    curves = np.array([run["curve"][:length] for run in runs])
    band = {"epoch": curves[0, :, 0].tolist()}
    for place, output in ((1, "digit"), (2, "sum")):
        band |= {
            f"{output}_{name}": function(curves[:, :, place], 0).tolist()
            for name, function in (("mean", np.mean), ("low", np.min), ("high", np.max))
        }
    return band


def percent(spread: dict[str, Any]) -> str:
    """A spread of fractions, in per cent."""
    if spread["mean"] is None:
        return "-"
    sd = "" if spread["sd"] is None else f" ± {100 * spread['sd']:.2f}"
    return f"{100 * spread['mean']:.2f}{sd}"


def number(spread: dict[str, Any], form: str) -> str:
    """A spread's mean, with how many seeds reached it where not all did."""
    if spread["mean"] is None:
        return "not reached"
    rest = "" if spread["reached"] == spread["of"] else f" ({spread['reached']} of {spread['of']})"
    return f"{spread['mean']:{form}}{rest}"


def points(contrast: dict[str, Any]) -> str:
    """A difference in points of per cent, with its interval."""
    return f"{100 * contrast['mean']:+.2f} [{100 * contrast['low']:+.2f}, {100 * contrast['high']:+.2f}]"


def tables(summary: dict[str, Any]) -> dict[str, tuple[list[str], list[list[str]]]]:
    """The tables of the terminal, of the Markdown and of the page: title to header and rows."""
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
    return {
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


def notes(summary: dict[str, Any]) -> list[str]:
    """What a reader must know beside the tables."""
    failed = [f"{row['config']}: {failure}" for row in summary["rows"] for failure in row["failed"]]
    tuned = [f"{name}: learning rate {one['learning_rate']:g}" for name, one in summary["tuned"].items()]
    return (
        [f"ALARM: {alarm}" for alarm in summary["alarms"]]
        + [f"FAILED (counted, not dropped) {failure}" for failure in failed]
        + [f"tuned on validation: {choice}" for choice in tuned]
    )


def show(summary: dict[str, Any]) -> None:
    """The tables in the terminal."""
    for title, (header, rows) in tables(summary).items():
        table = Table(*header, title=title, title_justify="left", title_style="bold", box=None, header_style="bold")
        for column in table.columns[1:]:
            column.justify = "right"
        for row in rows:
            table.add_row(*row)
        screen.console.print(table)
        screen.console.print()
    for note in notes(summary):
        screen.console.print(note)


def markdown(summary: dict[str, Any]) -> str:
    """The tables as Markdown, with how they were made."""
    made = summary["environment"]
    versions = ", ".join(f"{name} {version}" for name, version in made["versions"].items())
    lines = [f"# {' / '.join(row['config'] for row in summary['rows'])}", "", f"`{summary['command']}`", ""]
    lines += [f"Commit {made['commit']}; {versions}; {made['cores']} cores of {made['device']}; {_modes(summary)}."]
    for title, (header, rows) in tables(summary).items():
        lines += ["", f"## {title}", "", "| " + " | ".join(header) + " |", "|---|" + "--:|" * (len(header) - 1)]
        lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([*lines, "", *(f"- {note}" for note in notes(summary))]).rstrip() + "\n"


def _modes(summary: dict[str, Any]) -> str:
    """How the seeds were trained."""
    return "; ".join(sorted({row["mode"] for row in summary["rows"]}))


def flat(summary: dict[str, Any]) -> list[dict[str, Any]]:
    """A row of plain values for each config."""
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
    sections = {title: report.table(header, rows) for title, (header, rows) in tables(summary).items()}
    accuracy, verdicts, cost, errors = (f"<h2>{escape(title)}</h2>{html}" for title, html in sections.items())
    pictures = [
        report.picture(comparison_plots.png(figure), alternative)
        for figure, alternative in (
            (comparison_plots.intervals(summary), "Accuracies of each config with intervals over seeds"),
            (comparison_plots.curves(summary), "Validation accuracy by epoch, band over seeds"),
            (comparison_plots.costs(summary), "Error against parameters, multiply-adds and seconds"),
            (comparison_plots.cells(summary), "Sum accuracy by digit and number"),
        )
    ]
    settings = {"commit": made["commit"], **made["versions"], "cores": made["cores"], "device": made["device"]}
    settings |= {"mode": _modes(summary)}
    body = f"""
<h1>{escape(", ".join(names))}</h1>
<p class="quiet">{escape(summary["dataset"])}, {n} seeds each, {summary["images"]:,} test images, each with all ten
numbers; seeds are paired: seed k gives every config the same images in the same order with the same numbers</p>
{"".join(f"<p><b>{escape(note)}</b></p>" for note in notes(summary))}
{accuracy}<p>Mean ± standard deviation over seeds. The bars below are 95 % intervals of the mean over seeds.</p>
{pictures[0]}{verdicts}<p>The other less the first, paired by seed and image. The intervals count seeds and test images
as samples, and cover together with 95 % (Bonferroni).</p>
<h2>Learning</h2>{pictures[1]}<p>Validation accuracy: mean, and a band from the lowest to the highest seed.</p>
{cost}<p>Seconds of training alone, without compilation and evaluation; of seeds in one program, a seed's share. The
adder lag is the number of steps from 98 % of digits to 98 % of sums, on 1,000 validation images looked at every 512
examples.</p>{pictures[2]}
<p>The line joins the configs that no other one beats in both.</p>
{errors}<p>Permuted: digits under their best one-to-one renaming, fitted on validation. Held-out cells: sums of the
(digit, number) pairs that were never trained.</p>{pictures[3]}
<h2>How it was made</h2><pre>{escape(summary["command"])}</pre>
{report.settings(settings)}
"""
    return report.page(f"Comparison: {', '.join(names)}", body)
