"""The figures of a comparison, in Matplotlib.

A page shows them side by side where there is room.
"""

import re
from itertools import chain
from typing import Any

import numpy as np
from matplotlib import color_sequences
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from experiments.cli import short_name
from experiments.report import figures
from experiments.report.figures import (
    PLAIN,
    WIDTH,
    errors,
    label_accuracy,
    label_curves,
    label_log_axis,
    new_panel,
)
from mnistsum.config import FIELDS
from mnistsum.types import OUTPUTS

CONFIG_COLORS = color_sequences["petroff10"]
# what a variant's name says of a field
CHANGE = re.compile(rf"[-+]({'|'.join(map(short_name, FIELDS))})[-=]")


def color(i: int) -> str:
    """Return the color of the i-th config.

    From the eleventh on, the colors repeat at half the brightness.
    """
    red, green, blue = 0.5 ** (i // 10) * np.array(CONFIG_COLORS[i % 10])
    return to_hex((red, green, blue))


def in_words(name: str) -> str:
    """Return a config's name in words, such as "base with adder shift"."""
    return CHANGE.sub(r", \1 ", name).replace(", ", " with ", 1).replace("_", " ")


def intervals(summary: dict[str, Any]) -> Figure:
    """Draw the accuracies of seeds, with means and 95 % intervals.

    Each config is a row, with its name above the bars.

    If pairs are held out, the sums of trained pairs and of held-out pairs have separate
    bars.
    """
    rows = summary["rows"]
    digit, total = figures.OUTPUT_COLORS.values()
    bars = [("digit_accuracy", "digit", digit), ("sum_accuracy", "sum", total)]
    if any(row["sum_accuracy_held_out"]["mean"] is not None for row in rows):
        bars[1:] = [
            ("sum_accuracy_trained_cells", "sum, trained pairs", total),
            ("sum_accuracy_held_out", "sum, held-out pairs", "#009e73"),
        ]
    height = 1.2 + (0.31 + 0.12 * len(bars)) * len(rows)
    figure, axes = new_panel("Test accuracy", WIDTH, height)
    figure.subplots_adjust(left=0.06, right=0.94, bottom=0.7 / height)
    drawn = []
    for i, (measure, _, shade) in enumerate(bars):
        for position, row in enumerate(rows):
            if row[measure]["mean"] is not None:
                drawn.append((row[measure], position + 0.1 + 0.2 * i, shade))
    axes.set(xscale="log", xlim=_worst_and_best([spread for spread, *_ in drawn]))
    axes.set(ylim=(len(rows) - 0.9 + 0.2 * len(bars), -0.4), yticks=[])
    for each in drawn:
        _draw_interval(axes, *each)
    for position, row in enumerate(rows):
        name = in_words(row["config"])
        # variants differ at the end
        name = name if len(name) <= 60 else f"{name[:28]} ... {name[-28:]}"
        axes.text(
            0.01,
            position - 0.12,
            name,
            transform=axes.get_yaxis_transform(),
            fontsize=9,
            va="center",
        )
    label_log_axis(axes.xaxis, label_accuracy)
    axes.spines["left"].set_visible(False)
    for _, label, shade in bars:
        axes.plot([], "o-", color=shade, label=label)
    figure.legend(loc="lower center", ncols=len(bars), frameon=False, fontsize=9)
    return figure


def seed_curves(summary: dict[str, Any]) -> list[Figure]:
    """Draw accuracy and loss by epoch, as mean and range over seeds.

    There are no panels for a single epoch.
    """
    panels: list[Figure] = []
    if min(len(row["curve"]["epoch"]) for row in summary["rows"]) < 2:
        return panels
    for score, shown, unit, label in (
        ("accuracy", errors, "", label_accuracy),
        ("loss", np.array, ", nats", PLAIN),
    ):
        for output in OUTPUTS:
            figure, axes = new_panel(f"{output} {score} by epoch".capitalize())
            for i, row in enumerate(summary["rows"]):
                curve, epochs = row["curve"], row["curve"]["epoch"]
                mean, low, high = (
                    shown(curve[f"{output}_{score}_{part}"])
                    for part in ("mean", "low", "high")
                )
                axes.plot(epochs, mean, ".-", color=color(i))
                axes.fill_between(
                    epochs, low, high, color=color(i), alpha=0.2, linewidth=0
                )
            label_curves(axes, f"{summary['evaluated']} {score}{unit}", label)
            panels.append(figure)
    return panels


def costs(summary: dict[str, Any]) -> list[Figure]:
    """Draw mean sum accuracies with their intervals against each cost."""
    rows = summary["rows"]
    panels = []
    for name in ("parameters", "multiply_adds"):
        sizes = [row[name] for row in rows]
        title = name.replace("_", "-")
        panels.append(_draw_costs(rows, title, sizes, EngFormatter(sep="")))
    if not any(row["not_compared"] for row in rows):
        seconds = [row["train_seconds"]["mean"] for row in rows]
        panels.append(_draw_costs(rows, "seconds of training", seconds, PLAIN))
    return panels


def _draw_costs(
    rows: list[dict[str, Any]], name: str, costs: list[float], label: Any
) -> Figure:
    figure, axes = new_panel(f"Sum accuracy by {name}", 0.8 * WIDTH, 3.2)
    spreads = [row["sum_accuracy"] for row in rows]
    axes.set(xlabel=name, ylabel="sum accuracy", xscale="log", yscale="log")
    axes.set(ylim=_worst_and_best(spreads))
    for i, (cost, spread) in enumerate(zip(costs, spreads, strict=True)):
        interval = errors([spread["low"], spread["high"]])
        axes.plot([cost, cost], interval, "-", color=color(i))
        axes.plot([cost], errors([spread["mean"]]), "o", color=color(i))
    axes.margins(x=0.15)
    label_log_axis(axes.xaxis, label)
    label_log_axis(axes.yaxis, label_accuracy)
    return figure


def _worst_and_best(spreads: list[dict[str, Any]]) -> tuple[float, float]:
    """Return the limits of an axis of error rates that shows all seeds.

    Longer intervals leave it.
    """
    seeds = errors(list(chain.from_iterable(each["values"] for each in spreads)))
    return min(1.5 * np.nanmax(seeds), 1), np.nanmin(seeds) / 1.5


def _draw_interval(
    axes: Axes, spread: dict[str, Any], place: float, shade: str
) -> None:
    """Draw a mean, its interval and a dot for each seed.

    An interval that leaves the axis ends in an arrow.
    """

    def plot(rates: Any, marker: str, size: float = 6, color: str = shade) -> None:
        places = [place] * len(rates)
        axes.plot(rates, places, marker, ms=size, color=color, clip_on=False)

    worst, best = axes.get_xlim()
    ends = 1 - np.array([spread["low"], spread["high"]], float)
    shown = np.clip(ends, best, worst)
    plot(shown, "-")
    for end, inside, arrow in zip(ends, shown, "<>", strict=True):
        plot([inside], "|" if end == inside else arrow)
    plot(errors(spread["values"]), ".", 3, "black")
    plot(errors([spread["mean"]]), "o")
