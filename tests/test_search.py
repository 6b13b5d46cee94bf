"""The search over recipes, as a user runs it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def search(*arguments) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "experiments.search", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)


@pytest.mark.slow
def test_recipes_are_ranked_on_validation_images_and_finished_ones_are_not_repeated(tmp_path):
    slow, quick = (
        "model.classifier=mlp training.epochs=0.2 optimizer.learning_rate=" + rate for rate in ("1e-4", "0.02")
    )
    command = (slow, quick, "--output", tmp_path / "table", "--runs", tmp_path / "runs", "--seeds", 1)
    assert search(*command).returncode == 0
    log = (tmp_path / "table.jsonl").read_text()
    runs = [json.loads(line) for line in log.splitlines()]
    assert [run["recipe"] for run in runs] == [slow, quick]
    assert runs[0]["digit_accuracy"] < runs[1]["digit_accuracy"]
    first, second = (tmp_path / "table.md").read_text().splitlines()[4:6]
    assert quick in first
    assert slow in second
    assert search(*command).returncode == 0
    assert (tmp_path / "table.jsonl").read_text() == log
    fewer = (*command, "--validation", 5000)
    assert search(*fewer).returncode == 0
    assert len((tmp_path / "table.jsonl").read_text().splitlines()) == 4  # other validation images are another result
    assert " | 1 | " in (tmp_path / "table.md").read_text()
    wrong = search("training.epoch=2", "--output", tmp_path / "other")
    assert wrong.returncode == 2
    assert "training.epochs" in wrong.stderr
    assert not (tmp_path / "other.jsonl").exists()
