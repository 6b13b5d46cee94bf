"""The files in a run's folder, and how to read back a finished run.

`config.json`, `run.json`, `metrics.jsonl` (a line per evaluation), `predictions.npz`,
`weights.safetensors` and, written last, `summary.json`, without which the run is not
finished. A run that can be resumed also has `checkpoints/`.
"""

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mnistsum.config import CONFIG, Config, read_config, to_json
from mnistsum.errors import InputError
from mnistsum.file_io import (
    make_folder,
    read_bytes,
    read_json,
    read_json_lines,
    write_json,
    write_whole,
)
from mnistsum.storage import WEIGHTS, Weights, save_weights
from mnistsum.types import OUTPUTS, Evaluation

RUN = "run.json"
METRICS = "metrics.jsonl"
PREDICTIONS = "predictions.npz"
SUMMARY = "summary.json"
LOCK = ".lock"  # held by the process that trains the run
# pictures are .png files
PICTURES, REPORT = ("curves", "confusion", "examples"), "report.html"
# files that the digest in the summary covers
CONTENT = (CONFIG, RUN, METRICS, PREDICTIONS, WEIGHTS)


class Finished(NamedTuple):
    """The contents of a finished run's folder."""

    folder: Path
    config: Config
    about: dict[str, Any]  # the content of run.json
    lines: list[dict[str, Any]]  # of metrics.jsonl
    summary: dict[str, Any]
    # digit [n] and sum [n, 10] of the final evaluation
    predictions: dict[str, np.ndarray]


def begin(folder: Path, config: Config, run: dict[str, Any]) -> None:
    """Write what is known before the first step; from here on, it can resume."""
    make_folder(folder)
    write_json(folder / RUN, run)
    write_whole(folder / CONFIG, to_json(config))


def write_lines(folder: Path, lines: Sequence[dict[str, Any]]) -> None:
    """Write the metrics of a run, a line per evaluation."""
    write_whole(folder / METRICS, "".join(json.dumps(line) + "\n" for line in lines))


def write_results(folder: Path, weights: Weights, evaluation: Evaluation) -> None:
    """Write the predictions and weights of a run after training."""
    write_arrays(
        folder / PREDICTIONS,
        {name: np.asarray(getattr(evaluation, name), np.uint8) for name in OUTPUTS},
    )
    save_weights(folder / WEIGHTS, weights)


def write_arrays(path: Path, arrays: dict[str, Any]) -> None:
    """Write named arrays as one compressed .npz file, whole or not at all."""
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    write_whole(path, file.getvalue())


def write_summary(folder: Path, summary: dict[str, Any]) -> None:
    """Write the summary, a run's last file, with a digest of all files."""
    write_json(folder / SUMMARY, summary | {"digest": _digest(folder, summary)})


def read_finished(folder: Path) -> Finished:
    """Return a finished run.

    Raises:
        InputError: if the run is not finished, or a file is not byte for byte what the
            run wrote.
    """
    path = folder / SUMMARY
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected the folder of a finished run")
    summary = read_json(path)
    if summary.pop("digest", None) != _digest(folder, summary):
        raise InputError(
            f"{folder}: damaged, or made by another version: not what the run wrote; "
            "delete it"
        )
    with np.load(folder / PREDICTIONS) as file:
        predictions = {name: file[name] for name in OUTPUTS}
    lines = read_json_lines(folder / METRICS)
    return Finished(
        folder,
        read_config(folder),
        read_json(folder / RUN),
        lines,
        summary,
        predictions,
    )


def evaluated_split(config: Config) -> str:
    """Return the split that epochs are evaluated on."""
    return "validation" if config.data.validation else "test"


def judged_accuracy(scores: Mapping[str, Any], output: str) -> float:
    """Return the accuracy of an output used for model selection.

    Of sums, it is only that of trained pairs.
    """
    name = f"{output}_accuracy"
    return scores.get(f"{name}_trained_cells", scores[name])


def _digest(folder: Path, summary: dict[str, Any]) -> str:
    """Return a digest of a finished run: of its summary and of the files in CONTENT."""
    digest = hashlib.sha256(json.dumps(summary, sort_keys=True).encode())
    for name in CONTENT:
        digest.update(hashlib.sha256(read_bytes(folder / name)).digest())
    return digest.hexdigest()
