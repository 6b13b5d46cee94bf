"""The figures of a run, in Matplotlib.

Each is a list of panels, shown side by side in a PNG file and on a page.
"""

import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Array, Int
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator
from PIL import Image

from mnistsum.file_io import write_whole
from mnistsum.types import Split

OUTPUT_COLORS = {"digit": "#0072b2", "sum": "#d55e00"}  # Okabe & Ito's blue, vermilion
QUIET, WRONG, INK = "#888888", "#c1121f", "#333333"
WIDTH = 5.0  # inches of a page's panel
PLAIN = "{x:g}"  # the label of a tick; others are formatters and functions
TILES = 16  # random images in a run's examples, and mistakes


def write_png(panels: Sequence[Figure], path: Path, dpi: float = 120) -> None:
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


def new_panel(
    title: str, width: float = WIDTH, height: float = 3.6
) -> tuple[Figure, Axes]:
    """Return a figure of this size in inches, and its axes.

    The margins are fixed, because a layout engine that measures the labels takes a
    second.
    """
    figure = Figure((width, height))
    figure.subplots_adjust(
        0.85 / width, 0.5 / height, 1 - 0.15 / width, 1 - 0.45 / height
    )
    axes = figure.subplots()
    axes.set_title(title, fontsize=11, pad=12)
    return figure, axes


def errors(accuracies: Sequence[float | None]) -> np.ndarray:
    """Return error rates for a log scale, clipped at 1e-4. Few runs get below."""
    return np.clip(1 - np.array(accuracies, float), 1e-4, 1)


def label_accuracy(error: float, _: object = None) -> str:
    """Return the accuracy, as the label of an error rate."""
    return f"{100 * (1 - error):.5g} %"


def label_log_axis(axis: Axis, label: Any) -> None:
    """Label a log axis, with at least two ticks for any range."""
    low, high = sorted(axis.get_view_interval())
    # from here on, labels of 2 and 5 would touch
    crowded = 100 if axis is axis.axes.xaxis else 10_000
    digits = (1, 2, 5) if high < crowded * low else (1,)
    axis.set_major_locator(
        MaxNLocator(5) if high < 5 * low else LogLocator(subs=digits)
    )
    axis.set_major_formatter(label)
    axis.set_minor_locator(NullLocator())
    axis.axes.grid(alpha=0.25)
    axis.axes.spines[["top", "right"]].set_visible(False)


def label_curves(axes: Axes, quantity: str, label: Any = PLAIN) -> None:
    """Label a panel of curves by epoch on a log scale."""
    axes.set(xlabel="epoch", ylabel=quantity, yscale="log", xlim=(0, None))
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    if label is label_accuracy:
        # the best is at the top
        axes.set_ylim(min(max(axes.get_ylim()), 1), min(*axes.get_ylim(), 1e-2))
    label_log_axis(axes.yaxis, label)
    if axes.get_legend_handles_labels()[1]:
        axes.legend(frameon=False, fontsize=8)


def curves(lines: list[dict[str, Any]]) -> list[Figure]:
    """Draw losses and accuracies by epoch, from `lines` of metrics.jsonl."""
    split = "validation" if "validation" in lines[0] else "test"
    epochs = [line["epoch"] for line in lines]
    left, loss = new_panel("Loss")
    right, accuracy = new_panel("Accuracy (log scale of the error)")
    minimized = [line["train"]["loss"] for line in lines]
    loss.plot(
        epochs,
        minimized,
        "o-",
        color=QUIET,
        ms=4,
        label="training, as minimized (running mean)",
    )
    for output, color in OUTPUT_COLORS.items():
        losses = [line[split][f"{output}_loss"] for line in lines]
        loss.plot(epochs, losses, "o-", color=color, ms=4, label=f"{split}, {output}")
        for part, name, style, fill in (
            ("train", "training", "o:", "white"),
            (split, split, "o-", color),
        ):
            rates = errors([line[part][f"{output}_accuracy"] for line in lines])
            accuracy.plot(
                epochs,
                rates,
                style,
                color=color,
                mfc=fill,
                ms=4,
                label=f"{name}, {output}",
            )
    label_curves(loss, "nats")
    label_curves(accuracy, "accuracy", label_accuracy)
    return [left, right]


def over_write_up(
    lines: list[dict[str, Any]], write_up: dict[int, tuple[float, float, float]]
) -> list[Figure]:
    """Draw the curves of a run over those of the write-up.

    Its log lists average loss and both accuracies in % by epoch.
    """
    panels = curves(lines)
    loss, accuracy = (panel.axes[0] for panel in panels)
    losses, *accuracies = zip(*write_up.values(), strict=True)
    loss.plot(
        [line["epoch"] for line in lines],
        list(map(average_loss, lines)),
        color=INK,
        label="test, mean of both",
    )
    loss.plot(list(write_up), losses, "x", color=INK, label="write-up, mean of both")
    for (output, color), theirs in zip(OUTPUT_COLORS.items(), accuracies, strict=True):
        accuracy.plot(
            list(write_up),
            1 - np.divide(theirs, 100),
            "x",
            color=color,
            label=f"write-up, {output}",
        )
    loss.set_ylim(top=30)  # room for the legend
    loss.legend(loc="upper right", frameon=False, fontsize=8)
    accuracy.legend(loc="lower right", fontsize=8)
    return panels


def average_loss(line: dict[str, Any]) -> float:
    """Return the mean of both test losses, which the write-up reports."""
    return (line["test"]["digit_loss"] + line["test"]["sum_loss"]) / 2


def confusion(
    predictions: dict[str, np.ndarray], labels: Int[Array | np.ndarray, " n"]
) -> list[Figure]:
    """Draw confusion matrices of the 10 digits and of the 19 sums.

    Every image is paired with every number.
    """
    sums = np.asarray(labels)[:, None] + np.arange(10)
    panels = []
    for name, true, classes in (("digit", np.asarray(labels), 10), ("sum", sums, 19)):
        counts = np.zeros((classes, classes), int)
        np.add.at(counts, (true, predictions[name]), 1)
        wrong = counts.sum() - counts.trace()
        title = f"{name}: {wrong:,} of {counts.sum():,} wrong".capitalize()
        figure, axes = new_panel(title, 1.3 * WIDTH, 1.3 * WIDTH)
        axes.imshow(
            counts,
            cmap="Blues",
            norm=LogNorm(1, float(counts.max())),
            interpolation="nearest",
        )
        for (row, column), count in np.ndenumerate(counts):
            if count:
                color = "white" if count > counts.max() ** 0.6 else INK
                size = 9 if classes == 10 else 6
                axes.text(
                    column,
                    row,
                    str(count),
                    ha="center",
                    va="center",
                    fontsize=size,
                    color=color,
                )
        axes.set(
            xlabel="predicted",
            ylabel="true",
            xticks=range(classes),
            yticks=range(classes),
        )
        axes.tick_params(length=0)
        panels.append(figure)
    return panels


def examples(predictions: dict[str, np.ndarray], split: Split) -> list[Figure]:
    """Draw random images, and then mistakes, with true and predicted values."""
    labels, random = np.asarray(split.labels), np.random.default_rng(0)
    numbers = random.integers(0, 10, len(labels))
    wrong_sum = predictions["sum"] != labels[:, None] + np.arange(10)
    mistaken = np.flatnonzero((predictions["digit"] != labels) | wrong_sum.any(1))
    telling = wrong_sum.argmax(1)  # a number whose sum is wrong, if there is one
    chosen, shown = (
        random.permutation(group)[:TILES] for group in (len(labels), mistaken)
    )
    mistakes = (
        f"Mistakes: {len(shown)} of the {len(mistaken):,} images with a wrong digit "
        "or sum"
    )
    return [
        _tiles(
            "Random images",
            predictions,
            split,
            zip(chosen, numbers[chosen], strict=True),
        ),
        _tiles(mistakes, predictions, split, zip(shown, telling[shown], strict=True)),
    ]


def _tiles(
    title: str,
    predictions: dict[str, np.ndarray],
    split: Split,
    pairs: Iterable[tuple[int, int]],
) -> Figure:
    """Draw images with numbers in four rows.

    Above each is its sum, and the prediction if that is wrong.
    """
    figure = Figure((WIDTH, 6))
    # one for all tiles, because sixteen take a second to lay out and draw
    axes = figure.add_axes((0, 0, 1, 0.94))
    axes.set_title(title, fontsize=11)
    columns, wide, high = 4, 1.35, 1.55  # a tile's size, in widths of an image
    axes.set(xlim=(0, columns * wide), ylim=(TILES / columns * high, 0))
    for tile, (i, number) in enumerate(pairs):
        left, top = tile % columns * wide + (wide - 1) / 2, tile // columns * high + 0.5
        extent = (left, left + 1, top + 1, top)
        axes.imshow(
            split.images[i],
            cmap="gray_r",
            vmin=0,
            vmax=255,
            extent=extent,
            interpolation="nearest",
        )
        label = int(split.labels[i])
        digit = predictions["digit"][i]
        total = predictions["sum"][i, number]
        is_right = digit == label and total == label + number
        text = f"{label} + {number} = {label + number}" + (
            "" if is_right else f"\nread {digit}, sum {total}"
        )
        axes.text(
            left + 0.5,
            top - 0.05,
            text,
            fontsize=10,
            color="black" if is_right else WRONG,
            ha="center",
        )
    axes.axis("off")
    return figure
