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
from experiments.training.plan import Stop
from experiments.training.pool import WAITING
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
    """Print device, data, the parameters of each layer, and the total of multiply-adds."""
    config, versions = experiment.config, experiment.record["versions"]
    on = cores_of(hardware(), cores())
    others = layers_in_other_types(experiment.model, config.model.dtype)
    dtype = f"{config.model.dtype}{' except in ' if others else ''}{', '.join(others)}"
    say(f"{config.name}, seed {config.seed}, {dtype}, on {on}, jax {versions['jax']}")
    sizes = [
        f"{len(split.labels):,} {name}"
        for name, split in experiment.data._asdict().items()
    ]
    few = (
        f"; trained on {config.data.train_images:,} of them"
        if config.data.train_images
        else ""
    )
    say(f"{config.data.source}: {', '.join(sizes)} images{few}")
    table = Table("layer", "parameters", box=None, header_style="bold")
    table.columns[1].justify = "right"
    for row in layer_rows(experiment.layers):
        table.add_row(*row)
    console.print(table)
    shift = config.data.test_shift
    shifted = f", with data.test_shift={shift}" if shift else ""
    say(
        f"{experiment.multiply_adds:,} multiply-adds for one image and one number{shifted}"
    )
    if config.name == "base":
        say(
            "This is a small network. --config reference trains the original one, which has 6,384,925 parameters."
        )


def layer_rows(layers: dict[str, int]) -> list[tuple[str, str]]:
    """Return the cells of the table of parameters by layer, with the total in its last row."""
    rows = layers | {"total": sum(layers.values())}
    return [(layer, f"{number:,}") for layer, number in rows.items()]


def estimate(steps: int, stop: Stop) -> None:
    """Print the estimated duration of a whole run, from the time of the steps before a stop."""
    step = stop.seconds / stop.steps
    say(
        f"estimated duration: {duration(steps * step)} of training ({steps:,} steps of {step * 1e3:.1f} ms)"
    )


class RunProgress(Progress):
    """A progress bar with epoch, loss, images/s and time left, plus a line per epoch; only lines without a terminal."""

    def __init__(self, experiment: Experiment, first: int):
        description, note = (
            TextColumn("{task.description}"),
            TextColumn("steps  {task.fields[note]}"),
        )
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
        if not self.estimated and stop.is_timing(spec.steps) and stop.step < spec.steps:
            estimate(spec.steps - self.first, stop)
            self.estimated = True
        epoch = f"{stop.step / spec.steps_per_epoch:.3g} of {spec.steps / spec.steps_per_epoch:.3g}"
        note = f"loss {run.train_loss:.4f}  {stop.steps * spec.batch_size / stop.seconds:,.0f} images/s"
        description = f"epoch {epoch}" if stop.step < spec.steps else "testing"
        self.update(
            self.task_ids[0], completed=stop.step, description=description, note=note
        )
        if stop.is_evaluation:
            loss = (run.scores["digit_loss"] + run.scores["sum_loss"]) / 2
            say(
                f"epoch {epoch}  {evaluated_split(config)}: average loss {loss:.4f}, {accuracies(run.scores)}"
            )


def results(finished: Finished) -> None:
    """Print the final table."""
    console.print(score_table("test", finished.summary["test"]))
    say(f"trained in {duration(finished.summary['train_seconds'])}")


class RunsProgress(Progress):
    """How many runs are done and running, and the time left: a bar in a terminal, ever rarer lines elsewhere."""

    def __init__(self, work: Mapping[Any, float], done: int):
        """Begin to show runs.

        Args:
            work: of each run that is missing, in any unit.
            done: how many runs exist.
        """
        super().__init__(BarColumn(20), TextColumn("{task.description}"), **BAR)
        self.task = self.add_task("", total=sum(work.values()))
        self.work, self.done = dict(work), done
        # of each run that has begun: how much is done
        self.shares: dict[Any, float] = {}
        self.parallel = 1  # runs at a time
        # of the program, and of the first run's training
        self.loaded = self.began = time.monotonic()
        self.next_line = self.loaded + FIRST_LINE
        self.show({})

    def show(self, shares: Mapping[Any, float]) -> str:
        """Show how much of each of these runs is done, from 0 to 1, or WAITING; return what is shown."""
        self.shares.update(shares)
        now, found = time.monotonic(), list(self.shares.values())
        running = [run for run, share in self.shares.items() if 0 <= share < 1]
        left = {
            run: work * (1 - max(self.shares.get(run, 0), 0))
            for run, work in self.work.items()
        }
        done = sum(self.work.values()) - sum(left.values())
        if not done:
            self.began = now
        self.parallel = max(self.parallel, len(running))
        text = f"{self.done + found.count(1)} of {self.done + len(self.work)} runs done"
        text += f", {len(running)} running" if running else ""
        text += (
            f", {found.count(WAITING)} waiting for another program"
            if WAITING in found
            else ""
        )
        if running and now - self.began > SETTLED:
            # it goes on when all others have ended
            longest = max(left[run] for run in running)
            needed = max(sum(left.values()), longest * self.parallel)
            text += f", about {duration(needed * (now - self.began) / done)} left"
        self.update(self.task, completed=done, description=text)
        if now > self.next_line and not console.is_terminal:
            self.next_line = now + (now - self.loaded) / 2
            say(text)
        return text

    def finish(self, run: Any, existed: bool) -> None:
        """Count a run as done, whether it was trained here or by another program."""
        if existed:
            self.drop(run)
            self.done += 1
        else:
            self.show({run: 1})

    def drop(self, run: Any) -> None:
        """Leave out a run that was not trained here."""
        for known in (self.work, self.shares):
            known.pop(run, None)


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
