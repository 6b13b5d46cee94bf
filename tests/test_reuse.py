"""A folder of runs: which finished runs are reused, and which are refused."""

import dataclasses
import json
import shutil
from types import SimpleNamespace

import filelock
import numpy as np
import pytest
from programs import first

from experiments.report import terminal
from experiments.training import claims, plan, pool, reuse, workers
from experiments.training.folder import CONTENT, LOCK, SUMMARY
from experiments.training.plan import COMPARED, VALIDATED
from experiments.training.record import prepare
from mnistsum.config import CONFIG, override
from mnistsum.errors import InputError


@pytest.fixture(scope="module")
def experiment(mnist, config):
    return prepare(config, "a test", first(mnist, 64))


@pytest.fixture(scope="module")
def trained(experiment, tmp_path_factory):
    """A folder with the runs of two seeds."""
    folder = tmp_path_factory.mktemp("runs")
    assert [reused for _, reused in train(folder, experiment)] == [False, False]
    return folder


def train(folder, experiment, seeds=(0, 1), purpose=COMPARED):
    run_set = reuse.locate_runs(folder, experiment, seeds)
    return [
        (run, existed)
        for _, run, existed in pool.fit_missing(
            {"": run_set}, purpose, 0, terminal.RunsProgress
        )
    ]


@pytest.fixture
def run_set(trained, experiment, tmp_path):
    """The runs in a copy of the folder, which a test may damage."""
    return reuse.locate_runs(
        shutil.copytree(trained, tmp_path / "runs"), experiment, (0, 1)
    )


def test_finished_runs_are_reused_and_only_missing_ones_trained(run_set, experiment):
    folder = run_set.folders[0].parent
    again = train(folder, experiment._replace(command="another"), (1, 2))
    assert [(run.config.seed, reused) for run, reused in again] == [
        (1, True),
        (2, False),
    ]
    assert [reused for _, reused in train(folder, experiment, (0, 1, 2))] == [True] * 3
    for run, _ in again:
        assert override(run.config, ["seed=0"]) == experiment.config
        assert experiment.record.items() <= run.about.items()
        right = run.predictions["digit"] == experiment.data.test.labels
        assert run.summary["test"]["digit_accuracy"] == right.mean()
        assert run.summary["test"]["images"] == 64
    assert not list(folder.glob(f"{claims.TEMPORARY}*"))


@pytest.mark.parametrize(
    "section, name, reason",
    [
        ("data", "test", "the test images have changed"),
        ("program", "training", "its program of training has changed"),
        ("versions", "jaxlib", "jaxlib was"),
        ("settings", "matmul_precision", "matmul_precision was None, is other"),
    ],
)
def test_a_run_is_not_reused_once_what_decides_it_has_changed(
    trained, experiment, section, name, reason
):
    changed = {section: experiment.record[section] | {name: "other"}}
    other = experiment._replace(record=experiment.record | changed)
    runs = reuse.locate_runs(trained, other, (0, 1))
    assert runs.missing() == [0, 1]
    assert (reuse.why_missing(runs) or "").startswith(reason)


def test_a_run_of_another_config_is_not_reused(trained, experiment):
    config = override(experiment.config, ["optimizer.momentum=0.5"])
    runs = reuse.locate_runs(trained, experiment._replace(config=config), (0, 1))
    assert runs.missing() == [0, 1]
    assert reuse.why_missing(runs) == "optimizer.momentum was 0.95, is 0.5"


def test_a_run_of_another_name_or_purpose_is_refused(run_set, experiment):
    first, second = run_set.folders.values()
    with pytest.raises(InputError, match="a tested run of a comparison; use another f"):
        reuse.read_run(run_set, 0, VALIDATED)
    (run, _), *_ = train(first.parent, experiment, (7,), VALIDATED)
    assert "test" not in run.summary
    assert run.summary["validation"]["images"] == 64
    first.rename(first.with_name("away"))
    second.rename(first)
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


def test_a_worker_prepares_a_config_once_and_loads_its_images_once(config, monkeypatch):
    monkeypatch.setattr(workers, "_experiments", [])
    one, other, again = (
        workers._experiment(override(config, [change]), "a test")
        for change in ("model.hidden=16", "model.hidden=8", "model.hidden=16")
    )
    assert again is one and other.data is one.data
    validated = override(config, ["data.validation=10"])
    assert workers._experiment(validated, "a test").data is not one.data


@pytest.mark.parametrize("is_killed", [True, False])
def test_a_run_of_another_program_is_waited_for_or_replaced(
    tmp_path, monkeypatch, is_killed
):
    monkeypatch.setattr(claims, "POLL", 0)
    run = tmp_path / "run"
    temporary = tmp_path / f"{claims.TEMPORARY}run"
    reports = []
    temporary.mkdir()
    for name in (CONFIG, ".weights.partial"):
        (temporary / name).write_text("of the other program")
    other = filelock.FileLock(temporary / LOCK)
    other.acquire()

    def report(share):
        reports.append(share)
        if len(reports) == 3:
            if not is_killed:
                temporary.rename(run)
            other.release()

    with claims.claimed({0: run}, report) as missing:
        assert missing == ({0: temporary} if is_killed else {})
        assert is_killed == (not (run / CONFIG).exists())
        assert [path.name for path in temporary.iterdir()] == [LOCK]
    assert reports == [plan.WAITING] * 3
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_the_progress_counts_runs_and_estimates_the_rest(monkeypatch):
    clock = [0.0]
    said = []
    monkeypatch.setattr(terminal, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr(terminal, "say", said.append)
    progress = terminal.RunsProgress({"a": 1, "b": 1, "c": 2}, done=4)
    for clock[0], shares, told in (
        (5.0, {"a": 0, "b": 0}, "4 of 7 runs done, 2 running"),  # compiling
        (6.0, {"a": 1e-6, "b": 1e-6}, "4 of 7 runs done, 2 running"),
        (20.0, {"a": 0.5, "b": 0.5}, "4 of 7 runs done, 2 running, about 45 s left"),
        (30.0, {"a": 1, "b": 0.5}, "5 of 7 runs done, 1 running, about 42 s left"),
        (
            30.0,
            {"c": plan.WAITING},
            "5 of 7 runs done, 1 running, 1 waiting for another program, about 42 s "
            "left",
        ),
        (40.0, {"b": 1, "c": 0}, "6 of 7 runs done, 1 running, about 70 s left"),
    ):
        assert progress.show(shares) == told
    for clock[0] in range(50, 36_000, 10):  # a day's log has few lines
        progress.show({"c": 0.5})
    assert 10 < len(said) < 25


def test_a_run_tells_its_duration_once_from_later_steps_timed_alone(
    experiment, monkeypatch
):
    said = []
    monkeypatch.setattr(terminal, "say", said.append)
    longer = experiment._replace(spec=dataclasses.replace(experiment.spec, steps=600))
    progress = terminal.RunProgress(longer, first=0)
    run = SimpleNamespace(train_loss=1.0)
    for step, steps, is_undisturbed in ((1, 1, True), (9, 8, False), (17, 8, True)):
        assert not said
        stop = plan.Stop(step, steps, seconds=0.8, is_undisturbed=is_undisturbed)
        progress.show(stop, run)
    progress.show(stop._replace(step=25), run)
    assert said == ["estimated duration: 60 s of training (600 steps of 100.0 ms)"]


@pytest.mark.slow
def test_a_run_that_diverges_is_reused_as_failed(tmp_path, experiment):
    rule = "name=sgd learning_rate=1e30 schedule=constant clip_norm=0"
    changes = [f"optimizer.{change}" for change in rule.split()]
    config = override(experiment.config, changes)
    wild = prepare(config, "a test", experiment.data)
    for expected in (False, True):
        ((run, reused),) = train(tmp_path, wild, (0,))
        assert reused == expected
        assert "not finite at step" in run.summary["failure"]
