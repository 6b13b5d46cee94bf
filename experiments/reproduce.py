"""Compares a run with the write-up's log: `python -m experiments.reproduce RUN`."""

from pathlib import Path
from typing import Any

from experiments import cli
from mnistsum.app.program import Parser
from mnistsum.errors import InputError
from mnistsum.file_io import read_json_lines

# By epoch: average loss in nats, digit and sum in %. The write-up shows no other
# epochs.
WRITE_UP = {
    1: (2.394, 56.34, 9.94),
    2: (1.296, 94.29, 14.32),
    3: (1.207, 96.57, 18.48),
    18: (0.142, 98.99, 98.72),
    19: (0.129, 98.90, 98.54),
    20: (0.110, 98.96, 98.83),
}
DESCRIPTION = """\
Print a table of the run's epochs that the write-up shows, and draw both logs in its
write_up.png.
"""


def band(accuracy: float, images: int) -> tuple[float, float]:
    """Return the 95 % binomial interval (Wilson) of an accuracy."""
    from scipy.stats import binomtest  # takes a second: only for valid input

    interval = binomtest(round(accuracy * images), images).proportion_ci(0.95, "wilson")
    return interval.low, interval.high


def table(lines: list[dict[str, Any]]) -> str:
    """Return a table of the epochs that both logs show.

    It says whether the write-up's accuracies lie inside the bands of ours.
    """
    from experiments.comparison.tables import markdown  # imports JAX, too
    from experiments.report.figures import average_loss  # loads Matplotlib

    rows = []
    for line in lines:
        if line["epoch"] in WRITE_UP:
            loss, *accuracies = WRITE_UP[line["epoch"]]
            rows.append(
                [f"{line['epoch']:g}", f"{average_loss(line):.3f}", f"{loss:.3f}"]
            )
            for output, theirs in zip(("digit", "sum"), accuracies, strict=True):
                ours = line["test"][f"{output}_accuracy"]
                low, high = (
                    100 * bound for bound in band(ours, line["test"]["images"])
                )
                inside = "inside" if low <= theirs <= high else "outside"
                rows[-1] += [
                    f"{100 * ours:.2f} [{low:.2f}, {high:.2f}]",
                    f"{theirs:.2f} {inside}",
                ]
    return markdown(
        ["epoch", "loss", "write-up", "digit, %", "write-up", "sum, %", "write-up"],
        rows,
    )


def command(arguments: list[str]) -> int:
    """Run the program and return its exit status."""
    parser = Parser(prog="python -m experiments.reproduce", description=DESCRIPTION)
    parser.add_argument(
        "run", type=Path, help="folder of a run of `reference`, finished or not"
    )
    folder = parser.parse_args(arguments).run
    path = folder / "metrics.jsonl"
    lines = read_json_lines(path)
    if not all("test" in line for line in lines) or not lines or lines[-1]["epoch"] < 1:
        raise InputError(
            f"{path}: expected test results of an epoch or more; give the folder of a "
            "run of `reference`"
        )
    # Matplotlib and JAX load only for valid input
    from experiments.report import figures

    figures.write_png(figures.over_write_up(lines, WRITE_UP), folder / "write_up.png")
    print(table(lines))
    return 0


if __name__ == "__main__":
    cli.main(command)
