"""A folder of runs, each named after everything that decides it."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from experiments.training.folder import RUN, SUMMARY, Finished, read_finished
from experiments.training.plan import Plan
from experiments.training.record import (
    Experiment,
    differences,
    identify,
    unequal_fields,
)
from mnistsum.config import as_dict, read_config
from mnistsum.errors import InputError
from mnistsum.file_io import read_json


class RunSet(NamedTuple):
    """The runs of one experiment, one for each seed, finished or not."""

    experiment: Experiment
    folders: dict[int, Path]  # by seed; each exists once its run is finished

    def missing(self) -> list[int]:
        """Return the seeds whose runs are not finished."""
        return [seed for seed, folder in self.folders.items() if not folder.exists()]


def locate_runs(folder: Path, experiment: Experiment, seeds: Sequence[int]) -> RunSet:
    """Return an experiment's runs in a folder of runs."""
    name = f"{experiment.config.name}-{identify(experiment.config, experiment.record)}"
    return RunSet(experiment, {seed: folder / f"{name}-{seed}" for seed in seeds})


def read_run(run_set: RunSet, seed: int, plan: Plan) -> Finished:
    """Return a seed's finished run.

    Raises:
        InputError: if it is damaged, or is not the run that its name says, or was made
            for another purpose.
    """
    folder, experiment = run_set.folders[seed], run_set.experiment
    finished = read_finished(folder)
    changed = unequal_fields(finished.config, experiment.config) + differences(
        finished.about, experiment.record
    )
    if changed or finished.config.seed != seed:
        raise InputError(
            f"{folder}: not the run that its name says "
            f"({'; '.join(changed) or 'seed'}); delete it"
        )
    if ("test" in finished.summary) != plan.tests:
        found = "a tested run of a comparison"
        if plan.tests:
            found = "an untested run of a search"
        raise InputError(f"{folder}: {found}; use another folder of runs")
    return finished


def why_missing(run_set: RunSet) -> str | None:
    """Describe how the newest run of a missing run's name differs from it.

    It has the same seed. Return None if there is none.
    """
    if not (missing := run_set.missing()):
        return None
    experiment, folder = run_set.experiment, run_set.folders[missing[0]]
    others = folder.parent.glob(
        f"{experiment.config.name}-{'?' * 12}-{missing[0]}/{SUMMARY}"
    )
    newest = max(others, key=lambda path: path.stat().st_mtime, default=None)
    if newest is None:
        return None
    config, run = read_config(newest.parent), read_json(newest.parent / RUN)
    was, now = as_dict(config), as_dict(experiment.config)
    changed = [
        f"{name} was {was[name]}, is {now[name]}"
        for name in unequal_fields(config, experiment.config)
    ]
    return "; ".join(changed + differences(run, experiment.record))
