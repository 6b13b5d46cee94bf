"""The figures of runs and comparisons: drawn from any finished evaluation, and they show what they say."""

import itertools
import math

import numpy as np
import pytest
from programs import LABELS, SUMS, a_run

from experiments.comparison import plots as comparison
from experiments.comparison.measures import summarize_runs
from experiments.report import figures
from mnistsum.config import ObjectiveConfig
from mnistsum.types import Split


def predictions(digit: np.ndarray) -> dict[str, np.ndarray]:
    return {"digit": digit, "sum": digit[:, None] + np.arange(10)}


@pytest.mark.parametrize("wrong", [3, 40])
def test_examples_name_every_mistake_there_is(mnist, wrong):
    split = Split(*(array[:100] for array in mnist.test))
    digit = (split.labels + (np.arange(100) < wrong)) % 10
    ((upper, lower),) = (panel.axes for panel in figures.examples(predictions(digit), split))
    assert lower.get_title("left") == f"Mistakes: {min(wrong, 16)} of the {wrong} images with a wrong digit or sum"
    assert len(lower.images) == len(lower.texts) == min(wrong, 16)
    assert all("read" in text.get_text() for text in lower.texts)
    assert sum("read" in text.get_text() for text in upper.texts) <= wrong / 2 + 2  # chosen at random


def test_confusion_counts_every_image_and_pair(mnist):
    labels = mnist.test.labels[:100]
    digits, sums = (panel.axes[0] for panel in figures.confusion(predictions((labels + 1) % 10), labels))
    assert [axes.get_title() for axes in (digits, sums)] == ["Digit: 100 of 100 wrong", "Sum: 1,000 of 1,000 wrong"]
    counts = {text.get_position(): int(text.get_text()) for text in digits.texts}
    assert counts == {((digit + 1) % 10, digit): (labels == digit).sum() for digit in range(10)}  # across, down
    assert [digits.get_xlabel(), digits.get_ylabel()] == ["predicted", "true"]


def test_curves_are_of_the_lines_of_metrics():
    scores = ("loss", "digit_accuracy", "sum_accuracy", "digit_loss", "sum_loss")
    random = np.random.default_rng(4)
    lines = [
        {"epoch": epoch} | {part: dict(zip(scores, random.random(5), strict=True)) for part in ("train", "validation")}
        for epoch in (1.0, 2.0, 3.0)
    ]
    panels = [panel.axes[0] for panel in figures.curves(lines)]
    losses, errors = ({line.get_label(): line.get_ydata() for line in axes.lines} for axes in panels)
    assert (len(losses), len(errors)) == (3, 4)
    np.testing.assert_allclose(losses["validation, sum"], [line["validation"]["sum_loss"] for line in lines])
    np.testing.assert_allclose(errors["training, digit"], [1 - line["train"]["digit_accuracy"] for line in lines])
    bottom, top = panels[1].get_ylim()
    assert bottom > top  # the best is above


@pytest.mark.parametrize("obstacle", [None, "other machine"])
def test_a_front_joins_the_configs_that_none_beats_and_seconds_of_other_machines_have_none(obstacle):
    costs = (("small", 0.98, 10), ("beaten", 0.97, 50), ("large", 0.995, 100))
    rows = [
        {"config": name, "sum_accuracy": {"mean": mean, "low": mean - 0.001, "high": mean + 0.001}}
        | {"parameters": cost, "multiply_adds": cost, "train_seconds": {"mean": cost}}
        | {"not_compared": obstacle if name == "large" else None}
        for name, mean, cost in costs
    ]
    panels = comparison.costs({"rows": rows})
    assert list(panels) == ["parameters", "multiply-adds"] + ([] if obstacle else ["seconds of training"])
    for (axes,) in (panel.axes for panel in panels.values()):
        np.testing.assert_allclose(axes.lines[0].get_xydata(), [(10, 0.02), (100, 0.005)])


def test_every_figure_is_drawn_from_extreme_summaries(tmp_path):
    """Perfect, hopeless, not finite, of one seed, of one evaluation, with a label that has no images."""
    hopeless = [a_run("b", seed, (LABELS + 1) % 10, SUMS * 0 + 18) for seed in range(2)]
    diverged = [a_run("c", seed, config={"objective": ObjectiveConfig(held_out=3)}) for seed in range(2)]
    for run in diverged:
        run.summary["test"]["sum_accuracy_by_cell"][3] = [math.nan] * 10
    summary = summarize_runs({"a": [a_run(), a_run(seed=1)], "b": hopeless, "c" * 200: diverged}, LABELS)
    summary["rows"][0]["sum_accuracy"] |= {"low": None, "high": None}  # of one seed
    assert comparison.seed_curves(summary) == {}  # of one evaluation
    for row, loss in zip(summary["rows"], (1e-9, 1e3, math.nan), strict=True):
        row["curve"] = {"epoch": [0.5, 1]}
        for output, name in itertools.product(("digit", "sum"), ("mean", "low", "high")):
            row["curve"] |= {f"{output}_accuracy_{name}": [0.0, 1.0], f"{output}_loss_{name}": [loss, loss]}
    intervals = comparison.intervals(summary)
    bars = [bar.get_label() for bar in intervals.axes[0].containers]
    assert bars == ["digit", "sum, trained pairs", "sum, held-out pairs"]
    line = hopeless[0].lines[0] | {"train": {"loss": math.nan, "digit_accuracy": 0.0, "sum_accuracy": 1.0}}
    several = comparison.seed_curves(summary) | comparison.costs(summary)
    drawn = [intervals, *several.values(), *figures.curves([line])]
    assert len(drawn) == 10
    for figure in drawn:
        figures.save([figure], tmp_path / "figure.png", dpi=30)
