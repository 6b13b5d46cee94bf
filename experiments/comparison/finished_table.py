"""The table of finished runs that `experiments.tabulate` prints: a row for each config."""

import sys
from collections.abc import Sequence
from pathlib import Path

from experiments.comparison.grouping import group_by_key
from experiments.comparison.measures import COSTS, measure_rows, score_measures
from experiments.comparison.tables import describe, in_markdown, markdown, measure_table
from experiments.training.folder import read_finished
from mnistsum.file_io import write_json, write_whole


def tabulate_runs(folders: Sequence[Path], output: Path | None, command: str) -> None:
    """Print the table of finished runs.

    If there is an output, write the table and the scores of each seed.
    """
    groups, notes = group_by_key([read_finished(folder) for folder in folders])
    runs = {
        name: [by_seed[seed] for seed in sorted(by_seed)]
        for name, by_seed in groups.items()
    }
    scores = score_measures("tabulate")
    rows = measure_rows(runs, scores | {"train_seconds": COSTS["train_seconds"]})
    meaning = "Mean ± standard deviation over n seeds."
    table = measure_table(
        "On the test set", rows, scores, meaning, ("n", "parameters", "multiply_adds")
    )
    print(markdown(table.header, table.rows))
    for note in notes:
        print(note, file=sys.stderr)
    if output is not None:
        made = [
            f"{row['config']}: `{row['command']}`, commit {row['commit']}"
            for row in rows
        ]
        page = in_markdown(
            {"rows": rows, **describe(runs, command, made + notes)}, [table]
        )
        write_whole(output.with_name(f"{output.name}.md"), page)
        write_json(output.with_name(f"{output.name}.json"), rows)
