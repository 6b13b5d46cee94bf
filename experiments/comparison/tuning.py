"""The choice of a config's learning rate on validation images."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.training import reuse
from experiments.training.folder import OUTPUTS, judged_accuracy
from experiments.training.plan import VALIDATED
from experiments.training.pool import fit_missing
from experiments.training.record import Experiment, prepare
from mnistsum.app.console import say
from mnistsum.objective import trained_outputs

MAX_DOUBLINGS = 5  # doublings and halvings of each config's own learning rate that tuning may try
MIN_TRIALS = 3  # of tuning: the config's own rate, half of it and twice it
TUNED = f"learning rate times 2^k, |k| at most {MAX_DOUBLINGS}"  # in the record, whichever rate it will be
TUNING_SEED = 4_000_000_000  # far from the seeds that are compared


class Trials:
    """The learning rates tried with one experiment, by the number of doublings of its own rate."""

    def __init__(self, experiment: Experiment):
        self.experiment = experiment
        self.tried: dict[int, Experiment] = {}
        self.scores: dict[int, dict[str, float]] = {}

    @property
    def best(self) -> int:
        """The doublings that did best, by the mean accuracy of the outputs that are trained."""
        outputs = trained_outputs(self.experiment.config.objective)
        return max(self.scores, key=lambda doublings: sum(self.scores[doublings][output] for output in outputs))

    def untried(self) -> list[int]:
        """Return the doublings to try next; none if the best lies between two that do worse, or at the limit."""
        center = self.best if self.scores else 0
        near = (center - 1, center, center + 1)
        return [each for each in near if each not in self.scores and abs(each) <= MAX_DOUBLINGS]

    def chosen(self) -> tuple[Experiment, dict[str, Any]]:
        """Return the experiment at its best rate, and all trials."""
        trials = [
            {"learning_rate": each.config.optimizer.learning_rate, **self.scores[k], "taken": k == self.best}
            for k, each in sorted(self.tried.items())
        ]
        return self.tried[self.best], {"trials": trials, "at_the_edge": abs(self.best) == MAX_DOUBLINGS}


def tune(experiments: Sequence[Experiment], folder: Path, workers: int) -> list[tuple[Experiment, dict[str, Any]]]:
    """Return each experiment at the learning rate that does best on validation images, and its trials.

    Every config follows the same rule: try its own rate, half of it and twice it, then half and twice the best one so
    far, until the best lies between two that do worse, or its own rate has been halved or doubled MAX_DOUBLINGS times.

    Args:
        experiments: what to tune.
        folder: where the trials' runs are.
        workers: of `fit_missing`.
    """
    tuned = [Trials(experiment) for experiment in experiments]
    while any(trials.untried() for trials in tuned):
        run_sets, owners = [], []
        for trials in tuned:
            for doublings in trials.untried():
                rate = trials.experiment.config.optimizer.learning_rate * 2.0**doublings
                trials.tried[doublings] = _at_rate(trials.experiment, rate)
                run_sets.append(reuse.locate_runs(folder, trials.tried[doublings], [TUNING_SEED]))
                owners.append((trials, doublings))
        say(f"tuning: {len(run_sets)} learning rates")
        for i, run, _ in fit_missing(run_sets, VALIDATED, workers):
            (trials, doublings), scores = owners[i], run.summary["validation"]
            trials.scores[doublings] = {output: judged_accuracy(scores, output) for output in OUTPUTS}
    return [trials.chosen() for trials in tuned]


def _at_rate(experiment: Experiment, rate: float) -> Experiment:
    """Return the experiment with another learning rate."""
    optimizer = dataclasses.replace(experiment.config.optimizer, learning_rate=rate)
    config = dataclasses.replace(experiment.config, optimizer=optimizer)
    tuned = prepare(config, experiment.command, experiment)
    tuned.record["settings"]["tuned"] = TUNED
    return tuned
