"""The console that every program prints to, and the table that several of them show."""

import signal
import sys

import rich.console
from rich.table import Table

from mnistsum.app.errors import CLOSED_PIPE, discard_output
from mnistsum.evaluation import Scores


class Console(rich.console.Console):
    """A console that treats a closed pipe on standard output, as after `| head`, like a hang-up (SIGHUP)."""

    def on_broken_pipe(self) -> None:
        """Make a run that heeds signals save, report on standard error and stop; end any other program."""
        discard_output()
        if self.file is sys.stderr:  # closed as well
            self.quiet = True
        elif signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
            raise SystemExit(CLOSED_PIPE)
        else:
            self.file = sys.stderr
            signal.raise_signal(signal.SIGHUP)


# Without a terminal, tables are as wide as their content.
console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout and sys.stdout.isatty() else 10_000)


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
