"""Where missing runs are trained: in a process for each core, or in this one."""

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
from contextlib import ExitStack
from ctypes import c_double
from itertools import cycle, islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import filelock
import jax

from experiments.training.fit import Start, fit
from experiments.training.folder import LOCK, Finished
from experiments.training.plan import WAITING, Plan
from experiments.training.record import (
    ONE_BY_ONE,
    Experiment,
    describe_run,
    differences,
    prepare,
    same_data,
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
POLL = 0.5  # seconds between looks at what workers have done
Report = Callable[[float], None]  # takes the share of a run that is done, or WAITING
# of a worker: where it reports, and what it has prepared
_memory: list[c_double] = []
_experiments: list[Experiment] = []


class RunKey(NamedTuple):
    """A run that is missing."""

    key: Any  # of its set
    seed: int


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


def fit_missing(
    run_sets: Mapping[Any, RunSet], plan: Plan, workers: int, display: Display
) -> Iterator[tuple[Any, Finished, bool]]:
    """Train the missing runs, and yield all: first those that exist.

    Args:
        run_sets: the runs of each experiment, by any key.
        plan: when runs stop, and what they do there.
        workers: how many processes train at the same time, on CPUs; 0: train in this
            process, as on accelerators.
        display: shows the progress.

    Yields:
        The key of the run's set, the run, and whether it existed.

    Raises:
        OSError: at the end, if workers died; it names their runs.
    """
    work: dict[RunKey, float] = {}  # of each missing run
    for key, run_set in run_sets.items():
        missing = run_set.missing()
        for seed in run_set.folders:
            if seed not in missing:
                yield key, read_run(run_set, seed, plan), True
        if missing:
            runs = [RunKey(key, seed) for seed in missing]
            work |= dict.fromkeys(runs, _work(run_set.experiment))
    total = sum(len(run_set.folders) for run_set in run_sets.values())
    with display(work, total - len(work)) as progress:
        if workers == 0 or jax.default_backend() != "cpu" or jax.device_count() > 1:
            trained = _fit_here(run_sets, list(work), plan, progress)
        else:
            count = min(workers, len(work))
            trained = _fit_in_workers(run_sets, _in_order(work), plan, count, progress)
        for run, existed in trained:
            progress.finish(run, existed)
            yield run.key, read_run(run_sets[run.key], run.seed, plan), existed


def _fit_here(
    run_sets: Mapping[Any, RunSet],
    missing: Sequence[RunKey],
    plan: Plan,
    progress: Progress,
) -> Iterator[tuple[RunKey, bool]]:
    """Train runs in this process, several seeds as one program.

    Yields:
        Each run, and whether another process trained it.
    """
    for key, run_set in run_sets.items():
        for seeds in _groups([run.seed for run in missing if run.key == key]):
            runs = [RunKey(key, seed) for seed in seeds]
            report = functools.partial(_show_group, progress, runs)
            places = {seed: run_set.folders[seed] for seed in seeds}
            with claimed(places, report) as folders:
                if folders:
                    mode = describe_mode(len(folders))
                    _fit(run_set.experiment, folders, plan, mode, report)
            for run in runs:
                yield run, run.seed not in folders


def _show_group(progress: Progress, group: Sequence[RunKey], share: float) -> None:
    """Show how much is done of runs that share a program."""
    progress.show(dict.fromkeys(group, share))


def _fit_in_workers(
    run_sets: Mapping[Any, RunSet],
    waiting: list[RunKey],
    plan: Plan,
    workers: int,
    progress: Progress,
) -> Iterator[tuple[RunKey, bool]]:
    """Train runs in workers, which get them one by one.

    Yields:
        Each run, and whether another process trained it.
    """
    died = []
    mode = f"{workers} run{'s' * (workers > 1)} at a time, each on one core"
    running: dict[Future, tuple[Worker, RunKey]] = {}
    # the pools are left once their processes are killed
    with reserved_cores(workers) as cores, ExitStack() as pools, _ended_children():
        idle = [Worker(core, pools) for core in cores]
        while waiting or running:
            while waiting and idle:
                run, worker = waiting.pop(0), idle.pop()
                task = _task(run_sets[run.key], run.seed, plan, mode)
                running[worker.submit(task)] = worker, run
            for future in wait(running, POLL, FIRST_COMPLETED).done:
                worker, run = running.pop(future)
                try:
                    existed = future.result()
                except BrokenProcessPool:
                    name = run_sets[run.key].experiment.config.name
                    died.append(f"{name}, seed {run.seed}")
                    say(f"{died[-1]}: its process died; killed, or out of memory?")
                    progress.drop(run)
                    worker = Worker(worker.core, pools)
                else:
                    yield run, existed
                idle.append(worker)
            progress.show(
                {run: worker.share_done.value for worker, run in running.values()}
            )
    if died:
        raise OSError(
            f"not trained, as a process died: {'; '.join(died)}; the same command "
            "trains what is missing"
        )


def _task(run_set: RunSet, seed: int, plan: Plan, mode: str) -> Task:
    config, record = run_set.experiment.config, run_set.experiment.record
    command, folder = run_set.experiment.command, run_set.folders[seed]
    return Task(config, record, command, mode, seed, folder, plan)


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
    """Reserve a core for each worker.

    Another command of this user leaves it alone as long as others are free.

    Yields:
        The cores' numbers: free ones first, then those that other commands have
        reserved, and again from the start if there are more workers than cores.
    """
    if not hasattr(os, "sched_getaffinity"):  # only Linux pins processes
        yield list(range(workers))
        return
    free, reserved = [], []
    with ExitStack() as locks:
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
    """Return the missing runs, the longest first, so that workers end together.

    One run of each experiment goes ahead of all others, so that workers begin by
    compiling different programs.
    """
    first: dict[Any, RunKey] = {}
    for run in work:
        first.setdefault(run.key, run)
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
    """Train a run in a worker; return whether another process did meanwhile."""
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


def describe_mode(seeds: int) -> str:
    """Describe how `seeds` seeds are trained as one program."""
    if seeds == 1:
        return ONE_BY_ONE
    devices = devices_for(seeds)
    on = f"{devices} device{'s' if devices > 1 else ''}"
    return f"{seeds} seeds as one vmapped program, on {on}"


def _groups(seeds: list[int]) -> list[list[int]]:
    """Return the groups of seeds that are each trained as one program.

    On CPUs, a group has one seed per device, as one seed keeps a device busy and
    vmapped seeds take longer; on accelerators, the first group has all seeds that the
    devices share evenly, and the second has the rest.
    """
    size = devices = jax.device_count()
    if jax.default_backend() != "cpu":
        size = max(len(seeds) // devices, 1) * devices
    return [seeds[i : i + size] for i in range(0, len(seeds), size)]


@contextlib.contextmanager
def claimed(folders: Mapping[int, Path], report: Report) -> Iterator[dict[int, Path]]:
    """Yield, once no other program trains these runs, temporary folders of the missing.

    After the block, the temporary folders get their final names: only finished runs
    have these.
    """
    missing = {}
    with ExitStack() as locks:
        for seed, folder in folders.items():
            temporary = folder.with_name(f"{TEMPORARY}{folder.name}")
            locks.enter_context(_locked(temporary, report))
            if not folder.exists():
                missing[seed] = temporary
        yield missing
        for seed, temporary in missing.items():
            temporary.rename(folders[seed])


@contextlib.contextmanager
def _locked(folder: Path, report: Report) -> Iterator[None]:
    """Hold the lock of a temporary folder, which is empty at first, and delete it.

    While another program holds the lock, `report` gets WAITING.
    """
    lock = filelock.FileLock(folder / LOCK)
    while not lock.is_locked:
        make_folder(folder)  # again, as the other program renames it
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            report(WAITING)
            time.sleep(POLL)
    try:
        for left in folder.iterdir():  # by a killed process
            if left.name != LOCK:
                left.unlink()
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # unless it was renamed
        lock.release()


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
