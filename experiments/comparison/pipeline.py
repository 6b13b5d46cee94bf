"""A comparison from its options to its page."""

import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.comparison import plots, tables
from experiments.comparison.contestants import (
    Options,
    check_configs,
    fit_run_sets,
    prepare_run_sets,
)
from experiments.comparison.grouping import differing_fields, group_runs
from experiments.comparison.measures import OUTCOMES, outcomes, summarize_runs
from experiments.report import pages
from experiments.report.figures import write_png
from experiments.training.folder import Finished, read_finished, write_arrays
from experiments.training.plan import COMPARED
from mnistsum.app.console import say
from mnistsum.config import Config
from mnistsum.data import digest, load
from mnistsum.errors import InputError
from mnistsum.file_io import make_folder, write_json, write_whole
from mnistsum.registry import load_file
from mnistsum.statistics import ERROR, detectable
from mnistsum.types import OUTPUTS, Data

LATEST = "latest.html"  # the page of the newest report, beside the reports' folders


def compare_configs(options: Options, configs: list[Config], command: str) -> None:
    """Train the missing runs of a comparison, and report it.

    Args:
        options: what else is trained, and where.
        configs: the configs to compare.
        command: the command line, which the results name.
    """
    check_configs(configs)
    if options.submit and importlib.util.find_spec("submitit") is None:
        raise InputError(
            "--submit: needs submitit; install this project with the extra `slurm`"
        )
    run_sets = prepare_run_sets(options, configs, command)
    data = run_sets[0].experiment.data
    points = 100 * detectable(
        options.seeds, len(configs) - 1, len(data.test.labels), len(OUTPUTS)
    )
    say(
        f"With {options.seeds} seeds, a true difference of {points:.2f} points is "
        f"detected 80 % of the time (at {100 * ERROR:g} % misread digits)."
    )
    try:
        if options.submit:
            # needs the extra `slurm`
            from experiments.comparison.jobs import train_in_jobs

            train_in_jobs(options, run_sets)
        runs, tuned = fit_run_sets(options, run_sets, COMPARED)
    except KeyboardInterrupt:
        say(
            "stopped; the same command goes on with the runs that are not finished; "
            "submitted jobs go on"
        )
        raise
    # before tuning
    prepared = {
        run_set.experiment.config.name: run_set.experiment.config
        for run_set in run_sets
    }
    about = tables.describe_runs(runs, command, differing_fields(prepared))
    _report(options.output, runs, data, about | {"tuned": tuned})


def compare_finished(
    folders: Sequence[Path], own: Sequence[Path], output: Path, command: str
) -> None:
    """Report finished runs; the user's own files only define networks."""
    for file in own:
        load_file(file)
    runs, notes = group_runs([read_finished(folder) for folder in folders])
    configs = {name: config_runs[0].config for name, config_runs in runs.items()}
    first = next(iter(runs.values()))[0]
    data = load(first.config.data)
    if digest(data.test) != first.about["data"]["test"]:
        raise InputError(
            f"{first.folder}: tested on other images than {first.config.data.source} "
            "now holds"
        )
    _report(
        output,
        runs,
        data,
        tables.describe_runs(runs, command, notes + differing_fields(configs)),
    )


def _report(
    output: Path, runs: dict[str, list[Finished]], data: Data, about: dict[str, Any]
) -> None:
    """Print a report of the runs, and write it to a folder of its own."""
    labels = np.asarray(data.test.labels)
    configs = pages.describe_configs(
        {name: group[0].config for name, group in runs.items()}
    )
    summary = summarize_runs(runs, labels) | about | {"configs": configs}
    shown = tables.summary_tables(summary)
    for table in shown:
        tables.print_table(table)
    for note in tables.notes(summary):
        say(note)
    folder = output / tables.report_name(runs)
    make_folder(folder)
    # JSON has no NaN
    finite = json.loads(json.dumps(summary), parse_constant=lambda _: None)
    write_arrays(folder / OUTCOMES, outcomes(runs, labels))
    write_json(folder / "comparison.json", finite)
    write_whole(folder / "comparison.md", tables.in_markdown(summary, shown))
    html = page(summary)
    write_whole(folder / "comparison.html", html)
    write_whole(output / LATEST, html)  # one file holds it all
    write_png([plots.intervals(summary)], folder / "comparison.png", dpi=150)
    say(
        f"all of it in {folder / 'comparison.html'}, and as the latest in "
        f"{output / LATEST}"
    )


def page(summary: dict[str, Any]) -> str:
    """Return a comparison as one self-contained HTML file."""
    return pages.render(
        "comparison.html",
        colors={
            plots.in_words(row["config"]): plots.color(i)
            for i, row in enumerate(summary["rows"])
        },
        summary=summary,
        notes=tables.notes(summary),
        tables=tables.summary_tables(summary),
        intervals=plots.intervals(summary),
        curves=plots.seed_curves(summary),
        costs=plots.costs(summary),
    )
