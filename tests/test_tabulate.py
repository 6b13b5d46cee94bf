"""The table of finished runs."""

import json

import numpy as np
import pytest
from programs import LABELS, a_run

from experiments import compare as program
from experiments.comparison.measures import score_measures
from mnistsum.errors import InputError
from mnistsum.evaluation import SCORES, Score


def misreading(count, **about):
    """Return a run that misreads this number of a hundred images."""
    return a_run(
        digit=np.where(np.arange(100) < count, (LABELS + 1) % 10, LABELS), **about
    )


@pytest.fixture
def tabulate(monkeypatch, tmp_path, capsys):
    """A function that tabulates runs made by hand, and returns rows and other lines."""

    def run(runs, *others):
        by_folder = {tmp_path / f"{i}": each for i, each in enumerate(runs)}
        for folder in by_folder:
            folder.mkdir(exist_ok=True)
            (folder / "summary.json").touch()
        monkeypatch.setattr(
            "experiments.comparison.finished_table.read_finished", by_folder.get
        )
        table = ["--tabulate", str(tmp_path / "v0.5")]
        assert program.command([*map(str, by_folder), *others, *table]) == 0
        lines = capsys.readouterr().out.splitlines()
        rows = [line for line in lines if line.startswith("|")]
        return rows[2:], [line for line in lines if line not in rows]

    return run


def test_mean_and_deviation_by_hand_of_the_finished_runs(tabulate, tmp_path):
    (line,), notes = tabulate([misreading(2), misreading(1, seed=2)], "unfinished")
    assert line.startswith("| a | 2 | 1,000 | 20 | 98.50 ± 0.71 | 100.00 ± 0.00 |")
    assert notes == ["skipped: 1 folders without a finished run"]
    (row,) = json.loads((tmp_path / "v0.5.json").read_text())
    assert row["seeds"] == [0, 2]
    assert row["digit_accuracy"]["values"] == [0.98, 0.99]
    page = (tmp_path / "v0.5.md").read_text()
    for text in (line, f"- a: `train`, commit {'f' * 40}", "2 cores of CPU"):
        assert text in page
    with pytest.raises(
        InputError, match="expected folders of finished runs, found none among 1 paths"
    ):
        program.command(["unfinished", "--tabulate", "table"])


def test_a_score_is_shown_where_and_as_its_entry_says(tabulate, monkeypatch):
    score = Score(
        "entropy",
        "nats",
        "mean over images",
        np.mean,
        is_compared=True,
        lower_is_better=True,
    )
    monkeypatch.setitem(SCORES, "entropy", score)
    run = misreading(0)
    older = misreading(0, name="old")
    run.summary["test"]["entropy"] = 0.25
    del older.summary["test"]["entropy"]
    assert [row.split(" | ")[-1] for row in tabulate([run, older])[0]] == [
        "0.2500 |",
        "- |",
    ]
    assert score_measures()["entropy"].meaning == "mean over images; lower is better"
    monkeypatch.setitem(SCORES, "entropy", score._replace(is_compared=False))
    assert "entropy" not in score_measures()
