"""The terminal output of a run; plain lines if there is no terminal."""

from typing import Any

from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from experiments import environment
from experiments.run_folder import Finished
from mnistsum.app.console import console, score_table
from mnistsum.app.errors import printable
from mnistsum.config import Config
from mnistsum.devices import count_devices
from mnistsum.evaluation import Scores
from mnistsum.models.summary import count_multiply_adds, count_parameters, summarize
from mnistsum.types import Data

FAULTY_JAXLIB = "0.10.2"  # the jaxlib release whose fault tests/proofs/test_full_size.py shows


def say(text: str) -> None:
    """Print a line as it is."""
    console.print(printable(text), markup=False)


def show(table: Table) -> None:
    """Print a table."""
    console.print(table)


def introduce(config: Config, data: Data) -> None:
    """Print device, data and the table of layers."""
    sizes = [f"{len(split.labels):,} {name}" for name, split in zip(data._fields, data, strict=True)]
    devices = count_devices(config)
    on = environment.device() if devices == 1 else f"{devices} devices of {environment.device()}"
    console.print(f"[bold]{config.name}[/bold], seed {config.seed}, on {on} (jax {environment.version('jax')})")
    few = f"; trained on {config.data.train_images:,} of them" if config.data.train_images else ""
    console.print(f"{config.data.name}: {', '.join(sizes)} images{few}")
    table = Table("layer", "kind", "output", "parameters", "multiply-adds", box=None, header_style="bold")
    for column in table.columns[2:]:
        column.justify = "right"
    for row in summarize(config.model):
        numbers = [f"{number:,}" if number else "" for number in (row.parameters, row.multiply_adds)]
        table.add_row(row.name, row.kind, "x".join(map(str, row.shape)), *numbers)
    table.add_section()
    table.add_row(
        "total", "", "", f"{count_parameters(config.model):,}", f"{count_multiply_adds(config.model):,}", style="bold"
    )
    console.print(table)
    if config.name == "base":
        console.print("The write-up's network of 6,384,925 parameters is --config reference.")
    if config.model.own_files() and environment.version("jaxlib") == FAULTY_JAXLIB and environment.device() == "cpu":
        console.print(
            f"jaxlib {FAULTY_JAXLIB} miscompiles some reductions of large matrix products for CPUs (jax-ml/jax#39103): "
            "none in the networks of mnistsum, perhaps one in yours. Python 3.12 or newer gets a later release."
        )


def estimate(steps: int, seconds_per_step: float, epochs: float) -> None:
    """Print the duration of a whole run, from a few measured steps."""
    console.print(
        f"estimated duration: {duration(steps * seconds_per_step)} of training "
        f"({steps:,} steps of {seconds_per_step * 1e3:.1f} ms, to epoch {epochs:g})"
    )


def progress() -> Progress:
    """Return a bar with epoch, loss, images/s and time left; it is hidden without a terminal."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f}/{task.total:,.0f} steps"),
        TextColumn("{task.fields[note]}"),
        TimeRemainingColumn(compact=True),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def runs_progress() -> Progress:
    """Return a bar over the runs of a comparison, with time left; it is hidden without a terminal."""
    return Progress(
        TextColumn("{task.completed:.0f}/{task.total:.0f} runs"),
        BarColumn(),
        TextColumn("{task.description}"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def run_line(name: str, seed: int, summary: dict[str, Any], reused: bool) -> None:
    """Print a finished run of a comparison."""
    test = summary["test"]
    console.print(
        f"{name}, seed {seed}: digit {test['digit_accuracy']:.2%}, sum {test['sum_accuracy']:.2%}, "
        f"{summary['train_seconds']:.1f} s"
        + (" (reused)" if reused else "")
        + (f", failed: {summary['failure']}" if summary["failure"] else "")
    )


def epoch_line(epoch: str, split: str, scores: Scores) -> None:
    """Print an epoch in the write-up's terms."""
    console.print(
        f"epoch {epoch}  {split}: average loss {(scores.digit_loss + scores.sum_loss) / 2:.4f}, "
        f"digit {scores.digit_accuracy:.2%}, sum {scores.sum_accuracy:.2%}"
    )


def results(finished: Finished) -> None:
    """Print the final table, and where everything was written."""
    console.print(score_table("test", Scores(**finished.summary["test"])))
    say(f"trained in {duration(finished.summary['train_seconds'])}; report and everything else in {finished.folder}")


def duration(seconds: float) -> str:
    """Return a duration in readable units."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"
