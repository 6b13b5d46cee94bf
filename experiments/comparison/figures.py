"""The pictures of a comparison, as matplotlib figures."""

import io
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator

from experiments.report.figures import DIGIT, SUM

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999")  # Okabe & Ito's


def png(figure: Figure) -> bytes:
    """Return the figure as a PNG file."""
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def _color(i: int) -> str:
    return COLORS[i % len(COLORS)]


def _error_scale(axis) -> None:
    """Labels errors, on a log scale, as accuracies."""
    low, high = sorted(axis.get_view_interval())
    digits = range(1, 10) if high < 5 * low else (1, 2, 5)
    axis.set_major_locator(FixedLocator([digit / 10**power for power in range(5) for digit in digits]))
    axis.set_major_formatter(FuncFormatter(lambda error, _: f"{100 * (1 - error):g} %"))
    axis.set_minor_locator(NullLocator())


def intervals(summary: dict[str, Any]) -> Figure:
    """Mean accuracies with their 95 % intervals over seeds, a row for each config."""
    rows = summary["rows"]
    figure = Figure((10, 1.2 + 0.5 * len(rows)), dpi=120, layout="constrained")
    axes = figure.subplots()
    for offset, output, color in ((-0.13, "digit", DIGIT), (0.13, "sum", SUM)):
        spreads = [row[f"{output}_accuracy"] for row in rows]
        means = np.array([100 * spread["mean"] for spread in spreads])
        bounds = np.array([[100 * spread["low"], 100 * spread["high"]] for spread in spreads]).T
        places = np.arange(len(rows)) + offset
        axes.errorbar(means, places, xerr=np.abs(bounds - means), fmt="o", color=color, capsize=4, label=output)
    axes.set_yticks(range(len(rows)), [row["config"] for row in rows])
    axes.invert_yaxis()
    axes.set(xlabel="test accuracy, %", xlim=(None, min(axes.get_xlim()[1], 100)))  # few seeds reach past what can be
    axes.grid(axis="x", alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    return figure


def curves(summary: dict[str, Any]) -> Figure:
    """Draw the validation accuracy by epoch: mean and the band from lowest to highest seed."""
    figure = Figure((10, 4.2), dpi=120, layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for panel, output in zip(panels, ("digit", "sum"), strict=True):
        for i, row in enumerate(summary["rows"]):
            band = row["curve"]
            error = {name: np.maximum(1 - np.array(band[f"{output}_{name}"]), 1e-4) for name in ("mean", "low", "high")}
            panel.plot(band["epoch"], error["mean"], ".-", color=_color(i), label=row["config"])
            panel.fill_between(band["epoch"], error["low"], error["high"], color=_color(i), alpha=0.2, linewidth=0)
        panel.set(title=f"{output}, validation (log scale of the error)", xlabel="epoch", yscale="log", xlim=(0, None))
        panel.grid(alpha=0.25)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set(ylabel="accuracy")
    panels[0].invert_yaxis()
    _error_scale(panels[0].yaxis)
    panels[1].legend(frameon=False, fontsize=8)
    return figure


def costs(summary: dict[str, Any]) -> Figure:
    """Sum accuracy against parameters, multiply-adds and training seconds, with the Pareto front of each."""
    rows = summary["rows"]
    figure = Figure((11, 4.4), dpi=120, layout="constrained")
    panels = figure.subplots(1, 3, sharey=True)
    errors = np.array([max(1 - row["sum_accuracy"]["mean"], 1e-4) for row in rows])
    for panel, (name, values) in zip(
        panels,
        {
            "parameters": [row["parameters"] for row in rows],
            "multiply-adds an image": [row["multiply_adds"] for row in rows],
            "training, s": [row["train_seconds"]["mean"] for row in rows],
        }.items(),
        strict=True,
    ):
        order = sorted(range(len(rows)), key=lambda i: (values[i], errors[i]))
        front = [i for place, i in enumerate(order) if errors[i] < min(errors[order[:place]], default=np.inf)]
        panel.plot([values[i] for i in front], errors[front], "-", color="#999999", zorder=0)
        for i, row in enumerate(rows):
            panel.plot(values[i], errors[i], "o", color=_color(i), markersize=8, alpha=0.8, label=row["config"])
        wide = max(values) > 3 * min(values)
        panel.set(xlabel=name, xscale="log" if wide else "linear", yscale="log")
        panel.margins(x=0.25, y=0.15)
        panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)) if wide else MaxNLocator(3))
        panel.xaxis.set_major_formatter(EngFormatter(sep=""))
        panel.xaxis.set_minor_locator(NullLocator())
        panel.grid(alpha=0.25)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set(ylabel="sum accuracy")
    panels[0].invert_yaxis()
    _error_scale(panels[0].yaxis)
    # Names beside the points would cover each other where configs cost the same.
    points, names = panels[0].get_legend_handles_labels()
    figure.legend(points, names, loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    return figure


def cells(summary: dict[str, Any]) -> Figure:
    """Draw the sum's accuracy by digit on the image and number, a panel for each config, one scale for all."""
    rows = summary["rows"]
    columns = min(len(rows), 4)
    lines = -(-len(rows) // columns)
    figure = Figure((3 * columns + 0.8, 3 * lines + 0.4), dpi=110, layout="constrained")
    panels = np.atleast_1d(figure.subplots(lines, columns)).ravel()
    tables = [100 * (1 - np.array(row["cells"])) for row in rows]
    highest = max(table.max() for table in tables)
    image = None
    for panel, row, table in zip(panels, rows, tables, strict=False):
        image = panel.imshow(table, cmap="Blues", vmin=0, vmax=highest)
        panel.set_title(row["config"], fontsize=10)
        panel.set_xticks(range(10))
        panel.set_yticks(range(10))
        panel.tick_params(length=0, labelsize=7)
        panel.set(xlabel="number", ylabel="digit")
    for panel in panels[len(rows) :]:
        panel.axis("off")
    assert image is not None
    figure.colorbar(image, ax=panels.tolist(), label="wrong sums, %", shrink=0.8)
    return figure
