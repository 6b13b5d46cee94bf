"""The files in a run's folder, and how to read back a finished run.

`config.json`, `run.json`, `metrics.jsonl` (a line per evaluation), `predictions.npz`, `weights.safetensors` and,
written last, `summary.json`, which marks the run as finished. A resumable run also has `checkpoints/`.
"""

import hashlib
import io
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mnistsum import json_files, weights
from mnistsum.calibration import Temperatures
from mnistsum.config import CONFIG, Config, ObjectiveConfig, read_config, to_json
from mnistsum.errors import InputError, first_line
from mnistsum.files import write_whole, writing
from mnistsum.models import Model
from mnistsum.objective import held_out_cells
from mnistsum.types import Evaluation

RUN, METRICS, PREDICTIONS, SUMMARY = "run.json", "metrics.jsonl", "predictions.npz", "summary.json"
CHECKPOINTS = "checkpoints"
LOCK = ".lock"  # held by the process that trains the run
PICTURES, REPORT = ("curves", "confusion", "examples"), "report.html"  # pictures are .png files
OUTPUTS = ("digit", "sum")  # what a network predicts
CHECKED = (CONFIG, RUN, METRICS, PREDICTIONS, weights.WEIGHTS)  # against the summary's digests
DIGEST = "sha256"  # key of the summary's own digest
REMEDY = "a damaged run: delete its folder"


class Finished(NamedTuple):
    """The contents of a finished run's folder."""

    folder: Path
    config: Config
    run: dict[str, Any]
    lines: list[dict[str, Any]]  # of metrics.jsonl
    summary: dict[str, Any]
    predictions: dict[str, np.ndarray]  # digit [n] and sum [n, 10] of the final evaluation


def begin(folder: Path, config: Config, run: dict[str, Any]) -> None:
    """Write what is known before the first step; from here on, the run can be resumed."""
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / RUN, run)
    write_lines(folder, [])
    write_whole(folder / CONFIG, to_json(config))


def reopen(folder: Path, config: Config, run: dict[str, Any]) -> None:
    """Turn a run, finished or not, into an unfinished one with another config; if killed midway, it can be resumed."""
    with writing(folder):
        # Summary first: without it, the run is unfinished.
        for name in (SUMMARY, weights.WEIGHTS, PREDICTIONS, REPORT, *(f"{name}.png" for name in PICTURES)):
            (folder / name).unlink(missing_ok=True)
    write_json(folder / RUN, run)
    write_whole(folder / CONFIG, to_json(config))


def judged_accuracy(scores: dict[str, float], output: str) -> float:
    """Return the accuracy that may decide something: an output's, but of sums only of the pairs that are trained."""
    name = f"{output}_accuracy"
    return scores.get(f"{name}_trained_cells", scores[name])


def mean_of_trained_cells(objective: ObjectiveConfig, by_cell: list[list[float]]) -> float:
    """Return the mean accuracy of sums over the (digit, number) cells that are trained, without those that are nan."""
    return float(np.nanmean(np.array(by_cell)[~held_out_cells(objective)]))


def write_results(
    folder: Path,
    config: Config,
    model: Model,
    evaluation: Evaluation,
    summary: dict[str, Any],
    temperatures: Temperatures | None,
) -> Finished:
    """Write the predictions and weights of a run after training; `write_summary` writes the rest."""
    file = io.BytesIO()
    predictions = {name: np.asarray(getattr(evaluation, name), np.uint8) for name in OUTPUTS}
    np.savez_compressed(file, digit=predictions["digit"], sum=predictions["sum"])
    write_whole(folder / PREDICTIONS, file.getvalue())
    scores = summary.get("test") or summary["validation"]
    read = f"digit {scores['digit_accuracy']:.2%}, sum {scores['sum_accuracy']:.2%} of {scores['images']:,} images"
    run = read_json(folder / RUN)
    made_by = f"{run['command']}, commit {run['commit']}: {read}"
    weights.save(folder / weights.WEIGHTS, config, model, made_by, temperatures)
    return Finished(folder, config, run, read_lines(folder), summary, predictions)


def write_summary(folder: Path, summary: dict[str, Any]) -> None:
    """Write a run's last file, the summary, with the SHA-256 of itself and of the files in CHECKED."""
    summary |= {"files": {name: _digest((folder / name).read_bytes()) for name in CHECKED}}
    write_json(folder / SUMMARY, summary | {DIGEST: _digest_of_summary(summary)})


def read(folder: Path) -> Finished:
    """Return a finished run.

    Raises:
        InputError: if the run is not finished, or a file is not byte for byte what the run wrote.
    """
    summary = read_summary(folder)
    if DIGEST not in summary:
        raise InputError(f"{folder / SUMMARY}: expected the digests of a run's files in it, found none; {REMEDY}")
    for name in CHECKED:
        path = folder / name
        if not path.is_file():
            raise InputError(f"{path}: missing, from a run that was published without it, or from {REMEDY}")
        if _digest(path.read_bytes()) != summary["files"][name]:
            raise InputError(f"{path}: altered: not what the run wrote; {REMEDY}")
    try:
        with np.load(folder / PREDICTIONS) as file:
            predictions = {name: file[name] for name in OUTPUTS}
    except Exception as error:  # of several kinds, if someone wrote the file and its digest
        raise InputError(
            f"{folder / PREDICTIONS}: expected predictions, found other content: {first_line(error)}"
        ) from None
    return Finished(folder, read_config(folder), read_json(folder / RUN), read_lines(folder), summary, predictions)


def read_summary(folder: Path) -> dict[str, Any]:
    """Return the summary of a finished run.

    Raises:
        InputError: if there is none, or if it was altered. Those of early versions hold no digest to check.
    """
    path = folder / SUMMARY
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected the folder of a finished run")
    summary = read_json(path)
    if DIGEST in summary and summary[DIGEST] != _digest_of_summary(summary):
        raise InputError(f"{path}: altered: not what the run wrote; {REMEDY}")
    return summary


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file of a run's folder.

    Raises:
        InputError: if the file is missing or holds no JSON object.
    """
    try:
        value = json_files.read_json(path)
    except InputError as error:
        raise InputError(f"{error}; {REMEDY}") from None
    if not isinstance(value, dict):
        raise InputError(f"{path}: expected a JSON object, found {type(value).__name__}; {REMEDY}")
    return value


def read_lines(folder: Path) -> list[dict[str, Any]]:
    """Return the lines of a run's metrics; raise InputError if one is not a JSON object."""
    return json_files.read_json_lines(folder / METRICS)


def write_lines(folder: Path, lines: list[dict[str, Any]]) -> None:
    """Write the metrics of a run, a line per evaluation."""
    write_whole(folder / METRICS, "".join(json.dumps(line) + "\n" for line in lines))


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON."""
    write_whole(path, json.dumps(value, indent=2) + "\n")


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _digest_of_summary(summary: dict[str, Any]) -> str:
    rest = {name: value for name, value in summary.items() if name != DIGEST}
    return _digest(json.dumps(rest, sort_keys=True).encode())
