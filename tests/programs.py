"""What tests share: programs started as by a user, their runs, data and pages."""

import multiprocessing
import os
import re
import struct
import subprocess
import sys
from multiprocessing.connection import Connection
from pathlib import Path

import jax
import numpy as np

from experiments.run import command
from experiments.training.folder import Finished, read_finished
from mnistsum.app.program import run as run_program
from mnistsum.config import Config, read_config
from mnistsum.evaluation import SCORES
from mnistsum.file_io import read_json, read_json_lines
from mnistsum.storage import restore

ROOT = Path(__file__).parent.parent
FORKS = multiprocessing.get_context("forkserver")
# overrides for the data of `write_set`
TINY = ("data.dir=images", "data.validation=64")


def start(*arguments, program="run", cwd=ROOT, **environment) -> subprocess.Popen:
    """Start one of `experiments` in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", f"experiments.{program}", *map(str, arguments)],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _run(output: Connection, arguments: list[str]) -> None:
    os.dup2(output.fileno(), 1)
    run_program(command, arguments)


def fork(*arguments):
    """Start a run in a fork of a process that has imported JAX, and started nothing."""
    FORKS.set_forkserver_preload(["experiments.single", "experiments.report.pages"])
    output, written = FORKS.Pipe(duplex=False)
    process = FORKS.Process(target=_run, args=(written, list(map(str, arguments))))
    process.start()
    written.close()
    process.stdout = os.fdopen(os.dup(output.fileno()))
    return process


def finish(process, status=0) -> tuple[str, str]:
    """Check how a process ends, and return its standard output and standard error."""
    output, errors = process.communicate(timeout=300)
    assert process.returncode == status, errors
    assert "Traceback" not in errors
    return output, errors


def wait_for_line(process, beginning: str) -> None:
    """Read what a process prints up to a line that begins so, or to the end."""
    while (line := process.stdout.readline()) and not line.startswith(beginning):
        pass


def compare(*arguments, cwd, status=0) -> str:
    """Return what `experiments.compare` prints in a folder, and check its status."""
    return finish(start(*arguments, program="compare", cwd=cwd), status)[0]


def bits(folder: Path) -> dict[str, object]:
    """Return a run's results, without clocks, figures and report."""
    config = read_config(folder)
    summary = read_json(folder / "summary.json")
    state = restore(folder / "checkpoints", config).state
    # digests of files that hold seconds
    timed = {"train_seconds", "wall_seconds", "files", "digest"}
    return {
        "config": config,
        "predictions": (folder / "predictions.npz").read_bytes(),
        "metrics": [
            line | {"clock": None} for line in read_json_lines(folder / "metrics.jsonl")
        ],
        "summary": {key: summary[key] for key in summary.keys() - timed},
        "state": [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(state)],
    }


def bits_of_runs(folder: Path) -> dict[str, list[object]]:
    """Return a digest of the weights and the predictions of each finished run."""
    runs = [read_finished(path) for path in folder.iterdir()]
    return {
        run.folder.name: [run.summary["weights"], run.predictions["sum"].tobytes()]
        for run in runs
    }


def first(data, n: int):
    """Return the first images and labels of one split or of several."""
    return jax.tree.map(lambda array: array[:n], data)


def as_set(*splits) -> list[tuple[bytes, int]]:
    """Return the images and labels of splits, without their order."""
    pairs = []
    for split in splits:
        pairs += zip(map(bytes, split.images), split.labels.tolist(), strict=True)
    return sorted(pairs)


def module_name(file: Path) -> str:
    """Return the name by which a file of the repository is imported."""
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


def blocks(page: Path, kind: str) -> list[str]:
    """Return the fenced blocks of one kind on a page."""
    fenced = rf"^ *```{kind}\n(.*?)^ *```"
    return re.findall(fenced, page.read_text(), re.DOTALL | re.MULTILINE)


def write_set(folder: Path, train: int = 576, test: int = 64) -> Path:
    """Write a valid set of random images, as IDX files."""
    folder.mkdir(exist_ok=True)
    random = np.random.default_rng(0)
    for prefix, n in (("train", train), ("t10k", test)):
        images = struct.pack(">IIII", 2051, n, 28, 28) + random.bytes(n * 784)
        labels = struct.pack(">II", 2049, n) + bytes(i % 10 for i in range(n))
        (folder / f"{prefix}-images-idx3-ubyte").write_bytes(images)
        (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(labels)
    return folder


LABELS = np.arange(100) % 10  # of the test images of `a_run`
SUMS = LABELS[:, None] + np.arange(10)
RECORD = {
    "data": {"test": "0"},
    "program": {"training": "0"},
    "versions": {"jax": "1"},
    "settings": {"hardware": "CPU"},
    "cores": 2,
    "parameters": 1000,
    "multiply_adds": 20,
    "command": "train",
    "commit": "f" * 40,
    "python": "3",
    "started": "2026-01-01T12:00:00+0000",
}


def a_run(
    name="a", seed=0, digit=LABELS, total=SUMS, config=None, run=None
) -> Finished:
    """Return a run that was never trained, with fields of its config and `run.json`."""
    right = total == SUMS
    scores = dict.fromkeys(SCORES, 0.5)
    scores["digit_accuracy"] = (digit == LABELS).mean()
    scores["sum_accuracy"] = right.mean()
    cells = [right[label == LABELS].mean(0).tolist() for label in range(10)]
    summary = {
        "steps": 10,
        "train_seconds": 2.0,
        "mode": "seeds one by one",
        "weights": f"{name}-{seed}",
        "failure": None,
        "permutation": None,
        "validation": scores,
        "test": scores | {"sum_accuracy_by_cell": cells},
    }
    line = {"epoch": 1, "validation": scores, "clock": {"train_seconds": 2.0}}
    return Finished(
        folder=Path(f"{name}-{seed}"),
        config=Config(name=name, seed=seed, **(config or {})),
        about=RECORD | (run or {}),
        lines=[line],
        summary=summary,
        predictions={"digit": digit, "sum": total},
    )
