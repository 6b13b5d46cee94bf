"""The search over recipes: ranked on validation images, reused, and never mixed with runs of another kind."""

import json

import pytest
from programs import TINY, a_run, finish, start, write_set

from experiments import search as program
from experiments.comparison.recipe_table import rank_recipes
from mnistsum.config import ObjectiveConfig


def tried(*seeds, weight=0.5, failure=None, digit=None):
    """Return a recipe's runs, which have these accuracies of sums, and of digits unless told."""
    runs = [a_run(seed=i, config={"objective": ObjectiveConfig(digit_weight=weight)}) for i in range(len(seeds))]
    for run, accuracy in zip(runs, seeds, strict=True):
        scores = {"digit_accuracy": accuracy if digit is None else digit, "sum_accuracy": accuracy}
        run.summary.update(validation=scores, failure=failure)
    return runs


def rows(**runs) -> dict[str, list[str]]:
    """Return the cells of the table of these recipes, best first."""
    cells = [line.strip("| ").split(" | ") for line in rank_recipes(runs).splitlines()[4 : 4 + len(runs)]]
    return {name.split()[-1]: numbers for name, *numbers in cells}


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
    files = sorted((tmp_path / "runs").glob("*/summary.json"))
    written = [file.stat().st_mtime_ns for file in files]
    summaries = [json.loads(file.read_text()) for file in files]
    assert len(summaries) == 2
    assert not any("test" in summary for summary in summaries)
    output, _ = finish(start(*typed, program="search", cwd=tmp_path))
    assert output.endswith((tmp_path / "v0.5.md").read_text() + "\n")
    assert [file.stat().st_mtime_ns for file in files] == written


def test_recipes_are_ranked_by_the_outputs_that_they_train():
    found = rows(both=tried(0.98, 0.96), digits=tried(0.1, weight=1.0, digit=0.98), sums=tried(0.96, weight=0.0))
    assert [(name, *cells[:3]) for name, cells in found.items()] == [
        ("digits", "98.00", "not trained", "1"),
        ("both", "97.00", "97.00", "2"),
        ("sums", "not trained", "96.00", "1"),
    ]


def test_a_recipe_that_fails_with_a_seed_comes_last_however_well_it_does_else():
    found = rows(wild=tried(1.0, failure="loss"), slow=tried(0.1))
    assert [(name, cells[2]) for name, cells in found.items()] == [("slow", "1"), ("wild", "1, 1 failed")]


def test_recipes_that_end_with_the_same_weights_are_named():
    table = rank_recipes({"a": tried(0.1), "b": tried(0.2)})
    assert table.endswith("\n\n`b`, seed 0: ended with the weights of `a`, seed 0, bit for bit\n")


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
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
