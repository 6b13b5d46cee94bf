"""The table of finished runs that `experiments.tabulate` prints: a row for each config."""

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from experiments.comparison.grouping import group_by_key
from experiments.comparison.measures import score_measures, spread
from experiments.comparison.tables import format_spread, markdown
from experiments.training.folder import Finished, read_finished
from experiments.training.record import machine

SHARED = ("command", "commit", "versions", "parameters", "multiply_adds")  # what all runs of a row have in `run.json`


def read_rows(folders: Sequence[Path]) -> list[dict[str, Any]]:
    """Return a row for each config: what its runs share, and the scores of each seed."""
    groups = group_by_key([read_finished(folder) for folder in folders])
    return [_row(name, list(by_seed.values())) for name, by_seed in groups.items()]


def rows_markdown(rows: list[dict[str, Any]]) -> str:
    """Return the rows as a Markdown table: means and standard deviations over seeds."""
    measures = score_measures("tabulate")
    cells = [
        [f"`{row['config']}`", f"{row['parameters']:,}", f"{row['multiply_adds']:,}"]
        + [f"{format_spread(spread(row[key]), each.form)} (n = {len(row['seeds'])})" for key, each in measures.items()]
        for row in rows
    ]
    return markdown(["config", "parameters", "multiply-adds", *(each.title for each in measures.values())], cells)


def provenance(row: dict[str, Any]) -> str:
    """Return a line that says how the runs of a row were made, and how long they trained."""
    seconds = row["train_seconds"]
    took = f"{median(seconds):.0f} s of training ({min(seconds):.0f} to {max(seconds):.0f})"
    return f"- `{row['config']}`: `{row['command']}`, commit {row['commit']}, {row['machine']}; {took}."


def _row(name: str, runs: list[Finished]) -> dict[str, Any]:
    run, no_labels = runs[0].run, np.array([])  # scores need none
    return {
        "config": name,
        "machine": machine(run),
        **{key: run[key] for key in SHARED},
        "seeds": [each.config.seed for each in runs],
        **{
            key: [measure.compute(each, no_labels) for each in runs]
            for key, measure in score_measures("tabulate").items()
        },
        "train_seconds": [round(each.summary["train_seconds"], 1) for each in runs],
    }
