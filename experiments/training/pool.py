"""Where missing runs are trained: in a process for each core, or in this one."""

import contextlib
import functools
import multiprocessing
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from typing import Any, NamedTuple, Protocol

import jax

from experiments.training.claims import POLL, claimed, reserved_cores
from experiments.training.folder import Finished
from experiments.training.plan import Plan
from experiments.training.record import ONE_BY_ONE, Experiment
from experiments.training.reuse import RunSet, read_run
from experiments.training.workers import Task, Worker, fit_folders
from mnistsum.app.console import say
from mnistsum.models.summary import count_multiply_adds
from mnistsum.seeds import devices_for


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
                    fit_folders(run_set.experiment, folders, plan, mode, report)
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
