"""Compares recipes on validation images, never on the test set: `python -m experiments.search --help`."""

import dataclasses
import json
from pathlib import Path
from statistics import mean, median
from typing import Any

from experiments import cli
from mnistsum.app.program import Parser
from mnistsum.config import Config, override
from mnistsum.errors import InputError

DESCRIPTION = """\
Train each recipe on each seed, and rank recipes by the mean validation accuracy of the outputs that they train.

A recipe is a quoted list of overrides: "training.epochs=2 model.hidden=64". A run is reused if nothing that decides it
has changed. Each run adds a line to OUTPUT.jsonl, and the table of all lines is written to OUTPUT.md.
"""


def parser() -> Parser:
    """Return the parser of the program's options."""
    parser = cli.parser("search", DESCRIPTION)
    parser.add_argument("recipes", nargs="+", help='such as "training.epochs=2 model.hidden=64"')
    parser.add_argument("--output", type=Path, required=True, help="path to which .jsonl and .md are added")
    parser.add_argument("--config", default="base", help="the config that the recipes vary")
    parser.add_argument("--seeds", type=int, default=2, help="how many, from seed 0 on")
    parser.add_argument("--validation", type=int, default=10_000, help="images held out of training")
    parser.add_argument("--runs", type=Path, default="runs/search", help="where the runs' folders are")
    return parser


def command(arguments: list[str]) -> int:
    """Run the program and return its exit status."""
    options = parser().parse_args(arguments)
    if options.seeds < 1 or options.validation < 1:
        raise InputError("--seeds and --validation: expected 1 or more")
    base = cli.load_config(options.config)
    configs = {recipe: _configure(base, recipe, options.validation) for recipe in options.recipes}
    rank(configs, options.output, options.runs, options.seeds, cli.format_command("search", arguments))
    return 0


def rank(configs: dict[str, Config], output: Path, runs: Path, seeds: int, command: str) -> None:
    """Train the missing runs, append a line per run to the log, and write and print the table of the log.

    Args:
        configs: by recipe; all hold out the same number of images.
        output: the path of the log and the table, without .jsonl and .md.
        runs: the parent of the runs' folders.
        seeds: the number of seeds per recipe.
        command: the command line, for `run.json`.
    """
    from experiments.training import reuse  # JAX loads only for a valid command line
    from experiments.training.job import check_own, identify_record, prepare
    from experiments.training.stops import VALIDATED
    from mnistsum.app.compiler import set_up_compiler
    from mnistsum.app.console import say
    from mnistsum.files import make_folder, read_json_lines, write_whole, writing

    set_up_compiler()
    log, page = (output.with_name(output.name + suffix) for suffix in (".jsonl", ".md"))
    make_folder(log.parent)
    jobs = {recipe: prepare(config, command) for recipe, config in configs.items()}
    for note in [note for config in configs.values() for note in check_own(config)]:
        say(note)
    logged = {line["run"] for line in (read_json_lines(log) if log.exists() else ())}
    for recipe, job in jobs.items():
        for run, _ in reuse.train_missing(reuse.locate_runs(runs, job, range(seeds)), VALIDATED):
            if run.folder.name not in logged:
                line = json.dumps(describe(recipe, run))
                say(line)
                with writing(log), log.open("a") as file:  # another search may append to it, too
                    file.write(line + "\n")
    any_job = next(iter(jobs.values()))
    table = tabulate(read_json_lines(log), identify_record(any_job.record), any_job.config.data.validation)
    write_whole(page, table)
    print(table)


def describe(recipe: str, run: Any) -> dict[str, Any]:
    """Return what a line of the log says of a finished run."""
    from experiments.training.folder import OUTPUTS, judged_accuracy
    from experiments.training.job import identify_record, machine
    from mnistsum.objective import trained_outputs

    summary = run.summary
    return {
        "config": run.config.name,
        "recipe": recipe,
        "seed": run.config.seed,
        "run": run.folder.name,
        "record": identify_record(run.run),
        "validation": run.config.data.validation,
        "trained": trained_outputs(run.config.objective),
        **{f"{output}_accuracy": judged_accuracy(summary["validation"], output) for output in OUTPUTS},
        "parameters": run.run["parameters"],
        "steps": summary["steps"],
        "train_seconds": round(summary["train_seconds"], 3),
        "failure": summary["failure"],
        "commit": run.run["commit"],
        "machine": f"{machine(run.run)}, {summary['mode']}",
    }


def tabulate(lines: list[dict[str, Any]], record: str, validation: int) -> str:
    """Return the recipes as a table, best first by the mean accuracy of the outputs that each trains.

    Args:
        lines: of a log.
        record: of the code, data and versions in use; lines of others are left out and counted.
        validation: images held out; lines of another number are left out and counted, too.
    """
    from experiments.comparison.tables import markdown

    by_run = {line["run"]: line for line in lines}  # two searches may have logged the same run
    groups: dict[str, dict[str, list[dict[str, Any]]]] = {}  # by recipe, then by all that decides a run but its seed
    for name, line in by_run.items():
        if (line["record"], line["validation"]) == (record, validation):
            by_config = groups.setdefault(f"`{line['config']}` {line['recipe']}", {})
            by_config.setdefault(name.rpartition("-")[0], []).append(line)
    shown = {recipe: list(by_config.values())[-1] for recipe, by_config in groups.items()}
    used = [line for group in shown.values() for line in group]
    commits, machines = ({str(line[key]) for line in used} for key in ("commit", "machine"))
    rows = sorted((_rank(group), [recipe, *_cells(group, len(machines) == 1)]) for recipe, group in shown.items())
    head = (
        f"Accuracies on {validation:,} validation images, means over seeds; the test set is not read. "
        f"Trained on {'; '.join(sorted(machines))}, at commit {', '.join(sorted(each[:7] for each in commits))}."
    )
    if left_out := len(by_run) - len(used):
        head += f" Left out: {left_out} runs of other code, data, versions or configs."
    header = ["recipe", "digit, %", "sum, %", "seeds", "parameters", "steps", "a step, ms"]
    return f"{head}\n\n{markdown(header, [cells for _, cells in reversed(rows)])}\n"


def _rank(group: list[dict[str, Any]]) -> tuple[bool, float]:
    """Return what orders recipes: whether no seed failed, and the mean accuracy of the outputs that are trained."""
    accuracies = [run[f"{output}_accuracy"] for run in group for output in run["trained"]]
    return not any(run["failure"] for run in group), mean(accuracies)


def _cells(group: list[dict[str, Any]], is_timed: bool) -> list[str]:
    """Return the cells of a recipe's row; steps are timed only if all runs had one kind of machine."""
    accuracies = [
        f"{100 * mean(run[f'{output}_accuracy'] for run in group):.2f}"
        if output in group[0]["trained"]
        else "not trained"
        for output in ("digit", "sum")
    ]
    failed = sum(1 for run in group if run["failure"])
    seeds = f"{len(group)}, {failed} failed" if failed else f"{len(group)}"
    step = (
        f"{1e3 * median(run['train_seconds'] / run['steps'] for run in group):.1f}" if is_timed else "machines differ"
    )
    steps = f"{median(run['steps'] for run in group):,.0f}"
    return [*accuracies, seeds, f"{group[0]['parameters']:,}", steps, step]


def _configure(base: Config, recipe: str, validation: int) -> Config:
    assignments = recipe.split()
    for assignment in assignments:
        if not cli.ASSIGNMENT.fullmatch(assignment) or assignment.startswith(("seed=", "devices=", "data.validation=")):
            raise InputError(f"{assignment}: expected a recipe of overrides such as training.epochs=2, without seeds")
    config = override(base, [*assignments, f"data.validation={validation}"])
    return dataclasses.replace(config, devices=1)


if __name__ == "__main__":
    cli.main(command)
