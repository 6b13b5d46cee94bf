"""Compares recipes on validation images, never on the test set: `python -m experiments.search --help`."""

import dataclasses
from pathlib import Path
from statistics import mean, median
from typing import Any

from experiments import cli
from mnistsum.app.program import Parser
from mnistsum.config import Config, override
from mnistsum.errors import InputError
from mnistsum.files import make_folder, write_whole

DESCRIPTION = """\
Train each recipe on each seed, and rank recipes by the mean validation accuracy of the outputs that they train.

A recipe is a quoted list of overrides: "training.epochs=2 model.hidden=64". A run is reused if nothing that decides it
has changed. The table is written to OUTPUT.md.
"""


def parser() -> Parser:
    """Return the parser of the program's options."""
    parser = cli.parser("search", DESCRIPTION)
    parser.add_argument("recipes", nargs="+", help='such as "training.epochs=2 model.hidden=64"')
    parser.add_argument("--output", type=Path, required=True, help="path to which .md is added")
    parser.add_argument("--config", default="base", help="the config that the recipes vary")
    parser.add_argument("--seeds", type=int, default=2, help="how many, from seed 0 on")
    parser.add_argument("--validation", type=int, default=10_000, help="images for validation, not trained on")
    parser.add_argument("--runs", type=Path, default="runs/search", help="where the runs' folders are")
    return parser


def command(arguments: list[str]) -> int:
    """Run the program and return its exit status."""
    options = parser().parse_args(arguments)
    if options.seeds < 1 or options.validation < 1:
        raise InputError("--seeds and --validation: expected 1 or more")
    base = cli.load_config(options.config)
    configs = {recipe: _configure(base, recipe, options.validation) for recipe in options.recipes}

    from experiments.report.console import accuracies  # JAX loads only for a valid command line
    from experiments.training import reuse  # loads JAX
    from experiments.training.job import check_own, prepare  # loads JAX
    from experiments.training.stops import VALIDATED  # loads JAX
    from mnistsum.app.compiler import set_up_compiler  # loads JAX
    from mnistsum.app.console import say  # loads JAX

    set_up_compiler()
    make_folder(options.output.parent)
    jobs = {recipe: prepare(config, cli.format_command("search", arguments)) for recipe, config in configs.items()}
    for note in [note for config in configs.values() for note in check_own(config)]:
        say(note)
    runs: dict[str, list[Any]] = {recipe: [] for recipe in jobs}
    for recipe, job in jobs.items():
        for run, _ in reuse.train_missing(reuse.locate_runs(options.runs, job, range(options.seeds)), VALIDATED):
            say(f"{recipe}, seed {run.config.seed}: {accuracies(run.summary['validation'])}")
            runs[recipe].append(run)
    table = recipe_table(runs)
    write_whole(options.output.with_name(f"{options.output.name}.md"), table)
    print(table)
    return 0


def recipe_table(runs: dict[str, list[Any]]) -> str:
    """Return a table of the recipes' finished runs, best first by the mean accuracy of the outputs that each trains."""
    from experiments.comparison.tables import markdown  # loads JAX
    from experiments.training.job import machine  # loads JAX

    used = [run for group in runs.values() for run in group]
    machines = {f"{machine(run.run)}, {run.summary['mode']}" for run in used}
    commits = {run.run["commit"] for run in used}
    shortened = sorted(f"{commit[:7]}{commit[40:]}" for commit in commits)  # and whether it was dirty
    head = (
        f"Accuracies on {used[0].config.data.validation:,} validation images, means over seeds; the test set is not "
        f"read. Trained on {'; '.join(sorted(machines))}, at commit {', '.join(shortened)}."
    )
    header = ["recipe", "digit, %", "sum, %", "seeds", "parameters", "steps", "a step, ms"]
    ranked = sorted(runs.items(), key=lambda item: _rank(item[1]), reverse=True)
    rows = [[f"`{group[0].config.name}` {recipe}", *_cells(group, len(machines) == 1)] for recipe, group in ranked]
    return f"{head}\n\n{markdown(header, rows)}\n{_alike(runs)}"


def _alike(runs: dict[str, list[Any]]) -> str:
    """Return a line for each run that ended with the weights of another, as one of an override that is ignored does."""
    owners: dict[str, str] = {}
    lines = ""
    for recipe, group in runs.items():
        for run in group:
            this = f"`{recipe}`, seed {run.config.seed}"
            if (other := owners.setdefault(run.summary["weights"], this)) != this:
                lines += f"\n{this}: ended with the weights of {other}, bit for bit\n"
    return lines


def _rank(runs: list[Any]) -> tuple[bool, float]:
    """Return what orders recipes: whether no seed failed, and the mean accuracy of the outputs that are trained."""
    return not any(run.summary["failure"] for run in runs), mean(_accuracies(runs).values())


def _accuracies(runs: list[Any]) -> dict[str, float]:
    """Return the mean accuracy of each output that is trained."""
    from experiments.training.folder import judged_accuracy  # loads JAX
    from mnistsum.objective import trained_outputs  # loads JAX

    return {
        output: mean(judged_accuracy(run.summary["validation"], output) for run in runs)
        for output in trained_outputs(runs[0].config.objective)
    }


def _cells(runs: list[Any], is_timed: bool) -> list[str]:
    """Return the cells of a recipe's row; steps are timed only if all runs had one kind of machine."""
    accuracies = _accuracies(runs)
    shown = [f"{100 * accuracies[key]:.2f}" if key in accuracies else "not trained" for key in ("digit", "sum")]
    failed = sum(1 for run in runs if run.summary["failure"])
    seeds = f"{len(runs)}, {failed} failed" if failed else f"{len(runs)}"
    summary = runs[0].summary
    seconds = median(run.summary["train_seconds"] for run in runs)
    step = f"{1e3 * seconds / summary['steps']:.1f}" if is_timed else "machines differ"
    return [*shown, seeds, f"{runs[0].run['parameters']:,}", f"{summary['steps']:,}", step]


def _configure(base: Config, recipe: str, validation: int) -> Config:
    assignments = recipe.split()
    for assignment in assignments:
        if not cli.ASSIGNMENT.fullmatch(assignment) or assignment.startswith(("seed=", "devices=", "data.validation=")):
            raise InputError(f"{assignment}: expected a recipe of overrides such as training.epochs=2, without seeds")
    config = override(base, [*assignments, f"data.validation={validation}"])
    return dataclasses.replace(config, devices=1)


if __name__ == "__main__":
    cli.main(command)
