"""The configs that are compared: prepared, tuned and trained on the same seeds."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from experiments.comparison import tuning
from experiments.report import console
from experiments.training import reuse
from experiments.training.folder import Finished
from experiments.training.plan import COMPARED
from experiments.training.pool import fit_missing
from experiments.training.record import Experiment, prepare_all
from experiments.training.reuse import RunSet
from mnistsum.app.console import say
from mnistsum.config import Config
from mnistsum.errors import InputError


class Contestant(NamedTuple):
    """A config that is compared, and how."""

    experiment: Experiment
    tuned: bool  # whether its learning rate is chosen first, on validation images
    output: Path  # the folder of the comparison's runs/ and tuning/

    def runs(self, seeds: Sequence[int]) -> RunSet:
        """Return the contestant's runs, finished or not."""
        return reuse.locate_runs(self.output / "runs", self.experiment, seeds)


def check_configs(configs: Sequence[Config]) -> None:
    """Check that configs can be compared; raise InputError if not."""
    names = [config.name for config in configs]
    if len(configs) < 2 or len(set(names)) < len(names):
        raise InputError(f"compare: expected two configs or more of different names, found {', '.join(names)}")
    first = configs[0]
    for config in configs[1:]:
        for field in ("name", "dir", "validation"):
            expected, found = getattr(first.data, field), getattr(config.data, field)
            if found != expected:
                raise InputError(
                    f"compare: expected the same data.{field} in all configs, found {expected} in {first.name} and "
                    f"{found} in {config.name}; an override such as data.{field}={found} applies to every config"
                )
    if any(config.devices != "all" or config.seed for config in configs):
        raise InputError("compare: expected no seed and no devices, as it spreads the seeds 0, 1, ... over all devices")
    if not first.data.validation:
        raise InputError("compare: expected validation images to track learning on; add data.validation=5000")


def prepare_contestants(configs: Sequence[Config], tuned: bool, output: Path, command: str) -> list[Contestant]:
    """Return configs as contestants. Each run uses one device, so that devices can share the seeds."""
    contestants = []
    for experiment in prepare_all([dataclasses.replace(config, devices=1) for config in configs], command):
        if tuned:
            experiment.record["settings"]["tuned"] = tuning.TUNED
        contestants.append(Contestant(experiment, tuned, output))
    return contestants


def fit_contestants(contestants: Sequence[Contestant], seeds: Sequence[int], workers: int) -> None:
    """Train the missing runs of contestants, after tuning those that are to be tuned."""
    for contestant in contestants:
        run_set, name = contestant.runs(seeds), contestant.experiment.config.name
        missing = len(run_set.missing())
        if missing < len(seeds):
            finished = len(seeds) - missing
            say(f"{name}: reusing {finished} finished run{'s' * (finished > 1)}")
        if reason := reuse.why_missing(run_set):
            say(f"{name}: training {missing} run{'s' * (missing > 1)}, because {reason}")
    run_sets = [run_set for run_set, _ in _tuned(contestants, seeds, workers)]
    for i, run, reused in fit_missing(run_sets, COMPARED, workers):
        console.run_line(run_sets[i].experiment.config.name, run.config.seed, run.summary, reused)


def read_contestants(
    contestants: Sequence[Contestant], seeds: Sequence[int]
) -> list[tuple[list[Finished], dict[str, Any] | None]]:
    """Return the finished runs of each contestant, and how it was tuned."""
    tuned = _tuned(contestants, seeds, 0)
    return [([reuse.read_run(run_set, seed, COMPARED) for seed in seeds], trials) for run_set, trials in tuned]


def _tuned(
    contestants: Sequence[Contestant], seeds: Sequence[int], workers: int
) -> list[tuple[RunSet, dict[str, Any] | None]]:
    """Return the runs of each contestant, at its tuned learning rate if it has one, and how it was tuned."""
    run_sets = [contestant.runs(seeds) for contestant in contestants]
    if not contestants[0].tuned:
        return [(run_set, None) for run_set in run_sets]
    experiments = [contestant.experiment for contestant in contestants]
    found = tuning.tune(experiments, contestants[0].output / "tuning", workers)
    return [
        (run_set._replace(experiment=experiment), trials)
        for run_set, (experiment, trials) in zip(run_sets, found, strict=True)
    ]
