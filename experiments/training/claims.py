"""Locks between processes: of the cores that train runs, and of the runs' folders."""

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from itertools import cycle, islice
from pathlib import Path

import filelock

from experiments.training.folder import LOCK
from experiments.training.plan import WAITING
from mnistsum.file_io import make_folder

TEMPORARY = ".training-"  # begins the name of a run's folder while it is trained
POLL = 0.5  # seconds between looks at what other processes have done
Report = Callable[[float], None]  # takes the share of a run that is done, or WAITING


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
