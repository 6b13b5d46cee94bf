"""The numbers and verdicts that follow from the runs of a comparison."""

import math
from typing import Any

import numpy as np

from experiments.run_folder import OUTPUTS, Finished, judged_accuracy, mean_of_trained_cells
from mnistsum.errors import InputError
from mnistsum.objective import held_out_cells, trained_outputs
from mnistsum.statistics import difference, interval

MEASURES = (  # of each run, summarized over seeds
    "digit_accuracy",
    "sum_accuracy",
    "consistency",
    "impossible",
    "digit_accuracy_permuted",
    "sum_accuracy_trained_cells",
    "sum_accuracy_held_out",
    "adder_lag",
    "train_seconds",
    "seconds_to_good",
    "images_per_second",
)
GOOD = 0.988  # threshold for both accuracies on held-out images
MAX_SPREAD = 0.01  # a larger spread of accuracy between a config's seeds is warned of


def summarize(runs: dict[str, list[Finished]], labels: np.ndarray) -> dict[str, Any]:
    """Return all that the files and the page show. Failed runs are counted, and included in every figure.

    Args:
        runs: each config's, by displayed name, ordered by seed; all configs have the same seeds.
        labels: the labels of the test images.
    """
    right = {name: _right(config_runs, labels) for name, config_runs in runs.items()}
    first, *others = runs
    contrasts = len(others) * len(OUTPUTS)
    rows, alarms = [], []
    for name, config_runs in runs.items():
        measured = [_measure(run, labels) for run in config_runs]
        row = _row(name, config_runs, measured, labels)
        if name != first:
            failures = len(rows[0]["failed"]) + len(row["failed"])
            row["against_first"] = {
                output: difference(right[first][output], right[name][output], contrasts, failures)._asdict()
                for output in OUTPUTS
            }
        rows.append(row)
        alarms += _alarms(name, config_runs, measured)
    data = next(iter(runs.values()))[0].config.data
    return {
        "first": first,
        "dataset": data.name,
        "images": len(labels),
        "held_out": "validation" if data.validation else "test",  # the images that curves and times are of
        "rows": rows,
        "alarms": alarms,
    }


def _row(name: str, runs: list[Finished], measured: list[dict[str, Any]], labels: np.ndarray) -> dict[str, Any]:
    """Return a config's row: its runs, and their measures over seeds."""
    config = runs[0].config
    row: dict[str, Any] = {
        "config": name,
        "classifier": config.model.classifier,
        "adder": config.model.adder,
        "parameters": runs[0].summary["parameters"],
        "multiply_adds": runs[0].summary["multiply_adds"],
        "epochs": config.training.epochs,
        "n": len(runs),
        "seeds": [run.config.seed for run in runs],
        "failed": [f"seed {run.config.seed}: {run.summary['failure']}" for run in runs if run.summary["failure"]],
        "mode": "; ".join(sorted({run.summary["mode"] for run in runs})),
    }
    for measure in MEASURES:
        row[measure] = _spread([one[measure] for one in measured if one[measure] is not None], len(runs))
    row["adder_lag"]["of"] = sum(run.summary["learned"] is not None for run in runs)  # runs that were watched
    row["errors"] = _attribute(runs, labels)
    row["curve"] = _band(runs)
    row["longest"] = max(line["epoch"] for run in runs for line in run.lines)
    row["cells"] = np.mean([run.summary["test"]["sum_accuracy_by_cell"] for run in runs], 0).round(5).tolist()
    return row


def _alarms(name: str, runs: list[Finished], measured: list[dict[str, Any]]) -> list[str]:
    """Return what is suspicious about the seeds of a config."""
    alarms = []
    if len({run.summary["weights"] for run in runs}) < len(runs):
        alarms.append(f"{name}: two seeds ended with the same weights, bit for bit")
    for output in trained_outputs(runs[0].config.objective):
        values = [one[f"{output}_accuracy"] for one in measured]
        if max(values) - min(values) > MAX_SPREAD:
            spread = f"{min(values):.2%} to {max(values):.2%}"
            alarms.append(f"{name}: {output} accuracy differs by more than a point between seeds: {spread}")
    return alarms


def _measure(run: Finished, labels: np.ndarray) -> dict[str, Any]:
    """Return the MEASURES of a run; None if one does not apply, was not watched, or was not reached."""
    summary, test, learned = run.summary, run.summary["test"], run.summary["learned"] or {}
    cells, not_trained = np.array(test["sum_accuracy_by_cell"]), held_out_cells(run.config.objective)
    permutation = summary["permutation"]
    good = (line["clock"]["train_seconds"] for line in run.lines if _worst(line) >= GOOD)
    return {
        **{name: test[name] for name in ("digit_accuracy", "sum_accuracy", "consistency", "impossible")},
        "digit_accuracy_permuted": None
        if permutation is None
        else float((np.array(permutation)[run.predictions["digit"]] == labels).mean()),
        "sum_accuracy_held_out": float(np.nanmean(cells[not_trained])) if not_trained.any() else None,
        "sum_accuracy_trained_cells": mean_of_trained_cells(run.config.objective, test["sum_accuracy_by_cell"]),
        "adder_lag": learned["sum"] - learned["digit"] if len(learned) == len(OUTPUTS) else None,
        "train_seconds": summary["train_seconds"],
        "seconds_to_good": next(good, None),
        "images_per_second": summary["steps"] * run.config.training.batch_size / summary["train_seconds"],
    }


def _held_out(line: dict[str, Any]) -> dict[str, float]:
    """Return the scores of a line of metrics on the validation images, or else on the test images."""
    return line["validation"] if "validation" in line else line["test"]


def _worst(line: dict[str, Any]) -> float:
    return min(judged_accuracy(_held_out(line), output) for output in OUTPUTS)


def _right(runs: list[Finished], labels: np.ndarray) -> dict[str, np.ndarray]:
    """Return whether each digit is right, and the share of its ten sums that are, both [seeds, images]."""
    sums = labels[:, None] + np.arange(10)
    for run in runs:
        if run.predictions["sum"].shape != sums.shape:
            raise InputError(f"{run.folder}: expected predictions of {len(labels):,} test images")
    return {
        "digit": np.stack([run.predictions["digit"] == labels for run in runs]).astype(np.float32),
        "sum": np.stack([(run.predictions["sum"] == sums).mean(1) for run in runs]).astype(np.float32),
    }


def _spread(values: list[float], runs: int) -> dict[str, Any]:
    counts = {"reached": len(values), "of": runs, "values": values}
    if not values:
        return {"mean": None, "sd": None, "low": None, "high": None} | counts
    mean, low, high = interval(np.array(values, float))
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else None
    finite = [None if math.isinf(bound) else bound for bound in (low, high)]
    return {"mean": mean, "sd": sd, "low": finite[0], "high": finite[1]} | counts


def _attribute(runs: list[Finished], labels: np.ndarray) -> dict[str, float]:
    """Return the shares of all pairs, over all seeds, by why the sum is wrong, or right by luck."""
    digit = np.stack([run.predictions["digit"] for run in runs])[..., None] == labels[:, None]
    total = np.stack([run.predictions["sum"] for run in runs]) == labels[:, None] + np.arange(10)
    return {
        "digit_misread": float((~digit & ~total).mean()),
        "adder_wrong": float((digit & ~total).mean()),
        "right_by_luck": float((~digit & total).mean()),
    }


def _band(runs: list[Finished]) -> dict[str, list[float]]:
    """Return held-out accuracy and loss by epoch: mean, lowest and highest over seeds, where all were evaluated."""
    by_epoch = [{line["epoch"]: _held_out(line) for line in run.lines} for run in runs]
    epochs = sorted(set.intersection(*map(set, by_epoch)))
    band = {"epoch": epochs}
    for quantity in (f"{output}_{score}" for output in OUTPUTS for score in ("accuracy", "loss")):
        curves = np.array([[scores[epoch][quantity] for epoch in epochs] for scores in by_epoch])
        band |= {
            f"{quantity}_{name}": function(curves, 0).tolist()
            for name, function in (("mean", np.mean), ("low", np.min), ("high", np.max))
        }
    return band
