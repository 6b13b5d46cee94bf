"""The console that every program prints to, and the table that several of them show."""

from rich.console import Console
from rich.table import Table

from mnistsum.evaluation import Scores

console = Console(highlight=False, soft_wrap=True)


def score_table(split: str, scores: Scores) -> Table:
    """Return the table of scores on a split."""
    table = Table(f"{split} set", "accuracy", "loss (nats)", "over", box=None, header_style="bold")
    for column in table.columns[1:]:
        column.justify = "right"
    images, pairs = f"{scores.images:,} images", f"{scores.pairs:,} pairs"
    table.add_row("digit", f"{scores.digit_accuracy:.2%}", f"{scores.digit_loss:.4f}", images)
    table.add_row("sum", f"{scores.sum_accuracy:.2%}", f"{scores.sum_loss:.4f}", pairs)
    table.add_row("sum = digit + number", f"{scores.consistency:.2%}", "", pairs)
    return table
