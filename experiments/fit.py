"""A run from start to end: trained in one compiled program that stops about once a second, tested, written down."""

import contextlib
import json
import os
import shlex
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import filelock
import jax
import numpy as np

from experiments import environment, screen
from experiments.stops import MEASURED, stops, tells_speed
from mnistsum import checkpoint
from mnistsum.config import Config, InputError, to_json
from mnistsum.data import load
from mnistsum.evaluation import compile_answer, evaluate, score
from mnistsum.models.summary import count_multiply_adds, count_parameters
from mnistsum.train import (
    compile_advance,
    init_state,
    non_finite,
    program,
    split_keys,
    steps_per_epoch,
    total_steps,
    trained_model,
)
from mnistsum.types import Data, TrainState

LOCK = ".lock"  # in a run's folder
NO_TIME = {"train_seconds": 0.0, "wall_seconds": 0.0}
SAVE_EVERY = 60.0  # seconds at most between two checkpoints; each epoch ends with one, too


def _catch_signals() -> list[int]:
    """A list that the first SIGINT or SIGTERM is put into; a second one ends the process at once.

    A thread listens, as Python's own handlers wait for a compilation or a step to end.
    """
    caught: list[int] = []
    receiver, sender = socket.socketpair()
    sender.setblocking(False)

    def listen(sender=sender):  # which must live as long as the thread does
        caught.append(receiver.recv(1)[0])
        second = receiver.recv(1)[0]
        screen.console.show_cursor()
        os._exit(128 + second)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    signal.set_wakeup_fd(sender.fileno())
    threading.Thread(target=listen, daemon=True).start()
    return caught


def preview(config: Config, profile: Path | None) -> int:
    """Prints what a run would do and how long it would take; writes a trace of a second of training if asked to."""
    data = load(config.data)
    n = len(data.train.labels)
    total = total_steps(config, n)
    compiling = environment.in_background(compile_advance, program(config), n)
    screen.introduce(config, data)
    state = init_state(program(config), split_keys(config.seed), n)
    run = stops(config, compiling.result(), state, data.train, pause=2 * MEASURED)
    stop = next(stop for stop in run if tells_speed(stop, total))
    screen.estimate(total, stop.seconds / stop.steps, config.training.epochs)
    if profile is not None and stop.step < total:
        with jax.profiler.trace(str(profile)):
            traced = next(run)
        screen.console.print(
            f"a trace of {traced.steps} steps in {profile}, for ui.perfetto.dev or TensorBoard", markup=False
        )
    return 0


def _leads() -> bool:
    """Whether this process writes and prints for all that train together."""
    return jax.process_index() == 0


@contextlib.contextmanager
def _only_writer(folder: Path) -> Iterator[None]:
    """Holds the run's folder for this run; InputError, at once, where another one has it."""
    if not _leads():
        yield
        return
    lock = filelock.FileLock(folder / LOCK)
    with checkpoint.writing(folder), contextlib.suppress(filelock.Timeout):
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    if not lock.is_locked:
        raise InputError(f"{folder}: another process is writing to this run; wait for it, or name another")
    try:
        yield
    finally:
        lock.release()


def start(config: Config, folder: Path, started: float) -> int:
    """A run from the first step; the exit status."""
    caught = _catch_signals()
    checkpoint.check_path(folder)
    data = load(config.data)
    n = len(data.train.labels)
    total_steps(config, n)  # refuses a batch larger than the data before anything is written
    compiling = environment.in_background(compile_advance, program(config), n)
    screen.introduce(config, data)
    state = init_state(program(config), split_keys(config.seed), n)
    with _only_writer(folder):
        if _leads():
            if (folder / "config.json").exists():  # since the command line was looked at
                raise InputError(f"{folder}: another process has written a run into it; name another")
            _write_json(folder / "run.json", _describe(config))
            _write(folder / "metrics.jsonl", "")
            _write(folder / "config.json", to_json(config))  # from here on, --resume goes on
        return _go_on(config, data, compiling, state, dict(NO_TIME), folder, started, caught)


def resume(folder: Path, config: Config, started: float) -> int:
    """A run from its newest sound checkpoint, or from its first step where it never came to one; the exit status."""
    caught = _catch_signals()
    checkpoint.check_path(folder)
    with _only_writer(folder):
        data = load(config.data)
        compiling = environment.in_background(compile_advance, program(config), len(data.train.labels))
        if checkpoint.steps(folder / "checkpoints"):
            state, clock, refused = checkpoint.restore(folder / "checkpoints", config)
        else:
            state, clock, refused = (
                init_state(program(config), split_keys(config.seed), len(data.train.labels)),
                NO_TIME,
                (),
            )
        total = total_steps(config, len(data.train.labels))
        screen.introduce(config, data)
        for line in refused:
            screen.console.print(f"{line}; the checkpoint before it is used", markup=False)
        screen.console.print(f"resumed at step {int(state.step):,} of {total:,}")
        if _leads():
            done = [line for line in _read_metrics(folder) if line["step"] <= int(state.step)]
            _write(folder / "metrics.jsonl", "".join(json.dumps(line) + "\n" for line in done))
        return _go_on(config, data, compiling, state, clock, folder, started, caught)


def _go_on(
    config: Config,
    data: Data,
    compiling: Future,
    state: TrainState,
    clock: dict[str, float],
    folder: Path,
    started: float,
    caught: list[int],
) -> int:
    """Trains to the end, or to a signal; returns the exit status."""
    n = len(data.train.labels)
    total, per_epoch = total_steps(config, n), steps_per_epoch(config, n)
    held_out, split = (data.validation, "validation") if config.data.validation else (data.test, "test")
    first, earlier, train_seconds, estimated = int(state.step), clock["wall_seconds"], clock["train_seconds"], False
    saved, signal_sent = time.perf_counter(), 0

    def now() -> dict[str, float]:
        return {"train_seconds": train_seconds, "wall_seconds": earlier + time.perf_counter() - started}

    environment.in_background(compile_answer, config.data, jax.eval_shape(trained_model, state))  # into XLA's cache
    from experiments import plots  # noqa: F401 - Matplotlib loads while XLA compiles

    epochs = -(-total // per_epoch)
    with screen.progress() as bar:
        task = bar.add_task("compiling", total=total, completed=int(state.step), note="")
        for stop in stops(config, compiling.result(), state, data.train, caught):
            state, signal_sent = stop.state, stop.signal
            if fault := non_finite(state):
                raise FloatingPointError(
                    f"{fault}; it was not saved; a lower optimizer.learning_rate or an optimizer.clip_norm may help"
                )
            train_seconds += stop.seconds
            if not estimated and tells_speed(stop, total):
                screen.estimate(total - first, stop.seconds / stop.steps, config.training.epochs)
                estimated = True
            epoch = f"{-(-stop.step // per_epoch)}/{epochs}"
            loss = float(state.metrics.loss) / int(state.metrics.examples)
            note = f"loss {loss:.4f}  {stop.steps * config.training.batch_size / stop.seconds:,.0f} images/s"
            bar.update(task, completed=stop.step, description=f"epoch {epoch}", note=note)
            if stop.ends_epoch:
                scores = score(evaluate(config.data, trained_model(state), held_out), held_out.labels)
                screen.epoch_line(epoch, split, scores)
                line = {"epoch": stop.step / per_epoch, "step": stop.step, "train": _means(state)}
                line |= {split: _headline(scores), "clock": now()}
                if _leads():
                    lines = [*_read_metrics(folder), line]
                    _write(folder / "metrics.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
            if stop.ends_epoch or stop.signal or time.perf_counter() - saved > SAVE_EVERY:
                if _leads():
                    checkpoint.save(folder / "checkpoints", config, state, now())
                saved = time.perf_counter()
            if stop.signal and stop.step < total:
                break
    if signal_sent:
        screen.console.print(
            f"stopped at step {int(state.step):,}; go on with: "
            f"python -m experiments.run --resume {shlex.quote(str(folder))}"
        )
        return 128 + signal_sent
    if _leads():
        _finish(config, data, state, now, folder)
    return 0


def _finish(config: Config, data: Data, state: TrainState, now, folder: Path) -> None:
    """Reads the test set, and writes predictions, summary, pictures and report."""
    from experiments import plots, report

    evaluation = evaluate(config.data, trained_model(state), data.test)
    test = score(evaluation, data.test.labels)
    lines = _read_metrics(folder)
    with checkpoint.writing(folder):
        np.savez(folder / "predictions.npz", digit=evaluation.digit, sum=evaluation.sum)
        plots.curves(lines).savefig(folder / "curves.png")
        plots.confusion(evaluation, data.test.labels).savefig(folder / "confusion.png")
        plots.examples(evaluation, data.test).savefig(folder / "examples.png")
    run = json.loads((folder / "run.json").read_text())
    summary = {
        "config": config.name,
        "dataset": config.data.name,
        "seed": config.seed,
        "parameters": run["parameters"],
        "multiply_adds": run["multiply_adds"],
        "epochs": config.training.epochs,
        "steps": int(state.step),
        **now(),
        "device": run["device"],
        **({"validation": lines[-1]["validation"]} if config.data.validation else {}),
        "test": test._asdict(),
    }
    _write_json(folder / "summary.json", summary)
    _write(folder / "report.html", report.render(config, summary, run, folder))
    screen.results(test, summary["train_seconds"], str(folder))


def _describe(config: Config) -> dict[str, Any]:
    run = environment.describe()
    run["parameters"] = count_parameters(config.model)
    run["multiply_adds"] = count_multiply_adds(config.model)
    run["clock"] = {"started": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
    return run


def _means(state: TrainState) -> dict[str, float]:
    examples = int(state.metrics.examples)
    return {
        "loss": float(state.metrics.loss) / examples,
        "digit_accuracy": int(state.metrics.digit_correct) / examples,
        "sum_accuracy": int(state.metrics.sum_correct) / examples,
    }


def _headline(scores) -> dict[str, float]:
    return {name: value for name, value in scores._asdict().items() if isinstance(value, float | int)}


def _read_metrics(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def _write_json(path: Path, value: Any) -> None:
    _write(path, json.dumps(value, indent=2) + "\n")


def _write(path: Path, text: str) -> None:
    """Writes a whole file or leaves the one that was there."""
    partial = path.with_name(f"{path.name}.partial")
    with checkpoint.writing(path):
        partial.write_text(text)
        partial.replace(path)
