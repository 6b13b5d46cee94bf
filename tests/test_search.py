"""The search over recipes: ranked on validation images, reused, and never mixed with runs of another kind."""

import json

import pytest
from programs import TINY, finish, start, write_set

from experiments import search as program
from experiments.search import tabulate


def log_line(recipe, seed=0, accuracy=0.9, job="", **values):
    """Return a line of a search's log."""
    scores = {"digit_accuracy": accuracy, "sum_accuracy": accuracy, "trained": ["digit", "sum"], "failure": None}
    about = {"config": "base", "recipe": recipe, "seed": seed, "run": f"base-{recipe}{job}-{seed}", "record": "r"}
    costs = {"parameters": 1, "steps": 10, "train_seconds": 1.0, "commit": "a" * 40, "machine": "1 core of A CPU"}
    return about | scores | costs | {"validation": 64} | values


def rows(*lines, **about) -> dict[str, list[str]]:
    """Return the cells of the table of these lines, by recipe, best first."""
    table = tabulate(list(lines), **({"record": "r", "validation": 64} | about)).splitlines()[4:]
    cells = [line.strip("| ").split(" | ") for line in table]
    return {name.removeprefix("`base` "): numbers for name, *numbers in cells}


@pytest.mark.slow
def test_recipes_are_ranked_on_validation_images_and_finished_ones_are_not_repeated(tmp_path):
    write_set(tmp_path / "images", train=640, test=64)
    where = [each for each in TINY if "validation" not in each]
    slow, quick = (
        " ".join(("training.epochs=2", rate, *where))
        for rate in ("optimizer.learning_rate=1e-9", "training.batch_size=64")
    )
    typed = (slow, quick, "--config", "smoke", "--output", "v0.5", "--runs", "runs", "--seeds", 1, "--validation", 64)
    finish(start(*typed, program="search", cwd=tmp_path))
    log = (tmp_path / "v0.5.jsonl").read_text()
    assert [json.loads(line)["recipe"] for line in log.splitlines()] == [slow, quick]
    summaries = [json.loads(path.read_text()) for path in (tmp_path / "runs").glob("*/summary.json")]
    assert len(summaries) == 2
    assert not any("test" in summary for summary in summaries)
    output, _ = finish(start(*typed, program="search", cwd=tmp_path))
    assert (tmp_path / "v0.5.jsonl").read_text() == log
    assert output == (tmp_path / "v0.5.md").read_text() + "\n"


def test_recipes_are_ranked_by_the_outputs_that_they_train():
    found = rows(
        log_line("both", accuracy=0.97),
        log_line("digits", trained=["digit"], digit_accuracy=0.98, sum_accuracy=0.1),
        log_line("sums", trained=["sum"], digit_accuracy=0.1, sum_accuracy=0.96),
    )
    assert [(name, *cells[:2]) for name, cells in found.items()] == [
        ("digits", "98.00", "not trained"),
        ("both", "97.00", "97.00"),
        ("sums", "not trained", "96.00"),
    ]


def test_a_recipe_that_fails_with_a_seed_comes_last_however_well_it_does_else():
    found = rows(log_line("wild", 0, 1.0), log_line("wild", 1, 1.0, failure="loss"), log_line("slow", 0, 0.1))
    assert [(name, cells[2]) for name, cells in found.items()] == [("slow", "1"), ("wild", "2, 1 failed")]


def test_runs_of_other_code_data_versions_or_configs_are_left_out_and_counted():
    other = log_line("x", 0, 0.1, job="-old-code", record="another")
    edited = log_line("x", 0, 0.2, job="-old-config")
    lines = (edited, log_line("x", 0, 0.9), log_line("x", 1, 0.8), log_line("x", 1, 0.8), other)
    assert rows(*lines)["x"][:3] == ["85.00", "85.00", "2"]  # and a run that two searches logged counts once
    head = tabulate(list(lines), "r", 64).splitlines()[0]
    assert head.endswith("Left out: 2 runs of other code, data, versions or configs.")
    assert "Left out" not in tabulate([log_line("x")], "r", 64)


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (["training.epoch=2"], "training.epochs"),
        (["training.epochs=1 seed=3"], "seed=3: expected a recipe of overrides"),
        (["training.epochs=1", "--seeds", "0"], "--seeds and --validation: expected 1 or more"),
    ],
)
def test_a_mistake_is_answered_in_words_with_status_2(run_program, tmp_path, monkeypatch, arguments, answer):
    monkeypatch.chdir(tmp_path)
    status, stderr = run_program(program.command, "--output", "found", *arguments)
    assert status == 2
    assert answer in stderr
    assert not list(tmp_path.iterdir())
