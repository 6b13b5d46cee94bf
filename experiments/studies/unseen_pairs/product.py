"""Can an adder that knows nothing of addition add pairs that it never saw?

    python -m experiments.studies.unseen_pairs.product

The adder `product` is trained with images, on some pairs of digit and number, with
`base`'s classifier and recipe. The weight decay of the adder and the number of epochs
vary. Each seed holds out other pairs.
"""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from experiments import cli
from experiments.comparison.measures import spread
from experiments.comparison.tables import format_spread, markdown
from experiments.studies.runs import origin, train_runs
from experiments.training.folder import Finished
from mnistsum.config import Config, override
from mnistsum.file_io import write_whole
from mnistsum.objective import held_out_cells

RESULTS = Path(__file__).with_name("product")
SEEDS = range(10)
ACCURACIES = {
    "digit_accuracy": "digits, %",
    "trained_accuracy": "trained pairs, %",
    "held_out_accuracy": "held-out pairs, %",
}
INTRODUCTION = """\
`python -m experiments.studies.unseen_pairs.product`:
the adder `product`, with a weight decay of its own, on `base`'s classifier and
recipe. Means ± standard deviations over all seeds, each with other pairs held out, on test images with all ten numbers.
"""


class Trial(NamedTuple):
    """What is trained for each seed."""

    held_out: int  # sums of each digit
    adder_decay: float
    epochs: float
    digit_weight: float = 0.5
    adder: str = "product"


TRIALS = [
    *(Trial(3, decay, 4.0) for decay in (0.0, 0.1, 0.25, 0.5, 1.0)),
    *(Trial(3, 0.5, epochs) for epochs in (2.0, 8.0, 16.0)),
    *(Trial(5, 0.5, epochs) for epochs in (4.0, 8.0, 16.0)),
    Trial(3, 0.5, 8.0, digit_weight=0.0),
]


def config(trial: Trial, seed: int) -> Config:
    """Return the config of a trial's run."""
    changes = [
        "data.validation=0",
        f"model.adder={trial.adder}",
        f"objective.held_out={trial.held_out}",
        f"objective.design={seed + 1}",
        f"objective.digit_weight={trial.digit_weight}",
        f"optimizer.adder_decay={trial.adder_decay}",
        f"training.epochs={trial.epochs}",
    ]
    return dataclasses.replace(
        override(cli.load_config("base"), changes), name="product", seed=seed
    )


def score(run: Finished, labels: np.ndarray) -> dict[str, Any]:
    """Return accuracies on the test images: digits, and sums of trained and of held-out pairs."""
    held_out = held_out_cells(run.config.objective)[labels]  # [image, number]
    right = run.predictions["sum"] == labels[:, None] + np.arange(10)
    cells = np.array([right[labels == digit].mean(0) for digit in range(10)])
    return {
        "digit_accuracy": float((run.predictions["digit"] == labels).mean()),
        "trained_accuracy": float(right[~held_out].mean()),
        "held_out_accuracy": float(right[held_out].mean()),
        "cells_learned": int((cells[held_out_cells(run.config.objective)] > 0.9).sum()),
    }


def table(lines: Sequence[dict[str, Any]]) -> str:
    """Return means and standard deviations over all seeds in Markdown."""
    rows = []
    for trial in TRIALS:
        of_trial = [
            line
            for line in lines
            if all(line[name] == value for name, value in trial._asdict().items())
        ]
        cells = [
            format_spread(spread([line[name] for line in of_trial]), "%")
            for name in ACCURACIES
        ]
        learned = np.mean([line["cells_learned"] for line in of_trial])
        rows.append(
            [
                *trial[:4],
                len(of_trial),
                *cells,
                f"{learned:.1f} of {10 * trial.held_out}",
            ]
        )
    names = [
        "held out for each digit",
        "adder decay",
        "epochs",
        "digit weight",
        "seeds",
    ]
    return markdown(
        [*names, *ACCURACIES.values(), "held-out pairs above 90 %"], rows, ()
    )


def curves(lines: Sequence[dict[str, Any]]) -> Figure:
    """Return the accuracies on held-out pairs by weight decay and by epochs: a dot for each seed, and the means."""
    figure = Figure(figsize=(7, 2.8), layout="constrained")
    by_decay, by_epochs = figure.subplots(1, 2, sharey=True)
    for axes, name, usual, colors in (
        (by_decay, "adder_decay", {"epochs": 4.0}, {3: "#0072b2"}),
        (by_epochs, "epochs", {"adder_decay": 0.5}, {3: "#0072b2", 5: "#d55e00"}),
    ):
        for held_out, color in colors.items():
            fixed = usual | {"held_out": held_out, "digit_weight": 0.5}
            chosen = [
                line
                for line in lines
                if all(line[key] == value for key, value in fixed.items())
            ]
            places = sorted({line[name] for line in chosen})
            shares = [
                [100 * line["held_out_accuracy"] for line in chosen if line[name] == at]
                for at in places
            ]
            axes.plot(
                places,
                [np.mean(each) for each in shares],
                color=color,
                label=f"{10 * held_out} held out",
            )
            for at, values in zip(places, shares, strict=True):
                axes.plot([at] * len(values), values, ".", color=color, ms=4)
        axes.grid(axis="y", alpha=0.3)
    by_decay.set(
        xlabel="weight decay of the adder, four epochs",
        ylabel="held-out pairs right, %",
    )
    by_epochs.set(
        xlabel="epochs, weight decay 0.5",
        xscale="log",
        xticks=(2, 4, 8, 16),
        xticklabels=(2, 4, 8, 16),
    )
    by_epochs.minorticks_off()
    by_epochs.legend(frameon=False)
    return figure


def command(words: list[str]) -> int:
    """Train what is missing, write a line for each run, and the table."""
    parser = cli.parser("studies.unseen_pairs.product", __doc__)
    parser.add_argument("--runs", type=Path, default="runs/product")
    cli.add_workers(parser)
    options = parser.parse_args(words)
    planned = [(trial, seed) for trial in TRIALS for seed in SEEDS]
    runs = train_runs(
        [(config(trial, seed), [seed]) for trial, seed in planned],
        options.runs,
        options.workers,
        cli.format_command("studies.unseen_pairs.product", words),
    )
    lines = {}
    for i, run, labels in runs:
        trial, seed = planned[i]
        lines[i] = trial._asdict() | {"seed": seed} | score(run, labels) | origin(run)
        print(*trial, f"seed {seed}: {lines[i]['held_out_accuracy']:.1%}", flush=True)
    in_order = [lines[i] for i in sorted(lines)]
    text = "".join(json.dumps(line) + "\n" for line in in_order)
    write_whole(RESULTS.with_suffix(".jsonl"), text)
    write_whole(RESULTS.with_suffix(".md"), f"{INTRODUCTION}\n{table(in_order)}\n")
    curves(in_order).savefig(RESULTS.with_suffix(".png"), dpi=120)
    return 0


if __name__ == "__main__":
    cli.main(command)
