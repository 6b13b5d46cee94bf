"""What a comparison would take, from a measured second of each of its configs."""

import dataclasses
import time
from pathlib import Path
from typing import Any

from rich.table import Table

from experiments import environment, screen
from experiments.stops import stops, tells_speed
from mnistsum.config import Config
from mnistsum.evaluation import evaluate
from mnistsum.train import compile_advance, init_state, program, split_keys, total_steps, trained_model
from mnistsum.types import Data

RESULT = 12_000  # bytes at most of a run's config and result, without its predictions


def show(configs: list[Config], folders: dict[str, list[Path]], trials: int, data: Data) -> None:
    """Prints the runs of each config, and the device-hours and storage of those whose folders are missing.

    Where any is missing, so many `trials` of tuning, as long as a run, are counted as well.
    """
    table = Table("config", "runs", "finished", "ms a step", "s a run", "device-hours", "MB", box=None)
    for column in table.columns[1:]:
        column.justify = "right"
    sums = [0, 0, 0.0, 0.0]
    for config in configs:
        of = folders[config.name]
        missing = sum(not folder.exists() for folder in of)
        step, run = seconds(config, data)
        hours = (missing + (trials if missing else 0)) * run / 3600
        row = (len(of), len(of) - missing, hours, missing * storage(data) / 1e6)
        sums = [total + one for total, one in zip(sums, row, strict=True)]
        table.add_row(config.name, f"{row[0]:,}", f"{row[1]:,}", f"{step * 1e3:.1f}", f"{run:.0f}", *_hours_and_mb(row))
    table.add_section()
    table.add_row("all", f"{sums[0]:,}", f"{sums[1]:,}", "", "", *_hours_and_mb(sums), style="bold")
    screen.console.print(table)
    screen.console.print(f"device-hours of {environment.device()}; nothing was started or written")


def seconds(config: Config, data: Data) -> tuple[float, float]:
    """Of a step, and of a run of the config: its training and its evaluations, compilation not included."""
    config = dataclasses.replace(config, devices=1)
    n = len(data.train.labels)
    total, static = total_steps(config, n), program(config)
    state = init_state(static, split_keys(config.seed), n)
    run = stops(config, compile_advance(static, n), state, data.train)
    stop = next(stop for stop in run if tells_speed(stop, total))
    evaluate(config.data, trained_model(stop.state), data.validation)  # compiles
    start = time.perf_counter()
    evaluate(config.data, trained_model(stop.state), data.validation)
    evaluation = time.perf_counter() - start
    step = stop.seconds / stop.steps
    tested = evaluation * len(data.test.labels) / len(data.validation.labels)
    return step, total * step + 4 * config.training.epochs * evaluation + tested


def storage(data: Data) -> int:
    """Bytes at most of a run's folder: predictions of a digit and ten sums for each test image, not compressed."""
    return 11 * len(data.test.labels) + RESULT


def _hours_and_mb(row: Any) -> tuple[str, str]:
    return f"{row[2]:.3g}", f"{row[3]:.1f}"
