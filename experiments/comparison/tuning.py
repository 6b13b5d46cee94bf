"""The choice of a config's learning rate on validation images."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from experiments.run_folder import OUTPUTS, judged_accuracy
from experiments.training import reuse
from experiments.training.plan import VALIDATED
from experiments.training.reuse import RunSet
from mnistsum.config import Config
from mnistsum.objective import trained_outputs
from mnistsum.types import Data

MAX_DOUBLINGS = 5  # doublings and halvings of each config's own learning rate that tuning may try
MIN_TRIALS = 3  # of tuning: the config's own rate, half of it and twice it
TUNING_SEED = 4_000_000_000  # far from the seeds that are compared


def tune(
    run_set: RunSet, data: Data, folder: Path, command: str, update_progress: Callable[..., None]
) -> tuple[Config, dict[str, Any]]:
    """Return the config at the learning rate that does best on validation images, and the trials.

    Every config follows the same rule: try its own rate, then half and twice the best one so far, until the best lies
    between two that do worse, or its own rate has been halved or doubled MAX_DOUBLINGS times.

    Args:
        run_set: the runs of the config to tune.
        data: the data set.
        folder: that of the comparison; the trials' runs are kept in its tuning/.
        command: the command line, for `run.json`.
        update_progress: called with the updates of a progress bar.
    """
    tried: dict[int, Config] = {}  # by the number of doublings
    scores: dict[int, dict[str, float]] = {}
    trained = trained_outputs(run_set.config.objective)
    best, untried = 0, [0]
    while untried:
        for doublings in untried:
            rate = run_set.config.optimizer.learning_rate * 2.0**doublings
            optimizer = dataclasses.replace(run_set.config.optimizer, learning_rate=rate)
            tried[doublings] = dataclasses.replace(run_set.config, optimizer=optimizer)
            update_progress(description=f"{run_set.config.name}: learning rate {rate:g}")
            trial = reuse.locate_runs(folder / "tuning", tried[doublings], run_set.record, [TUNING_SEED])
            ((run, _),) = reuse.train_missing(trial, data, VALIDATED, command)
            scores[doublings] = {output: judged_accuracy(run.summary["validation"], output) for output in OUTPUTS}
        best = max(scores, key=lambda doublings: sum(scores[doublings][output] for output in trained))
        untried = [near for near in (best - 1, best + 1) if near not in scores and abs(near) <= MAX_DOUBLINGS]
    trials = [
        {"learning_rate": tried[doublings].optimizer.learning_rate, **scores[doublings], "taken": doublings == best}
        for doublings in sorted(scores)
    ]
    return tried[best], {"trials": trials, "at_the_edge": abs(best) == MAX_DOUBLINGS}
