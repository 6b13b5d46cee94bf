"""Runs that are killed, stopped, out of disk space or started twice lose nothing.

Each run has a process of its own, which compiles with all of XLA's optimizations, as a
user's does. So these tests show that the program that ships, too, resumes with the same
bits.
"""

import json
import re
import resource
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from programs import bits, finish, fork, start, wait_for_line, write_set

from mnistsum.config import read_config
from mnistsum.file_io import read_json_lines

pytestmark = pytest.mark.slow


def checkpoints(folder):
    """Return a run's checkpoints, the newest last."""
    found = (folder / "checkpoints").glob("*.safetensors")
    return sorted(found, key=lambda path: int(path.stem))


@pytest.fixture(scope="module")
def arguments(tmp_path_factory):
    """Forty-eight epochs of eight steps, each with an evaluation and a checkpoint."""
    folder = write_set(tmp_path_factory.mktemp("data"))
    data = [f"data.dir={folder}", "data.validation=64"]
    return ["--config", "smoke", *data, "training.batch_size=64", "training.epochs=48"]


@pytest.fixture(scope="module")
def whole(arguments, tmp_path_factory):
    """An undisturbed run."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    finish(start(*arguments, "--output", folder))
    return folder


def survive_kills(arguments, folder, kills, seed, within):
    """Kill and resume a run at random moments, with a new run after each that ends.

    Args:
        arguments: those of the run.
        folder: the parent of the runs' folders.
        kills: how many times; half of them come after the first epoch, as most of a
            short run is its start.
        seed: of the moments.
        within: the seconds of a whole run, after which a process is killed at the
            latest.

    Returns:
        The runs, all of them finished, and how many kills came after a first
        checkpoint.
    """
    random = np.random.default_rng(seed)
    runs = [folder / "0"]
    amid = 0
    while kills or not (runs[-1] / "summary.json").exists():
        if (runs[-1] / "summary.json").exists():
            runs.append(folder / str(len(runs)))
        is_begun = (runs[-1] / "config.json").exists()
        begin = (*arguments, "--output", runs[-1])
        process = fork(*(("--resume", runs[-1]) if is_begun else begin))
        seconds = random.uniform(0, within)
        if kills % 2:
            seconds /= 10
            wait_for_line(process, "epoch")
        process.join(seconds if kills else 100)
        if process.is_alive():
            process.kill()
            process.join()
            kills -= 1
            amid += bool(checkpoints(runs[-1]))
        process.stdout.close()
        assert process.exitcode in (0, -signal.SIGKILL)
    return runs, amid


def test_a_hundred_kills_at_random_moments_lose_nothing(arguments, whole, tmp_path):
    """Forks have imported JAX, so that kills fall where there is something to lose."""
    for name in ("first", "warm"):
        began = time.monotonic()
        process = fork(*arguments, "--output", tmp_path / name)
        process.join()
        process.stdout.close()
    within = time.monotonic() - began
    with ThreadPoolExecutor(2) as pool:
        survived = [
            pool.submit(survive_kills, arguments, tmp_path / str(i), 50, i, within)
            for i in (1, 2)
        ]
    for each in survived:
        runs, amid = each.result()
        assert amid >= 15
        assert all(bits(run) == bits(whole) for run in runs)


@pytest.fixture
def stopped(arguments, tmp_path):
    """A run stopped by SIGTERM after some epochs."""
    for folder in (tmp_path / str(attempt) for attempt in range(10)):
        process = start(*arguments, "--output", folder)
        wait_for_line(process, "epoch 2 of 48")
        process.terminate()
        _, errors = process.communicate(timeout=300)
        if process.returncode:  # otherwise, the run ended before the signal came
            break
    assert process.returncode == 128 + signal.SIGTERM, errors
    return folder


def test_a_full_disk_ends_the_run_and_leaves_older_checkpoints(stopped, whole):
    before = checkpoints(stopped)
    process = start("--resume", stopped)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (20_000, 20_000))
    _, errors = finish(process, status=1)
    named = rf"^error: {stopped}/checkpoints/\d+.safetensors: could not be written: "
    assert re.search(f"{named}File too large$", errors, re.MULTILINE)
    assert checkpoints(stopped) == before
    assert not list(stopped.rglob("*.partial"))
    finish(start("--resume", stopped))
    assert bits(stopped) == bits(whole)


def test_of_two_runs_in_one_folder_one_is_refused_at_once(arguments, whole, tmp_path):
    folder = tmp_path / "run"
    processes = [start(*arguments, "--output", folder) for _ in range(2)]
    ends = [
        (*process.communicate(timeout=120), process.returncode) for process in processes
    ]
    assert sorted(status for *_, status in ends) == [0, 2]
    (refused,) = (errors for _, errors, status in ends if status == 2)
    assert re.fullmatch(rf"error: .*{folder}: .*(another process|exists).*\n", refused)
    assert bits(folder) == bits(whole)


def test_a_run_is_not_resumed_where_what_decides_it_has_changed(stopped):
    run = json.loads((stopped / "run.json").read_text())
    run["program"]["training"] = "0"  # as if it had been different
    run["settings"]["prng"] = "rbg"
    (stopped / "run.json").write_text(json.dumps(run))
    labels = Path(read_config(stopped).data.dir or "") / "train-labels-idx1-ubyte"
    original = labels.read_bytes()
    try:
        labels.write_bytes(original[:8] + original[:7:-1])
        _, errors = finish(start("--resume", stopped), status=2)
    finally:
        labels.write_bytes(original)
    assert re.fullmatch(
        rf"error: {stopped}: its program of training has changed.*; "
        r"the train images have changed; the validation images have changed; "
        r"prng was rbg, is threefry2x32 since the run began, .*\n",
        errors,
    )
    assert not (stopped / "summary.json").exists()


def test_damaged_metrics_are_restored_from_the_checkpoint(stopped, whole):
    metrics = stopped / "metrics.jsonl"
    metrics.write_bytes(b"\0" + metrics.read_bytes()[:-20])
    finish(start("--resume", stopped))
    assert bits(stopped) == bits(whole)
    clocks = [line["clock"]["train_seconds"] for line in read_json_lines(metrics)]
    assert clocks == sorted(clocks)  # those before the stop count


def test_a_run_that_diverges_says_where_and_saves_nothing_of_it(arguments, tmp_path):
    folder = tmp_path / "run"
    overrides = [
        "optimizer.name=sgd",
        "optimizer.learning_rate=1e30",
        "optimizer.schedule=constant",
    ]
    _, errors = finish(start(*arguments, *overrides, "--output", folder), status=1)
    assert re.fullmatch(
        r"error: loss, gradient or parameters not finite at step \d+; .*saved; .*\n",
        errors,
    )
    assert not checkpoints(folder)
    assert not (folder / "summary.json").exists()
