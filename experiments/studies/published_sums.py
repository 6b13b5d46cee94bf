"""Draws results/addition.png, a dot for each seed beside published values; run it with `python -m`."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from mnistsum.file_io import read_json_lines

RESULTS = Path(__file__).parents[1] / "results"
LENGTHS = (1, 2, 4, 15, 100, 200, 500)  # digits of each number
# Published shares of right sums in percent, by number of digits; docs/findings.md says
# where each was read.
PUBLISHED = {
    1: (97.9, 97.4, 95.1, 98.1, 97.1),
    2: (96.4, 88.9),
    4: (94.0, 93.5, 92.6, 92.49, 91.8, 91.84, 90.88, 92.7, 64.1),
    15: (80.8, 77.1, 75.9, 76.84, 77.29, 73.3, 79.0),
    100: (37.8,),
    200: (23.2,),
    500: (6.0,),
}
GROUPS = (  # file, score, config, label, color, marker, shift to the side
    (
        "addition_zero_output",
        "mean_sum_accuracy",
        "base",
        "base, output layer starts at zero",
        "C0",
        "o",
        -0.15,
    ),
    (
        "addition_zero_output",
        "mean_sum_accuracy",
        "base-classifier-vgg",
        "the same, network of best",
        "C3",
        "s",
        -0.3,
    ),
    (
        "addition_zero_output",
        "mean_sum_accuracy",
        "slow_start",
        "network of best, slow start",
        "C4",
        "^",
        -0.42,
    ),
    ("addition", "sum_accuracy", "base", "base, He initialization", "C1", "x", 0.0),
    (
        "addition",
        "sum_accuracy",
        "mnist_net",
        "A-NeSI's network and training",
        "C2",
        "+",
        0.15,
    ),
)


def main() -> None:
    """Draw the picture."""
    figure = Figure(figsize=(7.2, 3.8), layout="constrained")
    axes = figure.subplots()
    for file, score, config, label, color, marker, shift in GROUPS:
        lines = [
            line
            for line in read_json_lines(RESULTS / f"{file}.jsonl")
            if line["config"] == config
        ]
        x = [LENGTHS.index(line["digits"]) + shift for line in lines]
        jitter = np.random.default_rng(0).uniform(-0.05, 0.05, len(x))
        y = [100 * line[score] for line in lines]
        axes.scatter(
            x + jitter,
            y,
            s=22,
            color=color,
            marker=marker,
            linewidths=1,
            alpha=0.8,
            label=label,
        )
    x, y = zip(
        *(
            (LENGTHS.index(n), value)
            for n, values in PUBLISHED.items()
            for value in values
        ),
        strict=True,
    )
    axes.scatter(np.add(x, 0.3), y, s=60, color="black", marker="_", label="published")
    axes.set_xticks(range(len(LENGTHS)), map(str, LENGTHS))
    axes.set_xlabel("digits of each of the two numbers")
    axes.set_ylabel("right sums, %")
    axes.grid(axis="y", alpha=0.3)
    axes.legend(frameon=False, loc="upper right")
    figure.savefig(RESULTS / "addition.png", dpi=120)


if __name__ == "__main__":
    main()
