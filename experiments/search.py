"""Compares recipes on held-out training images; never reads the test set: `python -m experiments.search --help`."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median
from typing import Any

import tyro
from tyro.conf import Positional

from experiments import cli
from experiments.report import markdown
from mnistsum.config import Config
from mnistsum.errors import InputError
from mnistsum.json_files import read_json_lines

MOST_SEEDS = 1000


@dataclass(frozen=True)
class Search:
    """Trains each recipe on each seed, and ranks them by their mean digit and sum accuracy on validation images.

    A run is not repeated where nothing that decides it has changed: its folder is kept, and its line names its mark.
    """

    recipes: Positional[tuple[str, ...]]  # the overrides of each, quoted: "training.epochs=2 model.hidden=64"
    output: Path  # .jsonl (a line a run) and .md (the table) are added
    config: str = "base"  # the config that the recipes vary
    seeds: int = 2
    validation: int = 10_000  # images held out of training
    runs: Path = Path("runs/search")  # where the folders of the runs lie


def command(arguments: list[str]) -> int:
    """Return the exit status of the program."""
    options = tyro.cli(Search, prog="python -m experiments.search", args=arguments)
    if not 1 <= options.seeds <= MOST_SEEDS:
        raise InputError(f"--seeds: expected 1 to {MOST_SEEDS:,}, found {options.seeds:,}")
    if options.validation < 1:
        raise InputError(f"--validation: expected 1 or more, found {options.validation}")
    configs = {recipe: _configure(options, recipe) for recipe in options.recipes}

    # JAX loads only once the command line is right.
    from experiments.training import resources, reuse
    from experiments.training.record import make_record, mark
    from experiments.training.runs import VALIDATED
    from mnistsum.app.compiler import set_up_compiler
    from mnistsum.data import load
    from mnistsum.files import write_whole, writing

    set_up_compiler()
    log = options.output.with_suffix(".jsonl")
    lines = read_json_lines(log) if log.exists() else []
    loaded = {config.data: load(config.data) for config in configs.values()}
    for config in configs.values():
        resources.check([config], len(loaded[config.data].train.labels))
    for folder in (log.parent, options.runs):
        resources.check_folder(folder, configs.values())
    done = {(line.get("mark"), line["seed"]) for line in lines}
    for recipe, config in configs.items():
        data = loaded[config.data]
        record = make_record(config, data, cli.own_file(options.config))
        wanted = reuse.want(options.runs, config, record, range(options.seeds))
        marked = mark(wanted.config, record)
        left = {seed: folder for seed, folder in wanted.folders.items() if (marked, seed) not in done}
        typed = cli.typed("search", arguments)
        for run, _ in reuse.train_missing(wanted._replace(folders=left), data, VALIDATED, typed):
            line = {"config": options.config, "recipe": recipe, "seed": run.config.seed, "mark": marked}
            lines.append(line | _result(run.summary) | {"validation": options.validation, "commit": run.run["commit"]})
            print(json.dumps(lines[-1]), flush=True)
            with writing(log), log.open("a") as file:  # which another search may add to as well
                file.write(json.dumps(lines[-1]) + "\n")
    table = _tabulate(lines, options.validation)
    write_whole(options.output.with_suffix(".md"), table)
    print(table)
    return 0


def _configure(options: Search, recipe: str) -> Config:
    config = cli.override(cli.load_config(options.config), recipe.split())
    return dataclasses.replace(config, data=dataclasses.replace(config.data, validation=options.validation))


def _result(summary: dict[str, Any]) -> dict[str, Any]:
    """Return what the table shows of a run."""
    validation = summary["validation"]
    return {
        "parameters": summary["parameters"],
        "steps": summary["steps"],
        "train_seconds": round(summary["train_seconds"], 1),
        "digit_loss": None if summary["failure"] else round(validation["digit_loss"], 5),
        "digit_accuracy": validation["digit_accuracy"],
        "sum_accuracy": validation["sum_accuracy"],
        "failure": summary["failure"],
    }


def _tabulate(runs: list[dict[str, Any]], validation: int) -> str:
    """Return the recipes, best first; of runs on so many validation images, and of the newest mark of each recipe.

    A recipe that fails with any seed comes after all that never do.
    """
    newest: dict[tuple[str, str], str | None] = {}
    runs = [run for run in runs if run.get("validation", validation) == validation]
    for run in runs:
        newest[run["config"], run["recipe"]] = run.get("mark")
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for run in runs:
        key = run["config"], run["recipe"]
        if run.get("mark") == newest[key]:
            groups.setdefault(key, []).append(run)
    rows: list[tuple[bool, float, list[str]]] = []
    for (config, recipe), group in groups.items():
        digit, total = (100 * mean(run[key] for run in group) for key in ("digit_accuracy", "sum_accuracy"))
        failed = sum(1 for run in group if run.get("failure"))
        first, seconds = group[0], median(run["train_seconds"] for run in group)
        seeds = f"{len(group)}, {failed} failed" if failed else f"{len(group)}"
        cells = [f"`{config}` {recipe}", f"{digit:.2f}", f"{total:.2f}", seeds, f"{first['parameters']:,}"]
        cells += [f"{first['steps']:,}", f"{seconds:.1f}", f"{1e3 * seconds / first['steps']:.1f}"]
        rows.append((not failed, digit + total, cells))
    head = f"Accuracies on {validation:,} held-out training images, means over seeds; the test set is not read.\n\n"
    header = ["recipe", "digit, %", "sum, %", "seeds", "parameters", "steps", "training, s", "a step, ms"]
    return head + markdown.table(header, (cells for *_, cells in sorted(rows, reverse=True))) + "\n"


if __name__ == "__main__":
    cli.main(command)
