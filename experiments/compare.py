"""Compares configs over seeds: `python -m experiments.compare base lenet5 mlp`."""

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from experiments import cli
from mnistsum.app.program import Parser
from mnistsum.config import CONFIG, split_overrides
from mnistsum.errors import InputError

DESCRIPTION = """\
Train each config on the same seeds; report which beat the first, by how much, how
surely, and at what cost.

Seed k gives every config the same images in the same order with the same numbers.
Finished runs in the folder are reused if nothing that decides them has changed, so the
same command continues a comparison that was stopped. On an accelerator, or on several
devices, seeds share one program. Given the folders of finished runs, along with the .py
files of your own networks, it compares those runs and trains nothing.
"""

# of a search, unless an override says otherwise; these images are not trained on
VALIDATION = "data.validation=10000"


def parser() -> Parser:
    """Return the parser of the program's options."""
    parser = cli.parser("compare", DESCRIPTION)
    parser.add_argument(
        "configs", nargs="+", help="configs, or the folders of finished runs"
    )
    parser.add_argument(
        "--seeds", type=int, default=10, help="how many, from seed 0 on"
    )
    parser.add_argument(
        "--output",
        type=Path,
        default="runs/compare",
        help="folder of runs/ and of each comparison",
    )
    parser.add_argument(
        "--tune",
        action="store_true",
        help="first choose each learning rate on validation images",
    )
    parser.add_argument(
        "--search",
        action="store_true",
        help="rank the configs on validation images, without the test set",
    )
    parser.add_argument(
        "--tabulate",
        type=Path,
        metavar="PATH",
        help="print a table of finished runs, and write PATH.md and PATH.json",
    )
    parser.add_argument(
        "--submit", choices=("slurm",), help="train each config in a job of SLURM"
    )
    cli.add_workers(parser)
    return parser


def command(arguments: list[str]) -> int:
    """Run the program and return its exit status."""
    overrides, words = split_overrides(arguments)
    options = parser().parse_args(words)
    command_line = cli.format_command("compare", arguments)
    given = {word.partition("=")[0] for word in words if word.startswith("--")}
    folders = [Path(name) for name in options.configs if _is_folder(name)]
    if options.tabulate is not None:
        _refuse("--tabulate", given - {"--tabulate"}, overrides)
        # JAX loads only for a valid command line
        from experiments.comparison.finished_table import tabulate_runs

        tabulate_runs(list(map(Path, options.configs)), options.tabulate, command_line)
    elif folders:
        _refuse("compare of finished runs", given - {"--output"}, overrides)
        _compare_folders(folders, options, command_line)
    else:
        if {"--search", "--submit"} <= given:
            raise InputError("compare: expected one of --search, --submit")
        _compare_configs(options, overrides, command_line)
    return 0


def _refuse(mode: str, given: set[str], overrides: Sequence[str]) -> None:
    """Raise InputError if there are options or overrides, as nothing is trained."""
    if found := [*sorted(given), *overrides]:
        raise InputError(f"{mode}: nothing is trained; leave out {', '.join(found)}")


def _compare_configs(
    options: Namespace, overrides: Sequence[str], command_line: str
) -> None:
    """Train the missing runs of configs, and compare or rank them."""
    least = 1 if options.search else 2
    if not least <= options.seeds <= 1000:
        raise InputError(
            f"--seeds: expected {least} to 1,000 (one run shows no spread), "
            f"found {options.seeds:,}"
        )
    if options.search:
        overrides = [VALIDATION, *overrides]
    else:
        _check_two(options.configs)
    configs = [cli.load_config(name, overrides) for name in options.configs]

    # JAX loads only for a valid command line
    from experiments.comparison import contestants, pipeline, ranking

    what = contestants.Options(
        output=options.output,
        seeds=options.seeds,
        workers=options.workers,
        tune=options.tune,
        submit=options.submit is not None,
    )
    if options.search:
        ranking.search_configs(what, configs, command_line)
    else:
        pipeline.compare_configs(what, configs, command_line)


def _compare_folders(
    folders: list[Path], options: Namespace, command_line: str
) -> None:
    """Compare finished runs."""
    own = list(filter(None, map(cli.own_file, options.configs)))
    if len(folders) + len(own) < len(options.configs):
        raise InputError(
            "compare: expected only folders of finished runs, and .py files, as none "
            "is trained"
        )
    _check_two(options.configs)

    from experiments.comparison import pipeline  # loads JAX

    pipeline.compare_finished(folders, own, options.output, command_line)


def _check_two(names: Sequence[str]) -> None:
    if len(names) < 2:
        raise InputError(f"compare: expected two configs or more, found {names[0]}")


def _is_folder(name: str) -> bool:
    """Return whether a name is that of a run's folder, existing or not.

    A config's name comes first.
    """
    config = cli.VARIANT.split(name)[0]
    if config.endswith(".py") or config in cli.config_names():
        return False
    return "/" in name or (Path(name) / CONFIG).exists()


if __name__ == "__main__":
    cli.main(command)
