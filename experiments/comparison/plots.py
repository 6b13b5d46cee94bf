"""The figures of a comparison, in Matplotlib. A page shows them side by side where there is room."""

from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from experiments.report import figures
from experiments.report.figures import LOSS_LABEL, PAGE, WIDTH, errors, finish, finish_curve, label_accuracy, new_panel
from experiments.training.folder import OUTPUTS

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f", "#b2df8a")  # Okabe & Ito's first


def color(i: int) -> str:
    """Return the color of the i-th config. From the ninth on, the colors repeat at half the brightness."""
    share = 0.5 ** (i // len(COLORS))
    red, green, blue = to_rgb(COLORS[i % len(COLORS)])
    return to_hex((share * red, share * green, share * blue))


@matplotlib.rc_context(PAGE)
def intervals(summary: dict[str, Any]) -> Figure:
    """Draw mean accuracies with 95 % intervals over seeds. Each config is a row, with its name above the bars.

    If pairs are held out, the sums of trained pairs and of held-out pairs have separate bars.
    """
    rows = summary["rows"]
    digit, total = figures.COLORS.values()
    bars = [("digit_accuracy", "digit", digit), ("sum_accuracy", "sum", total)]
    if any(row["sum_accuracy_held_out"]["mean"] is not None for row in rows):
        bars[1:] = [
            ("sum_accuracy_trained_cells", "sum, trained pairs", total),
            ("sum_accuracy_held_out", "sum, held-out pairs", COLORS[2]),
        ]
    figure = Figure((WIDTH, 0.9 + (0.31 + 0.12 * len(bars)) * len(rows)), layout="constrained")
    axes = figure.subplots()
    for i, (measure, label, shade) in enumerate(bars):
        shown = [position for position, row in enumerate(rows) if row[measure]["mean"] is not None]
        means, lengths = _bars([rows[position][measure] for position in shown])
        heights = np.array(shown) + 0.1 + 0.2 * i
        axes.errorbar(means, heights, xerr=lengths, fmt="o", ms=4, color=shade, capsize=3, label=label)
    for position, row in enumerate(rows):
        where = {"transform": axes.get_yaxis_transform(), "fontsize": 9, "va": "center"}
        name = row["config"]
        # Variants differ at the end.
        axes.text(0.01, position - 0.12, name if len(name) <= 60 else f"{name[:28]} ... {name[-28:]}", **where)
    axes.set(xlabel="test accuracy", xscale="log", ylim=(len(rows) - 0.9 + 0.2 * len(bars), -0.4), yticks=[])
    axes.margins(x=0.1)
    axes.invert_xaxis()
    finish(axes, axes.xaxis)
    axes.spines["left"].set_visible(False)
    figure.legend(loc="outside upper right", ncols=len(bars), frameon=False, fontsize=9)
    return figure


@matplotlib.rc_context(PAGE)
def seed_curves(summary: dict[str, Any]) -> dict[str, Figure]:
    """Draw accuracy and loss by epoch, as mean and range over seeds. There are no panels for a single epoch."""
    panels: dict[str, Figure] = {}
    if min(len(row["curve"]["epoch"]) for row in summary["rows"]) < 2:
        return panels
    for score, unit, shown, label in (
        ("accuracy", "", errors, label_accuracy),
        ("loss", ", nats", np.array, LOSS_LABEL),
    ):
        for output in OUTPUTS:
            panels[f"{score} of the {output}"], axes = new_panel()
            for i, row in enumerate(summary["rows"]):
                curve, epochs = row["curve"], row["curve"]["epoch"]
                mean, low, high = (shown(curve[f"{output}_{score}_{part}"]) for part in ("mean", "low", "high"))
                axes.plot(epochs, mean, ".-", color=color(i))
                axes.fill_between(epochs, low, high, color=color(i), alpha=0.2, linewidth=0)
            finish_curve(axes, output, f"{summary['evaluated']} {score}{unit}", label)
    return panels


@matplotlib.rc_context(PAGE)
def costs(summary: dict[str, Any]) -> dict[str, Figure]:
    """Draw sum accuracies with intervals against each cost, with the Pareto front. Keys are the labels of the axes."""
    rows = summary["rows"]
    values = {
        "parameters": [row["parameters"] for row in rows],
        "multiply-adds": [row["multiply_adds"] for row in rows],
    }
    if not any(row["not_compared"] for row in rows):
        values["seconds of training"] = [row["train_seconds"]["mean"] for row in rows]
    panels: dict[str, Figure] = {}
    for name, costs in values.items():
        panels[name], axes = new_panel(0.8 * WIDTH, 3.2)
        axes.set(xlabel=name, ylabel="sum accuracy")
        _draw_front(axes, rows, costs)
    return panels


def _draw_front(axes: Axes, rows: list[dict[str, Any]], costs: list[float]) -> None:
    """Draw a point for each config, and a line through the Pareto front."""
    means, lengths = _bars([row["sum_accuracy"] for row in rows])
    front: list[int] = []
    for i in sorted(range(len(costs)), key=lambda i: (costs[i], means[i])):
        if not front or means[i] < means[front[-1]]:
            front.append(i)
    axes.plot([costs[i] for i in front], means[front], "-", color="#999999", zorder=0)
    for i, cost in enumerate(costs):
        axes.errorbar(cost, means[i], yerr=lengths[:, [i]], fmt="o", color=color(i), ms=7, alpha=0.8, capsize=3)
    axes.set(xscale="log", yscale="log")
    axes.margins(0.15)
    finish(axes, axes.xaxis, EngFormatter(sep=""))
    lowest, highest = axes.get_ylim()
    axes.set_ylim(min(highest, 1), lowest)  # errors: the best is at the top
    finish(axes, axes.yaxis)


def _bars(spreads: list[dict[str, float]]) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean errors [n], and the lengths [2, n] of their error bars to the left and right."""
    means, low, high = (errors([spread[part] for spread in spreads]) for part in ("mean", "high", "low"))
    return means, np.abs([means - low, high - means])
