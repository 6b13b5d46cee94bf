"""The numbers and verdicts of a comparison, from runs made by hand."""

import numpy as np
import pytest
from programs import LABELS, SUMS, a_run

from experiments.comparison.measures import same_weights, summarize_runs
from mnistsum.config import DataConfig, ObjectiveConfig
from mnistsum.objective import held_out_cells


def misread(images):
    """Return the digits of a run that misreads these images."""
    return np.where(np.isin(np.arange(100), images), (LABELS + 1) % 10, LABELS)


def rows_of(**runs):
    return summarize_runs(runs, LABELS)["rows"]


def seeds(name, *digits, **fields):
    return [a_run(name, seed, digit, **fields) for seed, digit in enumerate(digits)]


def test_the_adder_is_blamed_for_wrong_sums_of_correct_digits():
    digit = LABELS.copy()
    total = SUMS.copy()
    # misread, and the sums follow it: 10 pairs
    digit[0] = 1
    total[0] = 1 + np.arange(10)
    total[1, 3] = 18  # the digit is right, the sum is not: 1 pair
    digit[2] = 0  # misread, but the sums are right: 10 pairs
    (row,) = rows_of(a=[a_run("a", 0, digit, total)])
    assert row["adder_wrong"]["mean"] == pytest.approx(0.001)


def test_measures_of_runs_by_hand():
    renaming = np.array([1, 2, 0, 4, 5, 6, 7, 8, 9, 3])  # nowhere its own inverse
    objective = ObjectiveConfig(held_out=3)
    digits = [renaming[LABELS]] * 2
    runs = seeds("a", *digits, config={"objective": objective})
    cells = np.where(held_out_cells(objective), 0.25, 0.75).tolist()
    for run in runs:
        # the label that each predicted digit stands for
        run.summary["permutation"] = np.argsort(renaming).tolist()
        run.summary["test"]["sum_accuracy_by_cell"] = cells
        (line,) = run.lines
        scores = line["validation"] | {"digit_accuracy": 0.99}
        run.lines[:] = [
            {
                "clock": {"train_seconds": 10.0 * epoch},
                "epoch": epoch,
                "validation": scores | {"sum_accuracy": total},
            }
            for epoch, total in enumerate((0.98, 0.99, 0.99), 1)
        ]
    (row,) = rows_of(a=runs)
    assert row["digit_accuracy_renamed"]["mean"] == 1.0
    assert row["sum_accuracy_held_out"]["mean"] == pytest.approx(0.25)
    assert row["sum_accuracy_trained_cells"]["mean"] == pytest.approx(0.75)
    assert row["seconds_to_good"]["mean"] == 20.0


@pytest.mark.parametrize(
    "of_a, of_b, is_paired", [(600, 600, True), (600, 60, False), (0, 0, False)]
)
def test_configs_that_draw_equally_many_images_are_paired_by_seed(
    of_a, of_b, is_paired
):
    """The verdicts that follow are in test_compare.py."""
    a, b = (
        seeds("a", LABELS, LABELS, config={"data": DataConfig(train_images=images)})
        for images in (of_a, of_b)
    )
    assert rows_of(a=a, b=b)[1]["paired_by_seed"] == is_paired


def test_a_failed_seed_is_counted_and_named():
    a = seeds("a", LABELS, LABELS)
    b = seeds("b", LABELS, LABELS)
    verdict = "at most 0.1 points worse"
    assert rows_of(a=a, b=b)[1]["against_first"]["digit"]["verdict"] == verdict
    b[1].summary["failure"] = "sum below 90 %"
    for rows in (rows_of(a=a, b=b), rows_of(b=b, a=a)):
        assert rows[1]["against_first"]["digit"]["verdict"] == "undecided"
    b[1] = b[1]._replace(predictions={"digit": misread(range(50)), "sum": SUMS})
    (row,) = rows_of(b=b)
    assert row["failed"] == ["seed 1: sum below 90 %"]


def test_configs_that_end_alike_are_named_in_one_line():
    runs = {name: seeds(name, LABELS, LABELS) for name in ("a", "b", "c")}
    assert same_weights(runs) == []
    # as of an override that the network ignores, or of a seed
    for one, other in ((runs["a"][1], runs["b"][1]), runs["c"]):
        other.summary["weights"] = one.summary["weights"]
    alike = "several runs ended with the same weights, bit for bit"
    assert same_weights(runs) == [f"a, b: {alike}", f"c: {alike}"]


def test_seconds_are_compared_on_one_machine_and_in_one_mode():
    a = seeds("a", LABELS, LABELS)
    fewer = seeds("a", LABELS, LABELS, run={"cores": 1})
    others = {
        "other": seeds("a", *[LABELS] * 2, run={"settings": {"hardware": "another"}}),
        "fewer": fewer,
        "vmapped": seeds("a", LABELS, LABELS),
        "mixed": [a[0], fewer[1]],
    }
    for run in others["vmapped"]:
        run.summary["mode"] = "2 seeds as one vmapped program"
    found = [row["not_compared"] for row in rows_of(a=a, b=a, **others)]
    assert found == [False, False, True, True, True, True]
