"""The estimated cost of a comparison, from a measured second of each config."""

import math
import time
from typing import NamedTuple

from rich.table import Table

from experiments import environment
from experiments.report import console
from experiments.training import loop, resources, reuse
from experiments.training.plan import COMPARED
from experiments.training.reuse import RunSet
from mnistsum.config import Config
from mnistsum.evaluation import evaluate
from mnistsum.train import make_recipe, trained_model
from mnistsum.types import Data


class Cost(NamedTuple):
    """What the runs of a config cost; seconds and megabytes are of those that are missing."""

    runs: int
    finished: int
    seconds: float
    megabytes: float


def show(run_sets: list[RunSet], trials: int, data: Data) -> None:
    """Print the runs of each config, and the device time and storage of those that are missing.

    If any is missing, `trials` tuning trials, each as long as a run, are counted, too.
    """
    table = Table("config", "runs", "finished", "ms a step", "s a run", "device time", "MB", box=None)
    for column in table.columns[1:]:
        column.justify = "right"
    costs = []
    for run_set in run_sets:
        missing = len(reuse.missing(run_set))
        step, run = seconds(run_set.config, data)
        count = len(run_set.folders)
        trained = missing + (trials if missing else 0)
        stored = trained * resources.storage(run_set.config, len(data.test.labels))
        cost = Cost(count, count - missing, trained * run, stored / 1e6)
        costs.append(cost)
        _add_row(table, run_set.config.name, cost, f"{step * 1e3:.1f}", f"{run:.0f}")
    table.add_section()
    _add_row(table, "all", Cost(*map(sum, zip(*costs, strict=True))), "", "", style="bold")
    console.show(table)
    console.say(f"device time on one {environment.device()}; no run was trained or written")


def seconds(config: Config, data: Data) -> tuple[float, float]:
    """Return the seconds per step, and per run: its training and its evaluations, without compilation."""
    recipe = make_recipe(config, len(data.train.labels))
    run = loop.train(config, [config.seed], data.train, loop.about_every(1.0))
    chunk = next(chunk for chunk in run if chunk.is_timing(recipe.steps))
    model = trained_model(chunk.state)
    evaluate(config.data, model, data.validation)  # compiles
    start = time.perf_counter()
    evaluate(config.data, model, data.validation)
    evaluation = time.perf_counter() - start
    step = chunk.seconds / chunk.steps
    tested = evaluation * len(data.test.labels) / len(data.validation.labels)
    evaluations = min(COMPARED.evaluations * config.training.epochs, COMPARED.max_evaluations or math.inf)
    return step, recipe.steps * step + evaluations * evaluation + tested


def _add_row(table: Table, name: str, cost: Cost, step: str, run: str, style: str | None = None) -> None:
    sizes = [f"{cost.runs:,}", f"{cost.finished:,}", step, run]
    table.add_row(name, *sizes, console.duration(cost.seconds), f"{cost.megabytes:.1f}", style=style)
