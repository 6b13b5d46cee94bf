"""Where missing runs are trained: in worker processes, one on each core, or in this process on accelerators."""

import contextlib
import functools
import multiprocessing
import os
import shutil
import signal
import threading
import uuid
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import NamedTuple

import filelock
import jax

from experiments.training.fit import Plan, Start, describe_mode, fit
from experiments.training.folder import LOCK, Finished
from experiments.training.record import Experiment, describe_run, differences, prepare
from experiments.training.reuse import RunSet, read_run
from mnistsum.app.compiler import set_up_compiler
from mnistsum.app.console import say
from mnistsum.config import Config
from mnistsum.errors import InputError
from mnistsum.file_io import make_folder
from mnistsum.registry import load_file, loaded

TEMPORARY = ".training-"  # begins the name of a run's folder while it is trained


class Task(NamedTuple):
    """One run, as it is sent to a worker."""

    config: Config
    record: dict[str, dict[str, str]]  # of what decides the run
    command: str
    mode: str
    seed: int
    folder: Path
    plan: Plan


class Worker:
    """A process that trains one run at a time, on one core and with one thread."""

    def __init__(self, core: int):
        self.core = core
        context = multiprocessing.get_context("spawn")
        self.pool = ProcessPoolExecutor(1, context, initializer=_begin_worker, initargs=(core, list(loaded)))

    def submit(self, task: Task) -> Future:
        """Start to train a run."""
        return self.pool.submit(_fit_task, task)


def fit_missing(run_sets: Sequence[RunSet], plan: Plan, workers: int) -> Iterator[tuple[int, Finished, bool]]:
    """Train missing runs; yield the finished ones, then the trained ones, as they end.

    Args:
        run_sets: the runs of one or more experiments.
        plan: when runs stop, and what they do there.
        workers: how many processes train at the same time, on CPUs; 0: train in this process, as on accelerators.

    Yields:
        The index of the run's set, the run, and whether it existed.

    Raises:
        OSError: at the end, if workers died; it names their runs.
    """
    missing = [(i, seed) for i, run_set in enumerate(run_sets) for seed in run_set.missing()]
    for i, run_set in enumerate(run_sets):
        for seed in run_set.folders:
            if (i, seed) not in missing:
                yield i, read_run(run_set, seed, plan), True
    for parent in {run_sets[i].folders[seed].parent for i, seed in missing}:
        _remove_stale_folders(parent)
    if workers == 0 or jax.default_backend() != "cpu" or jax.device_count() > 1:
        trained = _fit_here(run_sets, missing, plan)
    else:
        trained = _fit_in_workers(run_sets, missing, plan, min(workers, len(missing)))
    for i, seed, existed in trained:
        yield i, read_run(run_sets[i], seed, plan), existed


def _fit_here(
    run_sets: Sequence[RunSet], missing: Sequence[tuple[int, int]], plan: Plan
) -> Iterator[tuple[int, int, bool]]:
    """Train runs in this process, several seeds as one program; yield each, and whether another process trained it."""
    for i, run_set in enumerate(run_sets):
        for seeds in _groups([seed for owner, seed in missing if owner == i]):
            wanted = {seed: run_set.folders[seed] for seed in seeds if not run_set.folders[seed].exists()}
            if wanted:
                _fit(run_set.experiment, wanted, plan, describe_mode(len(wanted)))
            for seed in seeds:
                yield i, seed, seed not in wanted


def _fit_in_workers(
    run_sets: Sequence[RunSet], missing: Sequence[tuple[int, int]], plan: Plan, workers: int
) -> Iterator[tuple[int, int, bool]]:
    """Train runs in workers, which get them one by one; yield each, and whether another process trained it."""
    waiting, died = _in_order(run_sets, missing), []
    mode = f"{workers} run{'s' * (workers > 1)} at a time, each on one core"
    idle = [Worker(core) for core in range(workers)]
    running: dict[Future, tuple[Worker, int, int]] = {}
    try:
        while waiting or running:
            while waiting and idle:
                i, seed = waiting.pop(0)
                experiment, folder, worker = run_sets[i].experiment, run_sets[i].folders[seed], idle.pop()
                task = Task(experiment.config, experiment.record, experiment.command, mode, seed, folder, plan)
                running[worker.submit(task)] = worker, i, seed
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                worker, i, seed = running.pop(future)
                try:
                    existed = future.result()
                except BrokenProcessPool:
                    died.append(f"{run_sets[i].experiment.config.name}, seed {seed}")
                    say(f"{died[-1]}: its process died; it may have been killed, or have run out of memory")
                    worker = Worker(worker.core)
                else:
                    yield i, seed, existed
                idle.append(worker)
    finally:
        for child in multiprocessing.active_children():
            child.kill()
    if died:
        raise OSError(f"not trained, as a process died: {'; '.join(died)}; the same command trains what is missing")


def _in_order(run_sets: Sequence[RunSet], missing: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the missing runs in the order in which they are started: the longest first, so that workers end together.

    One run of each experiment goes ahead of all others, so that workers begin by compiling different programs.
    """

    def work(run: tuple[int, int]) -> int:
        experiment = run_sets[run[0]].experiment
        return experiment.spec.steps * experiment.spec.batch_size * sum(row.multiply_adds for row in experiment.layers)

    first = list({i: (i, seed) for i, seed in reversed(missing)}.values())
    others = [run for run in missing if run not in first]
    return sorted(first, key=work, reverse=True) + sorted(others, key=work, reverse=True)


def _begin_worker(core: int, files: Sequence[Path]) -> None:
    """Prepare a new worker, before JAX looks at the processor.

    Args:
        core: index of the core among those that the program may use.
        files: the users' files that the program has loaded.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the program, which ends its workers
    warnings.simplefilter("ignore")  # the program has shown them
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()  # no orphan goes on
    if hasattr(os, "sched_setaffinity"):
        available = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {available[core % len(available)]})
    set_up_compiler()
    for file in files:
        load_file(file)


def _fit_task(task: Task) -> bool:
    """Train a run in a worker; return whether another process has trained it meanwhile."""
    if task.folder.exists():
        return True
    experiment = _experiment(task.config, task.command)
    if changed := differences(task.record, experiment.record | {"settings": task.record["settings"]}):
        raise InputError(
            f"{task.config.name}: two processes disagree: {'; '.join(changed)}. Its file was edited meanwhile, or "
            "draws random numbers when it is loaded"
        )
    cache = Path(jax.config.values["jax_compilation_cache_dir"])
    make_folder(cache)
    # A worker that needs the same programs waits for the first one, and then finds them in the cache.
    with filelock.FileLock(cache / f"{experiment.record['program']['training']}.lock"):
        for program in experiment.programs.values():
            program.compile()
    _fit(experiment._replace(record=task.record), {task.seed: task.folder}, task.plan, task.mode)
    return False


@functools.cache
def _experiment(config: Config, command: str) -> Experiment:
    return prepare(config, command)


def _groups(seeds: list[int]) -> list[list[int]]:
    """Return the groups of seeds that are each trained as one program.

    On CPUs, a group has one seed per device, as one seed keeps a device busy and vmapped seeds take longer; on
    accelerators, the first group has all seeds that the devices share evenly, and the second has the rest.
    """
    devices = jax.device_count()
    size = devices if jax.default_backend() == "cpu" else max(len(seeds) // devices, 1) * devices
    return [seeds[i : i + size] for i in range(0, len(seeds), size)]


def _fit(experiment: Experiment, folders: dict[int, Path], plan: Plan, mode: str) -> None:
    """Train seeds as one program, in temporary folders.

    Other processes may train the same runs: only complete folders get their final name, and the first one stays.
    """
    partial = {seed: folder.parent / f"{TEMPORARY}{uuid.uuid4().hex}" for seed, folder in folders.items()}
    with contextlib.ExitStack() as cleanup:
        for folder in partial.values():
            cleanup.callback(shutil.rmtree, folder, ignore_errors=True)  # if it was not renamed
            make_folder(folder)
            cleanup.enter_context(filelock.FileLock(folder / LOCK))
        for _ in fit(experiment, partial, plan, Start(describe_run(experiment, mode))):
            pass
        for seed, folder in partial.items():
            if not folders[seed].exists():
                folder.rename(folders[seed])


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
