"""The figures of a comparison, in Matplotlib: panels that stand side by side where there is room."""

from collections.abc import Callable
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import (
    EngFormatter,
    FixedLocator,
    FuncFormatter,
    LogLocator,
    MaxNLocator,
    NullLocator,
    StrMethodFormatter,
)

from experiments.comparison.tables import are_costs_comparable
from experiments.report.figures import DIGIT, PAGE, SUM, WIDTH
from experiments.training.folder import OUTPUTS

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f", "#b2df8a")  # Okabe & Ito's first
HELD_OUT = COLORS[2]  # of pairs that were never trained


def color(i: int) -> str:
    """Return the color of the i-th config: from the ninth on, the colors repeat at half the brightness."""
    share = 0.5 ** (i // len(COLORS))
    red, green, blue = to_rgb(COLORS[i % len(COLORS)])
    return to_hex((share * red, share * green, share * blue))


@matplotlib.rc_context(PAGE)
def intervals(summary: dict[str, Any]) -> Figure:
    """Draw mean accuracies with their 95 % intervals over seeds, one row per config, named above its bars.

    Where pairs are held out, sums of trained pairs and of held-out pairs have bars of their own.
    """
    rows = summary["rows"]
    measures = [("digit_accuracy", "digit", DIGIT), ("sum_accuracy", "sum", SUM)]
    if any(row["sum_accuracy_held_out"]["mean"] is not None for row in rows):
        measures[1:] = [
            ("sum_accuracy_trained_cells", "sum, trained pairs", SUM),
            ("sum_accuracy_held_out", "sum, held-out pairs", HELD_OUT),
        ]
    figure, axes = _panel(WIDTH, 0.9 + (0.31 + 0.12 * len(measures)) * len(rows))
    for i, (measure, label, shade) in enumerate(measures):
        positions = np.array([position for position, row in enumerate(rows) if row[measure]["mean"] is not None])
        means, lengths = _bars([rows[position][measure] for position in positions])
        axes.errorbar(
            means, positions + 0.1 + 0.2 * i, xerr=lengths, fmt="o", ms=4, color=shade, capsize=3, label=label
        )
    axes.set(xlabel="test accuracy", xscale="log")
    axes.margins(x=0.1)
    axes.invert_xaxis()
    for position, row in enumerate(rows):
        name = _shortened(row["config"], 60)
        axes.text(0.01, position - 0.12, name, transform=axes.get_yaxis_transform(), fontsize=9, va="center")
    axes.set(ylim=(len(rows) - 0.9 + 0.2 * len(measures), -0.4), yticks=[])
    finish(axes, axes.xaxis)
    axes.spines["left"].set_visible(False)
    figure.legend(loc="outside upper right", ncols=len(measures), frameon=False, fontsize=9)
    return figure


@matplotlib.rc_context(PAGE)
def curves(summary: dict[str, Any]) -> dict[str, Figure]:
    """Draw accuracy and loss of both outputs by epoch: mean, and band from lowest to highest; empty for one epoch."""
    figures = {}
    if min(len(row["curve"]["epoch"]) for row in summary["rows"]) < 2:
        return figures
    for output in OUTPUTS:
        figure, axes = _panel(WIDTH, 3.6)
        _draw_bands(axes, summary, f"{output}_accuracy", _errors)
        axes.set(title=output, ylabel=f"{summary['evaluated']} accuracy")
        axes.invert_yaxis()
        finish(axes, axes.yaxis)
        figures[f"accuracy of the {output}"] = figure
    for output in OUTPUTS:
        figure, axes = _panel(WIDTH, 3.6)
        _draw_bands(axes, summary, f"{output}_loss", np.array)
        axes.set(title=output, ylabel=f"{summary['evaluated']} loss, nats")
        finish(axes, axes.yaxis, lambda loss, _: f"{loss:g}")
        figures[f"loss of the {output}"] = figure
    return figures


def _draw_bands(axes: Axes, summary: dict[str, Any], quantity: str, shown: Callable[[list[float]], np.ndarray]) -> None:
    """Draw a quantity by epoch for each config: its mean over seeds, and the band between their extremes."""
    for i, row in enumerate(summary["rows"]):
        band = row["curve"]
        mean, low, high = (shown(band[f"{quantity}_{name}"]) for name in ("mean", "low", "high"))
        axes.plot(band["epoch"], mean, ".-", color=color(i))
        axes.fill_between(band["epoch"], low, high, color=color(i), alpha=0.2, linewidth=0)
    axes.set(xlabel="epoch", yscale="log", xlim=(0, None))
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))


@matplotlib.rc_context(PAGE)
def costs(summary: dict[str, Any]) -> dict[str, Figure]:
    """Draw sum accuracies with intervals and Pareto fronts against each cost, by the label of its axis."""
    rows = summary["rows"]
    values = {
        "parameters": [row["parameters"] for row in rows],
        "multiply-adds": [row["multiply_adds"] for row in rows],
    }
    if are_costs_comparable(summary):
        values["seconds of training"] = [row["train_seconds"]["mean"] for row in rows]
    figures = {}
    for name, costs in values.items():
        figures[name], axes = _panel(0.8 * WIDTH, 3.2)
        _draw_front(axes, summary, name, costs)
    return figures


def _draw_front(axes: Axes, summary: dict[str, Any], name: str, values: list[float]) -> None:
    """Draw a point for each config, and the Pareto front: a line through those that none beats in cost and accuracy."""
    errors, lengths = _bars([row["sum_accuracy"] for row in summary["rows"]])
    front: list[int] = []
    for i in sorted(range(len(values)), key=lambda i: (values[i], errors[i])):
        if not front or errors[i] < errors[front[-1]]:
            front.append(i)
    axes.plot([values[i] for i in front], errors[front], "-", color="#999999", zorder=0)
    for i, row in enumerate(summary["rows"]):
        label, length = _shortened(row["config"], 60), lengths[:, [i]]
        axes.errorbar(
            values[i], errors[i], yerr=length, fmt="o", color=color(i), ms=7, alpha=0.8, capsize=3, label=label
        )
    wide = max(values) > 3 * min(values)
    axes.set(xlabel=name, ylabel="sum accuracy", xscale="log" if wide else "linear", yscale="log")
    axes.margins(x=0.15, y=0.15)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)) if wide else MaxNLocator(4))
    is_time = name.startswith("seconds")
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,g}") if is_time else EngFormatter(sep=""))
    axes.xaxis.set_minor_locator(NullLocator())
    lowest, highest = sorted(axes.get_ylim())
    axes.set_ylim(min(highest, 1), lowest)  # of the error; not invert_yaxis, as panels share the axis
    finish(axes, axes.yaxis)


@matplotlib.rc_context(PAGE)
def cells(summary: dict[str, Any]) -> dict[str, Figure]:
    """Draw the share of wrong sums by the image's digit and the number, a figure for each config, on one scale."""
    tables = [100 * (1 - np.array(row["cells"])) for row in summary["rows"]]
    highest = max(np.nanmax(tables), 0.1)  # a label without images has none
    figures = {}
    for row, table in zip(summary["rows"], tables, strict=True):
        figure, axes = _panel(0.7 * WIDTH, 2.9)
        image = axes.imshow(table, cmap="Blues", vmin=0, vmax=highest)
        axes.set_title(_shortened(row["config"], 40), fontsize=9)
        axes.set(xlabel="number", ylabel="digit", xticks=range(10), yticks=range(10))
        axes.tick_params(length=0, labelsize=8)
        figure.colorbar(image, label="wrong sums, %")
        figures[row["config"]] = figure
    return figures


def _panel(width: float, height: float) -> tuple[Figure, Axes]:
    """Return a figure of this size, in inches, and its only axes."""
    figure = Figure((width, height), layout="constrained")
    return figure, figure.subplots()


def _bars(spreads: list[dict[str, float]]) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean errors [n], and how far their intervals reach below and above them [2, n]."""
    means, low, high = (_errors([spread[part] for spread in spreads]) for part in ("mean", "high", "low"))
    return means, np.abs([means - low, high - means])


def _errors(accuracies: list[float]) -> np.ndarray:
    """Return the error rates for a log scale: clipped to at least 1e-4, which few seeds fall below."""
    return np.clip(1 - np.array(accuracies), 1e-4, 1)


def _shortened(name: str, length: int) -> str:
    """Return a config's name, without its middle if it is too long: variants differ at the end."""
    half = (length - 5) // 2
    return name if len(name) <= length else f"{name[:half]} ... {name[-half:]}"


def _as_accuracy(error: float, _: int) -> str:
    """Return the tick label of an error rate: its accuracy."""
    return f"{100 * (1 - error):.5g} %"


def _ticks(low: float, high: float, apart: float) -> list[float]:
    """Return the values to label on a log scale: the roundest that lie at least `apart` decades from each other.

    If fewer than three values of one digit fit, those of a linear scale are taken.
    """
    for values in (
        [digit / 10**power for digit in (1, 2, 5) for power in range(5)],
        [digit / 10**power for digit in (1, 2, 5, 3, 4, 6, 7, 8, 9) for power in range(5)],
        MaxNLocator(5).tick_values(low, high),
    ):
        ticks: list[float] = []
        for value in values:
            if low <= value <= high and all(abs(np.log10(value / tick)) >= apart for tick in ticks):
                ticks.append(value)
        if len(ticks) >= 3:
            break
    return sorted(ticks)


def finish(axes: Axes, axis: Axis, label: Callable[[float, int], str] = _as_accuracy) -> None:
    """Label a log axis of errors, or of other values below ten, with at least two ticks whatever the range."""
    low, high = sorted(axis.get_view_interval())
    room = 0.1 if axis is axes.xaxis else 0.06  # for a label, as a share of the axis
    axis.set_major_locator(FixedLocator(_ticks(low, high, room * np.log10(high / low))))
    axis.set_major_formatter(FuncFormatter(label))
    axis.set_minor_locator(NullLocator())
    axis.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
