"""Tabulates finished runs: `python -m experiments.tabulate runs/* --output experiments/results/table`."""

import sys
from pathlib import Path

from experiments import cli
from mnistsum.app.program import Parser
from mnistsum.errors import InputError

DESCRIPTION = """\
Print a Markdown table of finished runs: means and standard deviations over n seeds, a row for each config.

Runs of one config that differ in code, data, versions or machine get separate rows.
"""


def parser() -> Parser:
    """Return the parser of the program's options."""
    parser = Parser(prog="python -m experiments.tabulate", description=DESCRIPTION)
    parser.add_argument("runs", nargs="+", type=Path, help="folders of finished runs")
    parser.add_argument(
        "--output",
        type=Path,
        help="path to which .md (the table) and .json (all seeds) are added",
    )
    return parser


def command(arguments: list[str]) -> int:
    """Run the program and return its exit status."""
    options = parser().parse_args(arguments)
    folders = [path for path in options.runs if (path / "summary.json").exists()]
    if not folders:
        raise InputError(
            f"tabulate: expected folders of finished runs, found none among {len(options.runs):,} paths"
        )
    if skipped := len(options.runs) - len(folders):
        print(f"skipped: {skipped:,} folders without a finished run", file=sys.stderr)

    # JAX loads only for a valid command line
    from experiments.comparison.finished_table import tabulate_runs

    tabulate_runs(folders, options.output, cli.format_command("tabulate", arguments))
    return 0


if __name__ == "__main__":
    cli.main(command)
