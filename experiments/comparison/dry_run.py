"""The estimated cost of a comparison, from a measured second of each config."""

import math
import time
from collections.abc import Sequence

from experiments.cli import cores
from experiments.comparison.tables import Table, print_table
from experiments.report.terminal import duration
from experiments.training.fit import time_steps
from experiments.training.plan import COMPARED
from experiments.training.record import Experiment, cores_of, hardware
from experiments.training.reuse import RunSet
from mnistsum.app.console import say
from mnistsum.evaluation import evaluate
from mnistsum.train import trained_model


def show(run_sets: Sequence[RunSet], trials: int) -> None:
    """Print the runs of each config, and the device time of those that are missing.

    If any is missing, `trials` tuning trials, each as long as a run, are counted, too.
    """
    rows, total = [], 0.0
    for run_set in run_sets:
        count, missing = len(run_set.folders), len(run_set.missing())
        step, run = seconds(run_set.experiment)
        needed = run * (missing + (trials if missing else 0))
        total += needed
        sizes = [
            f"{count:,}",
            f"{count - missing:,}",
            f"{step * 1e3:.1f}",
            f"{run:.0f}",
            duration(needed),
        ]
        rows.append([run_set.experiment.config.name, *sizes])
    rows.append(["all", "", "", "", "", duration(total)])
    print_table(
        Table(
            "",
            ["config", "runs", "finished", "ms a step", "s a run", "device time"],
            rows,
        )
    )
    say(
        f"device time on {cores_of(hardware(), cores())}; no run was trained or written"
    )


def seconds(experiment: Experiment) -> tuple[float, float]:
    """Return the seconds of a step, and of a run without its compilation."""
    stop, state = time_steps(experiment, 1.0)
    config, model, data = experiment.config, trained_model(state), experiment.data
    evaluate(config.data, model, data.validation)  # compiles
    start = time.perf_counter()
    evaluate(config.data, model, data.validation)
    evaluation, step = time.perf_counter() - start, stop.seconds / stop.steps
    evaluations = min(
        COMPARED.evaluations * config.training.epochs,
        COMPARED.max_evaluations or math.inf,
    )
    # one of the test images
    evaluations += len(data.test.labels) / len(data.validation.labels)
    return step, experiment.spec.steps * step + evaluations * evaluation
