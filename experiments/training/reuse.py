"""A folder of runs, each named by all that decides it: what is there is used again, what is missing is trained."""

import dataclasses
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


class Wanted(NamedTuple):
    """The runs of one config that a program wants."""

    config: Config
    record: dict[str, Any]  # of what else decides them
    folders: dict[int, Path]  # of each seed's run, there once the run is finished


def want(folder: Path, config: Config, record: dict[str, Any], seeds: Sequence[int]) -> Wanted:
    """Return where a config's runs lie in a folder of runs. One devices' program each, so that seeds can be spread."""
    config = dataclasses.replace(config, devices=1)
    name = f"{config.name}-{mark(config, record)}"
    return Wanted(config, record, {seed: folder / f"{name}-{seed}" for seed in seeds})


def missing(wanted: Wanted) -> list[int]:
    """Return the seeds whose runs are not finished."""
    return [seed for seed, folder in wanted.folders.items() if not folder.exists()]


def read(wanted: Wanted, seed: int) -> Finished:
    """Return a seed's finished run.

    Raises:
        InputError: where it is damaged, or is not what its name says.
    """
    folder = wanted.folders[seed]
    found = run_folder.read(folder)
    config = dataclasses.replace(wanted.config, seed=seed)
    changed = [*changed_fields(found.config, config), *differences(found.run, wanted.record)]
    if changed or found.config.seed != seed:
        raise InputError(f"{folder}: not the run that its name says ({'; '.join(changed) or 'seed'}); delete it")
    return found


def why_missing(wanted: Wanted) -> str | None:
    """Return in words how the newest run of that name and seed differs; None where there is none."""
    seed = missing(wanted)[0]
    folder = wanted.folders[seed]
    others = folder.parent.glob(f"{wanted.config.name}-{'?' * 12}-{seed}/{run_folder.SUMMARY}")
    newest = max(others, key=lambda path: path.stat().st_mtime, default=None)
    if newest is None:
        return None
    try:
        config, run = read_config(newest.parent), run_folder.read_json(newest.parent / run_folder.RUN)
    except InputError as error:  # such as a name that is another by now
        return f"{newest.parent}, its newest run, cannot be read: {error}"
    changed = [*changed_fields(config, wanted.config), *differences(run, wanted.record)]
    return f"{newest.parent}, its newest run, differs: {'; '.join(changed)}"


def train_missing(wanted: Wanted, data: Data, plan: Plan, command: str) -> Iterator[tuple[Finished, bool]]:
    """Train the runs that are missing; yield each run, and whether it was there, in the order of the seeds trained."""
    left = missing(wanted)
    for seed in wanted.folders:
        if seed not in left:
            yield read(wanted, seed), True
    if left:
        _clear_away(next(iter(wanted.folders.values())).parent)
    for seeds in _groups(left):
        _train(wanted, seeds, data, plan, command)
        for seed in seeds:
            yield read(wanted, seed), False


def _groups(seeds: list[int]) -> list[list[int]]:
    """Return the seeds that run as one program each time.

    On CPUs as many as there are devices, as one keeps its device busy and vmapped ones take it longer; on accelerators
    all that the devices share evenly, and then the rest.
    """
    devices = jax.device_count()
    size = devices if jax.default_backend() == "cpu" else max(len(seeds) // devices, 1) * devices
    return [seeds[i : i + size] for i in range(0, len(seeds), size)]


def _train(wanted: Wanted, seeds: list[int], data: Data, plan: Plan, command: str) -> None:
    """Train seeds as one program, aside.

    Other processes may train the same: whole folders alone appear, and the first to appear stays.
    """
    partial, locks = {}, []
    for seed in seeds:
        folder = wanted.folders[seed]
        partial[seed] = folder.with_name(f".{folder.name}-{uuid.uuid4().hex}")
        run = describe_run(wanted.config, wanted.record, command, len(seeds))
        with writing(folder):
            partial[seed].mkdir(parents=True)
            locks.append(filelock.FileLock(partial[seed] / run_folder.LOCK))
            locks[-1].acquire()
        run_folder.begin(partial[seed], dataclasses.replace(wanted.config, seed=seed), run)
    try:
        for _ in train_runs(wanted.config, partial, data, plan):
            pass
        for seed, folder in partial.items():
            try:
                folder.rename(wanted.folders[seed])
            except OSError:
                if not wanted.folders[seed].exists():
                    raise
    finally:
        for lock, folder in zip(locks, partial.values(), strict=True):
            lock.release()
            shutil.rmtree(folder, ignore_errors=True)  # where it has not been renamed


def _clear_away(folder: Path) -> None:
    """Remove what killed processes left: folders that no process holds."""
    for left in folder.glob(f".*/{run_folder.LOCK}"):
        lock = filelock.FileLock(left)
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            continue
        shutil.rmtree(left.parent, ignore_errors=True)
        lock.release()
