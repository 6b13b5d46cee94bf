"""The measures of the runs that are compared, and the verdicts that follow."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.training.folder import (
    OUTPUTS,
    Finished,
    evaluated_split,
    judged_accuracy,
)
from experiments.training.record import machine
from mnistsum.evaluation import SCORES, Score
from mnistsum.file_io import read_json
from mnistsum.objective import held_out_cells, trained_outputs
from mnistsum.statistics import differences, interval

OUTCOMES = "outcomes.npz"  # beside comparison.json
GOOD = 0.988  # for both accuracies on validation images
# what a row takes from its first run's `run.json`
OF_A_RUN = ("parameters", "multiply_adds", "command", "commit", "versions")


class Measure(NamedTuple):
    """A number per run.

    Tables show its mean over seeds, and the standard deviation of a share.
    """

    title: str  # of its column
    form: str  # "%" for a share, else a format specification
    meaning: str  # empty if the title says it
    # from a run and the test labels; None: not applicable
    compute: Callable[[Finished, Any], float | None]


def score_measures() -> dict[str, Measure]:
    """Return a measure for each score that is compared."""
    return {
        name: _score_measure(name, score)
        for name, score in SCORES.items()
        if score.is_compared
    }


def _score_measure(name: str, score: Score) -> Measure:
    form = "%" if score.unit == "%" else ".4f"
    title = f"{score.title}, {score.unit}"
    return Measure(
        title,
        form,
        score.explanation,
        lambda run, _: run.summary["test"].get(name),
    )


def _adder_wrong(run: Finished, labels: np.ndarray) -> float:
    """Return the share of pairs whose sum is wrong, although the digit is right."""
    is_wrong = run.predictions["sum"] != labels[:, None] + np.arange(10)
    return float(is_wrong[run.predictions["digit"] == labels].sum() / is_wrong.size)


def _renamed(run: Finished, labels: np.ndarray) -> float | None:
    permutation = run.summary["permutation"]
    if permutation is None:
        return None
    renamed = np.array(permutation)[run.predictions["digit"]]
    return float((renamed == labels).mean())


def _mean_of_cells(run: Finished, _: object, held_out: bool) -> float | None:
    """Return the sum accuracy on held-out pairs or on the others, None without any."""
    cells = np.array(run.summary["test"]["sum_accuracy_by_cell"], float)
    which = held_out_cells(run.config.objective)
    return float(np.nanmean(cells[which == held_out])) if which.any() else None


def _validated(run: Finished, _: object, output: str) -> float | None:
    """Return the accuracy on validation images of an output that is trained."""
    is_trained = output in trained_outputs(run.config.objective)
    return judged_accuracy(run.summary["validation"], output) if is_trained else None


def _seconds_to_good(run: Finished, _: object) -> float | None:
    split = evaluated_split(run.config)
    for line in run.lines:
        if min(judged_accuracy(line[split], output) for output in OUTPUTS) >= GOOD:
            return line["clock"]["train_seconds"]
    return None


# To add a measure to the tables, add an entry. An evaluation's own scores are in
# SCORES.
ACCURACY = score_measures()
VALIDATED_ACCURACY = {
    output: Measure(f"{output}, %", "%", "", partial(_validated, output=output))
    for output in OUTPUTS
}
ERRORS: dict[str, Measure] = {
    "adder_wrong": Measure(
        "adder wrong, %",
        "%",
        "wrong sums of correct digits, as a share of all pairs",
        _adder_wrong,
    ),
    "digit_accuracy_renamed": Measure(
        "digit, renamed, %",
        "%",
        "digits after the best renaming, which is fitted on validation images",
        _renamed,
    ),
    "sum_accuracy_trained_cells": Measure(
        "trained pairs, %",
        "%",
        "sums of the pairs of digit and number that are trained",
        partial(_mean_of_cells, held_out=False),
    ),
    "sum_accuracy_held_out": Measure(
        "held-out pairs, %",
        "%",
        "sums of the pairs of digit and number that are held out",
        partial(_mean_of_cells, held_out=True),
    ),
}
COSTS: dict[str, Measure] = {
    "train_seconds": Measure(
        "training, s",
        ".1f",
        "time in training steps, without compilation and evaluation; seeds in one "
        "program share it equally",
        lambda run, _: run.summary["train_seconds"],
    ),
    "seconds_to_good": Measure(
        f"s to {100 * GOOD:.1f} %",
        ".1f",
        "training time until both accuracies on validation images reached "
        f"{100 * GOOD:.1f} %",
        _seconds_to_good,
    ),
}


def measure_rows(
    runs: dict[str, list[Finished]],
    measures: dict[str, Measure],
    labels: np.ndarray | None = None,
) -> list[dict[str, Any]]:
    """Return a row for each config: how its runs were made, and each measure's spread.

    Args:
        runs: of each config, by displayed name. All numbers include failed runs.
        measures: what to show.
        labels: of the test images, if a measure needs them.
    """
    rows: list[dict[str, Any]] = []
    for name, group in runs.items():
        failed = [run for run in group if run.summary["failure"]]
        timed_on = {f"{machine(run.about)}, {run.summary['mode']}" for run in group}
        row: dict[str, Any] = {"config": name}
        row |= {key: group[0].about[key] for key in OF_A_RUN}
        row |= {
            "n": len(group),
            "seeds": [run.config.seed for run in group],
            "failed": [
                f"seed {run.config.seed}: {run.summary['failure']}" for run in failed
            ],
            "timed_on": "; ".join(sorted(timed_on)),
        }
        for key, each in measures.items():
            row[key] = spread([each.compute(run, labels) for run in group])
        first_timed_on = rows[0]["timed_on"] if rows else row["timed_on"]
        row["not_compared"] = len(timed_on) > 1 or row["timed_on"] != first_timed_on
        rows.append(row)
    return rows


def summarize_runs(
    runs: dict[str, list[Finished]], labels: np.ndarray
) -> dict[str, Any]:
    """Return everything that the files and the page of a comparison show.

    Args:
        runs: of each config, by displayed name and ordered by seed. All configs have
            the same seeds.
        labels: the labels of the test images.
    """
    rows = measure_rows(runs, ACCURACY | ERRORS | COSTS, labels)
    right = outcomes(runs, labels)
    configs = [group[0].config for group in runs.values()]
    # drawn by the seed: configs with equal numbers share their images
    drawn = configs[0].data.train_images
    for row, config, group in zip(rows, configs, runs.values(), strict=True):
        row |= {
            "paired_by_seed": drawn > 0 and config.data.train_images == drawn,
            "curve": _band(group),
        }
    for row, found in zip(rows[1:], against_first(rows, right), strict=True):
        row["against_first"] = found
    return {
        "dataset": configs[0].data.source,
        "images": len(labels),
        # the split that curves and times refer to
        "evaluated": evaluated_split(configs[0]),
        "rows": rows,
    }


def outcomes(
    runs: dict[str, list[Finished]], labels: np.ndarray
) -> dict[str, np.ndarray]:
    """Return which digits and sums are right, [configs, seeds, images(, 10)].

    Images are sorted by label, `np.argsort(labels, kind="stable")`, because that
    compresses best.
    """
    order = np.argsort(labels, kind="stable")
    truth = {
        "digit": labels[order],
        "sum": labels[order][:, None] + np.arange(10),
    }
    right = {}
    for name in OUTPUTS:
        answers = []
        for group in runs.values():
            answers.append([run.predictions[name][order] for run in group])
        right[name] = np.array(answers) == truth[name]
    return right


def against_first(
    rows: list[dict[str, Any]], right: dict[str, np.ndarray]
) -> list[dict[str, dict[str, Any]]]:
    """Return how the outputs of each other config differ from the first's."""
    if len(rows) == 1:
        return []
    # the share of right sums of each image
    shares = {"digit": right["digit"], "sum": right["sum"].mean(3, dtype=np.float32)}
    failures = [len(row["failed"]) for row in rows]
    is_paired = all(row["paired_by_seed"] for row in rows)
    results = np.stack([shares[name] for name in OUTPUTS], 1)
    found = []
    for row in differences(results, failures, is_paired):
        by_output = zip(OUTPUTS, row, strict=True)
        found.append({name: each._asdict() for name, each in by_output})
    return found


def recompute(folder: Path) -> list[dict[str, dict[str, Any]]]:
    """Recompute each `against_first` of a comparison's folder from its `outcomes.npz`.

    Only the failed seeds and the pairing are read from `comparison.json`.
    """
    with np.load(folder / OUTCOMES) as right:
        return against_first(read_json(folder / "comparison.json")["rows"], right)


def spread(values: Sequence[float | None]) -> dict[str, Any]:
    """Return mean, standard deviation and 95 % interval over the seeds with a value.

    Where a seed's value is not finite, as after a step with a fault, there is no
    interval.
    """
    known = [value for value in values if value is not None]
    found: dict[str, Any] = dict.fromkeys(("mean", "sd", "low", "high")) | {
        "values": values
    }
    if known:
        found["mean"] = float(np.mean(known))
    if len(known) > 1:
        found["sd"] = float(np.std(known, ddof=1))
    if len(known) > 1 and np.isfinite(known).all():
        _, found["low"], found["high"] = interval(np.array(known, float))
    return found


def same_weights(runs: dict[str, list[Finished]]) -> list[str]:
    """Warn of configs with bit-identical weights: an override may lack an effect."""
    names: dict[str, list[str]] = {}
    for name, config_runs in runs.items():
        for run in config_runs:
            names.setdefault(run.summary["weights"], []).append(name)
    alike = dict.fromkeys(
        ", ".join(dict.fromkeys(each)) for each in names.values() if len(each) > 1
    )
    return [
        f"{each}: several runs ended with the same weights, bit for bit"
        for each in alike
    ]


def _band(runs: list[Finished]) -> dict[str, list[float]]:
    """Return mean and range over seeds at each epoch at which all were evaluated."""
    split = evaluated_split(runs[0].config)
    by_epoch = []
    for run in runs:
        by_epoch.append({line["epoch"]: line[split] for line in run.lines})
    epochs = sorted(set.intersection(*map(set, by_epoch)))
    band = {"epoch": epochs}
    for output, score in product(OUTPUTS, ("accuracy", "loss")):
        quantity = f"{output}_{score}"
        curves = []
        for scores in by_epoch:
            curves.append([scores[epoch][quantity] for epoch in epochs])
        for name, function in (("mean", np.mean), ("low", np.min), ("high", np.max)):
            band[f"{quantity}_{name}"] = function(curves, 0).tolist()
    return band
