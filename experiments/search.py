"""Compares recipes on held-out training images, never on the test set: `python -m experiments.search --help`."""

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from experiments import cli
from experiments.comparison.options import MAX_SEEDS
from mnistsum.config import Config
from mnistsum.errors import InputError


@dataclass(frozen=True)
class Search:
    """Trains each recipe on each seed, and ranks recipes by the mean validation accuracy of the outputs they train.

    A run is reused if nothing that decides it has changed: its folder is kept, and its .jsonl line holds its mark.
    """

    recipes: Positional[tuple[str, ...]]  # each a quoted list of overrides: "training.epochs=2 model.hidden=64"
    output: Path  # path to which .jsonl (a line per run) and .md (the table) are added
    config: str = "base"  # the config that the recipes vary
    seeds: int = 2
    validation: int = 10_000  # images held out of training
    runs: Path = Path("runs/search")  # where the runs' folders are kept


def command(arguments: list[str]) -> int:
    """Run the program and return its exit status."""
    options = cli.parse_plain(Search, arguments)
    if not 1 <= options.seeds <= MAX_SEEDS:
        raise InputError(f"--seeds: expected 1 to {MAX_SEEDS:,}, found {options.seeds:,}")
    if options.validation < 1:
        raise InputError(f"--validation: expected 1 or more, found {options.validation}")
    if not options.recipes:
        raise InputError('search: expected recipes, found none; such as "training.epochs=2 model.hidden=64"')
    if not options.output.name:
        raise InputError(f"--output {options.output}: expected a path that .jsonl and .md are added to")
    configs = {recipe: _configure(options, recipe) for recipe in options.recipes}

    from experiments.comparison import ranking  # JAX loads only for a valid command line

    ranking.rank(
        configs, options.config, options.seeds, options.output, options.runs, cli.format_command("search", arguments)
    )
    return 0


def _configure(options: Search, recipe: str) -> Config:
    assignments, held_out = recipe.split(), f"data.validation={options.validation}"
    for assignment in assignments:
        if not cli.ASSIGNMENT.fullmatch(assignment):
            raise InputError(f"{assignment}: expected a recipe of overrides such as training.epochs=2")
        if assignment.startswith(("seed=", "devices=", "data.validation=")):
            raise InputError(
                f"{assignment}: expected no seed, devices or data.validation in a recipe; --seeds and --validation set "
                "them for all, and each seed takes one device"
            )
    return cli.override(cli.load_config(options.config), [*assignments, held_out])


if __name__ == "__main__":
    cli.main(command)
