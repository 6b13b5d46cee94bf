"""A folder of runs, each named after everything that decides it: existing runs are reused, missing ones trained."""

import dataclasses
import re
import shutil
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import filelock
import jax

from experiments import run_folder
from experiments.run_folder import Finished
from experiments.training.plan import Plan
from experiments.training.record import changed_fields, differences, mark
from experiments.training.runs import describe_run, train_runs
from mnistsum.config import Config, read_config
from mnistsum.errors import InputError
from mnistsum.files import writing
from mnistsum.types import Data

TEMPORARY = re.compile(r"\..+-[0-9a-f]{12}-\d+-[0-9a-f]{32}")  # name of a run's folder while it is trained


class RunSet(NamedTuple):
    """The runs of one config, one for each seed, finished or not."""

    config: Config
    record: dict[str, Any]  # what else decides them
    folders: dict[int, Path]  # by seed; each exists once its run is finished


def locate_runs(folder: Path, config: Config, record: dict[str, Any], seeds: Sequence[int]) -> RunSet:
    """Return a config's runs in a folder of runs. Each run uses one device, so that devices can share the seeds."""
    config = dataclasses.replace(config, devices=1)
    name = f"{config.name}-{mark(config, record)}"
    return RunSet(config, record, {seed: folder / f"{name}-{seed}" for seed in seeds})


def missing(run_set: RunSet) -> list[int]:
    """Return the seeds whose runs are not finished."""
    return [seed for seed, folder in run_set.folders.items() if not folder.exists()]


def check(run_set: RunSet, plan: Plan) -> None:
    """Check that existing runs were made for this purpose: on the test set, or for a search.

    Raises:
        InputError: if one was not.
    """
    for folder in run_set.folders.values():
        if folder.exists() and ("test" in run_folder.read_summary(folder)) != plan.tests:
            found = "an untested run of a search" if plan.tests else "a tested run of a comparison"
            raise InputError(f"{folder}: holds {found}; use another {'--output' if plan.tests else '--runs'}")


def read(run_set: RunSet, seed: int) -> Finished:
    """Return a seed's finished run.

    Raises:
        InputError: if it is damaged, or is not the run that its name says.
    """
    folder = run_set.folders[seed]
    finished = run_folder.read(folder)
    config = dataclasses.replace(run_set.config, seed=seed)
    changed = [*changed_fields(finished.config, config), *differences(finished.run, run_set.record)]
    if changed or finished.config.seed != seed:
        raise InputError(f"{folder}: not the run that its name says ({'; '.join(changed) or 'seed'}); delete it")
    return finished


def why_missing(run_set: RunSet) -> str | None:
    """Describe how the newest run with a missing run's name and seed differs from it; return None if there is none."""
    missing_seeds = missing(run_set)
    if not missing_seeds:
        return None
    seed = missing_seeds[0]
    folder = run_set.folders[seed]
    others = folder.parent.glob(f"{run_set.config.name}-{'?' * 12}-{seed}/{run_folder.SUMMARY}")
    newest = max(others, key=lambda path: path.stat().st_mtime, default=None)
    if newest is None:
        return None
    try:
        config, run = read_config(newest.parent), run_folder.read_json(newest.parent / run_folder.RUN)
    except InputError as error:  # such as a name that has changed since
        return f"{newest.parent}, its newest run, cannot be read: {error}"
    if "tuned" in run.get("settings", {}) and "tuned" in run_set.record["settings"]:  # the rate is yet to be chosen
        rate = run_set.config.optimizer.learning_rate
        config = dataclasses.replace(config, optimizer=dataclasses.replace(config.optimizer, learning_rate=rate))
    changed = [*changed_fields(config, run_set.config), *differences(run, run_set.record)]
    return f"{newest.parent}, its newest run, differs: {'; '.join(changed) or 'tuning began at another learning rate'}"


def train_missing(run_set: RunSet, data: Data, plan: Plan, command: str) -> Iterator[tuple[Finished, bool]]:
    """Train the missing runs; yield the existing runs, then the trained ones, each with whether it existed."""
    missing_seeds = missing(run_set)
    for seed in run_set.folders:
        if seed not in missing_seeds:
            yield read(run_set, seed), True
    if missing_seeds:
        _remove_stale_folders(next(iter(run_set.folders.values())).parent)
    for seeds in _groups(missing_seeds):
        todo = [seed for seed in seeds if not run_set.folders[seed].exists()]  # another program may have trained some
        if todo:
            _train(run_set, todo, data, plan, command)
        for seed in seeds:
            yield read(run_set, seed), seed not in todo


def _groups(seeds: list[int]) -> list[list[int]]:
    """Return the groups of seeds that are each trained as one program.

    On CPUs, a group has one seed per device, as one seed keeps a device busy and vmapped seeds take longer; on
    accelerators, the first group has all seeds that the devices share evenly, and the second has the rest.
    """
    devices = jax.device_count()
    size = devices if jax.default_backend() == "cpu" else max(len(seeds) // devices, 1) * devices
    return [seeds[i : i + size] for i in range(0, len(seeds), size)]


def _train(run_set: RunSet, seeds: list[int], data: Data, plan: Plan, command: str) -> None:
    """Train seeds as one program, in temporary folders.

    Other processes may train the same runs: only complete folders get their final name, and the first one stays.
    """
    partial, locks = {}, []
    run = describe_run(run_set.config, run_set.record, command, len(seeds))
    for seed in seeds:
        folder = run_set.folders[seed]
        partial[seed] = folder.with_name(f".{folder.name}-{uuid.uuid4().hex}")
        with writing(folder):
            partial[seed].mkdir(parents=True)
            locks.append(filelock.FileLock(partial[seed] / run_folder.LOCK))
            locks[-1].acquire()
        run_folder.begin(partial[seed], dataclasses.replace(run_set.config, seed=seed), run)
    try:
        for _ in train_runs(run_set.config, partial, data, plan):
            pass
        for seed, folder in partial.items():
            try:
                folder.rename(run_set.folders[seed])
            except OSError:
                if not run_set.folders[seed].exists():
                    raise
    finally:
        for lock, folder in zip(locks, partial.values(), strict=True):
            lock.release()
            shutil.rmtree(folder, ignore_errors=True)  # if it was not renamed


def _remove_stale_folders(folder: Path) -> None:
    """Remove what killed processes left behind: temporary folders that no process has locked."""
    for lock_file in folder.glob(f".*/{run_folder.LOCK}"):
        if not TEMPORARY.fullmatch(lock_file.parent.name):  # another program's
            continue
        lock = filelock.FileLock(lock_file)
        try:
            lock.acquire(timeout=0)
        except (filelock.Timeout, PermissionError):  # in use, or not ours to remove
            continue
        shutil.rmtree(lock_file.parent, ignore_errors=True)
        lock.release()
