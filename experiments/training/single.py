"""One run, started, resumed or previewed, with its progress shown."""

import contextlib
import importlib.util
import json
import shlex
import shutil
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import filelock
import jax

from experiments import run_folder
from experiments.report import console
from experiments.training import initial_weights, loop, resources
from experiments.training.plan import RUN
from experiments.training.record import differences, make_record
from experiments.training.runs import NO_TIME, describe_run, train_runs
from experiments.training.seed_run import digest_weights
from experiments.training.signals import catch_signals
from mnistsum import checkpoint
from mnistsum.config import CONFIG, Config, read_config
from mnistsum.data import load
from mnistsum.errors import InputError
from mnistsum.evaluation import compile_evaluation
from mnistsum.files import PARTIAL, writing
from mnistsum.models import abstract_model
from mnistsum.models.summary import count_parameters
from mnistsum.train import Recipe, make_recipe
from mnistsum.types import Data, TrainState


def preview(config: Config, init: str | None, profile: Path | None) -> int:
    """Print what a run would do and how long it would take; write a trace of a few steps if asked to."""
    if init is not None:
        initial_weights.load(config, init)  # refuses what a run would refuse
    data = load(config.data)
    recipe, compiling = _compile(config, data, None)
    console.introduce(config, data)
    pace = loop.about_every(2 * loop.MIN_TIMED)
    run = loop.train(config, [config.seed], data.train, pace, program=compiling)
    chunk = next(chunk for chunk in run if chunk.is_timing(recipe.steps))
    console.estimate(recipe.steps, chunk.seconds / chunk.steps, config.training.epochs)
    if profile is not None:
        if chunk.step >= recipe.steps:
            raise InputError(
                f"--profile: the run's {recipe.steps:,} steps are over before a trace begins; increase training.epochs"
            )
        with jax.profiler.trace(str(profile), create_perfetto_trace=True):
            traced = next(run)
        console.say(f"a trace of {traced.steps} steps in {profile}, for ui.perfetto.dev or TensorBoard")
    return 0


def start(
    config: Config, folder: Path, own: Path | None, init: str | None, log: str | None, command: str, started: float
) -> int:
    """Train a run from the first step.

    Args:
        config: the run's config.
        folder: the run's folder.
        own: the user's file that the config came from, if any.
        init: the initial weights; None: those that the seed draws.
        log: an additional log of the metrics: `tensorboard`.
        command: the command line, for `run.json`.
        started: the clock's reading when the command began.

    Returns:
        The exit status.
    """
    caught = catch_signals()
    _check_log(log)
    model = None if init is None else initial_weights.load(config, init)
    weights = None if model is None else digest_weights(model)
    data = load(config.data)
    recipe, compiling = _compile(config, data, folder.parent)
    console.introduce(config, data)
    if weights is not None:
        console.say(f"begins from the weights of {init} ({weights[:12]})")
    state = loop.first_state(recipe, config.seed, model)  # early, as later code waits for it
    with _only_writer(folder):
        if (folder / CONFIG).exists():  # since the command line was checked
            raise InputError(f"{folder}: another process has written a run into it; name another")
        record = make_record(config, data, own, weights)
        # Given weights cannot be drawn again from a seed, so save them. A killed start may have left others.
        shutil.rmtree(folder / run_folder.CHECKPOINTS, ignore_errors=True)
        if weights is not None:
            checkpoint.save(folder / run_folder.CHECKPOINTS, config, state, NO_TIME | {"lines": []})
        run_folder.begin(folder, config, describe_run(config, record, command) | {"log": log})
        return _train_with_progress(config, folder, own, data, compiling, state, NO_TIME, started, caught)


def resume(folder: Path, config: Config, own: Path | None, command: str, started: float) -> int:
    """Resume a run from its newest intact checkpoint, or from its first step if it has none.

    Args:
        folder: the run's folder.
        config: the run's config; it may set other devices than the folder's.
        own: the user's file that the config came from, if any.
        command: the command line, added to `run.json` if it changes the run.
        started: the clock's reading when the command began.

    Returns:
        The exit status.

    Raises:
        InputError: if anything that decides the run has changed since it began.
    """
    caught = catch_signals()
    with _only_writer(folder):
        data = load(config.data)
        recipe, compiling = _compile(config, data, folder)
        then = run_folder.read_json(folder / run_folder.RUN)
        saved = checkpoint.steps(folder / run_folder.CHECKPOINTS)
        if not saved and (folder / run_folder.SUMMARY).exists():
            raise InputError(
                f"{folder}: finished, and without checkpoints to go on from; start a new run from its weights: "
                f"--init {folder}"
            )
        _check_log(then.get("log"))
        init = then.get("settings", {}).get("init")
        if changed := differences(then, make_record(config, data, own, init)):
            files = [name for name in then.get("sources", {}) if name.endswith(".py")]
            if own is None and files:
                raise InputError(
                    f"{folder}: its config came from a .py file of yours; give that, too: --config FILE.py "
                    f"({', '.join(files)})"
                )
            raise InputError(
                f"{folder}: {'; '.join(changed)} since the run began, so it would not end with the same bits; "
                "undo the change, or start a new run"
            )
        state, spent, refused, lines = None, NO_TIME, (), []
        if saved:
            state, kept, refused = checkpoint.restore(folder / run_folder.CHECKPOINTS, config)
            spent, lines = {name: kept[name] for name in NO_TIME}, kept["lines"]
        elif init is not None:
            raise InputError(
                f"{folder}: its checkpoints are gone, and the weights that it began from with them; "
                "start a new run with --init"
            )
        step = 0 if state is None else int(state.step)
        console.introduce(config, data)
        for line in refused:
            console.say(f"{line}; an older one is used")
        console.say(f"resumed at step {step:,} of {recipe.steps:,}")
        if read_config(folder) != config:
            run_folder.reopen(folder, config, then | {"command": f"{then['command']} && {command}"})
        restore_metrics(folder, lines)
        return _train_with_progress(config, folder, own, data, compiling, state, spent, started, caught)


def restore_metrics(folder: Path, lines: list[dict[str, Any]]) -> None:
    """Restore a run's metrics to those of its checkpoint, and report it if they differed."""
    try:
        logged = run_folder.read_lines(folder)[: len(lines)]
    except InputError as error:
        console.say(f"{error}; restored from the checkpoint")
    else:
        if json.dumps(logged) != json.dumps(lines):  # as a loss may be NaN, which is unequal to itself
            console.say(f"{folder / run_folder.METRICS}: altered; restored from the checkpoint")
    run_folder.write_lines(folder, lines)


def _compile(config: Config, data: Data, folder: Path | None) -> tuple[Recipe, Future]:
    """Return a run's recipe, and its program, which is compiled in the background.

    A config that cannot be trained, or whose run the folder cannot hold, is refused before anything is written.
    """
    n = len(data.train.labels)
    resources.check([config], n)
    if folder is not None:
        checkpoints = resources.CHECKPOINT_BYTES * count_parameters(config.model)
        resources.check_folder(folder, checkpoints + resources.storage(config, len(data.test.labels)))
    return make_recipe(config, n), loop.in_background(loop.compile_program, config, n)


def _train_with_progress(
    config: Config,
    folder: Path,
    own: Path | None,
    data: Data,
    compiling: Future,
    state: TrainState | None,
    spent: dict[str, float],
    started: float,
    caught: list[int],
) -> int:
    """Train to the end or until a signal, show the progress, and return the exit status."""
    recipe = make_recipe(config, len(data.train.labels))
    model = abstract_model(config.model)
    evaluation = loop.in_background(compile_evaluation, config.data, model)  # to fill XLA's cache
    from experiments.report import html  # Matplotlib loads while XLA compiles

    log = None
    if (run := run_folder.read_json(folder / run_folder.RUN)).get("log") is not None:
        from experiments.report.tensorboard import Log  # needs the extra `tensorboard`

        log = Log(folder, run, run_folder.read_lines(folder))

    first, estimated = 0 if state is None else int(state.step), False
    alone = False  # whether the last steps ran without a compilation beside them, which halves their speed
    epochs = -(-recipe.steps // recipe.steps_per_epoch)
    split = "validation" if config.data.validation else "test"
    with console.progress() as bar:
        task = bar.add_task("compiling", total=recipe.steps, completed=first, note="")
        for chunk, loss, scores, finished in train_runs(
            config,
            {config.seed: folder},
            data,
            RUN,
            program=compiling,
            state=state,
            spent=spent,
            started=started,
            caught=caught,
        ):
            if finished is not None:
                bar.stop()
                html.write(finished[0], data)
                if log is not None:
                    log.finish(finished[0])
                console.results(finished[0])
                continue
            assert chunk is not None
            if alone and not estimated and chunk.is_timing(recipe.steps) and chunk.step < recipe.steps:
                console.estimate(recipe.steps - first, chunk.seconds / chunk.steps, config.training.epochs)
                estimated = True
            alone = evaluation.done()
            epoch = f"{-(-chunk.step // recipe.steps_per_epoch)}/{epochs}"
            note = f"loss {loss:.4f}  {chunk.steps * recipe.batch_size / chunk.seconds:,.0f} images/s"
            description = f"epoch {epoch}" if chunk.step < recipe.steps else "testing"
            bar.update(task, completed=chunk.step, description=description, note=note)
            if scores is not None:
                console.epoch_line(epoch, split, scores[0])
                if log is not None:
                    log.add(run_folder.read_lines(folder)[-1])
            if chunk.signal and chunk.step < recipe.steps:
                bar.stop()
                resume = ["python", "-m", "experiments.run", "--resume", str(folder)]
                resume += [] if own is None else ["--config", str(own)]
                console.say(f"stopped at step {chunk.step:,}; go on with: {shlex.join(resume)}")
                return 128 + chunk.signal
    return 0


def _check_log(log: str | None) -> None:
    """Check that the package that logs the metrics is installed."""
    if log is not None and importlib.util.find_spec("tensorboardX") is None:
        raise InputError("--log tensorboard: needs tensorboardX; pip install -e '.[tensorboard]'")


@contextlib.contextmanager
def _only_writer(folder: Path) -> Iterator[None]:
    """Lock the run's folder; raise InputError at once if another process holds it."""
    lock = filelock.FileLock(folder / run_folder.LOCK)
    with writing(folder), contextlib.suppress(filelock.Timeout):
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    if not lock.is_locked:
        raise InputError(f"{folder}: another process is writing to this run; wait for it, or name another")
    for partial_file in folder.glob(f"*{PARTIAL}"):  # left by a killed process
        partial_file.unlink()
    try:
        yield
    finally:
        lock.release()
