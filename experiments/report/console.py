"""What runs print: progress bars and tables in a terminal, plain lines elsewhere."""

from collections.abc import Sequence
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from experiments.training.fit import Run, Stop, evaluated_split
from experiments.training.folder import Finished
from experiments.training.record import Experiment, cores, cores_of, hardware
from mnistsum.app.console import console, say, score_table
from mnistsum.models.summary import Row

BAR: Any = {"console": console, "transient": True, "disable": not console.is_terminal}  # hidden without a terminal


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
    for row in layer_rows(experiment.layers):
        table.add_row(*row)
    console.print(table)
    if config.name == "base":
        say("This is a small network. --config reference trains the original one, which has 6,384,925 parameters.")


def layer_rows(layers: Sequence[Row]) -> list[list[str]]:
    """Return the cells of the table of layers, with the total in its last row."""
    total = Row("total", "", (), sum(row.parameters for row in layers), sum(row.multiply_adds for row in layers))
    return [
        [row.name, row.kind, "x".join(map(str, row.shape))]
        + [f"{number:,}" if number else "" for number in (row.parameters, row.multiply_adds)]
        for row in (*layers, total)
    ]


def estimate(steps: int, stop: Stop) -> None:
    """Print the estimated duration of a whole run, from the time of the steps before a stop."""
    step = stop.seconds / stop.steps
    say(f"estimated duration: {duration(steps * step)} of training ({steps:,} steps of {step * 1e3:.1f} ms)")


class RunProgress(Progress):
    """A progress bar with epoch, loss, images/s and time left, plus a line per epoch; only lines without a terminal."""

    def __init__(self, experiment: Experiment, first: int):
        description, note = TextColumn("{task.description}"), TextColumn("steps  {task.fields[note]}")
        super().__init__(description, BarColumn(), MofNCompleteColumn(), note, TimeRemainingColumn(compact=True), **BAR)
        self.experiment, self.first, self.estimated, self.was_alone = experiment, first, False, False
        self.add_task("compiling", total=experiment.spec.steps, completed=first, note="")

    def show(self, stop: Stop, run: Run) -> None:
        """Show where a run stands."""
        spec, config = self.experiment.spec, self.experiment.config
        if self.was_alone and not self.estimated and stop.is_timing(spec.steps) and stop.step < spec.steps:
            estimate(spec.steps - self.first, stop)
            self.estimated = True
        self.was_alone = stop.is_alone
        epoch = f"{stop.step / spec.steps_per_epoch:.3g} of {spec.steps / spec.steps_per_epoch:.3g}"
        note = f"loss {run.train_loss:.4f}  {stop.steps * spec.batch_size / stop.seconds:,.0f} images/s"
        description = f"epoch {epoch}" if stop.step < spec.steps else "testing"
        self.update(self.task_ids[0], completed=stop.step, description=description, note=note)
        if stop.is_evaluation:
            loss = (run.scores["digit_loss"] + run.scores["sum_loss"]) / 2
            say(f"epoch {epoch}  {evaluated_split(config)}: average loss {loss:.4f}, {accuracies(run.scores)}")


def results(finished: Finished) -> None:
    """Print the final table."""
    console.print(score_table("test", finished.summary["test"]))
    say(f"trained in {duration(finished.summary['train_seconds'])}")


def runs_progress() -> Progress:
    """Return a progress bar over the runs of a comparison."""
    description = TextColumn("runs  {task.description}")
    return Progress(MofNCompleteColumn(), BarColumn(), description, TimeRemainingColumn(), **BAR)


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
