"""A run compared with the write-up's log."""

import json

import pytest

from experiments.reproduce import command, table
from mnistsum.errors import InputError


def line(epoch, digit, sum_):
    test = {
        "digit_accuracy": digit,
        "sum_accuracy": sum_,
        "digit_loss": 0.1,
        "sum_loss": 0.14,
        "images": 10_000,
    }
    return {"epoch": float(epoch), "test": test}


def test_the_table_says_which_figures_are_in_the_band():
    rows = table([line(4, 0.9, 0.5), line(20, 0.9890, 0.9810)]).splitlines()
    assert len(rows) == 3  # the write-up shows no epoch 4
    assert rows[-1].startswith("| 20 | 0.120 | 0.110 | 98.90 [")
    assert "] | 98.96 inside | 98.10 [" in rows[-1]
    assert rows[-1].endswith("] | 98.83 outside |")


@pytest.mark.parametrize(
    "lines",
    [
        "",
        json.dumps({"epoch": 1.0, "validation": {}})
        + "\n"
        + json.dumps(line(2, 0.9, 0.2)),
        json.dumps(line(1, 0.9, 0.2) | {"epoch": 0.5}),
    ],
)
def test_a_folder_without_test_results_is_refused_by_name(tmp_path, lines):
    (tmp_path / "metrics.jsonl").write_text(lines)
    with pytest.raises(
        InputError, match=r"metrics.jsonl: expected test results of an epoch or more"
    ):
        command([str(tmp_path)])
    assert not (tmp_path / "write_up.png").exists()
