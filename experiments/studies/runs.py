"""Trains the runs of a study."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.report.terminal import RunsProgress
from experiments.training.folder import Finished
from experiments.training.plan import Plan
from experiments.training.pool import fit_missing
from experiments.training.record import check_own, prepare_all
from experiments.training.reuse import locate_runs
from mnistsum.app.console import say
from mnistsum.config import Config
from mnistsum.programs import set_up_compiler

ORIGIN = ("command", "commit", "versions", "settings", "cores")


def train_runs(
    planned: Sequence[tuple[Config, Sequence[int]]],
    runs: Path,
    workers: int,
    command: str,
) -> Iterator[tuple[int, Finished, np.ndarray]]:
    """Train what is missing of a study's runs.

    Args:
        planned: each config with its seeds.
        runs: where the runs' folders are.
        workers: of `fit_missing`.
        command: the command line, for `run.json`.

    Yields:
        The index of the config, the run, and the test labels.
    """
    set_up_compiler()
    experiments = prepare_all([config for config, _ in planned], command)
    to_check = {(config.model, config.objective): config for config, _ in planned}
    for config in to_check.values():
        for line in check_own(config):
            say(line)
    run_sets = []
    for experiment, (_, seeds) in zip(experiments, planned, strict=True):
        run_sets.append(locate_runs(runs, experiment, seeds))
    labels = np.asarray(experiments[0].data.test.labels)
    by_index = dict(enumerate(run_sets))
    for i, run, _ in fit_missing(
        by_index, Plan(max_evaluations=1), workers, RunsProgress
    ):
        yield i, run, labels


def origin(run: Finished) -> dict[str, Any]:
    """Return what tells how and where a run was made, for a line of results."""
    return {name: run.about[name] for name in ORIGIN}
