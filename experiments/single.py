"""One run, started, resumed or previewed, with its progress shown."""

import contextlib
import importlib.util
import shlex
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import filelock

from experiments.report import console
from experiments.training import folder as files
from experiments.training import loop
from experiments.training.folder import Finished
from experiments.training.job import Job, cores, differences
from experiments.training.runs import BEGINNING, Resumed, begin_runs, train_runs
from experiments.training.stops import RUN
from mnistsum.app.console import say
from mnistsum.errors import InputError
from mnistsum.evaluation import compile_evaluation
from mnistsum.files import PARTIAL, make_folder, read_json, writing
from mnistsum.models import abstract_model
from mnistsum.storage import CHECKPOINTS, restore, save_checkpoint


def preview(job: Job) -> int:
    """Print what a run would do and how long it would take; return the exit status."""
    console.introduce(job)
    chunk = loop.measure(job, 2 * loop.MIN_TIMED)
    console.estimate(job.recipe.steps, chunk.seconds / chunk.steps, job.config.training.epochs)
    return 0


def start(job: Job, folder: Path, own: Path | None, log: str | None) -> int:
    """Train a run from the first step; return the exit status.

    Args:
        job: what to train.
        folder: the run's folder.
        own: the user's file that the config came from, if any.
        log: an additional log of the metrics: `tensorboard`.
    """
    signals = _catch_signals()
    _check_log(log)
    loop.compile_program(job.recipe, len(job.data.train.labels))
    console.introduce(job)
    with _only_writer(folder):
        begin_runs(job, {job.config.seed: folder}, log)
        if job.initial is not None:  # given weights cannot be drawn again from a seed
            state = loop.first_state(job.recipe, job.config.seed, job.initial)
            beginning = {"lines": [], "train_seconds": 0.0, "wall_seconds": 0.0}
            save_checkpoint(folder / CHECKPOINTS, job.config, state, beginning)
        return _train(job, folder, own, BEGINNING, signals)


def resume(job: Job, folder: Path, own: Path | None) -> int:
    """Resume a run from its newest intact checkpoint, or from its first step if it has none; return the exit status.

    Args:
        job: of the config in the run's folder; it may use other devices.
        folder: the run's folder.
        own: the user's file that the config came from, if any.

    Raises:
        InputError: if anything that decides the run has changed since it began.
    """
    signals = _catch_signals()
    with _only_writer(folder):
        loop.compile_program(job.recipe, len(job.data.train.labels))
        then = read_json(folder / files.RUN)
        _check_log(then["log"])
        init = then["settings"].get("init")  # a digest of weights that the checkpoint holds
        now = job.record | {"settings": job.record["settings"] | ({"init": init} if init else {})}
        if changed := differences(then, now):
            raise InputError(
                f"{folder}: {'; '.join(changed)} since the run began, so it would not end with the same bits; undo the "
                "change (a config of your own needs its file: --config FILE.py), or start a new run"
            )
        if then["cores"] != cores():
            cores_differ = f"begun on another number of cores ({then['cores']}) than {cores()}"
            say(f"warning: {cores_differ}: it ends with other bits, as another seed would")
        resumed, refused = BEGINNING, ()
        if init or (folder / CHECKPOINTS).is_dir():
            state, extra, refused = restore(folder / CHECKPOINTS, job.config)
            resumed = Resumed(state, **extra)
        console.introduce(job)
        for line in refused:
            say(f"{line}; an older one is used")
        say(f"resumed at step {resumed.step:,} of {job.recipe.steps:,}")
        files.write_lines(folder, resumed.lines)  # those in the file may be of later steps, or damaged
        return _train(job, folder, own, resumed, signals)


def _train(job: Job, folder: Path, own: Path | None, resumed: Resumed, signals: list[int]) -> int:
    """Train to the end or until a signal, show the progress, and return the exit status."""
    model = abstract_model(job.config.model)
    evaluating = loop.in_background(compile_evaluation, job.config.data, model, job.recipe.devices)
    run = read_json(folder / files.RUN)
    log = None
    if run["log"] is not None:
        from experiments.report.tensorboard import Log  # needs the extra `tensorboard`

        log = Log(folder, run, resumed.lines)
    step = resumed.step
    with console.RunProgress(job, step) as shown:
        for progress in train_runs(job, {job.config.seed: folder}, RUN, resumed, signals):
            step = progress.chunk.step
            shown.update(progress, is_alone=evaluating.done())
            if progress.is_evaluation and log is not None:
                log.add(progress.runs[0].lines[-1])
    if step == job.recipe.steps:
        _report(files.read(folder), job, log)
        return 0
    command = ["python", "-m", "experiments.run", "--resume", str(folder)]
    command += [] if own is None else ["--config", str(own)]
    say(f"stopped; go on with: {shlex.join(command)}")
    return 128 + signals[0]


def _report(finished: Finished, job: Job, log: Any) -> None:
    """Print the results of a finished run, then draw its pictures and write its report."""
    console.results(finished)
    from experiments.report import pages  # Matplotlib loads once the answer is on the screen

    pages.write_report(finished, job.data)
    if log is not None:
        log.finish(finished)
    say(f"report and everything else in {finished.folder}")


def _catch_signals() -> list[int]:
    """Return a list that receives the first SIGINT, SIGTERM or SIGHUP; a second one has its usual effect."""
    caught: list[int] = []
    numbers = [n for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if signal.getsignal(n) is not signal.SIG_IGN]

    def catch(number: int, _: Any) -> None:
        caught.append(number)
        for each in numbers:
            signal.signal(each, signal.SIG_DFL)

    for number in numbers:
        signal.signal(number, catch)
    return caught


def _check_log(log: str | None) -> None:
    """Check that the package that logs the metrics is installed."""
    if log is not None and importlib.util.find_spec("tensorboardX") is None:
        raise InputError("--log tensorboard: needs tensorboardX; pip install -e '.[tensorboard]'")


@contextlib.contextmanager
def _only_writer(folder: Path) -> Iterator[None]:
    """Lock the run's folder; raise InputError at once if another process holds it."""
    lock = filelock.FileLock(folder / files.LOCK)
    make_folder(folder)
    with writing(folder), contextlib.suppress(filelock.Timeout):
        lock.acquire(timeout=0)
    if not lock.is_locked:
        raise InputError(f"{folder}: another process is writing to this run; wait for it, or name another")
    for partial_file in folder.rglob(f"*{PARTIAL}"):  # left by a killed process
        partial_file.unlink()
    try:
        yield
    finally:
        lock.release()
