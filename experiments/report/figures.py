"""The figures of a run, in Matplotlib."""

import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from jaxtyping import Array, Int
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator

from mnistsum.files import write_whole
from mnistsum.types import Split

DIGIT, SUM, WRONG, INK = "#0072b2", "#d55e00", "#c1121f", "#333333"  # Okabe & Ito's blue, vermilion
WIDTH = 5.0  # inches of a page's panel
PLACEHOLDER = "#010203"  # a color that no figure uses: a page puts its text color there
PAGE: Any = {"svg.fonttype": "none", "font.family": "sans-serif"} | dict.fromkeys(
    ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), PLACEHOLDER
)
TILES = 16  # images in each half of a run's examples


def save(figure: Figure, path: Path, **how: Any) -> None:
    """Write a figure as a PNG file, whole or not at all."""
    picture = io.BytesIO()
    figure.savefig(picture, format="png", **how)
    write_whole(path, picture.getvalue())


def curves(lines: list[dict[str, Any]]) -> Figure:
    """Draw loss and both accuracies by epoch, for training and the held-out split, from `lines` of metrics.jsonl."""
    figure = _figure(10, 4, columns=2, dpi=120)
    _draw_curves(figure.subplots(1, 2), lines)
    return figure


@matplotlib.rc_context(PAGE)
def curve_panels(lines: list[dict[str, Any]]) -> list[Figure]:
    """Draw the panels of `curves` as two figures, for a page."""
    panels = [_figure(0.9 * WIDTH, 3.6) for _ in range(2)]
    _draw_curves((panel.subplots() for panel in panels), lines)
    return panels


def _draw_curves(axes: Iterable[Any], lines: list[dict[str, Any]]) -> None:
    left, right = axes
    split = "validation" if "validation" in lines[0] else "test"
    epochs = [line["epoch"] for line in lines]
    losses = {"training, as minimized (running mean)": [line["train"]["loss"] for line in lines]}
    losses |= {f"{split}, digit": [line[split]["digit_loss"] for line in lines]}
    losses |= {f"{split}, sum": [line[split]["sum_loss"] for line in lines]}
    for (name, values), color in zip(losses.items(), ("#999999", DIGIT, SUM), strict=True):
        left.plot(epochs, values, "o-", color=color, label=name, markersize=4)
    left.set(title="Loss", xlabel="epoch", ylabel="nats", yscale="log")
    for part, style in (("train", ":"), (split, "-")):
        for output, color in (("digit", DIGIT), ("sum", SUM)):
            errors = [max(1 - line[part][f"{output}_accuracy"], 1e-4) for line in lines]
            name = "training" if part == "train" else split
            fill = "white" if part == "train" else color
            right.plot(epochs, errors, f"o{style}", color=color, mfc=fill, label=f"{name}, {output}", markersize=4)
    _finish_curves(left, right, max(epochs))


def over_write_up(lines: list[dict[str, Any]], write_up: dict[int, tuple[float, float, float]], band) -> Figure:
    """Draw test loss and accuracies by epoch, over a log that gives average loss and both accuracies in % by epoch.

    `band` returns the confidence interval of an accuracy on a given number of images.
    """
    epochs = [line["epoch"] for line in lines]
    figure = _figure(10, 4, columns=2, dpi=120)
    left, right = figure.subplots(1, 2)
    left.plot(epochs, [average_loss(line) for line in lines], "-", color=INK, label="here")
    left.plot(list(write_up), [loss for loss, *_ in write_up.values()], "x", color=INK, label="write-up")
    left.set(title="Average loss on the test set", xlabel="epoch", ylabel="nats", yscale="log")
    for output, column, color in (("digit", 1, DIGIT), ("sum", 2, SUM)):
        accuracy = [line["test"][f"{output}_accuracy"] for line in lines]
        images = [line["test"]["images"] for line in lines]
        low, high = zip(*map(band, accuracy, images), strict=True)
        right.fill_between(epochs, 1 - np.array(low), 1 - np.array(high), color=color, alpha=0.2, linewidth=0)
        right.plot(epochs, 1 - np.array(accuracy), "-", color=color, label=f"{output}, here")
        errors = [1 - values[column] / 100 for values in write_up.values()]
        right.plot(list(write_up), errors, "x", color=color, label=f"{output}, write-up")
    _finish_curves(left, right, max(*epochs, *write_up))
    return figure


def average_loss(line: dict[str, Any]) -> float:
    """Return the write-up's loss, the mean of both test losses, from a line of metrics.jsonl."""
    return (line["test"]["digit_loss"] + line["test"]["sum_loss"]) / 2


def _figure(width: float, height: float, columns: int = 1, dpi: float = 100) -> Figure:
    """Return a figure with fixed margins for axis labels, in inches: a layout that measures them takes a second."""
    figure = Figure((width, height), dpi=dpi)
    left, right, bottom, top = 0.75, 0.15, 0.5, 0.4
    each = (width - right) / columns - left
    figure.subplots_adjust(left / width, bottom / height, 1 - right / width, 1 - top / height, wspace=left / each)
    return figure


def _finish_curves(left: Any, right: Any, last: float) -> None:
    """Label the axes of losses and of accuracies by epoch, up to the last epoch."""
    right.set(title="Accuracy (log scale of the error)", xlabel="epoch", ylabel="accuracy", yscale="log")
    right.set_ylim(1, min(right.get_ylim()[0], 1e-2))
    right.yaxis.set_major_locator(FixedLocator([digit / 10**power for power in range(5) for digit in (1, 2, 5)]))
    right.yaxis.set_major_formatter(FuncFormatter(lambda error, _: f"{100 * (1 - error):g} %"))
    left.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    left.yaxis.set_major_formatter("{x:g}")
    for axes in (left, right):
        axes.yaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlim(0, last * 1.05)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=8)


def confusion(predictions: dict[str, np.ndarray], labels: Int[Array | np.ndarray, " n"]) -> Figure:
    """Draw confusion counts of true against predicted, 10x10 digits and 19x19 sums (every image with every number)."""
    figure = _figure(15, 7.4, columns=2, dpi=110)
    _draw_confusion(figure.subplots(1, 2), predictions, labels)
    return figure


@matplotlib.rc_context(PAGE)
def confusion_panels(predictions: dict[str, np.ndarray], labels: Int[Array | np.ndarray, " n"]) -> list[Figure]:
    """Draw the panels of `confusion` as two figures, for a page."""
    panels = [_figure(1.3 * WIDTH, 1.3 * WIDTH) for _ in range(2)]
    _draw_confusion((panel.subplots() for panel in panels), predictions, labels)
    return panels


def _draw_confusion(axes: Iterable[Any], predictions: dict[str, np.ndarray], labels: Any) -> None:
    labels = np.asarray(labels)
    sums = labels[:, None] + np.arange(10)
    tables = [("Digit", labels, predictions["digit"], 10), ("Sum", sums.ravel(), predictions["sum"].ravel(), 19)]
    for panel, (name, true, predicted, classes) in zip(axes, tables, strict=True):
        counts = np.bincount(true * classes + predicted, minlength=classes**2).reshape(classes, classes)
        ticks = np.arange(classes)
        panel.pcolormesh(
            ticks, ticks, np.ma.masked_equal(counts, 0), cmap="Blues", norm=LogNorm(1, float(counts.max()))
        )
        for (row, column), count in np.ndenumerate(counts):
            if count:
                color = "white" if count > counts.max() ** 0.6 else INK
                size = 9 if classes == 10 else 6
                panel.text(column, row, str(count), ha="center", va="center", fontsize=size, color=color)
        wrong = counts.sum() - counts.trace()
        panel.set(title=f"{name}: {wrong:,} of {counts.sum():,} wrong", xlabel="predicted", ylabel="true")
        panel.set(xticks=ticks, yticks=ticks, aspect="equal")
        panel.invert_yaxis()
        panel.tick_params(length=0)


def examples(predictions: dict[str, np.ndarray], split: Split) -> Figure:
    """Draw random images, each with a number and the true and predicted digit and sum, then as many mistakes."""
    images, labels = (np.asarray(field) for field in split)
    digit, sums = predictions["digit"], predictions["sum"]
    random = np.random.default_rng(0)
    numbers = random.integers(0, 10, len(labels))
    # A mistake is shown with a number for which the sum is wrong, if there is one.
    wrong_sum = sums != labels[:, None] + np.arange(10)
    mistaken = np.flatnonzero((digit != labels) | wrong_sum.any(1))
    chosen = random.permutation(len(labels))[:TILES]
    shown = random.permutation(mistaken)[:TILES]
    telling = np.where(wrong_sum.any(1), wrong_sum.argmax(1), numbers)
    figure = Figure((11, 7.6), dpi=110)
    titles = ("Random images", f"Mistakes: {len(shown)} of the {len(mistaken):,} images with a wrong digit or sum")
    columns, wide, high = TILES // 2, 1.35, 1.6  # a tile's size, in widths of an image
    parts = zip((0, 1), titles, (chosen, shown), (numbers, telling), strict=True)
    for part, title, group, paired in parts:
        # One Axes for all tiles, placed by hand: sixteen with automatic layout take a second to draw.
        axes = figure.add_axes((0.01, 0.5 - 0.49 * part, 0.98, 0.44))
        axes.set(xlim=(0, columns * wide), ylim=(2 * high, 0), aspect="equal", anchor="NW")
        axes.axis("off")
        axes.set_title(title, fontsize=12, loc="left")
        for tile, i in enumerate(group):
            left, top = tile % columns * wide, tile // columns * high + 0.45
            extent = (left, left + 1, top + 1, top)
            axes.imshow(images[i, :, :, 0], cmap="gray_r", vmin=0, vmax=255, extent=extent, interpolation="nearest")
            true, number, predicted_sum = labels[i], paired[i], sums[i, paired[i]]
            good = digit[i] == true and predicted_sum == true + number
            text = f"{true} + {number} = {true + number}"
            text += "" if good else f"\nread {digit[i]}, sum {predicted_sum}"
            axes.text(left + 0.5, top - 0.05, text, fontsize=10, color=INK if good else WRONG, ha="center")
    return figure


@matplotlib.rc_context(PAGE)
def reliability(curves: dict[str, Any], output: str) -> Figure:
    """Draw one output's accuracy by confidence before and after calibration; below, the number of answers per bin.

    A reliability diagram (DeGroot & Fienberg 1983), with the bins of Guo et al. 2017, arXiv:1706.04599.
    """
    figure = _figure(0.9 * WIDTH, 4.6)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    upper.plot([0, 1], [0, 1], "--", color="#888888", linewidth=1)
    color = {"digit": DIGIT, "sum": SUM}[output]
    for name, mark, shade in (("before", "o", "#888888"), ("after", "s", color)):
        curve = curves[name]
        count, sure, right = (np.array(curve[key]) for key in ("answers", "confidence", "accuracy"))
        some = count > 0
        label = f"{name}: error {100 * curve['error']:.2f} points"
        upper.plot(sure[some], right[some], f"{mark}-", color=shade, ms=4.5, linewidth=1.2, label=label)
        edges = np.linspace(0, 1, len(count) + 1)
        lower.stairs(count, edges, color=shade, linewidth=1.4)
    upper.set(title=output, ylabel="accuracy", xlim=(0, 1), ylim=(0, 1.02))
    upper.legend(frameon=False, fontsize=9, loc="lower right")
    lower.set(xlabel="confidence", ylabel="answers", yscale="log", ylim=(0.7, None))
    for axes in (upper, lower):
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    return figure
