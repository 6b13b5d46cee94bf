"""A folder of runs: what makes a finished run reusable, and what is never taken for one."""

import dataclasses
import json
import shutil

import filelock
import numpy as np
import pytest

from experiments.training import pool, reuse
from experiments.training.folder import CONTENT, LOCK, SUMMARY
from experiments.training.plan import COMPARED, VALIDATED
from experiments.training.record import prepare
from mnistsum.config import override
from mnistsum.errors import InputError
from mnistsum.types import Data, Split


@pytest.fixture(scope="module")
def experiment(mnist, config):
    data = Data(*(Split(*(part[:64] for part in split)) for split in mnist))
    return prepare(dataclasses.replace(config, devices=1), "a test", data)


@pytest.fixture(scope="module")
def trained(experiment, tmp_path_factory):
    """A folder with the runs of two seeds."""
    folder = tmp_path_factory.mktemp("runs")
    assert [reused for _, reused in train(folder, experiment)] == [False, False]
    return folder


def train(folder, experiment, seeds=(0, 1), plan=COMPARED):
    run_set = reuse.locate_runs(folder, experiment, seeds)
    return [(run, existed) for _, run, existed in pool.fit_missing([run_set], plan, workers=0)]


@pytest.fixture
def run_set(trained, experiment, tmp_path):
    """The runs in a copy of the folder, which a test may damage."""
    return reuse.locate_runs(shutil.copytree(trained, tmp_path / "runs"), experiment, (0, 1))


def test_finished_runs_are_reused_and_only_missing_ones_trained(run_set, experiment):
    folder = run_set.folders[0].parent
    again = train(folder, experiment._replace(command="another"), (1, 2))
    assert [(run.config.seed, reused) for run, reused in again] == [(1, True), (2, False)]
    assert [reused for _, reused in train(folder, experiment, (0, 1, 2))] == [True] * 3
    for run, _ in again:
        assert run.config == dataclasses.replace(experiment.config, seed=run.config.seed)
        assert {section: run.run[section] for section in experiment.record} == experiment.record
        assert run.summary["test"]["images"] == 64
        assert np.mean(run.predictions["digit"] == experiment.data.test.labels) == run.summary["test"]["digit_accuracy"]
    assert not list(folder.glob(f"{pool.TEMPORARY}*"))


def changed(experiment, section, name, value):
    return experiment._replace(record=experiment.record | {section: experiment.record[section] | {name: value}})


CHANGES = {
    "optimizer.momentum was 0.95, is 0.5": lambda experiment: experiment._replace(
        config=override(experiment.config, ["optimizer.momentum=0.5"])
    ),
    "the test images have changed": lambda experiment: changed(experiment, "data", "test", "other"),
    "its program of training has changed": lambda experiment: changed(experiment, "program", "training", "other"),
    "jaxlib was": lambda experiment: changed(experiment, "versions", "jaxlib", "other"),
    "matmul_precision was None, is highest": lambda experiment: changed(
        experiment, "settings", "matmul_precision", "highest"
    ),
}


@pytest.mark.parametrize("reason", CHANGES)
def test_a_run_is_not_reused_once_something_that_decides_it_has_changed_and_the_reason_is_told(
    trained, experiment, reason
):
    other = reuse.locate_runs(trained, CHANGES[reason](experiment), (0, 1))
    assert other.missing() == [0, 1]
    assert (reuse.why_missing(other) or "").startswith(reason)


def test_a_run_of_another_name_or_purpose_is_refused(run_set, experiment):
    with pytest.raises(InputError, match="a tested run of a comparison; use another folder"):
        reuse.read_run(run_set, 0, VALIDATED)
    (run, _), *_ = train(run_set.folders[0].parent, experiment, (7,), VALIDATED)
    assert "test" not in run.summary and run.summary["validation"]["images"] == 64
    run_set.folders[0].rename(run_set.folders[0].with_name("away"))
    run_set.folders[1].rename(run_set.folders[0])
    with pytest.raises(InputError, match=r"not the run that its name says \(seed\)"):
        reuse.read_run(run_set, 0, COMPARED)


@pytest.mark.parametrize("name", [*CONTENT, SUMMARY])
def test_a_flipped_bit_anywhere_or_a_missing_file_is_noticed(run_set, name):
    file = run_set.folders[1] / name
    content = file.read_bytes()
    random = np.random.default_rng(0)
    for place in random.integers(len(content), size=10):
        damaged = bytearray(content)
        damaged[place] ^= 1 << random.integers(8)
        file.write_bytes(damaged)
        try:  # the digit of a float in the summary may be one that changes nothing
            assert json.loads(damaged) == json.loads(content)
        except (ValueError, AssertionError):
            with pytest.raises(InputError, match=str(file.parent)):
                reuse.read_run(run_set, 1, COMPARED)
    file.unlink()
    with pytest.raises(InputError, match=f"{file}: no such file"):
        reuse.read_run(run_set, 1, COMPARED)


def test_what_a_killed_process_left_is_removed_but_not_what_another_trains(tmp_path, experiment):
    left, in_use = (tmp_path / f"{pool.TEMPORARY}{name}" for name in ("left", "in-use"))
    for folder in (left, in_use):
        folder.mkdir()
        (folder / LOCK).touch()
    with filelock.FileLock(in_use / LOCK):
        train(tmp_path, experiment, (0,))
    assert (left.exists(), in_use.exists()) == (False, True)


@pytest.mark.slow
def test_a_run_that_diverges_counts_as_failed_and_is_reused_as_such(tmp_path, experiment):
    rule = dataclasses.replace(
        experiment.config.optimizer, name="sgd", learning_rate=1e30, schedule="constant", clip_norm=0.0
    )
    wild = prepare(dataclasses.replace(experiment.config, optimizer=rule), "a test", experiment.data)
    for expected in (False, True):
        ((run, reused),) = train(tmp_path, wild, (0,))
        assert reused == expected
        assert "not finite at step" in run.summary["failure"]
        assert run.summary["calibration"] is None
