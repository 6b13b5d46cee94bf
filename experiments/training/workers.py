"""Processes that each train one run at a time, on a core of their own."""

import multiprocessing
import os
import signal
import threading
import warnings
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import ExitStack
from ctypes import c_double
from pathlib import Path
from typing import NamedTuple

import filelock
import jax

from experiments.training.claims import Report, claimed
from experiments.training.fit import Start, fit
from experiments.training.plan import Plan
from experiments.training.record import (
    Experiment,
    describe_run,
    differences,
    prepare,
    same_data,
)
from mnistsum.config import Config
from mnistsum.errors import InputError
from mnistsum.file_io import make_folder
from mnistsum.programs import set_up_compiler
from mnistsum.registry import load_file, loaded, users_traceback

# of a worker: where it reports, and what it has prepared
_memory: list[c_double] = []
_experiments: list[Experiment] = []


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

    def __init__(self, core: int, pools: ExitStack):
        self.core = core
        context = multiprocessing.get_context("spawn")
        # what it has reported; in shared memory, without a lock
        self.share_done = context.RawValue(c_double)
        arguments = core, list(loaded), self.share_done
        self.pool = pools.enter_context(
            ProcessPoolExecutor(
                1, context, initializer=_begin_worker, initargs=arguments
            )
        )

    def submit(self, task: Task) -> Future:
        """Start to train a run."""
        self.share_done.value = 0
        return self.pool.submit(_fit_task, task)


def fit_folders(
    experiment: Experiment,
    folders: dict[int, Path],
    plan: Plan,
    mode: str,
    report: Report,
) -> None:
    """Train a run for each seed as one program, and report how far it is."""
    report(0)
    for stop, _ in fit(
        experiment, folders, plan, Start(describe_run(experiment, mode))
    ):
        report(stop.step / (experiment.spec.steps + 1))  # testing is still to come


def _begin_worker(core: int, files: Sequence[Path], share: c_double) -> None:
    """Prepare a new worker, before JAX looks at the processor.

    Args:
        core: number of the core.
        files: the users' files that the program has loaded.
        share: memory in which the worker reports.
    """
    # Ctrl-C is for the program, which ends its workers
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    warnings.simplefilter("ignore")  # the program has shown them
    parent = multiprocessing.parent_process()
    assert parent is not None
    # no orphan goes on
    threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})
    set_up_compiler()
    for file in files:
        load_file(file)
    _memory.append(share)


def _report(share: float) -> None:
    """Report from a worker how much of its run is done."""
    _memory[0].value = share


def _fit_task(task: Task) -> bool:
    """Train a run in a worker; return whether another process did meanwhile."""
    try:
        with claimed({task.seed: task.folder}, _report) as folders:
            if folders:
                fit_folders(_compiled(task), folders, task.plan, task.mode, _report)
        return not folders
    except Exception as error:
        if (text := users_traceback(error)) is None:
            raise
        raise OSError(
            f"{task.config.name}, seed {task.seed}: failed in its worker\n{text}"
        ) from None


def _compiled(task: Task) -> Experiment:
    """Return a task's experiment, compiled; raise InputError if it has changed."""
    experiment = _experiment(task.config, task.command)
    if changed := differences(
        task.record, experiment.record | {"settings": task.record["settings"]}
    ):
        raise InputError(
            f"{task.config.name}: two processes disagree: {'; '.join(changed)}. Its "
            "file was edited meanwhile, or draws random numbers when it is loaded"
        )
    cache = Path(jax.config.values["jax_compilation_cache_dir"])
    make_folder(cache)
    # A worker that needs the same programs waits for the first one, and then finds them
    # in the cache.
    with filelock.FileLock(cache / f"{experiment.record['program']['training']}.lock"):
        for program in experiment.programs.values():
            program.compile()
    return experiment._replace(record=task.record)


def _experiment(config: Config, command: str) -> Experiment:
    """Return an experiment, which a worker keeps for further seeds."""
    for known in _experiments:
        if known.config == config:
            return known
    _experiments.append(prepare(config, command, same_data(config, _experiments)))
    return _experiments[-1]
