"""What a run leaves in its folder, and how a finished run is read back.

`config.json`, `run.json`, `metrics.jsonl` (a line a look), `predictions.npz`, `weights.safetensors` and, written last,
`summary.json`: a folder that holds it is a finished run's. A run that can be gone on with has `checkpoints/`, too.
"""

import io
import json
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mnistsum import weights
from mnistsum.config import Config, read_config, to_json
from mnistsum.errors import InputError
from mnistsum.files import write_whole, writing
from mnistsum.models import Model
from mnistsum.types import Evaluation

RUN, METRICS, PREDICTIONS, SUMMARY = "run.json", "metrics.jsonl", "predictions.npz", "summary.json"
CHECKPOINTS = "checkpoints"
OUTPUTS = ("digit", "sum")  # what is predicted


class Finished(NamedTuple):
    """A finished run, as its folder holds it."""

    folder: Path
    config: Config
    run: dict[str, Any]
    lines: list[dict[str, Any]]  # of metrics.jsonl
    summary: dict[str, Any]
    predictions: dict[str, np.ndarray]  # digit [n] and sum [n, 10] on the split that it was tested on


def begin(folder: Path, config: Config, run: dict[str, Any]) -> None:
    """Write what is known before the first step; from here on, a run can be resumed."""
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / RUN, run)
    write_lines(folder, [])
    write_whole(folder / weights.CONFIG, to_json(config))


def write_results(
    folder: Path, config: Config, model: Model, evaluation: Evaluation, summary: dict[str, Any]
) -> Finished:
    """Write predictions and weights of a run that has ended; `write_summary` writes the rest."""
    file = io.BytesIO()
    predictions = {name: np.asarray(getattr(evaluation, name), np.uint8) for name in OUTPUTS}
    np.savez_compressed(file, allow_pickle=False, **predictions)
    write_whole(folder / PREDICTIONS, file.getvalue())
    scores = summary.get("test") or summary["validation"]
    read = f"digit {scores['digit_accuracy']:.2%}, sum {scores['sum_accuracy']:.2%} of {scores['images']:,} images"
    run = read_json(folder / RUN)
    weights.save(folder, config, model, f"{run['command']}, commit {run['commit']}: {read}")
    return Finished(folder, config, run, read_lines(folder), summary, predictions)


def write_summary(folder: Path, summary: dict[str, Any]) -> None:
    """Write the last file of a finished run."""
    write_json(folder / SUMMARY, summary)


def read(folder: Path) -> Finished:
    """Return a finished run.

    Raises:
        InputError: where it is none, or damaged.
    """
    if not (folder / SUMMARY).is_file():
        raise InputError(f"{folder / SUMMARY}: no such file; expected the folder of a finished run")
    path = folder / PREDICTIONS
    try:
        with np.load(path) as file:
            predictions = {name: file[name] for name in OUTPUTS}
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: cannot be read ({error}); a damaged run: delete its folder") from None
    return Finished(
        folder,
        read_config(folder),
        read_json(folder / RUN),
        read_lines(folder),
        read_json(folder / SUMMARY),
        predictions,
    )


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file of a run's folder.

    Raises:
        InputError: where there is none.
    """
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            f"{path}: cannot be read ({str(error).splitlines()[0]}); a damaged run: delete its folder"
        ) from None
    if not isinstance(value, dict):
        raise InputError(
            f"{path}: expected a JSON object, found {type(value).__name__}; a damaged run: delete its folder"
        )
    return value


def read_lines(folder: Path) -> list[dict[str, Any]]:
    """Return the lines of a run's metrics; InputError where one is none."""
    path = folder / METRICS
    try:
        lines = [json.loads(line) for line in path.read_text().splitlines()]
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read ({str(error).splitlines()[0]})") from None
    return lines


def write_lines(folder: Path, lines: list[dict[str, Any]]) -> None:
    """Write the metrics of a run, a line a look."""
    write_whole(folder / METRICS, "".join(json.dumps(line) + "\n" for line in lines))


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON."""
    write_whole(path, json.dumps(value, indent=2) + "\n")
