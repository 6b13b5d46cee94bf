"""The choice of a config's learning rate on validation images."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.report.terminal import RunsProgress
from experiments.training.folder import Finished, judged_accuracy
from experiments.training.plan import VALIDATED
from experiments.training.pool import fit_missing
from experiments.training.record import Experiment, prepare
from experiments.training.reuse import RunSet, locate_runs
from mnistsum.app.console import say
from mnistsum.config import override
from mnistsum.objective import trained_outputs
from mnistsum.types import OUTPUTS

# doublings and halvings of each config's own learning rate that tuning may try
MAX_DOUBLINGS = 5
# in the record, whichever rate it will be
TUNED = f"learning rate times 2^k, |k| at most {MAX_DOUBLINGS}"
TUNING_SEED = 4_000_000_000  # far from the seeds that are compared

# by the number of doublings of the config's own rate
Trials = dict[int, tuple[Experiment, Finished]]


def tune(
    run_sets: Sequence[RunSet], folder: Path, workers: int
) -> tuple[list[RunSet], dict[str, Any]]:
    """Choose each config's learning rate on validation images.

    Every config follows the same rule: try its own rate, half of it and twice it, then
    half and twice the best one so far, until the best lies between two that do no
    better, or its own rate has been halved or doubled MAX_DOUBLINGS times.

    Args:
        run_sets: the runs of each config.
        folder: where the trials' runs are.
        workers: of `fit_missing`.

    Returns:
        The sets of runs at these rates, and how each config was tuned, by name.
    """
    tried: list[Trials] = [{} for _ in run_sets]
    while untried := _next_trials(run_sets, tried, folder):
        say(f"tuning, rates to try: {len(untried)}")
        for key, run, _ in fit_missing(untried, VALIDATED, workers, RunsProgress):
            i, doublings = key
            tried[i][doublings] = untried[key].experiment, run
    tuned = [
        run_set._replace(experiment=trials[_best(trials)][0])
        for run_set, trials in zip(run_sets, tried, strict=True)
    ]
    return tuned, {
        each.experiment.config.name: _describe(trials)
        for each, trials in zip(tuned, tried, strict=True)
    }


def _next_trials(
    run_sets: Sequence[RunSet], tried: Sequence[Trials], folder: Path
) -> dict[tuple[int, int], RunSet]:
    """Return what to try next, by the index of the config and the doublings."""
    trials = {}
    for i, run_set in enumerate(run_sets):
        for doublings in _untried(tried[i]):
            experiment = _at_rate(run_set.experiment, doublings)
            trials[i, doublings] = locate_runs(folder, experiment, [TUNING_SEED])
    return trials


def _at_rate(experiment: Experiment, doublings: int) -> Experiment:
    """Return the experiment with its learning rate doubled so many times."""
    rate = experiment.config.optimizer.learning_rate * 2.0**doublings
    config = override(experiment.config, [f"optimizer.learning_rate={rate!r}"])
    changed = prepare(config, experiment.command, experiment)
    changed.record["settings"]["tuned"] = TUNED
    return changed


def _accuracies(run: Finished, outputs: Sequence[str]) -> dict[str, float]:
    return {
        output: judged_accuracy(run.summary["validation"], output) for output in outputs
    }


def _best(trials: Trials) -> int:
    """Return the doublings that did best; of equals, the nearest to the own rate."""
    outputs = trained_outputs(trials[0][0].config.objective)
    scores = {
        doublings: sum(_accuracies(run, outputs).values())
        for doublings, (_, run) in trials.items()
    }
    return max(scores, key=lambda doublings: (scores[doublings], -abs(doublings)))


def _untried(trials: Trials) -> list[int]:
    """Return the doublings to try next.

    There are none if the best lies between two that do no better, or at the limit.
    """
    center = _best(trials) if trials else 0
    near = (center - 1, center, center + 1)
    return [each for each in near if each not in trials and abs(each) <= MAX_DOUBLINGS]


def _describe(trials: Trials) -> dict[str, Any]:
    """Return the trials in the order of their rates, and a note on them."""
    best, note, rows = _best(trials), None, []
    for doublings, (experiment, run) in sorted(trials.items()):
        rate = experiment.config.optimizer.learning_rate
        rows.append(
            {
                "learning_rate": rate,
                **_accuracies(run, OUTPUTS),
                "taken": doublings == best,
            }
        )
    if abs(best) == MAX_DOUBLINGS:
        note = "tuning stopped at its limit; a better rate may lie beyond"
    elif len({run.summary["weights"] for _, run in trials.values()}) == 1:
        note = (
            "the optimizer ignores the learning rate: all rates tried end with the "
            "same weights, bit for bit"
        )
    return {"trials": rows, "note": note}
