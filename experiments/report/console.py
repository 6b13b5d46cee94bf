"""What runs print: progress bars and tables in a terminal, plain lines elsewhere."""

import time
from collections.abc import Mapping
from typing import Any

from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from experiments.cli import cores
from experiments.training.fit import Run
from experiments.training.folder import Finished, evaluated_split
from experiments.training.plan import MIN_TIMED, Stop
from experiments.training.record import Experiment, cores_of, hardware
from mnistsum.app.console import console, say, score_table

WAITING = -1.0  # the share of a run that another program trains
FIRST_LINE = 20.0  # seconds until the first line about the runs; each time, half as many again pass until the next


def introduce(experiment: Experiment) -> None:
    """Print device, data and the table of layers."""
    config, versions = experiment.config, experiment.record["versions"]
    device = hardware() if experiment.spec.devices == 1 else f"{experiment.spec.devices} devices of {hardware()}"
    on = cores_of(device, cores())
    say(f"{config.name}, seed {config.seed}, {config.model.dtype}, on {on}, jax {versions['jax']}")
    sizes = [f"{len(split.labels):,} {name}" for name, split in experiment.data._asdict().items()]
    few = f"; trained on {config.data.train_images:,} of them" if config.data.train_images else ""
    say(f"{config.data.name}: {', '.join(sizes)} images{few}")
    table = Table("layer", "kind", "output", "parameters", "multiply-adds", box=None, header_style="bold")
    for column in table.columns[2:]:
        column.justify = "right"
    for row in experiment.layers:
        numbers = [f"{number:,}" if number else "" for number in (row.parameters, row.multiply_adds)]
        table.add_row(row.name, row.kind, "x".join(map(str, row.shape)), *numbers)
    table.add_section()
    totals = (sum(getattr(row, name) for row in experiment.layers) for name in ("parameters", "multiply_adds"))
    table.add_row("total", "", "", *(f"{total:,}" for total in totals), style="bold")
    console.print(table)
    if config.name == "base":
        say("This is a small network. --config reference trains the original one, which has 6,384,925 parameters.")


def estimate(steps: int, seconds_per_step: float, epochs: float) -> None:
    """Print the estimated duration of a whole run, from the time of a few steps."""
    say(
        f"estimated duration: {duration(steps * seconds_per_step)} of training "
        f"({steps:,} steps of {seconds_per_step * 1e3:.1f} ms, to epoch {epochs:g})"
    )


class RunProgress:
    """A progress bar with epoch, loss, images/s and time left, plus a line per epoch; only lines without a terminal."""

    def __init__(self, experiment: Experiment, first: int):
        self.experiment, self.first, self.estimated = experiment, first, False
        steps = TextColumn("{task.completed:,.0f}/{task.total:,.0f} steps")
        description, note = TextColumn("{task.description}"), TextColumn("{task.fields[note]}")
        self.bar = _bar(description, BarColumn(), steps, note, TimeRemainingColumn(compact=True))
        self.task = self.bar.add_task("compiling", total=experiment.spec.steps, completed=first, note="")

    def __enter__(self):
        self.bar.start()
        return self

    def __exit__(self, *_: object):
        self.bar.stop()

    def update(self, stop: Stop, run: Run) -> None:
        """Show where a run stands."""
        spec, config = self.experiment.spec, self.experiment.config
        if not self.estimated and stop.is_timing(spec.steps) and stop.step < spec.steps:
            estimate(spec.steps - self.first, stop.seconds / stop.steps, config.training.epochs)
            self.estimated = True
        epoch = f"{stop.step / spec.steps_per_epoch:.3g} of {spec.steps / spec.steps_per_epoch:.3g}"
        note = f"loss {run.train_loss:.4f}  {stop.steps * spec.batch_size / stop.seconds:,.0f} images/s"
        description = f"epoch {epoch}" if stop.step < spec.steps else "testing"
        self.bar.update(self.task, completed=stop.step, description=description, note=note)
        if stop.is_evaluation:
            loss = (run.scores["digit_loss"] + run.scores["sum_loss"]) / 2
            say(f"epoch {epoch}  {evaluated_split(config)}: average loss {loss:.4f}, {accuracies(run.scores)}")


def results(finished: Finished) -> None:
    """Print the final table."""
    console.print(score_table("test", finished.summary["test"]))
    say(f"trained in {duration(finished.summary['train_seconds'])}")


class RunsProgress:
    """How many runs are done and running, and the time left: a bar in a terminal, ever rarer lines elsewhere."""

    def __init__(self, work: Mapping[Any, float], done: int):
        """Begin to show runs.

        Args:
            work: of each run that is missing, in any unit.
            done: how many runs exist.
        """
        self.work, self.done = dict(work), done
        self.shares: dict[Any, float] = {}  # done of each run that has begun
        self.began: dict[Any, float] = {}  # when each run took its first steps, and when it ended
        self.ended: dict[Any, float] = {}
        self.parallel, self.start = 1, time.monotonic()
        self.next_line = FIRST_LINE  # seconds after the start
        self.bar = _bar(BarColumn(20), TextColumn("{task.description}"))
        self.task = self.bar.add_task("", total=sum(work.values()))

    def __enter__(self):
        self.update({})
        self.bar.start()
        return self

    def __exit__(self, *_: object):
        self.bar.stop()

    def update(self, shares: Mapping[Any, float]) -> None:
        """Show how much of each of these runs is done, from 0 to 1, or WAITING."""
        now = time.monotonic()
        self.shares.update(shares)
        for run, share in shares.items():
            if 0 < share < 1:
                self.began.setdefault(run, now)
            if share == 1:
                self.ended[run] = now
        text = self.describe(now)
        completed = sum(self.work.values()) - sum(self._left().values())
        self.bar.update(self.task, completed=completed, description=text)
        if now - self.start > self.next_line:
            self.next_line = 1.5 * (now - self.start)
            if not console.is_terminal:
                say(text)

    def drop(self, run: Any) -> None:
        """Leave out a run that was not trained."""
        for known in (self.work, self.shares, self.began):
            known.pop(run, None)

    def describe(self, now: float) -> str:
        """Return how many runs are done, running and waiting, and about how long the others take."""
        running = [run for run, share in self.shares.items() if 0 <= share < 1]
        waiting = sum(share == WAITING for share in self.shares.values())
        text = f"{self.done + len(self.ended)} of {self.done + len(self.work)} runs done"
        text += f", {len(running)} running" if running else ""
        text += f", {waiting} waiting for another program" if waiting else ""
        seconds = sum(self.ended.get(run, now) - began for run, began in self.began.items())
        if not running or seconds < MIN_TIMED:
            return text
        speed = sum(self.work[run] * self.shares[run] for run in self.began) / seconds  # of one run
        self.parallel = max(self.parallel, len(running))
        left = self._left()
        needed = max(sum(left.values()) / self.parallel, *(left[run] for run in running)) / speed
        return f"{text}, about {duration(needed)} left"

    def _left(self) -> dict[Any, float]:
        """Return the work that is left of each run."""
        return {run: work * (1 - max(self.shares.get(run, 0), 0)) for run, work in self.work.items()}


def run_line(name: str, seed: int, summary: dict[str, Any], reused: bool) -> None:
    """Print the accuracies of a finished run of a comparison."""
    how = f"{summary['train_seconds']:.1f} s{' (reused)' if reused else ''}"
    failed = f", failed: {summary['failure']}" if summary["failure"] else ""
    say(f"{name}, seed {seed}: {accuracies(summary['test'])}, {how}{failed}")


def duration(seconds: float) -> str:
    """Return a duration in readable units."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def accuracies(scores: dict[str, Any]) -> str:
    """Return both accuracies as text."""
    return f"digit {scores['digit_accuracy']:.2%}, sum {scores['sum_accuracy']:.2%}"


def _bar(*columns: Any) -> Progress:
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
