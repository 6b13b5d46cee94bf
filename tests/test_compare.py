"""Comparisons, as a user runs them, and what is made of their runs."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from experiments import comparison, trial
from mnistsum.config import Config, InputError

ROOT = Path(__file__).parent.parent
OWN = """
from mnistsum.config import Config, ModelConfig, OptimizerConfig, TrainingConfig
config = Config(name="{name}", model=ModelConfig(classifier="mlp", widths=({width},)),
                optimizer=OptimizerConfig(name="sgd", learning_rate={rate}), training=TrainingConfig(epochs=0.25))
"""
OUTSIDE = os.environ | {"PYTHONPATH": str(ROOT)}  # the programs are run from other folders


def compare(*arguments, cwd) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "experiments.compare", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=200, env=OUTSIDE)


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """Two configs and one that diverges, two seeds each."""
    folder = tmp_path_factory.mktemp("compare")
    for name, width, rate in (("narrow", 8, 0.02), ("wide", 64, 0.02), ("wild", 8, 1e30)):
        (folder / f"{name}.py").write_text(OWN.format(name=name, width=width, rate=rate))
    command = ("narrow.py", "wide.py", "wild.py", "--output", "out", "--seeds", 2, "optimizer.schedule=constant")
    first = compare(*command, cwd=folder)
    assert first.returncode == 0, first.stderr
    return folder, command, first.stdout


def test_a_comparison_writes_its_files_and_says_what_follows(compared):
    folder, _, output = compared
    summary = json.loads((folder / "out" / "comparison.json").read_text())
    narrow, wide, wild = summary["rows"]
    assert [row["config"] for row in summary["rows"]] == ["narrow", "wide", "wild"]
    assert wide["against_first"]["digit"]["mean"] == pytest.approx(
        wide["digit_accuracy"]["mean"] - narrow["digit_accuracy"]["mean"], abs=1e-6
    )
    assert wide["parameters"] > narrow["parameters"]
    assert set(wild["against_first"]["digit"]) == {"mean", "low", "high", "standard_error", "verdict"}
    for name in ("comparison.md", "comparison.csv", "comparison.html"):
        text = (folder / "out" / name).read_text()
        assert all(row["config"] in text for row in summary["rows"]), name
    assert (folder / "out" / "comparison.html").read_text().count("data:image/png;base64") == 4
    assert "Against narrow, points" in output


def test_a_diverged_run_counts_as_failed_and_is_not_dropped(compared):
    folder, _, output = compared
    wild = json.loads((folder / "out" / "comparison.json").read_text())["rows"][2]
    assert len(wild["failed"]) == wild["n"] == 2
    assert wild["digit_accuracy"]["of"] == wild["digit_accuracy"]["reached"] == 2
    assert "FAILED (counted, not dropped) wild: seed 0" in output


def test_finished_runs_are_reused_and_a_missing_one_comes_out_the_same(compared):
    folder, command, _ = compared
    runs = sorted((folder / "out" / "runs").iterdir())
    assert len(runs) == 6
    before = json.loads((runs[0] / "result.json").read_text())
    shutil.rmtree(runs[0])  # as if it had been interrupted: a run's folder appears at its end
    again = compare(*command, cwd=folder)
    assert again.stdout.count("(reused)") == 5
    after = json.loads((runs[0] / "result.json").read_text())
    for key in ("weights", "digit_accuracy", "sum_accuracy", "curve"):
        assert after[key] == before[key]


@pytest.mark.slow
def test_jobs_train_what_a_program_would_and_a_killed_one_is_named_and_retried(compared, tmp_path):
    pytest.importorskip("submitit", reason="an extra of the project")
    folder, command, _ = compared
    for name in ("narrow.py", "wide.py", "wild.py"):
        shutil.copy(folder / name, tmp_path)
    command = (*command, "--submit", "local", "--seeds-per-job", 1)
    arguments = [sys.executable, "-m", "experiments.compare", *map(str, command)]
    programs = [subprocess.Popen(arguments, cwd=tmp_path, env=OUTSIDE, text=True, **PIPES) for _ in range(2)]
    kill_task(tmp_path / "out" / "jobs", "wide-*-1")
    for program in programs:  # which share the jobs
        output, errors = program.communicate(timeout=300)
        assert program.returncode == 1, output + errors
        assert "wide, seeds [1]: it was killed; see" in output
        assert errors == "error: 1 of 6 jobs ended without results; --retry-failed submits them again\n"
    runs = tmp_path / "out" / "runs"
    assert len(list(runs.iterdir())) == 5
    assert len(list((tmp_path / "out" / "jobs" / "logs").glob("*_submitted.pkl"))) == 6
    again = compare(*command, cwd=tmp_path)
    assert again.returncode == 1
    assert again.stdout.count("(reused)") == 5
    retried = compare(*command, "--retry-failed", cwd=tmp_path)
    assert retried.returncode == 0, retried.stderr
    for run in sorted((folder / "out" / "runs").iterdir()):
        jobs, alone = (json.loads((place / run.name / "result.json").read_text()) for place in (runs, run.parent))
        assert jobs["weights"] == alone["weights"]


PIPES = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}


def kill_task(jobs: Path, name: str) -> None:
    """Kills what trains in a job, as soon as it is there."""
    pid = ""
    while not pid:
        records = [path.read_text() for path in jobs.glob(name)]
        controller = Path(f"/proc/{records[0]}") if records and records[0] else None
        if controller and (controller / "task" / records[0] / "children").exists():
            pid = (controller / "task" / records[0] / "children").read_text().strip()
    os.kill(int(pid), signal.SIGKILL)


def test_a_dry_run_says_what_is_missing_and_writes_nothing(compared):
    folder, command, _ = compared
    before = sorted(folder.rglob("*"))
    run = compare(*command, "--dry-run", "--seeds", 3, cwd=folder)
    assert run.returncode == 0, run.stderr
    rows = [line.split() for line in run.stdout.splitlines()]
    assert [row[:3] for row in rows[1:5]] == [[name, "3", "2"] for name in ("narrow", "wide", "wild")] + [
        ["all", "9", "6"]
    ]
    assert float(rows[4][-1]) == pytest.approx(sum(float(row[-1]) for row in rows[1:4]), abs=0.2)  # MB
    assert sorted(folder.rglob("*")) == before


@pytest.mark.slow
def test_seeds_that_share_a_program_over_devices_end_as_they_do_alone(compared, tmp_path, monkeypatch):
    folder, command, _ = compared
    for name in ("narrow.py", "wide.py", "wild.py"):
        shutil.copy(folder / name, tmp_path)
    monkeypatch.setitem(OUTSIDE, "XLA_FLAGS", "--xla_force_host_platform_device_count=2")
    assert compare(*command, cwd=tmp_path).returncode == 0
    for run in sorted((folder / "out" / "runs").iterdir()):
        alone, together = (
            json.loads((place / "out" / "runs" / run.name / "result.json").read_text()) for place in (folder, tmp_path)
        )
        assert alone["mode"] == "seeds one by one"
        assert together["mode"] == "2 seeds as one vmapped program, on 2 devices"
        if run.name.startswith("wild"):
            assert together["failure"] == alone["failure"]  # at the same step
        assert together["digit_accuracy"] == pytest.approx(alone["digit_accuracy"], abs=0.005)
        assert together["sum_accuracy"] == pytest.approx(alone["sum_accuracy"], abs=0.005)


def test_a_damaged_run_is_named(compared, tmp_path):
    folder, *_ = compared
    for name, harm in (("result.json", lambda whole: whole[:100]), ("predictions.npz", lambda whole: whole[:-9])):
        run = shutil.copytree(sorted((folder / "out" / "runs").iterdir())[1], tmp_path / name)
        (run / name).write_bytes(harm((run / name).read_bytes()))
        with pytest.raises(InputError, match=f"{run}: a damaged run .*; delete it, and it is run again"):
            trial.read(run)


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (["base", "lenet"], "did you mean lenet5?"),
        (["base", "mlp", "--seeds", "1"], "--seeds: expected two or more"),
        (["base"], "expected two configs or more of different names, found base"),
        (["base", "base"], "expected two configs or more of different names, found base, base"),
        (["base", "reference"], "compare: expected the data of base"),
        (["base", "mlp", "data.validation=0"], "expected validation images"),
        (["base", "mlp", "devices=2"], "compare: expected no devices"),
        (["base", "mlp", "--retry-failed"], "--retry-failed: expected only with --submit"),
        (["base", "mlp", "training.epoch=1"], "training.epochs"),
        (["base", "mlp", "model.classifier=conv"], "model.classifier: expected one of reference, compact"),
    ],
)
def test_a_mistake_is_answered_in_words_with_status_2_and_nothing_written(tmp_path, arguments, answer):
    run = compare(*arguments, cwd=tmp_path)
    assert run.returncode == 2, run.stderr
    assert answer in run.stderr
    assert "Traceback" not in run.stderr
    assert not list(tmp_path.iterdir())


def a_run(seed, digit, total, labels, weights) -> dict:
    """A finished run with these predictions."""
    truth = labels[:, None] + np.arange(10)
    return dict.fromkeys(comparison.MEASURES, 1.0) | {
        "config": "a",
        "seed": seed,
        "failure": None,
        "mode": "",
        "curve": [[1, 0.9, 0.9]],
        "weights": weights,
        "digit_accuracy": (digit == labels).mean(),
        "sum_accuracy": (total == truth).mean(),
        "sum_accuracy_by_cell": np.ones((10, 10)).tolist(),
        "predictions": {"digit": digit, "sum": total},
    }


def test_errors_are_attributed_and_alarms_raised():
    labels = np.arange(100) % 10
    digit, total = labels.copy(), labels[:, None] + np.arange(10)
    digit[0], total[0] = 1, 1 + np.arange(10)  # misread, and its sums follow: 10 pairs
    total[1, 3] = 18  # the digit right, the sum not: 1 pair
    digit[2] = 0  # misread, and its sums right all the same: 10 pairs
    runs = {name: [a_run(seed, digit, total, labels, "same") for seed in range(2)] for name in ("a", "b")}
    runs["b"][1] = a_run(1, (labels + (np.arange(100) < 5)) % 10, total, labels, "other")
    summary = comparison.summarise([Config(name="a"), Config(name="b")], runs, labels)
    errors = summary["rows"][0]["errors"]
    assert errors == pytest.approx({"digit_misread": 0.01, "adder_wrong": 0.001, "right_by_luck": 0.01})
    assert [alarm.split(":")[0] for alarm in summary["alarms"]] == ["a", "b"]
    assert "same weights" in summary["alarms"][0]
    assert "digit_accuracy ranges" in summary["alarms"][1]
