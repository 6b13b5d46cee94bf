"""Comparisons, as a user runs them, and what is made of their runs."""

import json
import os
import shutil
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
    (runs[0] / "result.json").unlink()  # as if it had been interrupted
    again = compare(*command, cwd=folder)
    assert again.stdout.count("(reused)") == 5
    after = json.loads((runs[0] / "result.json").read_text())
    for key in ("weights", "digit_accuracy", "sum_accuracy", "curve"):
        assert after[key] == before[key]


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
