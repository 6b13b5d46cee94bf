"""The configs that are compared: prepared, tuned and trained on the same seeds."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from experiments.comparison import tuning
from experiments.report import console
from experiments.training import reuse
from experiments.training.fit import COMPARED
from experiments.training.folder import Finished
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


def fit_contestant(contestant: Contestant, seeds: Sequence[int], update_progress: Callable[..., None]) -> None:
    """Train a contestant's missing runs, after tuning it if it is to be tuned."""
    run_set = contestant.runs(seeds)
    name, missing = contestant.experiment.config.name, len(run_set.missing())
    if missing < len(seeds):
        say(f"{name}: reusing {len(seeds) - missing} finished run{'s' if len(seeds) - missing > 1 else ''}")
    if reason := reuse.why_missing(run_set):
        say(f"{name}: training {missing} run{'s' if missing > 1 else ''}, because {reason}")
    experiment, _ = _tuned(contestant, update_progress)
    update_progress(description=name)
    for run, reused in reuse.fit_missing(run_set._replace(experiment=experiment), COMPARED):
        console.run_line(name, run.config.seed, run.summary, reused)
        update_progress(advance=1)


def read_contestant(contestant: Contestant, seeds: Sequence[int]) -> tuple[list[Finished], dict[str, Any] | None]:
    """Return a contestant's finished runs, and how it was tuned."""
    experiment, trials = _tuned(contestant, lambda **_: None)
    run_set = contestant.runs(seeds)._replace(experiment=experiment)
    return [reuse.read_run(run_set, seed, COMPARED) for seed in seeds], trials


def _tuned(contestant: Contestant, update_progress: Callable[..., None]) -> tuple[Experiment, dict[str, Any] | None]:
    if not contestant.tuned:
        return contestant.experiment, None
    return tuning.tune(contestant.experiment, contestant.output / "tuning", update_progress)
