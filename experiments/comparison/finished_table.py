"""The table of finished runs that `experiments.tabulate` prints: a row for each config."""

from collections.abc import Sequence
from pathlib import Path

from experiments.comparison.grouping import group_by_key
from experiments.comparison.measures import COSTS, measure_rows, score_measures
from experiments.comparison.tables import describe, in_markdown, markdown, measure_table
from experiments.training.folder import read_finished
from mnistsum.file_io import write_json, write_whole


def tabulate_runs(folders: Sequence[Path], output: Path | None, command: str) -> None:
    """Print the table of finished runs. If there is an output, write the table and the scores of each seed."""
    groups = group_by_key([read_finished(folder) for folder in folders])
    runs, scores = {name: list(by_seed.values()) for name, by_seed in groups.items()}, score_measures("tabulate")
    rows = measure_rows(runs, scores | {"train_seconds": COSTS["train_seconds"]})
    meaning = "Mean ± standard deviation over n seeds."
    table = measure_table("On the test set", rows, scores, meaning, ("n", "parameters", "multiply_adds"))
    print(markdown(table.header, table.rows))
    if output is not None:
        made = [f"{row['config']}: `{row['command']}`, commit {row['commit']}" for row in rows]
        page = in_markdown({"rows": rows, **describe(runs, command, made)}, [table])
        write_whole(output.with_name(f"{output.name}.md"), page)
        write_json(output.with_name(f"{output.name}.json"), rows)
