"""A comparison from its options to its page: trains missing runs, summarizes all, writes the results."""

import hashlib
import importlib.util
import json
import re
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.comparison import contestants, dry_run, plots, tables, tuning
from experiments.comparison.contestants import Contestant
from experiments.comparison.grouping import differing_fields, group_runs
from experiments.comparison.measures import OUTCOMES, outcomes, summarize_runs
from experiments.report import pages
from experiments.report.figures import write_png
from experiments.training.folder import OUTPUTS, Finished, read_finished, write_arrays
from experiments.training.record import check_own, differences, prepare
from mnistsum.app.console import say
from mnistsum.config import Config, to_json
from mnistsum.data import digest, load
from mnistsum.errors import InputError
from mnistsum.file_io import make_folder, write_json, write_whole
from mnistsum.models import abstract_model
from mnistsum.programs import set_up_compiler
from mnistsum.registry import load_file
from mnistsum.statistics import ERROR, detectable
from mnistsum.types import Data

MAX_NAME = 80  # maximum characters of the configs' names in a folder's name


def compare_configs(options: Namespace, configs: list[Config], command: str) -> None:
    """Train the missing runs of a comparison, and report it.

    Args:
        options: of the command line.
        configs: the configs to compare, in the order of `options.configs`.
        command: the command line, which the results name.
    """
    contestants.check_configs(configs)
    if options.submit and importlib.util.find_spec("submitit") is None:
        raise InputError("--submit: needs submitit; install this project with the extra `slurm`")
    set_up_compiler()
    compared = contestants.prepare_contestants(configs, options.tune, options.output, command)
    data = compared[0].experiment.data
    for config in configs:
        for line in check_own(config):
            say(line)
    seeds = range(options.seeds)
    contrasts = (len(configs) - 1) * len(OUTPUTS)
    points = 100 * detectable(len(seeds), contrasts, len(data.test.labels))
    say(
        f"With {len(seeds)} seeds, a true difference of {points:.2f} points is detected 80 % of the time (at "
        f"{100 * ERROR:g} % misread digits)."
    )
    if options.dry_run:
        dry_run.show([each.runs(seeds) for each in compared], tuning.MIN_TRIALS if options.tune else 0)
        return
    _train(options, compared, seeds)
    prepared = {each.experiment.config.name: each.experiment.config for each in compared}  # before tuning
    results = dict(zip(prepared, contestants.read_contestants(compared, seeds), strict=True))
    tuned = {name: trials for name, (_, trials) in results.items() if trials is not None}
    notes = differing_fields(prepared)
    runs = {name: finished for name, (finished, _) in results.items()}
    _report(options.output, runs, data, {"tuned": tuned, "notes": notes, "command": command})


def compare_finished(folders: Sequence[Path], own: Sequence[str], output: Path, command: str) -> None:
    """Report finished runs, grouped by config; the user's files only define networks."""
    for file in own:
        load_file(file)
    runs, notes = group_runs([read_finished(folder) for folder in folders])
    first = next(iter(runs.values()))[0]
    configs = {name: config_runs[0].config for name, config_runs in runs.items()}
    data = load(first.config.data)
    for name, config in configs.items():
        abstract_model(config.model)  # a network of the user's own, whose file is missing, is refused
        lines = check_own(config)
        if lines:
            record = prepare(config, command, data).record
            if changed := differences(runs[name][0].run | {"data": record["data"]}, record):
                notes.append(f"{name}: checked as it is now, which is not as it was trained: {'; '.join(changed)}")
        for line in lines:
            say(line)
    if digest(data.test) != first.run["data"]["test"]:
        raise InputError(f"{first.folder}: tested on other images than {first.config.data.name} now holds")
    notes += differing_fields(configs)
    _report(output, runs, data, {"tuned": {}, "notes": notes, "command": command})


def _train(options: Namespace, compared: list[Contestant], seeds: Sequence[int]) -> None:
    """Train the missing runs here, or in jobs."""
    try:
        if options.submit is None:
            contestants.fit_contestants(compared, seeds, options.workers)
        else:
            from experiments.comparison.jobs import train_in_jobs  # needs the extra `slurm`

            train_in_jobs(options, compared, seeds)
    except KeyboardInterrupt:
        say("stopped; the same command goes on with the runs that are not finished; submitted jobs go on")
        raise


def _report(output: Path, runs: dict[str, list[Finished]], data: Data, about: dict[str, Any]) -> None:
    """Print a report of the runs and write it to a folder named after the configs, replacing an older report."""
    made_with = pages.made_with([run.run for config_runs in runs.values() for run in config_runs])
    labels, configs = np.asarray(data.test.labels), {name: config_runs[0].config for name, config_runs in runs.items()}
    about = about | {"made_with": made_with, "configs": pages.describe_configs(configs)}
    summary = summarize_runs(runs, labels) | about
    tables.print_tables(summary)
    content = "".join(map(to_json, configs.values()))
    names = re.sub(r"[^\w.+=-]", "_", "-".join(runs))[:MAX_NAME].lstrip(".")
    folder = output / f"{names}-{hashlib.sha256(content.encode()).hexdigest()[:6]}"
    make_folder(folder)
    finite = json.loads(json.dumps(summary), parse_constant=lambda _: None)  # JSON has no NaN
    write_arrays(folder / OUTCOMES, outcomes(runs, labels))
    write_json(folder / "comparison.json", finite)
    write_whole(folder / "comparison.md", tables.in_markdown(summary))
    write_whole(folder / "comparison.html", page(summary))
    write_png([plots.intervals(summary)], folder / "comparison.png", dpi=150)
    say(f"all of it in {folder / 'comparison.html'}")


def page(summary: dict[str, Any]) -> str:
    """Return a comparison as one self-contained HTML file."""
    return pages.render(
        "comparison.html",
        colors={plots.in_words(row["config"]): plots.color(i) for i, row in enumerate(summary["rows"])},
        summary=summary,
        notes=tables.notes(summary),
        tables=tables.summary_tables(summary),
        intervals=plots.intervals(summary),
        curves=plots.seed_curves(summary),
        costs=plots.costs(summary),
    )
