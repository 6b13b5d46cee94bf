"""Where missing runs are trained: in worker processes, one on each core, or in this process on accelerators."""

import contextlib
import functools
import multiprocessing
import os
import shutil
import signal
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from ctypes import c_double
from itertools import cycle, islice
from pathlib import Path
from typing import NamedTuple, Protocol

import filelock
import jax

from experiments.training.fit import Start, fit
from experiments.training.folder import LOCK, Finished
from experiments.training.plan import Plan
from experiments.training.record import (
    ONE_BY_ONE,
    Experiment,
    describe_run,
    differences,
    prepare,
)
from experiments.training.reuse import RunSet, read_run
from mnistsum.app.console import say
from mnistsum.config import Config
from mnistsum.errors import InputError
from mnistsum.file_io import make_folder
from mnistsum.models.summary import count_multiply_adds
from mnistsum.programs import set_up_compiler
from mnistsum.registry import load_file, loaded, users_traceback
from mnistsum.seeds import devices_for

TEMPORARY = ".training-"  # begins the name of a run's folder while it is trained
WAITING = -1.0  # the share of a run that another program trains
POLL = 0.5  # seconds between looks at what workers have done
Report = Callable[[float], None]  # takes the share of a run that is done, or WAITING
RunKey = tuple[int, int]  # the index of a run's set, and its seed
_memory: list[c_double] = []  # of a worker: where it reports


class Progress(Protocol):
    """What shows how far the missing runs are."""

    def show(self, shares: Mapping[RunKey, float]) -> object:
        """Show how much of each of these runs is done, from 0 to 1, or WAITING."""

    def finish(self, run: RunKey, existed: bool) -> None:
        """Count a run as done, whether it was trained here or by another program."""

    def drop(self, run: RunKey) -> None:
        """Leave out a run that could not be trained."""


# Takes the work of each missing run, in any unit, and the number of runs that exist.
Display = Callable[
    [Mapping[RunKey, float], int], contextlib.AbstractContextManager[Progress]
]


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
        # what it has reported; in shared memory, without a lock
        self.share = context.RawValue(c_double)
        arguments = core, list(loaded), self.share
        self.pool = ProcessPoolExecutor(
            1, context, initializer=_begin_worker, initargs=arguments
        )

    def submit(self, task: Task) -> Future:
        """Start to train a run."""
        self.share.value = 0
        return self.pool.submit(_fit_task, task)


def fit_missing(
    run_sets: Sequence[RunSet], plan: Plan, workers: int, display: Display
) -> Iterator[tuple[int, Finished, bool]]:
    """Train missing runs and show the progress; yield the finished ones, then the trained ones, as they end.

    Args:
        run_sets: the runs of one or more experiments.
        plan: when runs stop, and what they do there.
        workers: how many processes train at the same time, on CPUs; 0: train in this
            process, as on accelerators.
        display: shows the progress.

    Yields:
        The index of the run's set, the run, and whether it existed.

    Raises:
        OSError: at the end, if workers died; it names their runs.
    """
    runs = [(i, seed) for i, run_set in enumerate(run_sets) for seed in run_set.folders]
    missing = [(i, seed) for i, seed in runs if not run_sets[i].folders[seed].exists()]
    for i, seed in runs:
        if (i, seed) not in missing:
            yield i, read_run(run_sets[i], seed, plan), True
    work_by_set = {i: _work(run_sets[i].experiment) for i in {i for i, _ in missing}}
    work = {(i, seed): work_by_set[i] for i, seed in missing}
    with display(work, len(runs) - len(missing)) as progress:
        if workers == 0 or jax.default_backend() != "cpu" or jax.device_count() > 1:
            trained = _fit_here(run_sets, missing, plan, progress)
        else:
            trained = _fit_in_workers(
                run_sets, _in_order(work), plan, min(workers, len(missing)), progress
            )
        for i, seed, existed in trained:
            progress.finish((i, seed), existed)
            yield i, read_run(run_sets[i], seed, plan), existed


def _fit_here(
    run_sets: Sequence[RunSet],
    missing: Sequence[RunKey],
    plan: Plan,
    progress: Progress,
) -> Iterator[tuple[int, int, bool]]:
    """Train runs in this process, several seeds as one program; yield each, and whether another process trained it."""
    for i, run_set in enumerate(run_sets):
        for seeds in _groups([seed for owner, seed in missing if owner == i]):
            report = functools.partial(
                _show_group, progress, [(i, seed) for seed in seeds]
            )
            with claimed(
                {seed: run_set.folders[seed] for seed in seeds}, report
            ) as folders:
                if folders:
                    _fit(
                        run_set.experiment,
                        folders,
                        plan,
                        describe_mode(len(folders)),
                        report,
                    )
            for seed in seeds:
                yield i, seed, seed not in folders


def _show_group(progress: Progress, group: Sequence[RunKey], share: float) -> None:
    """Show how much is done of runs that share a program."""
    progress.show(dict.fromkeys(group, share))


def _fit_in_workers(
    run_sets: Sequence[RunSet],
    waiting: list[RunKey],
    plan: Plan,
    workers: int,
    progress: Progress,
) -> Iterator[tuple[int, int, bool]]:
    """Train runs in workers, which get them one by one; yield each, and whether another process trained it."""
    died = []
    mode = f"{workers} run{'s' * (workers > 1)} at a time, each on one core"
    running: dict[Future, tuple[Worker, RunKey]] = {}
    with reserved_cores(workers) as cores, _ended_children():
        idle = [Worker(core) for core in cores]
        while waiting or running:
            while waiting and idle:
                i, seed = waiting.pop(0)
                experiment, folder, worker = (
                    run_sets[i].experiment,
                    run_sets[i].folders[seed],
                    idle.pop(),
                )
                task = Task(
                    experiment.config,
                    experiment.record,
                    experiment.command,
                    mode,
                    seed,
                    folder,
                    plan,
                )
                running[worker.submit(task)] = worker, (i, seed)
            for future in wait(running, POLL, FIRST_COMPLETED).done:
                worker, run = running.pop(future)
                try:
                    existed = future.result()
                except BrokenProcessPool:
                    died.append(
                        f"{run_sets[run[0]].experiment.config.name}, seed {run[1]}"
                    )
                    say(
                        f"{died[-1]}: its process died; it may have been killed, or have run out of memory"
                    )
                    progress.drop(run)
                    worker = Worker(worker.core)
                else:
                    yield *run, existed
                idle.append(worker)
            progress.show({run: worker.share.value for worker, run in running.values()})
    if died:
        raise OSError(
            f"not trained, as a process died: {'; '.join(died)}; the same command trains what is missing"
        )


@contextlib.contextmanager
def _ended_children() -> Iterator[None]:
    """Kill the processes that this one has started, when the block ends."""
    try:
        yield
    finally:
        for child in multiprocessing.active_children():
            child.kill()


@contextlib.contextmanager
def reserved_cores(workers: int) -> Iterator[list[int]]:
    """Reserve a core for each worker, so that another command of this user leaves it alone as long as others are free.

    Yields:
        The cores' numbers: free ones first, then those that other commands have
        reserved, and again from the start if there are more workers than cores.
    """
    if not hasattr(os, "sched_getaffinity"):  # only Linux pins processes
        yield list(range(workers))
        return
    free, reserved = [], []
    with contextlib.ExitStack() as locks:
        for core in sorted(os.sched_getaffinity(0)):
            if len(free) == workers:
                break
            lock = filelock.FileLock(
                Path(tempfile.gettempdir(), f"mnistsum-{os.getuid()}-core-{core}.lock")
            )
            try:
                locks.enter_context(lock.acquire(timeout=0))
                free.append(core)
            except filelock.Timeout:
                reserved.append(core)
        yield list(islice(cycle(free + reserved), workers))


def _work(experiment: Experiment) -> float:
    """Return the multiply-adds of a run's forward passes."""
    multiply_adds = count_multiply_adds(experiment.model)  # training makes one pass
    return experiment.spec.steps * experiment.spec.batch_size * max(multiply_adds, 1)


def _in_order(work: dict[RunKey, float]) -> list[RunKey]:
    """Return the missing runs in the order in which they are started: the longest first, so that workers end together.

    One run of each experiment goes ahead of all others, so that workers begin by
    compiling different programs.
    """
    first: dict[int, RunKey] = {}
    for i, seed in work:
        first.setdefault(i, (i, seed))
    ahead = set(first.values())
    return sorted(work, key=lambda run: (run in ahead, work[run]), reverse=True)


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
    """Train a run in a worker; return whether another process has trained it meanwhile."""
    try:
        with claimed({task.seed: task.folder}, _report) as folders:
            if folders:
                _fit(_compiled(task), folders, task.plan, task.mode, _report)
        return not folders
    except Exception as error:
        if (text := users_traceback(error)) is None:
            raise
        raise OSError(
            f"{task.config.name}, seed {task.seed}: failed in its worker\n{text}"
        ) from None


def _compiled(task: Task) -> Experiment:
    """Return a task's experiment, whose programs are compiled; raise InputError if it is not that of its record."""
    experiment = _experiment(task.config, task.command)
    if changed := differences(
        task.record, experiment.record | {"settings": task.record["settings"]}
    ):
        raise InputError(
            f"{task.config.name}: two processes disagree: {'; '.join(changed)}. Its file was edited meanwhile, or "
            "draws random numbers when it is loaded"
        )
    cache = Path(jax.config.values["jax_compilation_cache_dir"])
    make_folder(cache)
    # A worker that needs the same programs waits for the first one, and then finds them
    # in the cache.
    with filelock.FileLock(cache / f"{experiment.record['program']['training']}.lock"):
        for program in experiment.programs.values():
            program.compile()
    return experiment._replace(record=task.record)


@functools.cache
def _experiment(config: Config, command: str) -> Experiment:
    return prepare(config, command)


def describe_mode(seeds: int) -> str:
    """Describe how `seeds` seeds are trained as one program."""
    if seeds == 1:
        return ONE_BY_ONE
    devices = devices_for(seeds)
    return f"{seeds} seeds as one vmapped program, on {devices} device{'s' if devices > 1 else ''}"


def _groups(seeds: list[int]) -> list[list[int]]:
    """Return the groups of seeds that are each trained as one program.

    On CPUs, a group has one seed per device, as one seed keeps a device busy and
    vmapped seeds take longer; on accelerators, the first group has all seeds that the
    devices share evenly, and the second has the rest.
    """
    devices = jax.device_count()
    size = (
        devices
        if jax.default_backend() == "cpu"
        else max(len(seeds) // devices, 1) * devices
    )
    return [seeds[i : i + size] for i in range(0, len(seeds), size)]


@contextlib.contextmanager
def claimed(folders: Mapping[int, Path], report: Report) -> Iterator[dict[int, Path]]:
    """Lock runs, after waiting for another program that trains one of them; yield temporary folders of the missing.

    After the block, the temporary folders get their final names: only finished runs
    have these.
    """
    missing = {}
    with contextlib.ExitStack() as cleanup:
        for seed, folder in folders.items():
            temporary = folder.with_name(f"{TEMPORARY}{folder.name}")
            lock = filelock.FileLock(temporary / LOCK)
            while not lock.is_locked:
                make_folder(temporary)  # again, as the other program renames it
                with contextlib.suppress(filelock.Timeout):
                    cleanup.enter_context(lock.acquire(timeout=0))
                if not lock.is_locked:
                    report(WAITING)
                    time.sleep(POLL)
            # if it was not renamed
            cleanup.callback(shutil.rmtree, temporary, ignore_errors=True)
            for left in temporary.glob("[!.]*"):  # by a killed process
                left.unlink()
            if not folder.exists():
                missing[seed] = temporary
        yield missing
        for seed, temporary in missing.items():
            temporary.rename(folders[seed])


def _fit(
    experiment: Experiment,
    folders: dict[int, Path],
    plan: Plan,
    mode: str,
    report: Report,
) -> None:
    """Train seeds as one program."""
    report(0)
    for stop, _ in fit(
        experiment, folders, plan, Start(describe_run(experiment, mode))
    ):
        report(stop.step / (experiment.spec.steps + 1))  # testing is still to come
