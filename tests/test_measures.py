"""The numbers and verdicts of a comparison, from runs made by hand."""

import numpy as np
import pytest
from programs import LABELS, SUMS, a_run

from experiments.comparison.measures import summarize_runs
from mnistsum.config import DataConfig, ObjectiveConfig
from mnistsum.objective import held_out_cells


def misread(images) -> np.ndarray:
    """Return the digits of a run that misreads these images."""
    return np.where(np.isin(np.arange(100), images), (LABELS + 1) % 10, LABELS)


def summary(**runs) -> dict:
    return summarize_runs(runs, LABELS)


def seeds(name, *digits, **fields):
    return [a_run(name, seed, digit, **fields) for seed, digit in enumerate(digits)]


def test_wrong_sums_are_attributed_to_digit_or_adder():
    digit, total = LABELS.copy(), SUMS.copy()
    digit[0], total[0] = 1, 1 + np.arange(10)  # misread, and the sums follow it: 10 pairs
    total[1, 3] = 18  # the digit is right, the sum is not: 1 pair
    digit[2] = 0  # misread, but the sums are right: 10 pairs
    (row,) = summary(a=[a_run("a", 0, digit, total)])["rows"]
    found = {key: row[key]["mean"] for key in ("digit_misread", "adder_wrong", "right_by_luck")}
    assert found == pytest.approx({"digit_misread": 0.01, "adder_wrong": 0.001, "right_by_luck": 0.01})


def test_measures_of_runs_by_hand():
    renaming = np.array([1, 2, 0, 4, 5, 6, 7, 8, 9, 3])  # nowhere its own inverse
    objective = ObjectiveConfig(held_out=3)
    runs = seeds("a", renaming[LABELS], renaming[LABELS], config={"objective": objective})
    for run in runs:
        run.summary["permutation"] = np.argsort(renaming).tolist()  # the label that each predicted digit stands for
        run.summary["test"]["sum_accuracy_by_cell"] = np.where(held_out_cells(objective), 0.25, 0.75).tolist()
        run.summary["learned"] = {"digit": 8, "sum": 20 + run.config.seed}
        run.lines[:] = [
            run.lines[0] | {"clock": {"train_seconds": 10.0 * epoch}, "epoch": epoch, "validation": scores}
            for epoch, total in enumerate((0.98, 0.99, 0.99), 1)
            for scores in [{"digit_loss": 0.1, "sum_loss": 0.1, "digit_accuracy": 0.99, "sum_accuracy": total}]
        ]
    (row,) = summary(a=runs)["rows"]
    assert row["digit_accuracy_renamed"]["mean"] == 1.0
    assert row["sum_accuracy_held_out"]["mean"] == pytest.approx(0.25)
    assert row["sum_accuracy_trained_cells"]["mean"] == pytest.approx(0.75)
    assert row["seconds_to_good"]["mean"] == 20.0
    assert row["images_per_second"]["mean"] == 10 * runs[0].config.training.batch_size / 2.0
    assert (row["adder_lag"]["mean"], row["adder_lag"]["sd"]) == (12.5, pytest.approx(0.5**0.5))


def test_configs_are_paired_by_image_and_by_seed_where_seeds_choose_the_training_images():
    """Each seed of b misreads what that of a does, and one image more: certain only if both are paired."""
    wrong = [np.arange(10 * seed) for seed in (1, 2, 3, 4)]
    more = [np.append(each, 99) for each in wrong]

    def width(worse, *drawn) -> float:
        a, b = (
            seeds(name, *map(misread, each), config={"data": DataConfig(train_images=images)})
            for name, each, images in zip("ab", (wrong, worse), drawn, strict=True)
        )
        found = summary(a=a, b=b)["rows"][1]["against_first"]["digit"]
        return found["high"] - found["low"]

    paired = width(more, 600, 600)
    assert 3 * paired < width([98 - np.append(each, -1) for each in wrong], 600, 600)  # other images
    assert 3 * paired < width(more[::-1], 600, 600)  # other seeds
    assert 3 * paired < width(more, 0, 0) == width(more, 600, 60)


def test_a_failed_seed_is_counted_named_and_keeps_its_config_from_being_called_no_worse():
    a, b = seeds("a", LABELS, LABELS), seeds("b", LABELS, LABELS)
    verdict = "at most 0.1 points worse"
    assert summary(a=a, b=b)["rows"][1]["against_first"]["digit"]["verdict"] == verdict
    b[1] = a_run("b", 1, misread(range(50)))
    b[1].summary["failure"] = "digit below 90 %"
    row = summary(a=a, b=b)["rows"][1]
    assert row["failed"] == ["seed 1: digit below 90 %"]
    assert row["digit_accuracy"]["values"] == [1.0, 0.5]
    assert row["digit_accuracy"]["mean"] == 0.75
    assert row["against_first"]["digit"]["verdict"] == "undecided"


def test_runs_that_end_alike_and_seeds_that_are_far_apart_raise_alarms():
    runs = {name: seeds(name, LABELS, LABELS) for name in ("a", "b")}
    assert summary(**runs)["alarms"] == []
    runs["b"][0].summary["weights"] = runs["a"][0].summary["weights"]  # as of an override that the network ignores
    runs["a"][1].summary["weights"] = runs["a"][0].summary["weights"]
    alike = "ended with the weights of a, seed 0, bit for bit"
    assert summary(**runs)["alarms"] == [f"a, seed 1: {alike}", f"b, seed 0: {alike}"]
    apart = "a: digit accuracy differs by more than a point between seeds: 95.00% to 100.00%"
    assert summary(a=seeds("a", LABELS, misread(range(5))))["alarms"] == [apart]


def test_seconds_are_compared_only_on_one_kind_of_machine_and_in_one_mode():
    a = seeds("a", LABELS, LABELS)
    other = seeds("other", LABELS, LABELS, run={"settings": {"hardware": "another CPU"}})
    fewer = seeds("fewer", LABELS, LABELS, run={"cores": 1})
    vmapped = seeds("vmapped", LABELS, LABELS)
    for run in vmapped:
        run.summary["mode"] = "2 seeds as one vmapped program"
    mixed = [a_run("mixed", 0), a_run("mixed", 1, run={"cores": 1})]
    runs = {"a": a, "b": seeds("b", LABELS, LABELS), "other": other, "fewer": fewer, "vmapped": vmapped, "mixed": mixed}
    found = [row["not_compared"] for row in summary(**runs)["rows"]]
    assert found == [None, None, "other machine", "other machine", "other mode", "mixed machines"]
