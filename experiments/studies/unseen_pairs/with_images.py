"""Which learned adders add pairs that they never saw, with images?

    python -m experiments.studies.unseen_pairs.with_images

`base`'s classifier and recipe, with an adder that has a weight decay of its own. Some
sums of each digit are held out, another choice of pairs for each seed.
"""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments import cli
from experiments.comparison.measures import spread
from experiments.comparison.tables import format_spread, markdown
from experiments.studies.runs import origin, train_runs
from experiments.training.folder import Finished
from mnistsum.config import Config, override
from mnistsum.file_io import read_json_lines, write_whole
from mnistsum.objective import held_out_cells
from mnistsum.registry import load_file

ADDERS = str(Path(__file__).with_name("adders.py"))  # has `product`
RESULTS = Path(__file__).with_name("with_images.jsonl")
KINDS = {
    "digit_accuracy": "digits",
    "trained_accuracy": "trained pairs",
    "held_out_accuracy": "held-out pairs",
    "mirrored_accuracy": "mirrored",
    "others_accuracy": "others",
}
INTRODUCTION = """\
`python -m experiments.studies.unseen_pairs.with_images`

Accuracies on test images, each with all ten numbers, in percent: means ± standard
deviations over all seeds, each with other pairs held out. *Mirrored* are the held-out
pairs (d, n) of which (n, d) was trained. All images are trained on, so there is no
validation split. An adder that was only commutative would reach the mirrored share.
"""


class Trial(NamedTuple):
    """What is trained for each seed."""

    adder: str
    held_out: int  # sums of each digit
    adder_decay: float
    epochs: float


def trials() -> dict[Trial, int]:
    """Return all trials, each with its number of seeds."""
    main = Trial("tied_product", held_out=5, adder_decay=0.5, epochs=8.0)
    controls = [main._replace(adder_decay=decay) for decay in (0.0, 0.1, 0.3, 1.0)]
    controls += [main._replace(epochs=epochs) for epochs in (4.0, 16.0)]
    adders = ("product", "bilinear", "concat", "direct", "learned_shift")
    controls += [main._replace(adder=adder) for adder in adders]
    seeds = {main: 10, main._replace(held_out=3): 10}
    return seeds | dict.fromkeys(controls, 5)


def config(trial: Trial, seed: int) -> Config:
    """Return the config of a trial's run."""
    changes = [
        "data.validation=0",
        f"model.adder={trial.adder}",
        f"objective.held_out={trial.held_out}",
        f"objective.design={seed + 1}",
        f"optimizer.adder_decay={trial.adder_decay}",
        f"training.epochs={trial.epochs}",
    ]
    base = override(cli.load_config("base"), changes)
    return dataclasses.replace(base, name=trial.adder, seed=seed)


def score(run: Finished, labels: np.ndarray) -> dict[str, Any]:
    """Return accuracies on the test images: of digits, and of each kind of pairs."""
    held_out = held_out_cells(run.config.objective)
    mirrored = held_out & ~held_out.T
    kinds = {
        "trained_accuracy": ~held_out,
        "held_out_accuracy": held_out,
        "mirrored_accuracy": mirrored,
        "others_accuracy": held_out & ~mirrored,
    }
    right = run.predictions["sum"] == labels[:, None] + np.arange(10)
    scores = {
        "mirrored_share": float(mirrored.sum() / held_out.sum()),
        "digit_accuracy": float((run.predictions["digit"] == labels).mean()),
    }
    for name, cells in kinds.items():
        scores[name] = float(right[cells[labels]].mean())
    return scores


def _trial(line: dict[str, Any]) -> Trial:
    return Trial(*(line[name] for name in Trial._fields))


def missing(known: set[tuple[Trial, int]]) -> list[tuple[Trial, int]]:
    """Return what is not known yet: the first seed of all trials, then the second."""
    planned = []
    for seed in range(max(trials().values())):
        for trial, seeds in trials().items():
            if seed < seeds and (trial, seed) not in known:
                planned.append((trial, seed))
    return planned


def table(lines: Sequence[dict[str, Any]]) -> str:
    """Return means and standard deviations over all seeds in Markdown."""
    rows = []
    for trial in trials():
        of_trial = [line for line in lines if _trial(line) == trial]
        if not of_trial:
            continue
        cells = []
        for name in ("mirrored_share", *KINDS):
            values = [line[name] for line in of_trial]
            cells.append(format_spread(spread(values), "%"))
        about = (trial.adder, 10 * trial.held_out, trial.adder_decay, trial.epochs)
        rows.append([*about, len(of_trial), *cells])
    header = ["adder", "pairs held out", "adder decay", "epochs", "seeds"]
    return markdown([*header, "mirrored share", *KINDS.values()], rows)


def command(words: list[str]) -> int:
    """Train the runs that have no line yet, append their lines, and write the page."""
    parser = cli.parser("studies.unseen_pairs.with_images", __doc__)
    parser.add_argument("--runs", type=Path, default="runs/with_images")
    cli.add_workers(parser)
    options = parser.parse_args(words)
    lines = read_json_lines(RESULTS) if RESULTS.exists() else []
    planned = missing({(_trial(line), line["seed"]) for line in lines})
    if planned:
        load_file(ADDERS)
        runs = train_runs(
            [(config(trial, seed), [seed]) for trial, seed in planned],
            options.runs,
            options.workers,
            cli.format_command("studies.unseen_pairs.with_images", words),
        )
        with RESULTS.open("a") as file:
            for i, run, labels in runs:
                trial, seed = planned[i]
                line = trial._asdict() | {"seed": seed} | score(run, labels)
                lines.append(line | origin(run))
                print(json.dumps(lines[-1]), file=file, flush=True)
                print(*trial, seed, f"{line['held_out_accuracy']:.1%}", flush=True)
    page = f"{INTRODUCTION}\n{table(lines)}\n"
    write_whole(RESULTS.with_suffix(".md"), page)
    return 0


if __name__ == "__main__":
    cli.main(command)
