"""Tabulates finished runs: `python -m experiments.tabulate runs/* --output experiments/results/table`."""

import sys
from pathlib import Path

from experiments import cli
from mnistsum.app.program import Parser
from mnistsum.errors import InputError
from mnistsum.file_io import write_json, write_whole

DESCRIPTION = """\
Print a Markdown table of finished runs: means and standard deviations over seeds, a row for each config.

Runs of one config that differ in code, data, versions or machine get separate rows.
"""


def parser() -> Parser:
    """Return the parser of the program's options."""
    parser = Parser(prog="python -m experiments.tabulate", description=DESCRIPTION)
    parser.add_argument("runs", nargs="+", type=Path, help="folders of finished runs, and the .py files of your names")
    parser.add_argument("--output", type=Path, help="path to which .md (the table) and .json (all seeds) are added")
    return parser


def command(arguments: list[str]) -> int:
    """Run the program and return its exit status."""
    options = parser().parse_args(arguments)
    own = [path for path in options.runs if path.suffix == ".py"]
    folders = [path for path in options.runs if path not in own and (path / "summary.json").exists()]
    if not folders:
        raise InputError(f"tabulate: expected folders of finished runs, found none among {len(options.runs):,} paths")
    if skipped := len(options.runs) - len(own) - len(folders):
        print(f"skipped: {skipped:,} folders without a finished run", file=sys.stderr)

    from experiments.comparison import finished_table  # JAX loads only for a valid command line
    from mnistsum.registry import load_file  # loads JAX

    for file in own:
        load_file(file)
    rows = finished_table.read_rows(folders)
    table = finished_table.rows_markdown(rows)
    print(table)
    if options.output is not None:
        sources = "\n".join(map(finished_table.provenance, rows))
        page = f"`{cli.format_command('tabulate', arguments)}`\n\n{table}\n\n{sources}\n"
        write_whole(options.output.with_name(f"{options.output.name}.md"), page)
        write_json(options.output.with_name(f"{options.output.name}.json"), rows)
    return 0


if __name__ == "__main__":
    cli.main(command)
