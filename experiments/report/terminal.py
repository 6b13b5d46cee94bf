"""What runs print: progress bars and tables in a terminal, plain lines elsewhere."""

import time
from collections.abc import Mapping
from typing import Any

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from experiments.cli import cores
from experiments.training.fit import Run
from experiments.training.folder import Finished, evaluated_split
from experiments.training.plan import WAITING, Stop
from experiments.training.record import Experiment, cores_of, hardware
from mnistsum.app.console import console, say, score_table
from mnistsum.models import layers_in_other_types

# hidden without a terminal
BAR: Any = {"console": console, "transient": True, "disable": not console.is_terminal}

SETTLED = 2.0  # seconds of training before the time left is told
# Seconds until the first progress line; the next come whenever the elapsed time has
# grown by half.
FIRST_LINE = 20.0


def introduce(experiment: Experiment) -> None:
    """Print device, data, parameters by layer, and multiply-adds."""
    config, versions = experiment.config, experiment.record["versions"]
    on = cores_of(hardware(), cores())
    others = layers_in_other_types(experiment.model, config.model.dtype)
    dtype = f"{config.model.dtype}{' except in ' if others else ''}{', '.join(others)}"
    say(f"{config.name}, seed {config.seed}, {dtype}, on {on}, jax {versions['jax']}")
    sizes = [
        f"{len(split.labels):,} {name}"
        for name, split in experiment.data._asdict().items()
    ]
    few = ""
    if config.data.train_images:
        few = f"; trained on {config.data.train_images:,} of them"
    say(f"{config.data.source}: {', '.join(sizes)} images{few}")
    table = Table("layer", "parameters", box=None, header_style="bold")
    table.columns[1].justify = "right"
    for row in layer_rows(experiment.layers):
        table.add_row(*row)
    console.print(table)
    shift = config.data.test_shift
    shifted = f", with data.test_shift={shift}" if shift else ""
    say(
        f"{experiment.multiply_adds:,} multiply-adds for one image and one "
        f"number{shifted}"
    )


def layer_rows(layers: dict[str, int]) -> list[tuple[str, str]]:
    """Return the cells of the table of parameters by layer, and their total."""
    rows = layers | {"total": sum(layers.values())}
    return [(layer, f"{number:,}") for layer, number in rows.items()]


def estimate(steps: int, stop: Stop) -> None:
    """Print the estimated duration of a run, from the steps before a stop."""
    step = stop.seconds / stop.steps
    say(
        f"estimated duration: {duration(steps * step)} of training ({steps:,} steps of "
        f"{step * 1e3:.1f} ms)"
    )


class RunProgress(Progress):
    """A progress bar, plus a line for each epoch; only lines without a terminal."""

    def __init__(self, experiment: Experiment, first: int):
        description = TextColumn("{task.description}")
        note = TextColumn("steps  {task.fields[note]}")
        super().__init__(
            description,
            BarColumn(),
            MofNCompleteColumn(),
            note,
            TimeRemainingColumn(compact=True),
            **BAR,
        )
        self.experiment, self.first, self.estimated = experiment, first, False
        self.add_task(
            "compiling", total=experiment.spec.steps, completed=first, note=""
        )

    def show(self, stop: Stop, run: Run) -> None:
        """Show where a run stands."""
        spec, config = self.experiment.spec, self.experiment.config
        if not self.estimated and stop.is_timing and stop.step < spec.steps:
            estimate(spec.steps - self.first, stop)
            self.estimated = True
        now, end = (step / spec.steps_per_epoch for step in (stop.step, spec.steps))
        epoch = f"{now:.3g} of {end:.3g}"
        speed = stop.steps * spec.batch_size / stop.seconds
        note = f"loss {run.train_loss:.4f}  {speed:,.0f} images/s"
        description = f"epoch {epoch}" if stop.step < spec.steps else "testing"
        self.update(
            self.task_ids[0], completed=stop.step, description=description, note=note
        )
        if stop.is_evaluation:
            loss = (run.scores["digit_loss"] + run.scores["sum_loss"]) / 2
            say(
                f"epoch {epoch}  {evaluated_split(config)}: average loss {loss:.4f}, "
                f"{accuracies(run.scores)}"
            )


def results(finished: Finished) -> None:
    """Print the final table."""
    console.print(score_table("test", finished.summary["test"]))
    say(f"trained in {duration(finished.summary['train_seconds'])}")


class RunsProgress(Progress):
    """How many runs are done and running, and the time left.

    It is a bar in a terminal, and ever rarer lines elsewhere.
    """

    def __init__(self, work: Mapping[Any, float], done: int):
        """Begin to show runs.

        Args:
            work: of each run that is missing, in any unit.
            done: how many runs exist.
        """
        super().__init__(BarColumn(20), TextColumn("{task.description}"), **BAR)
        self.task = self.add_task("", total=sum(work.values()))
        self.work, self.existing = dict(work), done
        self.shares: dict[Any, float] = {}  # done of each run that has begun
        self.parallel = 1  # runs at a time
        # of the program, and of the first run's training
        self.loaded = self.began = time.monotonic()
        self.next_line = self.loaded + FIRST_LINE
        self.show({})

    def show(self, shares: Mapping[Any, float]) -> str:
        """Show how much of each of these runs is done, from 0 to 1, or WAITING.

        Returns:
            What is shown.
        """
        self.shares.update(shares)
        now = time.monotonic()
        text = self._counts() + self._time_left(now)
        self.update(self.task, completed=self._work_done(), description=text)
        if now > self.next_line and not console.is_terminal:
            self.next_line = now + (now - self.loaded) / 2
            say(text)
        return text

    def finish(self, run: Any, existed: bool) -> None:
        """Count a run as done, whether it was trained here or by another program."""
        if existed:
            self.drop(run)
            self.existing += 1
        else:
            self.show({run: 1})

    def drop(self, run: Any) -> None:
        """Leave out a run that was not trained here."""
        for known in (self.work, self.shares):
            known.pop(run, None)

    def _running(self) -> list[Any]:
        return [run for run, share in self.shares.items() if 0 <= share < 1]

    def _counts(self) -> str:
        """Say how many runs are done, running and waiting."""
        found, running = list(self.shares.values()), len(self._running())
        done, waiting = self.existing + found.count(1), found.count(WAITING)
        text = f"{done} of {self.existing + len(self.work)} runs done"
        text += f", {running} running" if running else ""
        text += f", {waiting} waiting for another program" if waiting else ""
        return text

    def _work_done(self) -> float:
        return sum(self.work[run] * max(share, 0) for run, share in self.shares.items())

    def _time_left(self, now: float) -> str:
        """Say how long the other runs take, once some training has been timed."""
        running, done = self._running(), self._work_done()
        self.parallel = max(self.parallel, len(running))
        if not done:
            self.began = now
        if not running or now - self.began <= SETTLED:
            return ""
        # the longest goes on when all others have ended
        longest = max(self.work[run] * (1 - self.shares[run]) for run in running)
        needed = max(sum(self.work.values()) - done, longest * self.parallel)
        return f", about {duration(needed * (now - self.began) / done)} left"


def run_line(name: str, seed: int, summary: dict[str, Any], reused: bool) -> None:
    """Print the accuracies of a finished run of a comparison or a search."""
    how = f"{summary['train_seconds']:.1f} s{' (reused)' if reused else ''}"
    failed = f", failed: {summary['failure']}" if summary["failure"] else ""
    scores = summary["test"] if "test" in summary else summary["validation"]
    say(f"{name}, seed {seed}: {accuracies(scores)}, {how}{failed}")


def duration(seconds: float) -> str:
    """Return a duration in readable units."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def accuracies(scores: dict[str, Any]) -> str:
    """Return both accuracies as text."""
    return f"digit {scores['digit_accuracy']:.2%}, sum {scores['sum_accuracy']:.2%}"
