"""Tabulates finished runs in Markdown: `python -m experiments.tabulate experiments/results/runs/*`."""

import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

import tyro

from experiments import cli
from experiments.report import markdown
from mnistsum import registry
from mnistsum.app.errors import printable
from mnistsum.config import read_config
from mnistsum.errors import InputError

ACCURACIES = ("digit_accuracy", "sum_accuracy")

Groups = dict[str, list[dict[str, Any]]]  # summaries of runs by config


@dataclass(frozen=True)
class Tabulate:
    """Prints the mean and standard deviation over seeds, one row per config."""

    runs: tyro.conf.Positional[tuple[Path, ...]]  # folders of finished runs, and .py files of your own networks
    chart: Path | None = None  # .png file: accuracy against parameters and seconds, beside published networks


def group(runs: tuple[Path, ...]) -> Groups:
    """Return the runs' summaries by config; raise InputError if a config has a seed twice."""
    from experiments.comparison import grouping  # JAX loads only for a valid command line

    groups = grouping.group_by_key([_read(folder) for folder in runs])
    named = zip(grouping.names(list(groups)), groups.values(), strict=True)
    return {name: [run.summary for run in by_seed.values()] for name, by_seed in named}


def table(groups: Groups) -> str:
    """Return a Markdown table: mean accuracies +- sd over seeds, multiply-adds per answer, median seconds and range."""
    rows = []
    for name, runs in groups.items():
        accuracies = [_spread([100 * run["test"][key] for run in runs]) for key in ACCURACIES]
        seconds = [_range([run[key] for run in runs]) for key in ("train_seconds", "wall_seconds")]
        work = mean(run["multiply_adds"] for run in runs)
        rows.append([f"`{name}`", f"{runs[0]['parameters']:,}", f"{work:,.0f}", *accuracies, *seconds])
    header = ["config", "parameters", "multiply-adds", "digit, %", "sum, %", "training, s", "whole command, s"]
    return markdown.table(header, rows)


def _draw(groups: Groups, path: Path) -> None:
    from experiments.comparison import published  # imports Matplotlib and JAX, so only to draw a chart
    from experiments.report import figures  # imports Matplotlib, too

    points = []
    for name, runs in groups.items():
        accuracies = [100 * run["test"]["digit_accuracy"] for run in runs]
        spread = stdev(accuracies) if len(runs) > 1 else None
        seconds = median(run["train_seconds"] for run in runs)
        points.append(published.Point(name, mean(accuracies), spread, runs[0]["parameters"], seconds))
    figures.save(published.chart(points), path)


def _read(folder: Path) -> Any:
    """Return a tested run without its predictions and metrics."""
    from experiments import run_folder  # imports JAX, too

    summary = run_folder.read_summary(folder)
    path = folder / run_folder.SUMMARY
    if "test" not in summary:
        raise InputError(f"{path}: expected a run that was tested, found one of a search")
    for key in ACCURACIES:
        value = summary["test"].get(key)
        if not isinstance(value, int | float) or not 0 <= value <= 1:
            raise InputError(f"{path}: expected test.{key} of 0 to 1, found {value!r}")
    run = run_folder.read_json(folder / run_folder.RUN)
    if "experiments.compare" in run.get("command", ""):  # one command for many runs
        summary["wall_seconds"] = None
    return run_folder.Finished(folder, read_config(folder), run, [], summary, {})


def _spread(values: list[float]) -> str:
    if len(values) == 1:
        return f"{values[0]:.2f} (n = 1)"
    return f"{mean(values):.2f} ± {stdev(values):.2f} (n = {len(values)})"


def _range(values: list[float | None]) -> str:
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return "-"
    if len(known) == 1:
        return f"{known[0]:.0f}"
    return f"{median(known):.0f} ({min(known):.0f}-{max(known):.0f})"


def command(arguments: list[str]) -> int:
    """Run the program and return its exit status."""
    options = cli.parse_plain(Tabulate, arguments)
    if not options.runs:
        raise InputError("tabulate: expected folders of finished runs, found none; such as runs/*")
    if options.chart and options.chart.suffix != ".png":
        raise InputError(f"--chart {options.chart}: expected a path that ends in .png")
    for file in (path for path in options.runs if path.suffix == ".py"):
        registry.load_file(file)
    folders = [path for path in options.runs if path.suffix != ".py"]
    finished = [folder for folder in folders if (folder / "summary.json").exists()]
    if not finished:
        raise InputError(f"tabulate: expected folders of finished runs, found none among {len(folders):,} paths")
    for folder in folders:
        if folder not in finished:
            print(f"skipped: {printable(str(folder))}: not a finished run", file=sys.stderr)
    if options.chart and (other := [run for run in finished if read_config(run).data.name != "mnist"]):
        raise InputError(f"--chart: expected runs on MNIST, as the published networks are, found {other[0]}")
    groups = group(tuple(finished))
    print(table(groups))
    if options.chart:
        _draw(groups, options.chart)
    return 0


if __name__ == "__main__":
    cli.main(command)
