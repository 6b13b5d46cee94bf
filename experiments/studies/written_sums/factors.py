"""Does the network decide how many written sums are right, or its training?

    python -m experiments.studies.written_sums.factors

`base`'s network and A-NeSI's, each with `base`'s optimizer, schedule and average and
with plain Adam, with distorted images and without. The learning rate of each is chosen
on validation images, with seeds that are not reported.
"""

import dataclasses
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments import cli
from experiments.comparison.measures import spread
from experiments.comparison.tables import format_spread, markdown
from experiments.studies.runs import origin, train_runs
from experiments.studies.written_sums.__main__ import OBJECTIVES, score_sums
from mnistsum.config import AugmentConfig, Config, override
from mnistsum.file_io import read_json_lines, write_whole
from mnistsum.registry import load_file
from mnistsum.statistics import interval

NETWORK = str(Path(__file__).with_name("mnist_net.py"))
RESULTS = Path(__file__).with_name("factors.jsonl")
RATES = {
    "muon": (0.002, 0.007, 0.02, 0.06, 0.2),
    "adam": (0.0001, 0.0003, 0.001, 0.003, 0.01),
}
LENGTHS = (4, 15)
SEEDS = range(5)
TUNING = (100, 101, 102)  # the seeds with which learning rates are chosen
LEVELS = {
    "network": ("base", "mnist_net"),
    "recipe": ("muon", "adam"),
    "distortion": ("distorted", "plain"),
}
INTRODUCTION = """\
`python -m experiments.studies.written_sums.factors`

Sums of two numbers of N digits that are right, and digits, in percent: means ± standard
deviations over all seeds. *muon* is `base`'s recipe (Muon, one cycle, average of the
weights), *adam* a constant rate. All are trained for eight epochs of 60,000 images,
about 128 in a step, and start with an output layer of zeros. The rate gets more digits
of 5,000 validation images right than its neighbors, a factor of about three below and
above, in the mean over three seeds that are not reported.
"""
EFFECTS = """\
The main effect of a factor is the mean over its first level minus the mean over its
second, in points of sums, with 95 % intervals over the seeds (Student's t).
"""


class Cell(NamedTuple):
    """One combination of the factors."""

    digits: int  # N, of each of the two numbers
    network: str
    recipe: str
    distortion: str


def cells() -> list[Cell]:
    """Return all combinations, the shorter numbers first."""
    found = []
    for digits in LENGTHS:
        for levels in itertools.product(*LEVELS.values()):
            found.append(Cell(digits, *levels))
    return found


def config(cell: Cell, rate: float, validation: int) -> Config:
    """Return the config of a combination with a learning rate."""
    changed = cli.load_config("base")
    if cell.network == "mnist_net":
        model = dataclasses.replace(load_file(NETWORK).config.model, dtype="auto")
        changed = dataclasses.replace(changed, model=model)
    if cell.recipe == "adam":
        optimizer = load_file(NETWORK).config.optimizer
        changed = dataclasses.replace(changed, optimizer=optimizer)
    if cell.distortion == "plain":
        changed = dataclasses.replace(changed, augment=AugmentConfig())
    changed = dataclasses.replace(changed, name=f"{cell.network}-{cell.recipe}")
    changes = [
        f"data.validation={validation}",
        f"objective.name=sum_of_{cell.digits}_digits",
        f"optimizer.learning_rate={rate}",
        "model.adder=shift",
        "model.zero_output=True",
    ]
    return override(changed, changes)


def train(
    planned: list[tuple[Cell, float, int]], options: Any, command: str
) -> Iterator[dict[str, Any]]:
    """Train runs (cell, learning rate, seed) and return a line for each."""
    configs = []
    for cell, rate, seed in planned:
        validation = 5000 if seed in TUNING else 0
        configs.append((config(cell, rate, validation), [seed]))
    for i, run, labels in train_runs(configs, options.runs, options.workers, command):
        cell, rate, seed = planned[i]
        line = cell._asdict() | {"rate": rate, "seed": seed}
        if seed in TUNING:
            line["validation_digits"] = run.lines[-1]["validation"]["digit_accuracy"]
        else:
            line |= score_sums(run, labels, cell.digits)
        print(*cell, rate, seed, flush=True)
        yield line | origin(run)


def _cell(line: dict[str, Any]) -> Cell:
    return Cell(*(line[name] for name in Cell._fields))


def tuned_rates(lines: list[dict[str, Any]], cell: Cell) -> dict[float, float]:
    """Return the mean digits of validation images by each rate that was tried."""
    digits: dict[float, list[float]] = {}
    for line in lines:
        if _cell(line) == cell and line["seed"] in TUNING:
            digits.setdefault(line["rate"], []).append(line["validation_digits"])
    return {
        rate: float(np.mean(values))
        for rate, values in digits.items()
        if len(values) == len(TUNING)
    }


def best_rate(lines: list[dict[str, Any]], cell: Cell) -> float:
    """Return the learning rate with the best digits of validation images."""
    tuned = tuned_rates(lines, cell)
    return max(tuned, key=lambda rate: tuned[rate])


def untried_rates(lines: list[dict[str, Any]], cell: Cell) -> list[float]:
    """Return the middle learning rates, or the untried neighbors of the best one."""
    rates, tried = RATES[cell.recipe], tuned_rates(lines, cell)
    best = rates.index(best_rate(lines, cell)) if tried else len(rates) // 2
    near = rates[max(best - 1, 0) : best + 2]
    return [rate for rate in near if rate not in tried]


def missing(lines: list[dict[str, Any]]) -> list[tuple[Cell, float, int]]:
    """Return the runs that are next: those that choose rates, then those reported."""
    planned: list[tuple[Cell, float, int]] = []
    for cell in cells():
        rates = untried_rates(lines, cell)
        planned += [(cell, *run) for run in itertools.product(rates, TUNING)]
    if not planned:
        for cell in cells():
            planned += [(cell, best_rate(lines, cell), seed) for seed in SEEDS]
    known = {(_cell(line), line["rate"], line["seed"]) for line in lines}
    return [run for run in planned if run not in known]


def reported(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the lines of the reported seeds at the chosen learning rates."""
    rates = {cell: best_rate(lines, cell) for cell in cells()}
    of_seeds = [line for line in lines if line["seed"] in SEEDS]
    return [line for line in of_seeds if line["rate"] == rates[_cell(line)]]


def table(lines: list[dict[str, Any]]) -> str:
    """Return means and standard deviations of each combination in Markdown."""
    rows = []
    for cell in cells():
        found = [line for line in lines if _cell(line) == cell]
        scores = []
        for name in ("digit_accuracy", "sum_accuracy"):
            scores.append(format_spread(spread([line[name] for line in found]), "%"))
        rows.append([*cell, found[0]["rate"], len(found), *scores])
    header = ["N", *LEVELS, "rate", "seeds", "digits, %", "sums, %"]
    return markdown(header, rows, texts=(1, 2, 3))


def effects(lines: list[dict[str, Any]]) -> str:
    """Return the main effect of each factor on sums, in points, in Markdown."""
    rows = []
    for digits, factor in itertools.product(LENGTHS, LEVELS):
        first, second = LEVELS[factor]
        of_length = [line for line in lines if line["digits"] == digits]
        points = [_effect(of_length, factor, seed) for seed in SEEDS]
        mean, low, high = interval(np.array(points))
        effect = f"{mean:+.2f} [{low:+.2f}, {high:+.2f}]"
        rows.append([digits, factor, f"{first} - {second}", effect])
    header = ["N", "factor", "contrast", "points [95 %]"]
    return markdown(header, rows, texts=(1, 2))


def _effect(lines: list[dict[str, Any]], factor: str, seed: int) -> float:
    """Return a seed's points of sums at a factor's first level minus its second."""
    sums: dict[str, list[float]] = {level: [] for level in LEVELS[factor]}
    for line in lines:
        if line["seed"] == seed:
            sums[line[factor]].append(100 * line["sum_accuracy"])
    first, second = (np.mean(values) for values in sums.values())
    return float(first - second)


def command(words: list[str]) -> int:
    """Train the runs that have no line yet, append their lines, and write the page."""
    parser = cli.parser("studies.written_sums.factors", __doc__)
    parser.add_argument("--runs", type=Path, default="runs/factors")
    cli.add_workers(parser)
    options = parser.parse_args(words)
    load_file(str(OBJECTIVES))
    load_file(NETWORK)
    lines = read_json_lines(RESULTS) if RESULTS.exists() else []
    written = cli.format_command("studies.written_sums.factors", words)
    with RESULTS.open("a") as file:
        while planned := missing(lines):
            for line in train(planned, options, written):
                lines.append(line)
                print(json.dumps(line), file=file, flush=True)
    lines = reported(lines)
    page = f"{INTRODUCTION}\n{table(lines)}\n\n{EFFECTS}\n{effects(lines)}\n"
    write_whole(RESULTS.with_suffix(".md"), page)
    return 0


if __name__ == "__main__":
    cli.main(command)
