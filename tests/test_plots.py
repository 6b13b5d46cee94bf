"""Figures and report: drawn from any finished evaluation, and never a way to inject HTML."""

import dataclasses
import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from experiments.comparison import figures as comparison_figures
from experiments.report import figures, html
from experiments.run_folder import Finished
from mnistsum.types import Split

RUNS = Path(__file__).parent.parent / "experiments" / "results" / "runs"


def predictions(digit: np.ndarray) -> dict[str, np.ndarray]:
    return {"digit": digit, "sum": digit[:, None] + np.arange(10)}


@pytest.mark.parametrize("wrong", [0, 3, 40])
def test_examples_name_every_mistake_there_is(mnist, wrong):
    split = Split(*(array[:100] for array in mnist.test))
    labels = np.asarray(split.labels)
    digit = np.where(np.arange(100) < wrong, (labels + 1) % 10, labels)
    figure = figures.examples(predictions(digit), split)
    _, lower = figure.axes
    assert lower.get_title("left") == f"Mistakes: {min(wrong, 16)} of the {wrong} images with a wrong digit or sum"
    assert len(lower.images) == len(lower.texts) == min(wrong, 16)
    assert all("read" in text.get_text() for text in lower.texts)


def test_random_images_are_not_chosen_by_their_mistakes(mnist):
    """Each image is read correctly, and one of its ten sums is wrong."""
    split = Split(*(array[:100] for array in mnist.test))
    answers = predictions(np.asarray(split.labels))
    answers["sum"][:, 3] += 1
    upper, lower = figures.examples(answers, split).axes
    assert sum("read" in text.get_text() for text in lower.texts) == 16
    assert sum("read" in text.get_text() for text in upper.texts) < 6  # 1.6 expected
    shown = {image.get_array().tobytes() for image in upper.images}
    assert shown != {array[..., 0].tobytes() for array in np.asarray(split.images[:16])}


def test_confusion_counts_every_image_and_pair(mnist):
    labels = np.asarray(mnist.test.labels[:100])
    figure = figures.confusion(predictions((labels + 1) % 10), labels)
    assert [axes.get_title() for axes in figure.axes] == ["Digit: 100 of 100 wrong", "Sum: 1,000 of 1,000 wrong"]
    counts = {text.get_position(): int(text.get_text()) for text in figure.axes[0].texts}
    assert counts == {((digit + 1) % 10, digit): (labels == digit).sum() for digit in range(10)}  # across, down
    assert [figure.axes[0].get_xlabel(), figure.axes[0].get_ylabel()] == ["predicted", "true"]


def test_curves_are_of_the_lines_of_metrics():
    random = np.random.default_rng(4)
    outputs = ("digit_accuracy", "sum_accuracy", "digit_loss", "sum_loss")
    lines = [
        {
            "epoch": float(epoch),
            "train": {name: float(random.random()) for name in ("loss", *outputs[:2])},
            "validation": {name: float(random.random()) for name in outputs},
        }
        for epoch in (1, 2, 3)
    ]
    losses, errors = figures.curves(lines).axes
    expected = {
        (losses, "training, as minimized (running mean)"): [line["train"]["loss"] for line in lines],
        (losses, "validation, digit"): [line["validation"]["digit_loss"] for line in lines],
        (losses, "validation, sum"): [line["validation"]["sum_loss"] for line in lines],
        (errors, "training, digit"): [1 - line["train"]["digit_accuracy"] for line in lines],
        (errors, "training, sum"): [1 - line["train"]["sum_accuracy"] for line in lines],
        (errors, "validation, digit"): [1 - line["validation"]["digit_accuracy"] for line in lines],
        (errors, "validation, sum"): [1 - line["validation"]["sum_accuracy"] for line in lines],
    }
    drawn = {(axes, str(curve.get_label())): curve for axes in (losses, errors) for curve in axes.lines}
    assert drawn.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(drawn[name].get_xydata(), np.column_stack([(1, 2, 3), values]))


def test_reliability_is_drawn_before_and_after():
    curves = {
        when: {"answers": [0, 4, 6], "confidence": [0, 0.5, sure], "accuracy": [0, 0.4, 0.9], "error": error}
        for when, sure, error in (("before", 0.8, 0.02), ("after", 0.9, 0.01))
    }
    upper, _ = figures.reliability(curves, "digit").axes
    for line, sure, label in zip(upper.lines[1:], (0.8, 0.9), ("before: error 2.00", "after: error 1.00"), strict=True):
        np.testing.assert_allclose(line.get_xydata(), [(0.5, 0.4), (sure, 0.9)])  # no answers, no point
        assert str(line.get_label()) == f"{label} points"


def test_no_two_configs_share_a_color():
    assert len({comparison_figures.color(i) for i in range(24)}) == 24
    assert comparison_figures.color(0) == "#0072b2"


@pytest.mark.parametrize(
    "accuracies", [(0.971, 0.988, 0.994), (0.9951, 0.9957, 0.9963), (0.1, 0.9, 0.999), (0.99, 0.9901, 0.99)]
)
def test_the_labels_of_accuracies_are_two_at_least_and_do_not_overlap(accuracies):
    spreads = [{"mean": mean, "low": mean - 2e-4, "high": mean + 2e-4} for mean in accuracies]
    held_out = {"mean": None}
    rows = [
        {"config": "a", "digit_accuracy": spread, "sum_accuracy": spread, "sum_accuracy_held_out": held_out}
        for spread in spreads
    ]
    figure = comparison_figures.intervals({"rows": rows})
    figure.draw_without_rendering()
    (axes,) = figure.axes
    boxes = [label.get_window_extent() for label in axes.get_xticklabels()]
    assert len(boxes) >= 2
    for left, right in itertools.pairwise(sorted(boxes, key=lambda box: box.x0)):
        assert left.x1 < right.x0


def test_held_out_pairs_have_bars_of_their_own_at_the_configs_that_hold_pairs_out():
    digit, total, trained, held_out = (
        {"mean": mean, "low": mean - 0.01, "high": mean + 0.01} for mean in (0.98, 0.7, 0.97, 0.02)
    )
    whole = {"config": "a", "digit_accuracy": digit, "sum_accuracy": total, "sum_accuracy_trained_cells": total}
    rows = [
        whole | {"sum_accuracy_held_out": {"mean": None}},
        whole | {"config": "b", "sum_accuracy_trained_cells": trained, "sum_accuracy_held_out": held_out},
    ]
    (axes,) = comparison_figures.intervals({"rows": rows}).axes
    errors = {str(bar.get_label()): bar[0].get_xdata() for bar in axes.containers}
    assert list(errors) == ["digit", "sum, trained pairs", "sum, held-out pairs"]
    np.testing.assert_allclose(errors["sum, trained pairs"], [0.3, 0.03])
    np.testing.assert_allclose(errors["sum, held-out pairs"], [0.98])
    places = [float(place) for bar in axes.containers for place in np.atleast_1d(bar[0].get_ydata())]
    assert len(set(places)) == len(places) == 5  # no two bars lie on each other


def test_a_front_has_every_config_with_its_interval_and_joins_those_that_none_beats():
    rows = [
        {"config": "small", "sum_accuracy": (0.98, 0.97, 0.99), "parameters": 10},
        {"config": "beaten", "sum_accuracy": (0.97, 0.96, 0.98), "parameters": 50},
        {"config": "large", "sum_accuracy": (0.995, 0.99, 0.999), "parameters": 100},
    ]
    for row in rows:
        row["sum_accuracy"] = dict(zip(("mean", "low", "high"), row["sum_accuracy"], strict=True))
        row |= {"multiply_adds": row["parameters"], "train_seconds": {"mean": row["parameters"]}}
    panels = comparison_figures.fronts({"rows": rows}).axes
    assert [axes.get_xlabel() for axes in panels] == ["parameters", "multiply-adds per answer", "seconds of training"]
    for axes in panels:
        np.testing.assert_allclose(axes.lines[0].get_xydata(), [(10, 0.02), (100, 0.005)])
        for row, bar in zip(rows, axes.containers, strict=True):
            (segment,) = bar[2][0].get_segments()
            spread = row["sum_accuracy"]
            np.testing.assert_allclose(segment[:, 0], row["parameters"])
            np.testing.assert_allclose(segment[:, 1], [1 - spread["high"], 1 - spread["low"]])
        bottom, top = axes.get_ylim()
        assert bottom > top  # the best is above
    rows[0]["sum_accuracy"] = {"mean": 0.06, "low": 0.05, "high": 0.07}  # as of a sum that is not trained
    assert all(axes.get_ylim()[0] <= 1 for axes in comparison_figures.fronts({"rows": rows}).axes)
    for row in rows:
        row["config"] = f"{row['config']}-of-a-name-that-takes-most-of-sixty-characters"
    figure = comparison_figures.fronts({"rows": rows})
    figure.draw_without_rendering()
    (legend,) = figure.legends
    assert legend.get_window_extent().width <= figure.bbox.width


def test_a_report_escapes_all_values(tmp_path, config):
    folder = RUNS / "base-0"
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    figures.curves(lines).savefig(tmp_path / "examples.png")
    summary, run = (json.loads((folder / name).read_text()) for name in ("summary.json", "run.json"))
    evil = "<script>alert(1)</script>"
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, dir=evil))
    run |= {"command": evil, "commit": evil, "hardware": evil}
    page = html.report(
        Finished(tmp_path, config, run, lines, summary | {"device": evil}, predictions(np.arange(10))), np.arange(10)
    )
    assert "<script" not in page
    assert page.count("&lt;script&gt;") == 5
