"""Ranks configs on validation images, never on the test set: `python -m experiments.search --help`."""

from pathlib import Path

from experiments import cli
from mnistsum.app.program import Parser
from mnistsum.config import split_overrides
from mnistsum.errors import InputError

DESCRIPTION = """\
Train each config on the same seeds, and rank them by the mean validation accuracy of the outputs that they train.

Configs may be variants, such as base+model.hidden=64+optimizer.name=sgd. A finished run is reused if nothing that
affects its result has changed.
"""
# unless an override says otherwise; these images are not trained on
VALIDATION = "data.validation=10000"


def parser() -> Parser:
    """Return the parser of the program's options."""
    parser = cli.parser("search", DESCRIPTION)
    parser.add_argument("configs", nargs="+", help="configs, or variants of them")
    parser.add_argument("--seeds", type=int, default=2, help="how many, from seed 0 on")
    parser.add_argument(
        "--output",
        type=Path,
        default="runs/search",
        help="folder of runs/ and of each ranking",
    )
    parser.set_defaults(tune=False)
    cli.add_workers(parser)
    return parser


def command(arguments: list[str]) -> int:
    """Run the program and return its exit status."""
    overrides, words = split_overrides(arguments)
    options = parser().parse_args(words)
    if options.seeds < 1:
        raise InputError(f"--seeds: expected 1 or more, found {options.seeds}")
    configs = cli.load_configs(options.configs, [VALIDATION, *overrides])

    # JAX loads only for a valid command line
    from experiments.comparison.ranking import search_configs

    search_configs(options, configs, cli.format_command("search", arguments))
    return 0


if __name__ == "__main__":
    cli.main(command)
