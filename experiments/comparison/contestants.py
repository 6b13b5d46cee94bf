"""The configs that are compared: prepared, tuned and trained on the same seeds."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from experiments.comparison import tuning
from experiments.report import console
from experiments.training import reuse
from experiments.training.folder import Finished
from experiments.training.job import Job, make_record, prepare
from experiments.training.reuse import RunSet
from experiments.training.stops import COMPARED
from mnistsum.app.console import say
from mnistsum.config import Config
from mnistsum.errors import InputError
from mnistsum.types import Data

TUNED = f"learning rate times 2^k, |k| at most {tuning.MAX_DOUBLINGS}"  # in the record, whichever rate it will be


class Contestant(NamedTuple):
    """A config that is compared, and how."""

    job: Job
    tuned: bool  # whether its learning rate is chosen first, on validation images
    output: Path  # the folder of the comparison's runs/ and tuning/

    def runs(self, seeds: Sequence[int]) -> RunSet:
        """Return the contestant's runs, finished or not."""
        return reuse.locate_runs(self.output / "runs", self.job, seeds)


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


def prepare_jobs(configs: Sequence[Config], data: Data, tuned: bool, command: str) -> list[Job]:
    """Return the jobs of configs. Each run uses one device, so that devices can share the seeds."""
    jobs = [prepare(dataclasses.replace(config, devices=1), command, data) for config in configs]
    record = make_record(data)  # of what all of them have brought into the process
    if tuned:
        record["settings"]["tuned"] = TUNED
    return [job._replace(record=record) for job in jobs]


def train(contestant: Contestant, seeds: Sequence[int], update_progress: Callable[..., None]) -> None:
    """Train a contestant's missing runs, after tuning it if it is to be tuned."""
    run_set = contestant.runs(seeds)
    name = contestant.job.config.name
    if reason := reuse.why_missing(run_set):
        say(f"{name}: trained anew, as {reason}")
    job, _ = _tuned(contestant, update_progress)
    update_progress(description=name)
    for run, reused in reuse.train_missing(run_set._replace(job=job), COMPARED):
        console.run_line(name, run.config.seed, run.summary, reused)
        update_progress(advance=1)


def read(contestant: Contestant, seeds: Sequence[int]) -> tuple[list[Finished], dict[str, Any] | None]:
    """Return a contestant's finished runs, and how it was tuned."""
    job, tuned = _tuned(contestant, lambda **_: None)
    run_set = contestant.runs(seeds)._replace(job=job)
    return [reuse.read(run_set, seed, COMPARED) for seed in seeds], tuned


def _tuned(contestant: Contestant, update_progress: Callable[..., None]) -> tuple[Job, dict[str, Any] | None]:
    if not contestant.tuned:
        return contestant.job, None
    return tuning.tune(contestant.job, contestant.output / "tuning", update_progress)
