"""Tabulates finished runs: `python -m experiments.tabulate runs/* --output experiments/results/table`."""

import sys
from pathlib import Path
from statistics import median
from typing import Any

from experiments import cli
from mnistsum.app.program import Parser
from mnistsum.errors import InputError
from mnistsum.files import write_json, write_whole

DESCRIPTION = """\
Print a Markdown table of finished runs: means and standard deviations over seeds, a row for each config.

Runs of one config that were made with different code, data, versions or machines get rows of their own.
"""


def parser() -> Parser:
    """Return the parser of the program's options."""
    parser = Parser(prog="python -m experiments.tabulate", description=DESCRIPTION)
    parser.add_argument("runs", nargs="+", type=Path, help="folders of finished runs, and .py files of your networks")
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

    from experiments.comparison.grouping import group_by_key  # JAX loads only for a valid command line
    from experiments.comparison.measures import score_measures  # loads JAX
    from experiments.comparison.tables import markdown  # loads JAX
    from experiments.training import folder as files  # loads JAX
    from mnistsum.own import load_file  # loads JAX

    for file in own:
        load_file(file)
    groups = group_by_key([files.read(folder) for folder in folders])
    measures = score_measures("tabulate")
    rows = [config_row(name, list(by_seed.values()), measures) for name, by_seed in groups.items()]
    header = ["config", "parameters", "multiply-adds", *(each.title for each in measures.values())]
    table = markdown(header, [cells(row, measures) for row in rows])
    print(table)
    if options.output is not None:
        made_by = f"`{cli.format_command('tabulate', arguments)}`"
        sources = "\n".join(map(provenance, rows))
        write_whole(options.output.with_name(f"{options.output.name}.md"), f"{made_by}\n\n{table}\n\n{sources}\n")
        write_json(options.output.with_name(f"{options.output.name}.json"), rows)
    return 0


def config_row(name: str, runs: list[Any], measures: dict[str, Any]) -> dict[str, Any]:
    """Return the row of a config: what its runs share, and what each seed reached."""
    from experiments.training.job import machine  # loads JAX

    run = runs[0].run
    return {
        "config": name,
        "machine": machine(run),
        **{key: run[key] for key in ("command", "commit", "versions", "parameters", "multiply_adds")},
        "seeds": [each.config.seed for each in runs],
        **{key: [measure.compute(each, None) for each in runs] for key, measure in measures.items()},
        "train_seconds": [round(each.summary["train_seconds"], 1) for each in runs],
    }


def cells(row: dict[str, Any], measures: dict[str, Any]) -> list[str]:
    """Return the cells of a config's row."""
    from experiments.comparison.measures import spread  # loads JAX
    from experiments.comparison.tables import format_spread  # loads JAX

    scores = [format_spread(spread(row[key]), measure.form) for key, measure in measures.items()]
    with_count = [f"{each} (n = {len(row['seeds'])})" for each in scores]
    return [f"`{row['config']}`", f"{row['parameters']:,}", f"{row['multiply_adds']:,}", *with_count]


def provenance(row: dict[str, Any]) -> str:
    """Return a line for a row: how its runs were made, and how long training took."""
    seconds = row["train_seconds"]
    took = f"{median(seconds):.0f} s of training ({min(seconds):.0f} to {max(seconds):.0f})"
    return f"- `{row['config']}`: `{row['command']}`, commit {row['commit']}, {row['machine']}; {took}."


if __name__ == "__main__":
    cli.main(command)
