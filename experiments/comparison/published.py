"""Accuracy against cost: our runs beside single networks that others have published."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, NullLocator, StrMethodFormatter

from experiments.comparison.figures import finish
from experiments.report.figures import DIGIT


class Style(NamedTuple):
    """How points are drawn, and where their names stand."""

    mark: str
    color: str
    offset: tuple[int, int]  # of the name, in points
    align: Literal["left", "right"]  # the end of the name at that offset


OUR = Style("o", DIGIT, (-7, -3), "right")
OTHER = Style("D", "#777777", (6, -12), "left")
OTHER_LEFT = OTHER._replace(offset=(-4, 8), align="right")  # where the other place is taken


class Point(NamedTuple):
    """A network trained on MNIST, and what it cost."""

    name: str
    accuracy: float  # % of digits on the 10,000 test images; a mean if more than one was trained
    spread: float | None  # the standard deviation over networks; None: one network, or not stated
    parameters: int  # trainable ones
    seconds: float | None  # of training one, each on another machine; None: not stated
    style: Style = OUR


# No network was selected by the accuracy given here. Parameters are counted from the layers in the code, except
# aknakshay's, which are as stated.
OTHERS = (
    # github.com/ttdoucet/mnist, mnist.ipynb: the mean of its ten; "about three minutes" each, on a GTX 1080 Ti.
    Point("Doucet", 99.738, 0.031, 4_732_682, 180, OTHER_LEFT),
    # An et al. 2020, arXiv:2008.10400: M3, the last ten epochs of its log in github.com/ansh941/MnistSimpleCNN.
    Point("An et al.", 99.73, None, 1_124_180, None, OTHER),
    # github.com/cdeotte/MNIST-CNN-99.75: 1,500 networks, fifteen in four hours, on a Tesla K80.
    Point("Deotte", 99.641, 0.047, 326_410, 960, OTHER),
    # github.com/tuomaso/train_mnist_fast, 8_Final_00s76.ipynb: thirty networks, on a GTX 1660 Ti.
    Point("tuomaso", 99.041, None, 215_194, 0.762, OTHER),
    # github.com/aknakshay/MNIST-Challenge: one network each.
    Point("aknakshay", 99.20, None, 8_580, None, OTHER),
    Point("aknakshay", 98.42, None, 4_879, None, OTHER),
)


def chart(ours: Sequence[Point]) -> Figure:
    """Draw the digit's accuracy, and its spread, against parameters and seconds of training, on log scales."""
    figure = Figure((11, 5), dpi=110, layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for point in (*OTHERS, *ours):
        _draw(left, point, point.parameters)
        if point.seconds:
            _draw(right, point, point.seconds)
    left.set(xlabel="parameters", ylabel="digits read right (log scale of the error)", yscale="log")
    right.set(xlabel="seconds of training")
    for axes in (left, right):
        axes.set_xscale("log")
        axes.margins(x=0.25, y=0.05)
        axes.xaxis.set_major_locator(LogLocator())
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.grid(alpha=0.25)
    left.xaxis.set_major_formatter(EngFormatter(sep=""))
    right.xaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    left.invert_yaxis()
    finish(left, left.yaxis)
    finish(right, right.yaxis)
    return figure


def _draw(axes: Axes, point: Point, cost: float) -> None:
    """Draw a point against its cost, with its name."""
    style, error = point.style, 1 - point.accuracy / 100
    axes.errorbar(cost, error, (point.spread or 0) / 100, fmt=style.mark, color=style.color, ms=6, elinewidth=1)
    axes.annotate(
        point.name,
        (cost, error),
        style.offset,
        textcoords="offset points",
        ha=style.align,
        fontsize=8,
        color=style.color,
    )
