"""The measures of the runs that are compared, and the verdicts that follow."""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.training.fit import LEARNED, WATCH_IMAGES
from experiments.training.folder import OUTPUTS, Finished, evaluated_split, judged_accuracy
from experiments.training.record import machine
from mnistsum.errors import InputError
from mnistsum.evaluation import SCORES, Score
from mnistsum.file_io import read_json
from mnistsum.objective import held_out_cells, trained_outputs
from mnistsum.statistics import difference, interval

OUTCOMES = "outcomes.npz"  # beside comparison.json
GOOD = 0.988  # for both accuracies on validation images
MAX_SPREAD = 0.01  # a larger difference between the accuracies of a config's seeds raises a warning


class Measure(NamedTuple):
    """A number per run. Tables show its mean over seeds, and the standard deviation of a share."""

    title: str  # of its column
    form: str  # "%" for a share, else a format specification
    meaning: str  # empty if the title says it
    compute: Callable[[Finished, np.ndarray], float | None]  # from a run and the test labels; None: not applicable


def score_measures(program: str) -> dict[str, Measure]:
    """Return a measure for each score that the tables of a program show."""
    return {name: _score_measure(name, score) for name, score in SCORES.items() if program in score.tables}


def _score_measure(name: str, score: Score) -> Measure:
    form = "%" if score.unit == "%" else ".4f"
    title = f"{score.title}, {score.unit}"
    return Measure(title, form, score.explanation, lambda run, _: run.summary["test"].get(name, score.missing))


def _share(run: Finished, labels: np.ndarray, digit_right: bool, sum_right: bool) -> float:
    """Return the share of pairs of image and number whose digit and sum are right or wrong as given."""
    digit, total = right_answers(run, labels)
    return float(((digit[:, None] == digit_right) & (total == sum_right)).mean())


def _renamed(run: Finished, labels: np.ndarray) -> float | None:
    permutation = run.summary["permutation"]
    return None if permutation is None else float((np.array(permutation)[run.predictions["digit"]] == labels).mean())


def _mean_of_cells(run: Finished, _: object, held_out: bool) -> float | None:
    """Return the mean sum accuracy over the held-out pairs, or over all others; None if no pair is held out."""
    cells = np.array(run.summary["test"]["sum_accuracy_by_cell"], float)
    which = held_out_cells(run.config.objective)
    return float(np.nanmean(cells[which == held_out])) if which.any() else None


def _seconds_to_good(run: Finished, _: object) -> float | None:
    split = evaluated_split(run.config)
    worst = ((min(judged_accuracy(line[split], output) for output in OUTPUTS), line) for line in run.lines)
    return next((line["clock"]["train_seconds"] for accuracy, line in worst if accuracy >= GOOD), None)


def _adder_lag(run: Finished, _: object) -> float | None:
    learned = run.summary["learned"] or {}
    return learned["sum"] - learned["digit"] if len(learned) == len(OUTPUTS) else None


# To add a measure to the tables, add an entry. An evaluation's own scores are in SCORES.
ACCURACY = score_measures("compare")
ERRORS: dict[str, Measure] = {
    "digit_misread": Measure(
        "digit misread", "%", "wrong sums of misread digits", partial(_share, digit_right=False, sum_right=False)
    ),
    "adder_wrong": Measure(
        "adder wrong", "%", "wrong sums of correct digits", partial(_share, digit_right=True, sum_right=False)
    ),
    "right_by_luck": Measure(
        "right by luck", "%", "right sums of misread digits", partial(_share, digit_right=False, sum_right=True)
    ),
    "digit_accuracy_renamed": Measure(
        "digit, renamed", "%", "digits after the best renaming, which is fitted on validation images", _renamed
    ),
    "sum_accuracy_trained_cells": Measure(
        "trained pairs",
        "%",
        "sums of the pairs of digit and number that are trained",
        partial(_mean_of_cells, held_out=False),
    ),
    "sum_accuracy_held_out": Measure(
        "held-out pairs",
        "%",
        "sums of the pairs of digit and number that are held out",
        partial(_mean_of_cells, held_out=True),
    ),
}
COSTS: dict[str, Measure] = {
    "train_seconds": Measure(
        "training, s",
        ".1f",
        "time in training steps, without compilation and evaluation; seeds in one program share it equally",
        lambda run, _: run.summary["train_seconds"],
    ),
    "seconds_to_good": Measure(
        f"s to {100 * GOOD:.1f} %",
        ".1f",
        f"training time until both accuracies on validation images reached {100 * GOOD:.1f} %",
        _seconds_to_good,
    ),
    "images_per_second": Measure(
        "images/s",
        ",.0f",
        "",
        lambda run, _: run.summary["steps"] * run.config.training.batch_size / run.summary["train_seconds"],
    ),
}
LEARNING: dict[str, Measure] = {
    "adder_lag": Measure(
        "adder lag, steps",
        ",.0f",
        f"steps between the digit accuracy and the sum accuracy reaching {100 * LEARNED:.0f} % on {WATCH_IMAGES:,} "
        "validation images; experiments.run does not measure it (-)",
        _adder_lag,
    ),
}
TABLES = (ACCURACY, ERRORS, COSTS, LEARNING)


def summarize_runs(runs: dict[str, list[Finished]], labels: np.ndarray) -> dict[str, Any]:
    """Return everything that the files and the page of a comparison show. All numbers include failed runs.

    Args:
        runs: of each config, by displayed name and ordered by seed. All configs have the same seeds.
        labels: the labels of the test images.
    """
    rows = [_row(name, config_runs, labels) for name, config_runs in runs.items()]
    configs = [config_runs[0].config for config_runs in runs.values()]
    drawn = configs[0].data.train_images  # drawn by the seed: configs with equal numbers share their images
    for row, config in zip(rows, configs, strict=True):
        row["paired_by_seed"] = config.data.train_images == drawn != 0
        row["not_compared"] = _obstacle(row, rows[0])
    right = outcomes(runs, labels)
    for row, found in zip(rows[1:], contrasts(rows, right), strict=True):
        row["against_first"] = found
    for row, names in zip(rows, _better_sums(list(runs), right["sum"]), strict=True):
        row["better_sums_than"] = names
    return {
        "dataset": configs[0].data.name,
        "images": len(labels),
        "evaluated": evaluated_split(configs[0]),  # the split that curves and times refer to
        "rows": rows,
        "alarms": [*same_weights(runs), *_seeds_far_apart(runs)],
    }


def outcomes(runs: dict[str, list[Finished]], labels: np.ndarray) -> dict[str, np.ndarray]:
    """Return whether each digit [configs, seeds, images] and each sum [configs, seeds, images, 10] is right.

    Images are sorted by label, `np.argsort(labels, kind="stable")`, because that compresses best.
    """
    answers = [zip(*(right_answers(run, labels) for run in config_runs), strict=True) for config_runs in runs.values()]
    digit, total = zip(*answers, strict=True)
    order = np.argsort(labels, kind="stable")
    return {"digit": np.array(digit).take(order, 2), "sum": np.array(total).take(order, 2)}


def contrasts(rows: list[dict[str, Any]], right: dict[str, np.ndarray]) -> list[dict[str, dict[str, Any]]]:
    """Return for each config after the first how each of its outputs differs from the first's, given `outcomes`."""
    shares = {"digit": right["digit"].astype(np.float32), "sum": right["sum"].mean(3, dtype=np.float32)}
    count, found = (len(rows) - 1) * len(OUTPUTS), []
    for i, row in enumerate(rows[1:], 1):
        failures, paired = len(rows[0]["failed"]) + len(row["failed"]), row["paired_by_seed"]
        differences = {name: difference(share[0], share[i], count, failures, paired) for name, share in shares.items()}
        found.append({name: each._asdict() for name, each in differences.items()})
    return found


def _better_sums(names: list[str], right: np.ndarray) -> list[list[str]]:
    """Return for each config the names of those than which its sums are better, given whether each sum is right."""
    shares, count = right.mean(3, dtype=np.float32), (len(names) - 1) * len(OUTPUTS)
    return [
        [name for j, name in enumerate(names) if j != i and difference(shares[j], share, count).verdict == "better"]
        for i, share in enumerate(shares)
    ]


def recompute(folder: Path) -> list[dict[str, dict[str, Any]]]:
    """Recompute each `against_first` of a comparison's folder from its `outcomes.npz`.

    Only the failed seeds and the pairing are read from `comparison.json`.
    """
    with np.load(folder / OUTCOMES) as right:
        return contrasts(read_json(folder / "comparison.json")["rows"], right)


def right_answers(run: Finished, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return whether each digit [n] and each sum [n, 10] of a run is right."""
    sums = labels[:, None] + np.arange(10)
    if run.predictions["sum"].shape != sums.shape:
        raise InputError(f"{run.folder}: expected predictions of {len(labels):,} test images")
    return run.predictions["digit"] == labels, run.predictions["sum"] == sums


def spread(values: list[float | None]) -> dict[str, Any]:
    """Return mean, standard deviation and 95 % interval over the seeds that have a value."""
    known = [value for value in values if value is not None]
    found = dict.fromkeys(("mean", "sd", "low", "high")) | {"reached": len(known), "of": len(values), "values": values}
    if known:
        mean, low, high = interval(np.array(known, float))
        found |= {"mean": mean, "low": None if math.isinf(low) else low, "high": None if math.isinf(high) else high}
    if len(known) > 1:
        found["sd"] = float(np.std(known, ddof=1))
    return found


def _row(name: str, runs: list[Finished], labels: np.ndarray) -> dict[str, Any]:
    """Return a config's row: its runs, and their measures over seeds."""
    return {
        "config": name,
        "parameters": runs[0].run["parameters"],
        "multiply_adds": runs[0].run["multiply_adds"],
        "n": len(runs),
        "seeds": [run.config.seed for run in runs],
        "failed": [f"seed {run.config.seed}: {run.summary['failure']}" for run in runs if run.summary["failure"]],
        "machine": "; ".join(sorted({machine(run.run) for run in runs})),
        "mode": "; ".join(sorted({run.summary["mode"] for run in runs})),
        **{
            key: spread([each.compute(run, labels) for run in runs])
            for measures in TABLES
            for key, each in measures.items()
        },
        "curve": _band(runs),
    }


def _obstacle(row: dict[str, Any], first: dict[str, Any]) -> str | None:
    """Return why the training times of a config and of the first cannot be compared; None if they can."""
    for condition in ("machine", "mode"):
        if ";" in row[condition]:
            return f"mixed {condition}s"
        if row[condition] != first[condition]:
            return f"other {condition}"
    return None


def same_weights(runs: dict[str, list[Finished]]) -> list[str]:
    """Return a line for each run that ended with the weights of another, as if the network ignored an override."""
    owners: dict[str, str] = {}
    lines = []
    for name, config_runs in runs.items():
        for run in config_runs:
            this = f"{name}, seed {run.config.seed}"
            if (other := owners.setdefault(run.summary["weights"], this)) != this:
                lines.append(f"{this}: ended with the weights of {other}, bit for bit")
    return lines


def _seeds_far_apart(runs: dict[str, list[Finished]]) -> list[str]:
    """Return a line for each trained output whose accuracy varies suspiciously between the seeds of a config."""
    lines = []
    for name, config_runs in runs.items():
        for output in trained_outputs(config_runs[0].config.objective):
            values = [run.summary["test"][f"{output}_accuracy"] for run in config_runs]
            if max(values) - min(values) > MAX_SPREAD:
                apart = f"{min(values):.2%} to {max(values):.2%}"
                lines.append(f"{name}: {output} accuracy differs by more than a point between seeds: {apart}")
    return lines


def _band(runs: list[Finished]) -> dict[str, list[float]]:
    """Return mean, lowest and highest accuracy and loss over seeds, for each epoch at which all were evaluated."""
    split = evaluated_split(runs[0].config)
    by_epoch = [{line["epoch"]: line[split] for line in run.lines} for run in runs]
    epochs = sorted(set.intersection(*map(set, by_epoch)))
    band = {"epoch": epochs}
    for quantity in (f"{output}_{score}" for output in OUTPUTS for score in ("accuracy", "loss")):
        curves = np.array([[scores[epoch][quantity] for epoch in epochs] for scores in by_epoch])
        for name, function in (("mean", np.mean), ("low", np.min), ("high", np.max)):
            band[f"{quantity}_{name}"] = function(curves, 0).tolist()
    return band
