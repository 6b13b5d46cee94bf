"""Workers: one run on each core, the same bits, and nothing lost if one dies."""

import os
import re
import signal
import tempfile
import time
from functools import partial
from pathlib import Path

import pytest
from programs import TINY, bits_of_runs, compare, finish, start, write_set

from experiments.training.claims import reserved_cores

pytestmark = pytest.mark.slow
OWN = """
from mnistsum import Config, ModelConfig
from mnistsum.models.classifiers.mlp import MLP
import helper_of_workers

CLASSIFIERS = {"mine": MLP}
widths = helper_of_workers.WIDTHS
model = ModelConfig(classifier="mine", widths=widths, dtype="auto")
config = Config("mine", model=model)
"""


@pytest.fixture
def arguments(tmp_path):
    write_set(tmp_path / "images")
    (tmp_path / "helper_of_workers.py").write_text("WIDTHS = (8,)")
    (tmp_path / "own.py").write_text(OWN)
    return [
        "smoke",
        "own.py",
        "--seeds",
        2,
        "training.epochs=2",
        "training.batch_size=64",
        *TINY,
    ]


def children(process):
    """Return the processes that train for a program."""
    ids = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [
        int(each)
        for each in ids
        if b"spawn_main" in Path(f"/proc/{each}/cmdline").read_bytes()
    ]


def only_core(process):
    """Return the core to which a process is pinned, or nothing before that."""
    cores = os.sched_getaffinity(process)
    return cores if len(cores) == 1 else set()


def wait_for(condition):
    end = time.monotonic() + 120
    while not (value := condition()):
        assert time.monotonic() < end
        time.sleep(0.05)
    return value


def test_any_number_of_workers_gives_the_same_bits(arguments, tmp_path):
    """Of a user's network, too, with a helper beside its file."""
    found = []
    for workers in (1, 2):
        output = tmp_path / str(workers)
        options = ("--workers", workers, "--output", output)
        compare(*arguments, *options, cwd=tmp_path)
        found.append(bits_of_runs(output / "runs"))
    assert len(found[0]) == 4
    assert found[0] == found[1]


def test_more_workers_than_cores_are_spread_evenly(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    available = sorted(os.sched_getaffinity(0))
    with reserved_cores(1) as (first,), reserved_cores(2 * len(available)) as others:
        assert sorted(others) == sorted(2 * available)
        assert others[-1] == first  # one that is reserved comes last
    with reserved_cores(1) as again:
        assert again == [first]


def test_a_killed_worker_is_named_and_its_run_trained_later(arguments, tmp_path):
    arguments += ["--workers", 2, "--output", "out"]
    process = start(*arguments, program="compare", cwd=tmp_path)
    os.kill(wait_for(lambda: children(process))[0], signal.SIGKILL)
    output, errors = finish(process, status=1)
    named = re.search(r"^(\w+, seed \d): its process died", output, re.MULTILINE)
    assert named
    assert f"not trained, as a process died: {named[1]}; the same command" in errors
    assert len(list((tmp_path / "out" / "runs").glob("*"))) == 3
    assert compare(*arguments, cwd=tmp_path).count("(reused)") == 3


FAULT = """
class Mine(MLP):
    def __call__(self, image):
        assert not multiprocessing.parent_process(), "mine"
        return super().__call__(image)

CLASSIFIERS = {"mine": Mine}
"""


def test_a_users_error_in_a_worker_is_shown_once_with_its_run(arguments, tmp_path):
    faulty = OWN.replace('CLASSIFIERS = {"mine": MLP}', FAULT)
    (tmp_path / "own.py").write_text(f"import multiprocessing\n{faulty}")
    process = start(
        *arguments, "--workers", 1, "--output", "out", program="compare", cwd=tmp_path
    )
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 1
    own = re.escape(str(tmp_path / "own.py"))
    assert re.search(
        rf'^error: mine, seed 0: failed in its worker\nTraceback .*\n  File "{own}"',
        errors,
    )
    assert errors.count("AssertionError: mine") == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_workers_have_a_core_each_and_end_with_their_program(
    arguments, tmp_path, number
):
    # so that no worker ends by itself
    arguments[arguments.index("training.epochs=2")] = "training.epochs=100000"
    process = start(
        *arguments, "--workers", 2, "--output", "out", program="compare", cwd=tmp_path
    )
    workers = wait_for(lambda: children(process))
    cores = [wait_for(partial(only_core, worker)) for worker in workers]
    assert len(set.union(*cores)) == min(len(workers), os.cpu_count() or 1)
    process.send_signal(number)
    try:
        process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == (130 if number == signal.SIGINT else -number)
    wait_for(lambda: not any(Path(f"/proc/{worker}").exists() for worker in workers))
