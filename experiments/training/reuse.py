"""A folder of runs, each named after everything that decides it: finished runs are reused, missing ones trained."""

import contextlib
import shutil
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import filelock
import jax

from experiments.training.fit import Plan, Start, describe_mode, fit
from experiments.training.folder import LOCK, RUN, SUMMARY, Finished, read_finished
from experiments.training.record import Experiment, describe_run, differences, identify, unequal_fields
from mnistsum.config import as_dict, read_config
from mnistsum.errors import InputError
from mnistsum.file_io import make_folder, read_json

TEMPORARY = ".training-"  # begins the name of a run's folder while it is trained


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
        InputError: if it is damaged, or is not the run that its name says, or was made for another purpose.
    """
    folder, experiment = run_set.folders[seed], run_set.experiment
    finished = read_finished(folder)
    changed = unequal_fields(finished.config, experiment.config) + differences(finished.run, experiment.record)
    if changed or finished.config.seed != seed:
        raise InputError(f"{folder}: not the run that its name says ({'; '.join(changed) or 'seed'}); delete it")
    if ("test" in finished.summary) != plan.tests:
        found = "an untested run of a search" if plan.tests else "a tested run of a comparison"
        raise InputError(f"{folder}: {found}; use another folder of runs")
    return finished


def why_missing(run_set: RunSet) -> str | None:
    """Describe how the newest run with a missing run's name and seed differs from it; return None if there is none."""
    if not (missing := run_set.missing()):
        return None
    experiment, folder = run_set.experiment, run_set.folders[missing[0]]
    others = folder.parent.glob(f"{experiment.config.name}-{'?' * 12}-{missing[0]}/{SUMMARY}")
    newest = max(others, key=lambda path: path.stat().st_mtime, default=None)
    if newest is None:
        return None
    config, run = read_config(newest.parent), read_json(newest.parent / RUN)
    was, now = as_dict(config), as_dict(experiment.config)
    changed = [f"{name} was {was[name]}, is {now[name]}" for name in unequal_fields(config, experiment.config)]
    return "; ".join(changed + differences(run, experiment.record))


def fit_missing(run_set: RunSet, plan: Plan) -> Iterator[tuple[Finished, bool]]:
    """Train the missing runs; yield the finished ones, then those trained, each with whether it existed."""
    missing = run_set.missing()
    for seed in run_set.folders:
        if seed not in missing:
            yield read_run(run_set, seed, plan), True
    if missing:
        _remove_stale_folders(next(iter(run_set.folders.values())).parent)
    for seeds in _groups(missing):
        todo = [seed for seed in seeds if not run_set.folders[seed].exists()]  # another program may have trained some
        if todo:
            _fit(run_set, todo, plan)
        for seed in seeds:
            yield read_run(run_set, seed, plan), seed not in todo


def _groups(seeds: list[int]) -> list[list[int]]:
    """Return the groups of seeds that are each trained as one program.

    On CPUs, a group has one seed per device, as one seed keeps a device busy and vmapped seeds take longer; on
    accelerators, the first group has all seeds that the devices share evenly, and the second has the rest.
    """
    devices = jax.device_count()
    size = devices if jax.default_backend() == "cpu" else max(len(seeds) // devices, 1) * devices
    return [seeds[i : i + size] for i in range(0, len(seeds), size)]


def _fit(run_set: RunSet, seeds: list[int], plan: Plan) -> None:
    """Train seeds as one program, in temporary folders.

    Other processes may train the same runs: only complete folders get their final name, and the first one stays.
    """
    parent = run_set.folders[seeds[0]].parent
    partial = {seed: parent / f"{TEMPORARY}{uuid.uuid4().hex}" for seed in seeds}
    with contextlib.ExitStack() as cleanup:
        for folder in partial.values():
            cleanup.callback(shutil.rmtree, folder, ignore_errors=True)  # if it was not renamed
            make_folder(folder)
            cleanup.enter_context(filelock.FileLock(folder / LOCK))
        start = Start(describe_run(run_set.experiment, describe_mode(len(seeds))))
        for _ in fit(run_set.experiment, partial, plan, start):
            pass
        for seed, folder in partial.items():
            if not run_set.folders[seed].exists():
                folder.rename(run_set.folders[seed])


def _remove_stale_folders(folder: Path) -> None:
    """Remove what killed processes left behind: temporary folders that no process has locked."""
    for lock_file in folder.glob(f"{TEMPORARY}*/{LOCK}"):
        lock = filelock.FileLock(lock_file)
        try:
            lock.acquire(timeout=0)
        except (filelock.Timeout, PermissionError):  # in use, or not ours to remove
            continue
        shutil.rmtree(lock_file.parent, ignore_errors=True)
        lock.release()
