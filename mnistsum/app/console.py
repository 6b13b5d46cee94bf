"""The console that every program prints to, and the table that several of them show."""

import sys
from typing import Any

from rich.console import Console
from rich.table import Table

from mnistsum.evaluation import SCORES

# Without a terminal, tables are as wide as their content.
console = Console(
    highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 10_000
)


def say(text: str) -> None:
    """Print a line as it is."""
    console.print(text, markup=False)


def score_table(split: str, scores: dict[str, Any]) -> Table:
    """Return the table of scores on a split."""
    table = Table(f"{split} set", "", "", box=None, header_style="bold")
    table.columns[1].justify = "right"
    for name, score in SCORES.items():
        if name in scores:  # else it was added after the run
            shown = as_text(scores[name], score.unit)
            table.add_row(score.title, shown, score.explanation)
    return table


def as_text(value: float, unit: str) -> str:
    """Return a score with its unit."""
    return f"{value:.2%}" if unit == "%" else f"{value:.4f} {unit}"
