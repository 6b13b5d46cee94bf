"""The choice of a config's learning rate on validation images."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from experiments.training import reuse
from experiments.training.fit import VALIDATED
from experiments.training.folder import OUTPUTS, judged_accuracy
from experiments.training.record import Experiment, prepare
from mnistsum.objective import trained_outputs

MAX_DOUBLINGS = 5  # doublings and halvings of each config's own learning rate that tuning may try
MIN_TRIALS = 3  # of tuning: the config's own rate, half of it and twice it
TUNED = f"learning rate times 2^k, |k| at most {MAX_DOUBLINGS}"  # in the record, whichever rate it will be
TUNING_SEED = 4_000_000_000  # far from the seeds that are compared


def tune(
    experiment: Experiment, folder: Path, update_progress: Callable[..., None]
) -> tuple[Experiment, dict[str, Any]]:
    """Return the experiment at the learning rate that does best on validation images, and the trials.

    Every config follows the same rule: try its own rate, then half and twice the best one so far, until the best lies
    between two that do worse, or its own rate has been halved or doubled MAX_DOUBLINGS times.

    Args:
        experiment: what to tune.
        folder: where the trials' runs are.
        update_progress: called with the updates of a progress bar.
    """
    tried: dict[int, Experiment] = {}  # by the number of doublings
    scores: dict[int, dict[str, float]] = {}
    best, untried = 0, [0]
    while untried:
        for doublings in untried:
            tried[doublings] = _at_rate(experiment, experiment.config.optimizer.learning_rate * 2.0**doublings)
            rate = tried[doublings].config.optimizer.learning_rate
            update_progress(description=f"{experiment.config.name}: learning rate {rate:g}")
            trial = reuse.locate_runs(folder, tried[doublings], [TUNING_SEED])
            ((run, _),) = reuse.fit_missing(trial, VALIDATED)
            scores[doublings] = {output: judged_accuracy(run.summary["validation"], output) for output in OUTPUTS}
        outputs = trained_outputs(experiment.config.objective)
        best = max(scores, key=lambda doublings: sum(scores[doublings][output] for output in outputs))
        untried = [near for near in (best - 1, best + 1) if near not in scores and abs(near) <= MAX_DOUBLINGS]
    trials = [
        {"learning_rate": tried[each].config.optimizer.learning_rate, **scores[each], "taken": each == best}
        for each in sorted(scores)
    ]
    return tried[best], {"trials": trials, "at_the_edge": abs(best) == MAX_DOUBLINGS}


def _at_rate(experiment: Experiment, rate: float) -> Experiment:
    """Return the experiment with another learning rate."""
    optimizer = dataclasses.replace(experiment.config.optimizer, learning_rate=rate)
    config = dataclasses.replace(experiment.config, optimizer=optimizer)
    tuned = prepare(config, experiment.command, experiment)
    tuned.record["settings"]["tuned"] = TUNED
    return tuned
