"""Programs started as by a user, the results of their runs, and a small data set for them."""

import json
import os
import shutil
import signal
import struct
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np

from mnistsum.config import read_config
from mnistsum.storage import restore

ROOT = Path(__file__).parent.parent
# The tests' own compiler settings, as environment variables.
UNOPTIMIZED = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1", "XLA_FLAGS": os.environ.get("XLA_FLAGS", "")}
if jax.__version_info__ < (0, 11):  # XLA's fusion emitters take half as long again; later releases have only them
    UNOPTIMIZED["XLA_FLAGS"] += " --xla_cpu_use_fusion_emitters=false"


def start(*arguments, before=None) -> subprocess.Popen:
    """Start `experiments.run` in a process of its own, which calls `before` first."""
    return subprocess.Popen(
        [sys.executable, "-m", "experiments.run", *map(str, arguments)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=before,
    )


def finish(process, status=0) -> tuple[str, str]:
    """Wait until a process ends, check its exit status, and return its standard output and standard error."""
    output, errors = process.communicate(timeout=300)
    assert process.returncode == status, errors
    assert "Traceback" not in errors
    return output, errors


def stop(after: str, *arguments, folder: Path) -> Path:
    """Stop a run with SIGTERM once it has printed a line that starts so; return its folder."""
    process = start(*arguments, "--output", folder)
    assert process.stdout is not None
    while not (line := process.stdout.readline()).startswith(after):
        assert line, process.communicate()[1]
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=300)
    if process.returncode == 0:  # it ended before the signal came
        shutil.rmtree(folder)
        return stop(after, *arguments, folder=folder)
    assert process.returncode == 128 + signal.SIGTERM, errors
    return folder


def bits(folder: Path) -> dict[str, object]:
    """Return a run's results, without clocks and the figures and report made from the rest."""
    lines = [json.loads(line) | {"clock": None} for line in (folder / "metrics.jsonl").read_text().splitlines()]
    config = read_config(folder)
    state = restore(folder / "checkpoints", config).state
    return {
        "config": config,
        "predictions": (folder / "predictions.npz").read_bytes(),
        "metrics": lines,
        "summary": timeless(folder),
        "state": [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(state)],
    }


def timeless(folder: Path) -> dict[str, object]:
    """Return a run's summary without seconds, and without the digests of files that contain some."""
    summary = json.loads((folder / "summary.json").read_text())
    return {key: summary[key] for key in summary.keys() - {"train_seconds", "wall_seconds", "files", "digest"}}


def write_set(folder: Path, train: int = 40, test: int = 20) -> Path:
    """Write a valid set of random images, as IDX files."""
    random = np.random.default_rng(0)
    for prefix, n in (("train", train), ("t10k", test)):
        pixels = random.integers(0, 256, (n, 28, 28), np.uint8)
        labels = (np.arange(n) % 10).astype(np.uint8)
        (folder / f"{prefix}-images-idx3-ubyte").write_bytes(struct.pack(">IIII", 2051, n, 28, 28) + pixels.tobytes())
        (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 2049, n) + labels.tobytes())
    return folder
