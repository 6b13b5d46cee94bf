"""Can an adder that knows nothing of addition add pairs that it never saw? `python -m experiments.studies.product`.

The adder `product` is trained with images, on some pairs of digit and number, with `base`'s classifier and recipe. The
weight decay of the adder and the number of epochs vary. Each seed holds out other pairs.
"""

import dataclasses
from typing import Any, NamedTuple

import numpy as np

from experiments import cli
from experiments.studies.training import train_study, write_results
from experiments.training.folder import Finished
from mnistsum.config import Config, override
from mnistsum.objective import held_out_cells

SEEDS = range(10)


class Trial(NamedTuple):
    """What is trained for each seed."""

    held_out: int  # sums of each digit
    adder_decay: float
    epochs: float
    digit_weight: float = 0.5
    adder: str = "product"


TRIALS = [
    Trial(3, 0.5, 4.0),
    *(Trial(3, decay, 4.0) for decay in (0.0, 0.1, 0.2, 1.0)),
    *(Trial(3, 0.5, epochs) for epochs in (2.0, 8.0)),
    Trial(5, 0.5, 8.0),
    Trial(3, 0.5, 8.0, digit_weight=0.0),
    Trial(5, 0.5, 24.0),
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
    return dataclasses.replace(override(cli.load_config("base"), changes), name="product", seed=seed)


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


def main() -> None:
    """Train what is missing, and write a line for each run."""
    planned = [(trial, seed) for trial in TRIALS for seed in SEEDS]
    lines = {}
    runs = train_study("product", __doc__, [(config(trial, seed), [seed]) for trial, seed in planned])
    for i, run, labels, about in runs:
        trial, seed = planned[i]
        lines[i] = trial._asdict() | {"seed": seed} | score(run, labels) | about
        print(*trial, f"seed {seed}: {lines[i]['held_out_accuracy']:.1%}", flush=True)
    write_results("product", [lines[i] for i in sorted(lines)])


if __name__ == "__main__":
    main()
