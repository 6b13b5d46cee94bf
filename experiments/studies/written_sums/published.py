"""Plots wrong sums beside published ones.

python -m experiments.studies.written_sums.published
"""

import csv
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from experiments import cli
from mnistsum.app.program import Parser
from mnistsum.file_io import read_json_lines

FOLDER = Path(__file__).parent
LENGTHS = (1, 2, 4, 15, 100, 200, 500)
OURS = {  # config, in the file of results, and marker
    "base": ("zero_output", "base", "o"),
    "with vgg": ("zero_output", "base-classifier-vgg", "s"),
    "A-NeSI's network, retrained": ("he", "mnist_net", "x"),
}
# the published systems with a line and a label of their own
NAMED = ("DeepProofLog", "A-NeSI", "Deep Symbolic Learning, learns the rule, too")


def figure() -> Figure:
    """Return the shares of wrong sums by N: dots for seeds, lines for systems."""
    figure = Figure(figsize=(7.5, 4.2), layout="constrained")
    axes = figure.subplots()
    for i, (label, (file, config, marker)) in enumerate(OURS.items()):
        lines = read_json_lines(FOLDER / f"{file}.jsonl")
        lines = [line for line in lines if line["config"] == config]
        places = [LENGTHS.index(line["digits"]) + 0.12 * (i - 1) for line in lines]
        # over 20 pairings of the test images, where they were kept
        right = [line.get("mean_sum_accuracy", line["sum_accuracy"]) for line in lines]
        wrong = 100 * (1 - np.array(right))
        axes.plot(places, wrong, marker, label=label, ms=5, alpha=0.8)
    for row in csv.DictReader((FOLDER / "published.csv").open()):
        known = [length for length in LENGTHS if row[str(length)]]
        places = [LENGTHS.index(length) for length in known]
        wrong = [100 - float(row[str(length)]) for length in known]
        is_named = row["system"] in NAMED
        color = "black" if is_named else "0.7"
        axes.plot(places, wrong, "-_", color=color, lw=1, zorder=int(is_named))
        if is_named:
            name = row["system"].partition(",")[0]
            last = (places[-1], wrong[-1])
            axes.annotate(
                name, last, (2, 5), textcoords="offset points", ha="right", fontsize=8
            )
    axes.plot([], [], "-_", color="0.7", label="other published systems")
    axes.set_yscale("log")
    percents = [0.5, 1, 2, 5, 10, 20, 50, 100]
    axes.set_yticks(percents, [f"{percent:g}" for percent in percents])
    axes.minorticks_off()
    axes.set_xticks(range(len(LENGTHS)), [str(length) for length in LENGTHS])
    axes.set(xlim=(-0.4, 6.4), ylim=(0.5, 150))
    axes.set(xlabel="N, digits of each of the two numbers", ylabel="wrong sums, %")
    axes.grid(axis="y", alpha=0.3)
    axes.legend(frameon=False, fontsize=9)
    return figure


def command(words: list[str]) -> int:
    """Write the plot."""
    program = "python -m experiments.studies.written_sums.published"
    Parser(prog=program, description=__doc__).parse_args(words)
    figure().savefig(FOLDER / "published.png", dpi=120)
    return 0


if __name__ == "__main__":
    cli.main(command)
