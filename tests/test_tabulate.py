"""The results table: what the README shows is what the committed runs say."""

import json
from pathlib import Path

import pytest

from experiments.tabulate import table
from mnistsum.errors import InputError

ROOT = Path(__file__).parent.parent


def test_the_table_of_the_readme_is_that_of_the_committed_runs():
    runs = tuple(sorted((ROOT / "experiments" / "results" / "runs").iterdir()))
    assert table(runs) in (ROOT / "README.md").read_text()


def test_mean_and_deviation_by_hand(tmp_path):
    for i, accuracy in enumerate((0.98, 0.99)):
        test = {"digit_accuracy": accuracy, "sum_accuracy": accuracy - 0.01}
        summary = {
            "config": "x",
            "parameters": 1000,
            "multiply_adds": 20,
            "train_seconds": i,
            "wall_seconds": 3,
            "test": test,
        }
        (tmp_path / str(i)).mkdir()
        (tmp_path / str(i) / "summary.json").write_text(json.dumps(summary))
    row = table((tmp_path / "0", tmp_path / "1")).splitlines()[-1]
    assert row == "| `x` | 1,000 | 20 | 98.50 ± 0.71 (n = 2) | 97.50 ± 0.71 (n = 2) | 0 | 3 |"


@pytest.mark.parametrize("accuracy", [2.5, -0.1, float("nan")])
def test_what_is_no_accuracy_is_refused_by_name(tmp_path, accuracy):
    test = {"digit_accuracy": 0.9, "sum_accuracy": accuracy}
    (tmp_path / "summary.json").write_text(json.dumps({"config": "x", "test": test}))
    with pytest.raises(InputError, match=r"summary.json: expected test.sum_accuracy of 0 to 1, found"):
        table((tmp_path,))


def test_an_unfinished_run_is_refused_by_name(tmp_path):
    with pytest.raises(InputError, match=r"summary.json: no such file"):
        table((tmp_path,))
