"""The table of finished runs that `compare --tabulate` prints."""

from collections.abc import Sequence
from pathlib import Path

from experiments.comparison.grouping import group_by_key
from experiments.comparison.measures import COSTS, measure_rows, score_measures
from experiments.comparison.tables import (
    describe_runs,
    in_markdown,
    markdown,
    measure_table,
)
from experiments.training.folder import SUMMARY, read_finished
from mnistsum.app.console import say
from mnistsum.errors import InputError
from mnistsum.file_io import write_json, write_whole


def tabulate_runs(paths: Sequence[Path], output: Path, command: str) -> None:
    """Print a table of the finished runs among some folders, and write it.

    Args:
        paths: the folders.
        output: path to which .md, the table, and .json, all seeds, are added.
        command: the command line, which the table names.
    """
    folders = [path for path in paths if (path / SUMMARY).exists()]
    if not folders:
        raise InputError(
            "--tabulate: expected folders of finished runs, found none among "
            f"{len(paths):,} paths"
        )
    if skipped := len(paths) - len(folders):
        say(f"skipped: {skipped:,} folders without a finished run")
    groups, notes = group_by_key([read_finished(folder) for folder in folders])
    runs = {}
    for name, by_seed in groups.items():
        runs[name] = [by_seed[seed] for seed in sorted(by_seed)]
    scores = score_measures()
    rows = measure_rows(runs, scores | {"train_seconds": COSTS["train_seconds"]})
    meaning = "Mean ± standard deviation over n seeds."
    table = measure_table(
        "On the test set", rows, scores, meaning, ("n", "parameters", "multiply_adds")
    )
    print(markdown(table.header, table.rows))
    for note in notes:
        say(note)
    made = [
        f"{row['config']}: `{row['command']}`, commit {row['commit']}" for row in rows
    ]
    about = describe_runs(runs, command, made + notes)
    page = in_markdown({"rows": rows, **about}, [table])
    write_whole(output.with_name(f"{output.name}.md"), page)
    write_json(output.with_name(f"{output.name}.json"), rows)
