"""The search over recipes, as a user runs it."""

import json
import subprocess
import sys

import pytest
from programs import ROOT

from experiments.comparison.ranking import tabulate
from experiments.search import command


def search(*arguments) -> subprocess.CompletedProcess:
    line = [sys.executable, "-m", "experiments.search", *map(str, arguments)]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=100)


@pytest.mark.slow
def test_recipes_are_ranked_on_validation_images_and_finished_ones_are_not_repeated(tmp_path):
    slow, quick = (
        "model.classifier=mlp training.epochs=0.2 optimizer.learning_rate=" + rate for rate in ("1e-4", "0.02")
    )
    typed = (slow, quick, "--output", tmp_path / "table", "--runs", tmp_path / "runs", "--seeds", 1)
    assert search(*typed).returncode == 0
    log = (tmp_path / "table.jsonl").read_text()
    runs = [json.loads(line) for line in log.splitlines()]
    assert [run["recipe"] for run in runs] == [slow, quick]
    summaries = [json.loads(path.read_text()) for path in (tmp_path / "runs").glob("*/summary.json")]
    assert len(summaries) == 2
    assert not any("test" in summary for summary in summaries)
    assert runs[0]["digit_accuracy"] < runs[1]["digit_accuracy"]
    first, second = (tmp_path / "table.md").read_text().splitlines()[4:6]
    assert quick in first
    assert slow in second
    assert search(*typed).returncode == 0
    assert (tmp_path / "table.jsonl").read_text() == log
    # Results that another search has logged in the same file count; dots in a name stay.
    beside = {"recipe": "another", "mark": "0", "seed": 0} | {"validation": 10_000}
    (tmp_path / "v0.5.jsonl").write_text(json.dumps(runs[0] | beside) + "\n")
    dotted = search(quick, "--output", tmp_path / "v0.5", "--runs", tmp_path / "runs", "--seeds", 1)
    assert dotted.returncode == 0
    assert "another" in (tmp_path / "v0.5.md").read_text()
    fewer = (*typed, "--validation", 5000)
    assert search(*fewer).returncode == 0
    assert len((tmp_path / "table.jsonl").read_text().splitlines()) == 4  # other validation images give another result
    assert " | 1 | " in (tmp_path / "table.md").read_text()
    wrong = search("training.epoch=2", "--output", tmp_path / "other")
    assert wrong.returncode == 2
    assert "training.epochs" in wrong.stderr
    assert not (tmp_path / "other.jsonl").exists()


def test_a_recipe_that_fails_with_a_seed_comes_last_however_well_it_does_else():
    line = {"config": "base", "mark": "0", "parameters": 1, "steps": 1, "train_seconds": 1.0, "validation": 64}
    lines = [
        line | {"recipe": recipe, "seed": seed, "digit_accuracy": score, "sum_accuracy": score, "failure": failure}
        for recipe, seed, score, failure in (("wild", 0, 1.0, None), ("wild", 1, 1.0, "loss"), ("slow", 0, 0.1, None))
    ]
    first, second = tabulate(lines, 64, {}).splitlines()[4:]
    assert "slow" in first
    assert "wild" in second
    assert "| 2, 1 failed |" in second


def test_recipes_are_ranked_by_the_outputs_that_they_train():
    line = {"config": "base", "mark": "0", "parameters": 1, "steps": 1, "train_seconds": 1.0, "validation": 64}
    lines = [
        line | {"recipe": recipe, "seed": 0, "trained": trained, "digit_accuracy": digit, "sum_accuracy": total}
        for recipe, trained, digit, total in (
            ("both", ["digit", "sum"], 0.97, 0.97),
            ("digits", ["digit"], 0.98, 0.1),
            ("sums", ["sum"], 0.1, 0.96),
        )
    ]
    rows = tabulate(lines, 64, {}).splitlines()[4:]
    assert [row.split(" | ")[:3] for row in rows] == [
        ["| `base` digits", "98.00", "not trained"],
        ["| `base` both", "97.00", "97.00"],
        ["| `base` sums", "not trained", "96.00"],
    ]


def test_steps_are_timed_run_by_run_and_commits_and_machines_are_told():
    line = {"config": "base", "recipe": "", "mark": "0", "parameters": 1, "validation": 64, "failure": None}
    line |= {"digit_accuracy": 1.0, "sum_accuracy": 1.0}
    runs = [(10, 1.0, "a" * 40), (100, 1.0, "b" * 40), (100, 1.0, "b" * 40)]
    lines = [
        line | {"seed": seed, "steps": steps, "train_seconds": seconds, "commit": commit, "machine": "1 core of A CPU"}
        for seed, (steps, seconds, commit) in enumerate(runs)
    ]
    head, *_, row = tabulate(lines, 64, {}).splitlines()
    assert head.endswith(". Trained on 1 core of A CPU.")
    assert row.endswith("| 1 | 100 | 1.0 | 10.0 | aaaaaaa, bbbbbbb |")


def test_a_run_that_two_searches_logged_counts_once():
    line = {"config": "base", "recipe": "", "mark": "0", "parameters": 1, "validation": 64, "failure": None, "seed": 0}
    line |= {"digit_accuracy": 1.0, "sum_accuracy": 1.0, "steps": 1, "train_seconds": 1.0, "commit": "a" * 40}
    assert tabulate([line, line], 64, {}).splitlines()[-1].split(" | ")[3] == "1"


def test_the_runs_of_todays_code_count_also_where_those_of_other_code_were_logged_later():
    line = {"config": "base", "recipe": "", "seed": 0, "parameters": 1, "steps": 1, "train_seconds": 1.0}
    lines = [line | {"mark": "0", "digit_accuracy": 1, "sum_accuracy": 1}]
    lines += [line | {"mark": "1", "digit_accuracy": 0, "sum_accuracy": 1}]
    for marks, accuracy in (({}, "0.00"), ({("base", ""): "0"}, "100.00")):
        assert f"| {accuracy} | 100.00 | 1 |" in tabulate(lines, 64, marks)


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (["--seeds", "0"], "--seeds: expected 1 to 1,000, found 0"),
        (["--seeds", "99999999"], "--seeds: expected 1 to 1,000, found 99,999,999"),
        (["--validation", "0"], "--validation: expected 1 or more, found 0"),
        (["--output", "."], "--output .: expected a path that .jsonl and .md are added to"),
    ],
)
def test_a_mistake_is_answered_in_words_with_status_2(run_program, tmp_path, monkeypatch, arguments, answer):
    monkeypatch.chdir(tmp_path)
    status, stderr = run_program(command, "training.epochs=1", "--output", "found", *arguments)
    assert (status, stderr) == (2, f"error: {answer}\n")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("field", ["seed=3", "devices=1", "data.validation=500"])
def test_a_recipe_that_sets_what_is_the_same_for_all_is_refused(run_program, field):
    status, stderr = run_program(command, f"training.epochs=1 {field}", "--output", "found")
    assert status == 2
    assert f"error: {field}: expected no seed, devices or data.validation in a recipe; --seeds and" in stderr


def test_a_recipe_of_anything_but_overrides_is_refused(run_program):
    for word in ("--seed=7", "epochs"):
        status, stderr = run_program(command, f"training.epochs=1 {word}", "--output", "found")
        assert (status, stderr) == (2, f"error: {word}: expected a recipe of overrides such as training.epochs=2\n")


def test_a_search_of_nothing_is_refused(run_program):
    assert run_program(command, "--output", "found") == (
        2,
        'error: search: expected recipes, found none; such as "training.epochs=2 model.hidden=64"\n',
    )
