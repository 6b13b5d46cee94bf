"""Compares recipes on validation images, never on the test set: `python -m experiments.search --help`."""

import dataclasses
from pathlib import Path
from typing import Any

from experiments import cli
from mnistsum.app.program import Parser
from mnistsum.config import Config, override
from mnistsum.errors import InputError
from mnistsum.file_io import make_folder, write_whole

DESCRIPTION = """\
Train each recipe on each seed, and rank recipes by the mean validation accuracy of the outputs that they train.

A recipe is a quoted list of overrides, such as "training.epochs=2 model.hidden=64". A finished run is reused if nothing
that affects its result has changed. The table is written to OUTPUT.md.
"""


def parser() -> Parser:
    """Return the parser of the program's options."""
    parser = cli.parser("search", DESCRIPTION)
    parser.add_argument("recipes", nargs="+", help='such as "training.epochs=2 model.hidden=64"')
    parser.add_argument("--output", type=Path, required=True, help="path to which .md is added")
    parser.add_argument("--config", default="base", help="the config that the recipes vary")
    parser.add_argument("--seeds", type=int, default=2, help="number of seeds, from seed 0 on")
    parser.add_argument(
        "--validation", type=int, default=10_000, help="number of validation images, which are not trained on"
    )
    parser.add_argument("--runs", type=Path, default="runs/search", help="where the runs' folders are")
    cli.add_workers(parser)
    return parser


def command(arguments: list[str]) -> int:
    """Run the program and return its exit status."""
    options = parser().parse_args(arguments)
    if options.seeds < 1 or options.validation < 1:
        raise InputError("--seeds and --validation: expected 1 or more")
    base = cli.load_config(options.config)
    configs = {recipe: _configure(base, recipe, options.validation) for recipe in options.recipes}

    from experiments.comparison.recipe_table import rank_recipes  # JAX loads only for a valid command line
    from experiments.report.console import accuracies  # loads JAX
    from experiments.training.plan import VALIDATED  # loads JAX
    from experiments.training.pool import fit_missing  # loads JAX
    from experiments.training.record import check_own, prepare_all  # loads JAX
    from experiments.training.reuse import locate_runs  # loads JAX
    from mnistsum.app.console import say  # loads JAX
    from mnistsum.programs import set_up_compiler  # loads JAX

    set_up_compiler()
    make_folder(options.output.parent)
    prepared = prepare_all(list(configs.values()), cli.format_command("search", arguments))
    for note in [note for config in configs.values() for note in check_own(config)]:
        say(note)
    runs: dict[str, list[Any]] = {recipe: [] for recipe in configs}
    run_sets = [locate_runs(options.runs, experiment, range(options.seeds)) for experiment in prepared]
    for i, run, _ in fit_missing(run_sets, VALIDATED, options.workers):
        recipe = options.recipes[i]
        say(f"{recipe}, seed {run.config.seed}: {accuracies(run.summary['validation'])}")
        runs[recipe].append(run)
    table = rank_recipes({recipe: sorted(group, key=lambda run: run.config.seed) for recipe, group in runs.items()})
    write_whole(options.output.with_name(f"{options.output.name}.md"), table)
    print(table)
    return 0


def _configure(base: Config, recipe: str, validation: int) -> Config:
    assignments = recipe.split()
    for assignment in assignments:
        if not cli.ASSIGNMENT.fullmatch(assignment) or assignment.startswith(("seed=", "devices=", "data.validation=")):
            raise InputError(f"{assignment}: expected a recipe of overrides such as training.epochs=2, without seeds")
    config = override(base, [*assignments, f"data.validation={validation}"])
    return dataclasses.replace(config, devices=1)


if __name__ == "__main__":
    cli.main(command)
