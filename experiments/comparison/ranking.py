"""Ranks recipes by accuracy on held-out training images: trains missing runs, logs them, and tabulates the results."""

import dataclasses
import json
from pathlib import Path
from statistics import mean, median
from typing import Any

from experiments import cli
from experiments.environment import machine
from experiments.report import markdown
from experiments.run_folder import OUTPUTS, judged_accuracy
from experiments.training import resources, reuse
from experiments.training.plan import VALIDATED
from experiments.training.record import make_record, mark
from mnistsum.app.compiler import set_up_compiler
from mnistsum.config import Config
from mnistsum.data import load
from mnistsum.files import write_whole, writing
from mnistsum.json_files import read_json_lines
from mnistsum.objective import trained_outputs


def rank(configs: dict[str, Config], base: str, seeds: int, output: Path, runs: Path, command: str) -> None:
    """Train the missing runs, append a line per run to the log, and write and print the table of the whole log.

    Args:
        configs: by recipe; all hold out the same number of images.
        base: the name of the config that they vary.
        seeds: the number of seeds per recipe.
        output: the path of the log and the table, without .jsonl and .md.
        runs: the parent of the runs' folders.
        command: the command line, for `run.json`.
    """
    set_up_compiler()
    log, page = (output.with_name(output.name + suffix) for suffix in (".jsonl", ".md"))
    lines = read_json_lines(log) if log.exists() else []
    loaded = {data: load(data) for data in {config.data for config in configs.values()}}
    for config in configs.values():
        resources.check([dataclasses.replace(config, devices=1)], len(loaded[config.data].train.labels))
    needed = max(resources.storage(config, config.data.validation) for config in configs.values())
    for folder in (log.parent, runs):
        resources.check_folder(folder, needed)
    done = {(line["recipe"], line.get("mark"), line["seed"]) for line in lines}
    marks = {}
    for recipe, config in configs.items():
        data = loaded[config.data]
        record = make_record(config, data, cli.own_file(base))
        run_set = reuse.locate_runs(runs, config, record, range(seeds))
        reuse.check(run_set, VALIDATED)
        marked = marks[base, recipe] = mark(run_set.config, record)
        unlogged = {seed: folder for seed, folder in run_set.folders.items() if (recipe, marked, seed) not in done}
        for run, _ in reuse.train_missing(run_set._replace(folders=unlogged), data, VALIDATED, command):
            line = {"config": base, "recipe": recipe, "seed": run.config.seed, "mark": marked, **_result(run.summary)}
            line |= {"trained": trained_outputs(config.objective), "validation": config.data.validation}
            line |= {"commit": run.run["commit"], "machine": machine(run.run["cores"], run.run["hardware"])}
            print(json.dumps(line), flush=True)
            with writing(log), log.open("a") as file:  # another search may append to it, too
                file.write(json.dumps(line) + "\n")
    table = tabulate(read_json_lines(log), next(iter(configs.values())).data.validation, marks)
    write_whole(page, table)
    print(table)


def _result(summary: dict[str, Any]) -> dict[str, Any]:
    """Return what a line of the log says of a run."""
    validation = summary["validation"]
    return {
        "parameters": summary["parameters"],
        "steps": summary["steps"],
        "train_seconds": round(summary["train_seconds"], 3),
        "digit_loss": None if summary["failure"] else round(validation["digit_loss"], 5),
        **{f"{output}_accuracy": judged_accuracy(validation, output) for output in OUTPUTS},
        "failure": summary["failure"],
    }


def tabulate(runs: list[dict[str, Any]], validation: int, marks: dict[tuple[str, str], str]) -> str:
    """Return the recipes as a table, best first by the mean accuracy of the outputs that each trains.

    A recipe that failed with any seed comes after all that never failed.

    Args:
        runs: the lines of a log.
        validation: the number of images held out; runs with another number are left out.
        marks: the current mark by config and recipe; only runs with that mark count. For other recipes, only runs with
            the mark that was logged last count.
    """
    runs = [run for run in runs if run.get("validation", validation) == validation]
    # Two searches at once may log the same run.
    runs = list({(run["config"], run["recipe"], run.get("mark"), run["seed"]): run for run in runs}.values())
    newest = {(run["config"], run["recipe"]): run.get("mark") for run in runs} | marks
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for run in runs:
        key = run["config"], run["recipe"]
        if run.get("mark") == newest[key]:
            groups.setdefault(key, []).append(run)
    rows: list[tuple[bool, float, list[str]]] = []
    for (config, recipe), group in groups.items():
        trained = group[0].get("trained", OUTPUTS)  # older lines do not say
        accuracies = {output: 100 * mean(run[f"{output}_accuracy"] for run in group) for output in OUTPUTS}
        shown = [f"{value:.2f}" if output in trained else "not trained" for output, value in accuracies.items()]
        failed = sum(1 for run in group if run.get("failure"))
        steps, seconds = median(run["steps"] for run in group), median(run["train_seconds"] for run in group)
        step = median(run["train_seconds"] / run["steps"] for run in group)
        commits = {run["commit"][:7] for run in group if run.get("commit")}
        seeds = f"{len(group)}, {failed} failed" if failed else f"{len(group)}"
        cells = [f"`{config}` {recipe}", *shown, seeds, f"{group[0]['parameters']:,}"]
        cells += [f"{steps:,.0f}", f"{seconds:.1f}", f"{1e3 * step:.1f}", ", ".join(sorted(commits))]
        rows.append((not failed, mean(accuracies[output] for output in trained), cells))
    machines = sorted({run.get("machine", "a machine not recorded") for group in groups.values() for run in group})
    head = f"Accuracies on {validation:,} held-out training images, means over seeds; the test set is not read."
    head += f" Trained on {', '.join(machines)}.\n\n"
    header = ["recipe", "digit, %", "sum, %", "seeds", "parameters", "steps", "training, s", "a step, ms", "commit"]
    return head + markdown.table(header, (cells for *_, cells in sorted(rows, reverse=True))) + "\n"
