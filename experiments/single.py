"""One run, started or resumed, with its progress shown."""

import contextlib
import importlib.util
import shlex
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import filelock
import jax

from experiments import BEGAN
from experiments.cli import cores
from experiments.report import terminal
from experiments.training import folder as run_folder
from experiments.training.fit import Start, fit
from experiments.training.plan import SINGLE
from experiments.training.record import (
    Experiment,
    describe_run,
    differences,
    edited_files,
)
from mnistsum.app.console import say
from mnistsum.errors import InputError
from mnistsum.file_io import PARTIAL, make_folder, read_json, writing
from mnistsum.storage import CHECKPOINTS, restore
from mnistsum.train import init_state, split_keys


def start(
    experiment: Experiment, folder: Path, own: Path | None, log: str | None
) -> int:
    """Train a run from the first step; return the exit status.

    Args:
        experiment: what to train.
        folder: the run's folder.
        own: the user's file that the config came from, if any.
        log: an additional log of the metrics: `tensorboard`.
    """
    _check_log(log)
    state = None
    if experiment.initial is not None:
        keys = split_keys(experiment.config.seed)
        state = jax.jit(init_state, static_argnums=0)(
            experiment.spec, keys, experiment.initial
        )
    with _only_writer(folder):
        return _train(
            experiment,
            folder,
            own,
            Start(
                describe_run(experiment) | {"log": log},
                state,
                wall_seconds=time.monotonic() - BEGAN,
            ),
        )


def resume(experiment: Experiment, folder: Path, own: Path | None) -> int:
    """Resume a run from its newest intact checkpoint; return the exit status.

    Without a checkpoint, it begins at the first step.

    Args:
        experiment: of the config in the run's folder.
        folder: the run's folder.
        own: the user's file that the config came from, if any.

    Raises:
        InputError: if anything that decides the run has changed since it began.
    """
    if (folder / run_folder.SUMMARY).exists():
        return _show_finished(experiment, folder)
    with _only_writer(folder):
        then = read_json(folder / run_folder.RUN)
        _check_log(then["log"])
        if changed := _changes(then, experiment):
            raise InputError(
                f"{folder}: {'; '.join(changed)} since the run began, so it would not "
                "end with the same bits; undo the change (a config of your own needs "
                "its file: --config FILE.py), or start a new run"
            )
        if then["cores"] != cores():
            cores_differ = (
                f"begun on another number of cores ({then['cores']}) than {cores()}"
            )
            say(
                f"warning: {cores_differ}: it ends with other bits, as another seed "
                "would"
            )
        start = Start(then, wall_seconds=time.monotonic() - BEGAN)
        if "init" in then["settings"] or (folder / CHECKPOINTS).is_dir():
            state, extra = restore(folder / CHECKPOINTS, experiment.config)
            start = Start(
                then,
                state,
                extra["lines"],
                extra["train_seconds"],
                extra["wall_seconds"] + start.wall_seconds,
            )
        note = f"resumed at step {start.step:,} of {experiment.spec.steps:,}"
        return _train(experiment, folder, own, start, [note])


def _show_finished(experiment: Experiment, folder: Path) -> int:
    """Print the results of a finished run, and what has changed since."""
    finished = run_folder.read_finished(folder)
    changed = _changes(finished.about, experiment) or [
        f"{name} was edited" for name in edited_files(finished.about)
    ]
    since = f"since then, {'; '.join(changed)}" if changed else "nothing has changed"
    say(f"{folder}: this run is finished; {since}")
    terminal.results(finished)
    if not (folder / run_folder.REPORT).exists():  # it was killed before
        _report(finished, experiment)
    return 0


def _report(finished: run_folder.Finished, experiment: Experiment) -> None:
    """Write a finished run's report."""
    # Matplotlib loads once the answer is on the screen
    from experiments.report import pages

    pages.write_report(finished, experiment.data)


def _changes(then: dict[str, Any], experiment: Experiment) -> list[str]:
    """Describe what decides a run and has changed since its `run.json` was written."""
    settings = experiment.record["settings"]
    # a digest of weights that the first checkpoint holds
    if "init" in then["settings"]:
        settings = settings | {"init": then["settings"]["init"]}
    return differences(then, experiment.record | {"settings": settings})


def _train(
    experiment: Experiment,
    folder: Path,
    own: Path | None,
    start: Start,
    notes: Sequence[str] = (),
) -> int:
    """Train to the end or until a signal; return the exit status."""
    signals, log, step = _catch_signals(), None, start.step
    terminal.introduce(experiment)
    for line in notes:
        say(line)
    if start.about["log"] is not None:
        from experiments.report.tensorboard import Log  # needs the extra `tensorboard`

        log = Log(folder, start.about, start.lines)
    with terminal.RunProgress(experiment, step) as shown:
        for stop, (run,) in fit(
            experiment, {experiment.config.seed: folder}, SINGLE, start, signals
        ):
            step = stop.step
            shown.show(stop, run)
            if stop.is_evaluation and log is not None:
                log.add(run.lines[-1])
    if step < experiment.spec.steps:
        command = ["python", "-m", "experiments.run", "--resume", str(folder)]
        command += [] if own is None else ["--config", str(own)]
        say(f"stopped; go on with: {shlex.join(command)}")
        return 128 + signals[0]
    finished = run_folder.read_finished(folder)
    terminal.results(finished)
    _report(finished, experiment)
    if log is not None:
        log.finish(finished)
    say(f"report and everything else in {folder}")
    return 0


def _catch_signals() -> list[int]:
    """Return a list that receives SIGINT, SIGTERM and SIGHUP.

    A second signal of a kind has its usual effect.
    """
    caught: list[int] = []

    def catch(number: int, _: Any) -> None:
        caught.append(number)
        signal.signal(number, signal.SIG_DFL)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, catch)
    return caught


def _check_log(log: str | None) -> None:
    """Check that the package that logs the metrics is installed."""
    if log is not None and importlib.util.find_spec("tensorboardX") is None:
        raise InputError(
            "--log tensorboard: needs tensorboardX; pip install -e '.[tensorboard]'"
        )


@contextlib.contextmanager
def _only_writer(folder: Path) -> Iterator[None]:
    """Lock the run's folder; raise InputError at once if another process holds it."""
    lock = filelock.FileLock(folder / run_folder.LOCK)
    make_folder(folder)
    with writing(folder), contextlib.suppress(filelock.Timeout):
        lock.acquire(timeout=0)
    if not lock.is_locked:
        raise InputError(
            f"{folder}: another process is writing to this run; wait for it, or name "
            "another"
        )
    for partial_file in folder.rglob(f"*{PARTIAL}"):  # left by a killed process
        partial_file.unlink()
    try:
        yield
    finally:
        lock.release()
