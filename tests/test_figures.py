"""The figures of runs and comparisons show what they say."""

import math

import numpy as np
import pytest
from programs import LABELS, SUMS, a_run, first

from experiments.comparison import plots as comparison
from experiments.comparison.measures import spread, summarize_runs
from experiments.report import figures
from mnistsum.config import ObjectiveConfig


def predictions(digit):
    return {"digit": digit, "sum": digit[:, None] + np.arange(10)}


@pytest.mark.parametrize("wrong", [3, 40])
def test_examples_name_every_mistake_there_is(mnist, wrong):
    split = first(mnist.test, 100)
    digit = (split.labels + (np.arange(100) < wrong)) % 10
    random, mistakes = (
        panel.axes[0] for panel in figures.examples(predictions(digit), split)
    )
    assert (
        mistakes.get_title()
        == f"Mistakes: {min(wrong, 16)} of the {wrong} images with a wrong digit or sum"
    )
    assert len(mistakes.images) == len(mistakes.texts) == min(wrong, 16)
    assert all("read" in text.get_text() for text in mistakes.texts)
    # chosen at random
    assert sum("read" in text.get_text() for text in random.texts) <= wrong / 2 + 2


def test_confusion_counts_every_image_and_pair(mnist):
    labels = mnist.test.labels[:100]
    panels = figures.confusion(predictions((labels + 1) % 10), labels)
    digits, sums = (panel.axes[0] for panel in panels)
    assert digits.get_title() == "Digit: 100 of 100 wrong"
    assert sums.get_title() == "Sum: 1,000 of 1,000 wrong"
    counts = {text.get_position(): int(text.get_text()) for text in digits.texts}
    # across, down
    places = [((digit + 1) % 10, digit) for digit in range(10)]
    assert counts == dict(zip(places, np.bincount(labels), strict=True))
    assert [digits.get_xlabel(), digits.get_ylabel()] == ["predicted", "true"]


def test_curves_are_of_the_lines_of_metrics():
    names = ("loss", "digit_accuracy", "sum_accuracy", "digit_loss", "sum_loss")
    random = np.random.default_rng(4)
    lines = []
    for epoch in (1.0, 2.0, 3.0):
        train = dict(zip(names, random.random(5), strict=True))
        validation = dict(zip(names, random.random(5), strict=True))
        lines.append({"epoch": epoch, "train": train, "validation": validation})
    shown = []
    for panel in figures.curves(lines):
        (axes,) = panel.axes
        shown.append({line.get_label(): list(line.get_ydata()) for line in axes.lines})
    losses, errors = shown
    assert len(losses) == 3
    assert len(errors) == 4
    expected = [line["validation"]["sum_loss"] for line in lines]
    assert losses["validation, sum"] == expected
    expected = [1 - line["train"]["digit_accuracy"] for line in lines]
    assert errors["training, digit"] == expected
    bottom, top = axes.get_ylim()
    assert bottom > top  # the best is above


@pytest.mark.parametrize("obstacle", [None, "other machine"])
def test_each_cost_has_the_mean_and_interval_of_each_config(obstacle):
    rows = []
    for cost, accuracies in ((100, [0.97, 0.99]), (900, [0.995, 0.995])):
        rows.append(
            {
                "sum_accuracy": spread(accuracies),
                "not_compared": obstacle,
                "parameters": cost,
                "multiply_adds": cost,
                "train_seconds": {"mean": cost / 1000},
            }
        )
    panels = [panel.axes[0] for panel in comparison.costs({"rows": rows})]
    labels = [
        axes.xaxis.get_major_formatter().format_ticks([0.2])[0] for axes in panels
    ]
    # sizes have prefixes, seconds none
    assert labels == ["200m", "200m"] + ([] if obstacle else ["0.2"])
    for axes in panels[:2]:
        interval, mean, *_, last = axes.lines
        np.testing.assert_allclose(mean.get_xydata(), [(100, 0.02)])
        low, high = (rows[0]["sum_accuracy"][end] for end in ("low", "high"))
        ends = np.clip([1 - low, 1 - high], 1e-4, 1)
        np.testing.assert_allclose(interval.get_ydata(), ends)
        np.testing.assert_allclose(last.get_xydata(), [(900, 0.005)])


def test_intervals_end_in_arrows_and_each_seed_has_a_dot():
    rows = []
    for accuracies in ([0.9, 0.99], [0.95, 0.951]):
        row = dict.fromkeys(("digit_accuracy", "sum_accuracy"), spread(accuracies))
        rows.append(row | {"config": "a", "sum_accuracy_held_out": spread([None])})
    lines = comparison.intervals({"rows": rows}).axes[0].lines
    markers = [line.get_marker() for line in lines]
    assert [markers.count(mark) for mark in ("<", ">", "|")] == [2, 2, 4]
    dots = [line.get_xdata() for line in lines if line.get_marker() == "."]
    for found in dots[:2], dots[2:]:
        np.testing.assert_allclose(found, [[0.1, 0.01], [0.05, 0.049]])


def test_every_figure_is_drawn_from_extreme_summaries(tmp_path):
    """Perfect, hopeless, not finite, of one seed or evaluation, with an empty label."""
    objective = ObjectiveConfig(held_out=3)
    hopeless = [a_run("b", seed, (LABELS + 1) % 10, SUMS * 0 + 18) for seed in range(2)]
    diverged = [a_run("c", seed, config={"objective": objective}) for seed in range(2)]
    for run in diverged:
        run.summary["test"]["sum_accuracy_by_cell"][3] = [math.nan] * 10
    runs = {"a": [a_run(), a_run(seed=1)], "b": hopeless, "c" * 200: diverged}
    summary = summarize_runs(runs, LABELS)
    summary["rows"][0]["sum_accuracy"] |= {"low": None, "high": None}  # of one seed
    assert comparison.seed_curves(summary) == []  # of one evaluation
    for row, loss in zip(summary["rows"], (1e-9, 1e3, math.nan), strict=True):
        curve = {key: [loss, loss] for key in row["curve"] if "loss" in key}
        curve |= {key: [0.0, 1.0] for key in row["curve"] if "accuracy" in key}
        row["curve"] = curve | {"epoch": [0.5, 1]}
    intervals = comparison.intervals(summary)
    bars = [text.get_text() for text in intervals.legends[0].get_texts()]
    assert bars == ["digit", "sum, trained pairs", "sum, held-out pairs"]
    train = {"loss": math.nan, "digit_accuracy": 0.0, "sum_accuracy": 1.0}
    drawn = [
        intervals,
        *comparison.seed_curves(summary),
        *comparison.costs(summary),
        *figures.curves([hopeless[0].lines[0] | {"train": train}]),
    ]
    assert len(drawn) == 10
    for figure in drawn:
        figures.write_png([figure], tmp_path / "figure.png", dpi=30)
