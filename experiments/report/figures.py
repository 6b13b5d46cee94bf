"""The figures of a run, in Matplotlib. Each is a list of panels, shown side by side in a PNG file and on a page."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from jaxtyping import Array, Int
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import Formatter, LogLocator, MaxNLocator, NullLocator
from PIL import Image

from mnistsum.file_io import write_whole
from mnistsum.types import Split

COLORS = {"digit": "#0072b2", "sum": "#d55e00"}  # Okabe & Ito's blue, vermilion
QUIET, WRONG, INK = "#888888", "#c1121f", "#333333"
WIDTH = 5.0  # inches of a page's panel
PLACEHOLDER = "#010203"  # a color that no figure uses; a page replaces it by the color of its text
PAGE: Any = {"font.family": "sans-serif"} | dict.fromkeys(
    ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), PLACEHOLDER
)
Label = str | Formatter | Callable[[float, object], str]  # of a tick: a format, a formatter or a function
LOSS_LABEL = "{x:g}"
TILES = 16  # random images in a run's examples, and mistakes


def save(panels: Sequence[Figure], path: Path, dpi: float = 120) -> None:
    """Write panels of equal height side by side into a PNG file, atomically."""
    pixels = []
    for panel in panels:
        panel.set_dpi(dpi)
        canvas = FigureCanvasAgg(panel)
        canvas.draw()
        pixels.append(np.asarray(canvas.buffer_rgba())[..., :3])
    picture = io.BytesIO()
    Image.fromarray(np.hstack(pixels)).save(picture, "PNG")
    write_whole(path, picture.getvalue())


def new_panel(width: float = WIDTH, height: float = 3.6) -> tuple[Figure, Axes]:
    """Return a figure of this size in inches, and its axes.

    The margins are fixed, because a layout engine that measures the labels takes a second.
    """
    figure = Figure((width, height))
    figure.subplots_adjust(0.85 / width, 0.5 / height, 1 - 0.15 / width, 1 - 0.4 / height)
    return figure, figure.subplots()


def errors(accuracies: Sequence[float]) -> np.ndarray:
    """Return error rates for a log scale, clipped at 1e-4. Few runs get below."""
    return np.clip(1 - np.array(accuracies, float), 1e-4, 1)


def label_accuracy(error: float, _: object = None) -> str:
    """Return the accuracy, as the label of an error rate."""
    return f"{100 * (1 - error):.5g} %"


def finish(axes: Axes, axis: Axis, label: Label = label_accuracy) -> None:
    """Label a log axis, with at least two ticks for any range."""
    low, high = sorted(axis.get_view_interval())
    crowded = 100 if axis is axes.xaxis else 10_000  # from here on, labels of 2 and 5 would touch
    digits = (1, 2, 5) if high < crowded * low else (1,)
    axis.set_major_locator(MaxNLocator(5) if high < 5 * low else LogLocator(subs=digits))
    axis.set_major_formatter(label)
    axis.set_minor_locator(NullLocator())
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def finish_curve(axes: Axes, title: str, quantity: str, label: Label) -> None:
    """Label a panel of curves by epoch on a log scale."""
    axes.set(title=title, xlabel="epoch", ylabel=quantity, yscale="log", xlim=(0, None))
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    if label is label_accuracy:
        axes.set_ylim(min(max(axes.get_ylim()), 1), min(*axes.get_ylim(), 1e-2))  # the best is at the top
    finish(axes, axes.yaxis, label)


@matplotlib.rc_context(PAGE)
def curves(lines: list[dict[str, Any]]) -> list[Figure]:
    """Draw losses and accuracies by epoch, on training and validation images, from `lines` of metrics.jsonl."""
    split = "validation" if "validation" in lines[0] else "test"
    epochs = [line["epoch"] for line in lines]
    left, loss = new_panel()
    right, accuracy = new_panel()
    minimized = [line["train"]["loss"] for line in lines]
    loss.plot(epochs, minimized, "o-", color=QUIET, ms=4, label="training, as minimized (running mean)")
    for output, color in COLORS.items():
        losses = [line[split][f"{output}_loss"] for line in lines]
        loss.plot(epochs, losses, "o-", color=color, ms=4, label=f"{split}, {output}")
        for part, name, style, fill in (("train", "training", "o:", "white"), (split, split, "o-", color)):
            rates = errors([line[part][f"{output}_accuracy"] for line in lines])
            accuracy.plot(epochs, rates, style, color=color, mfc=fill, ms=4, label=f"{name}, {output}")
    _finish_panels(loss, accuracy)
    return [left, right]


def over_write_up(
    lines: list[dict[str, Any]], write_up: dict[int, tuple[float, float, float]], band: Callable
) -> list[Figure]:
    """Draw test losses and accuracies by epoch, and those of a log that lists average loss and both accuracies in %.

    Args:
        lines: of metrics.jsonl.
        write_up: the other log, by epoch.
        band: returns the confidence interval of an accuracy on a number of images.
    """
    epochs = [line["epoch"] for line in lines]
    left, loss = new_panel(height=4)
    right, accuracy = new_panel(height=4)
    loss.plot(epochs, [average_loss(line) for line in lines], "-", color=INK, label="here")
    loss.plot(list(write_up), [each for each, *_ in write_up.values()], "x", color=INK, label="write-up")
    for column, (output, color) in enumerate(COLORS.items(), 1):
        reached = [line["test"][f"{output}_accuracy"] for line in lines]
        bounds = [band(value, line["test"]["images"]) for value, line in zip(reached, lines, strict=True)]
        accuracy.fill_between(epochs, *(1 - np.array(bounds).T), color=color, alpha=0.2, linewidth=0)
        accuracy.plot(epochs, 1 - np.array(reached), "-", color=color, label=f"{output}, here")
        theirs = [1 - values[column] / 100 for values in write_up.values()]
        accuracy.plot(list(write_up), theirs, "x", color=color, label=f"{output}, write-up")
    _finish_panels(loss, accuracy)
    return [left, right]


def average_loss(line: dict[str, Any]) -> float:
    """Return the mean of both test losses, which the write-up reports, from a line of metrics.jsonl."""
    return (line["test"]["digit_loss"] + line["test"]["sum_loss"]) / 2


@matplotlib.rc_context(PAGE)
def confusion(predictions: dict[str, np.ndarray], labels: Int[Array | np.ndarray, " n"]) -> list[Figure]:
    """Draw confusion matrices of the 10 digits and of the 19 sums. Every image is paired with every number."""
    labels = np.asarray(labels)
    sums = labels[:, None] + np.arange(10)
    return [
        _confusion("Digit", labels, predictions["digit"], 10),
        _confusion("Sum", sums.ravel(), predictions["sum"].ravel(), 19),
    ]


def examples(predictions: dict[str, np.ndarray], split: Split) -> list[Figure]:
    """Draw random images, each with a number and the true and predicted digit and sum. Below, draw mistakes."""
    labels = np.asarray(split.labels)
    random = np.random.default_rng(0)
    numbers = random.integers(0, 10, len(labels))
    # Show a mistake with a number whose sum is wrong, if there is one.
    wrong_sum = predictions["sum"] != labels[:, None] + np.arange(10)
    mistaken = np.flatnonzero((predictions["digit"] != labels) | wrong_sum.any(1))
    telling = np.where(wrong_sum.any(1), wrong_sum.argmax(1), numbers)
    chosen, shown = (random.permutation(group)[:TILES] for group in (len(labels), mistaken))

    figure = Figure((11, 7.6))
    # All tiles share one Axes, because sixteen take a second to lay out and draw.
    upper, lower = (figure.add_axes((0.01, bottom, 0.98, 0.44)) for bottom in (0.5, 0.01))
    upper.set_title("Random images", fontsize=12, loc="left")
    mistakes = f"Mistakes: {len(shown)} of the {len(mistaken):,} images with a wrong digit or sum"
    lower.set_title(mistakes, fontsize=12, loc="left")
    _draw_tiles(upper, predictions, split, chosen, numbers)
    _draw_tiles(lower, predictions, split, shown, telling)
    return [figure]


def _finish_panels(loss: Axes, accuracy: Axes) -> None:
    """Label the panels of losses and of accuracies by epoch."""
    finish_curve(loss, "Loss", "nats", LOSS_LABEL)
    finish_curve(accuracy, "Accuracy (log scale of the error)", "accuracy", label_accuracy)
    for axes in (loss, accuracy):
        axes.legend(frameon=False, fontsize=8)


def _confusion(name: str, true: np.ndarray, predicted: np.ndarray, classes: int) -> Figure:
    """Draw the confusion matrix of one output."""
    counts = np.bincount(true * classes + predicted, minlength=classes**2).reshape(classes, classes)
    wrong = counts.sum() - counts.trace()
    figure, axes = new_panel(1.3 * WIDTH, 1.3 * WIDTH)
    ticks = np.arange(classes)
    axes.pcolormesh(ticks, ticks, np.ma.masked_equal(counts, 0), cmap="Blues", norm=LogNorm(1, float(counts.max())))
    for (row, column), count in np.ndenumerate(counts):
        if count:
            color = "white" if count > counts.max() ** 0.6 else INK
            size = 9 if classes == 10 else 6
            axes.text(column, row, str(count), ha="center", va="center", fontsize=size, color=color)
    axes.set(title=f"{name}: {wrong:,} of {counts.sum():,} wrong", xlabel="predicted", ylabel="true")
    axes.set(xticks=ticks, yticks=ticks, aspect="equal")
    axes.invert_yaxis()
    axes.tick_params(length=0)
    return figure


def _draw_tiles(
    axes: Axes, predictions: dict[str, np.ndarray], split: Split, chosen: np.ndarray, numbers: np.ndarray
) -> None:
    """Draw the chosen images in two rows. Above each is its sum, and the prediction if that is wrong."""
    columns, wide, high = TILES // 2, 1.35, 1.6  # a tile's size, in widths of an image
    axes.set(xlim=(0, columns * wide), ylim=(2 * high, 0), aspect="equal", anchor="NW")
    axes.axis("off")
    for tile, i in enumerate(chosen):
        left, top = tile % columns * wide, tile // columns * high + 0.45
        image, extent = np.asarray(split.images[i])[..., 0], (left, left + 1, top + 1, top)
        axes.imshow(image, cmap="gray_r", vmin=0, vmax=255, extent=extent, interpolation="nearest")
        label, number = int(split.labels[i]), numbers[i]
        digit, total = predictions["digit"][i], predictions["sum"][i, number]
        is_right = digit == label and total == label + number
        text = f"{label} + {number} = {label + number}" + ("" if is_right else f"\nread {digit}, sum {total}")
        axes.text(left + 0.5, top - 0.05, text, fontsize=10, color=INK if is_right else WRONG, ha="center")
