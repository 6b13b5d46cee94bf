"""The search over configs: ranked on validation images, reused, and never mixed with runs of another kind."""

import json

import pytest
from programs import TINY, a_run, finish, start, write_set

from experiments import compare as program
from experiments.comparison.ranking import rank_configs
from mnistsum.config import ObjectiveConfig


def tried(*seeds, weight=0.5, failure=None, digit=None):
    """Return a config's runs, which have these accuracies of sums, and of digits unless told."""
    runs = [
        a_run(seed=i, config={"objective": ObjectiveConfig(digit_weight=weight)})
        for i in range(len(seeds))
    ]
    for run, accuracy in zip(runs, seeds, strict=True):
        scores = {
            "digit_accuracy": accuracy if digit is None else digit,
            "sum_accuracy": accuracy,
        }
        run.summary.update(validation=scores, failure=failure)
    return runs


def rows(**runs) -> list[list[str]]:
    """Return the name, digit accuracy and sum accuracy of these configs, best first."""
    _, _, *lines = (
        line
        for line in rank_configs(runs, "search").splitlines()
        if line.startswith("|")
    )
    cells = [line.strip("| ").split(" | ") for line in lines]
    return [[name, digit, total] for name, _, _, digit, total, _ in cells]


@pytest.mark.slow
def test_configs_are_ranked_on_validation_images_and_finished_ones_are_not_repeated(
    tmp_path,
):
    write_set(tmp_path / "images", train=640, test=64)
    configs = ("smoke+optimizer.learning_rate=1e-9", "smoke+training.batch_size=64")
    typed = (
        *configs,
        "training.epochs=2",
        *TINY,
        "--output",
        "out",
        "--seeds",
        1,
        "--search",
    )
    finish(start(*typed, program="compare", cwd=tmp_path))
    files = sorted((tmp_path / "out" / "runs").glob("*/summary.json"))
    written = [file.stat().st_mtime_ns for file in files]
    summaries = [json.loads(file.read_text()) for file in files]
    assert len(summaries) == 2
    assert not any("test" in summary for summary in summaries)
    output, _ = finish(start(*typed, program="compare", cwd=tmp_path))
    (ranking,) = (tmp_path / "out").glob(
        "smoke-learning_rate-1e-9-smoke-batch_size-64-??????.md"
    )
    named = ranking.relative_to(tmp_path)
    assert output.endswith(
        f"{ranking.read_text()}\nthis ranking in {named}, runs in out/runs\n"
    )
    assert [file.stat().st_mtime_ns for file in files] == written


def test_configs_are_ranked_by_the_outputs_that_they_train_and_those_with_a_failed_seed_come_last():
    runs = {
        "both": tried(0.98, 0.96),
        "digits": tried(0.1, weight=1.0, digit=0.98),
        "sums": tried(0.96, weight=0.0),
    }
    assert rows(wild=tried(1.0, failure="loss"), **runs) == [
        ["digits", "98.00", "-"],
        ["both", "97.00 ± 1.41", "97.00 ± 1.41"],
        ["sums", "-", "96.00"],
        ["wild", "100.00", "100.00"],
    ]


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (["--search", "base", "base+seed=3"], "expected no seed, as"),
        (["--search", "base", "--seeds", "0"], "--seeds: expected 1 to 1,000"),
    ],
)
def test_a_mistake_is_answered_in_words_with_status_2_and_nothing_written(
    run_program, tmp_path, arguments, answer
):
    status, stderr = run_program(
        program.command, "--output", tmp_path / "found", *arguments
    )
    assert status == 2
    assert answer in stderr
    assert not list(tmp_path.iterdir())
