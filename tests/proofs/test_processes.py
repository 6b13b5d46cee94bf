"""One run in two processes on the loopback: the figures of one process, and what remains if one is lost."""

import json
import re
import signal
import socket
from pathlib import Path

import numpy as np
import pytest
from programs import bits, finish, start, write_set

from mnistsum import checkpoint

pytestmark = pytest.mark.slow


def start_two(*arguments) -> list:
    """Start both processes of a run."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        process_options = ["--distributed", "--coordinator", f"127.0.0.1:{free.getsockname()[1]}", "--processes", "2"]
    return [start(*arguments, *process_options, "--process", process) for process in range(2)]


def wait_for_epoch(process, epoch: int) -> None:
    while not process.stdout.readline().startswith(f"epoch {epoch}/"):
        assert process.poll() is None, process.stderr.read()


@pytest.fixture(scope="module")
def arguments(tmp_path_factory) -> list[str]:
    """Steps of SGD, on which the order of a sum has little effect."""
    folder = write_set(tmp_path_factory.mktemp("data"), train=576, test=64)
    data = ["data.name=custom", f"data.dir={folder}", "data.validation=64"]
    return ["--config", "smoke", *data, "training.batch_size=64", "training.epochs=12", "optimizer.name=sgd"]


@pytest.fixture(scope="module")
def whole(arguments, tmp_path_factory) -> Path:
    """An undisturbed run in two processes."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    first, second = start_two(*arguments, "--output", folder)
    finish(first)
    output, errors = finish(second)
    assert output == errors == ""  # only the first prints
    return folder


def test_two_processes_give_the_figures_of_one(arguments, whole, tmp_path):
    finish(start(*arguments, "--output", tmp_path / "run"))
    together, alone = (np.load(folder / "predictions.npz") for folder in (whole, tmp_path / "run"))
    for output in ("digit", "sum"):
        np.testing.assert_array_equal(together[output], alone[output])
    lines = [[json.loads(line) for line in (folder / "metrics.jsonl").open()] for folder in (whole, tmp_path / "run")]
    assert [line["train"]["loss"] for line in lines[0]] == pytest.approx([line["train"]["loss"] for line in lines[1]])
    assert json.loads((whole / "run.json").read_text())["processes"] == 2


@pytest.mark.parametrize("lost", [0, 1])
def test_a_lost_process_ends_the_other_and_leaves_a_whole_checkpoint(arguments, tmp_path, lost):
    folder = tmp_path / "run"
    processes = start_two(*arguments, "training.epochs=5000", "--output", folder)
    wait_for_epoch(processes[0], 3)
    processes[lost].kill()
    other = processes[1 - lost]
    _, errors = other.communicate(timeout=60)
    assert other.returncode != 0
    assert re.fullmatch(r"error: lost another process of this run \(.*\); .* --resume\n", errors)
    assert checkpoint.load_run(folder)
    resumed = start("--resume", folder)  # in a single process
    wait_for_epoch(resumed, 5)
    resumed.send_signal(signal.SIGTERM)
    finish(resumed, 128 + signal.SIGTERM)


def test_a_signal_to_one_process_stops_both_and_they_go_on_to_the_same_bits(arguments, whole, tmp_path):
    folder = tmp_path / "run"
    processes = start_two(*arguments, "--output", folder)
    wait_for_epoch(processes[0], 3)
    processes[1].send_signal(signal.SIGTERM)
    for process in processes:
        finish(process, 128 + signal.SIGTERM)
    assert not (folder / "summary.json").exists()
    for process in start_two("--resume", folder):
        finish(process)
    assert bits(folder) == bits(whole)


def test_a_folder_that_is_taken_is_refused_by_both(arguments, whole):
    for process in start_two(*arguments, "--output", whole):
        _, errors = finish(process, 2)
        assert (
            errors == f"error: --output {whole}: exists and is not an empty folder; name another, or --resume {whole}\n"
        )


def test_a_port_in_use_is_reported_in_one_line(arguments, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        place = f"127.0.0.1:{taken.getsockname()[1]}"
        process_options = ["--distributed", "--coordinator", place, "--processes", "1", "--process", "0"]
        _, errors = finish(start(*arguments, *process_options, "--output", tmp_path / "run"), status=2)
    assert errors == f"error: --coordinator {place}: Address already in use; name a free port of this machine\n"
    assert not (tmp_path / "run").exists()
