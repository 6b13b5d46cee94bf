"""Programs started as by a user, the results of their runs, and a small data set for them."""

import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np

from experiments.training.folder import Finished
from mnistsum.config import Config, read_config
from mnistsum.evaluation import SCORES
from mnistsum.storage import restore

ROOT = Path(__file__).parent.parent
TINY = ("data.name=custom", "data.dir=images", "data.validation=64")  # overrides for the data of `write_set`


def start(*arguments, program="run", cwd=ROOT) -> subprocess.Popen:
    """Start one of `experiments` in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", f"experiments.{program}", *map(str, arguments)],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process, status=0) -> tuple[str, str]:
    """Wait until a process ends, check its exit status, and return its standard output and standard error."""
    output, errors = process.communicate(timeout=300)
    assert process.returncode == status, errors
    assert "Traceback" not in errors
    return output, errors


def compare(*arguments, cwd, status=0) -> str:
    """Run `experiments.compare` in a folder, check its exit status, and return its standard output."""
    return finish(start(*arguments, program="compare", cwd=cwd), status)[0]


def bits(folder: Path) -> dict[str, object]:
    """Return a run's results, without clocks and the figures and report made from the rest."""
    lines = [json.loads(line) | {"clock": None} for line in (folder / "metrics.jsonl").read_text().splitlines()]
    config = read_config(folder)
    state = restore(folder / "checkpoints", config).state
    summary = json.loads((folder / "summary.json").read_text())
    timed = {"train_seconds", "wall_seconds", "files", "digest"}  # digests of files that hold seconds
    return {
        "config": config,
        "predictions": (folder / "predictions.npz").read_bytes(),
        "metrics": lines,
        "summary": {key: summary[key] for key in summary.keys() - timed},
        "state": [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(state)],
    }


def write_set(folder: Path, train: int = 40, test: int = 20) -> Path:
    """Write a valid set of random images, as IDX files."""
    folder.mkdir(exist_ok=True)
    random = np.random.default_rng(0)
    for prefix, n in (("train", train), ("t10k", test)):
        pixels = random.integers(0, 256, (n, 28, 28), np.uint8)
        labels = (np.arange(n) % 10).astype(np.uint8)
        (folder / f"{prefix}-images-idx3-ubyte").write_bytes(struct.pack(">IIII", 2051, n, 28, 28) + pixels.tobytes())
        (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 2049, n) + labels.tobytes())
    return folder


LABELS = np.arange(100) % 10  # of the test images of `a_run`
SUMS = LABELS[:, None] + np.arange(10)


def a_run(name="a", seed=0, digit=LABELS, total=SUMS, config=None, run=None) -> Finished:
    """Return a finished run that was never trained, with these predictions, fields of its config and of `run.json`."""
    accuracies = {"digit_accuracy": (digit == LABELS).mean(), "sum_accuracy": (total == SUMS).mean()}
    scores = dict.fromkeys(SCORES, 0.5) | accuracies
    right = total == SUMS
    cells = [right[label == LABELS].mean(0).tolist() for label in range(10)]
    summary = {
        "steps": 10,
        "train_seconds": 2.0,
        "failure": None,
        "mode": "seeds one by one",
        "learned": None,
        "permutation": None,
        "weights": f"{name}-{seed}",
        "validation": scores,
        "test": scores | {"sum_accuracy_by_cell": cells},
    }
    record = {
        "data": {"test": "0"},
        "program": {"training": "0"},
        "versions": {"jax": "1"},
        "settings": {"hardware": "CPU"},
    }
    about = {"cores": 2, "parameters": 1000, "multiply_adds": 20, "command": "train", "commit": "f" * 40}
    line = {"epoch": 1, "validation": scores, "clock": {"train_seconds": 2.0}}
    fields = Config(name=name, seed=seed, **(config or {}))
    predictions = {"digit": digit, "sum": total}
    return Finished(Path(f"{name}-{seed}"), fields, record | about | (run or {}), [line], summary, predictions)
