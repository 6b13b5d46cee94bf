"""The search over configs: ranked on validation images, and runs are reused."""

import re

import pytest
from programs import TINY, a_run, compare, write_set

from experiments.comparison.ranking import rank_configs
from mnistsum.config import ObjectiveConfig
from mnistsum.file_io import read_json


def tried(*seeds, weight=0.5, failure=None, digit=None):
    """Return runs with these accuracies of sums, and of digits unless told."""
    config = {"objective": ObjectiveConfig(digit_weight=weight)}
    runs = [a_run(seed=i, config=config) for i in range(len(seeds))]
    for run, total in zip(runs, seeds, strict=True):
        accuracies = {"digit_accuracy": digit or total, "sum_accuracy": total}
        run.summary.update(validation=accuracies, failure=failure)
    return runs


def rows(**runs):
    """Return the name, digit accuracy and sum accuracy of these configs, best first."""
    _, _, *lines = re.findall(r"^\|.*", rank_configs(runs, "search"), re.MULTILINE)
    cells = [line.strip("| ").split(" | ") for line in lines]
    return [[name, digit, total] for name, _, _, digit, total, _ in cells]


@pytest.mark.slow
def test_a_search_uses_validation_images_and_repeats_no_run(tmp_path):
    write_set(tmp_path / "images")
    configs = ("smoke+optimizer.learning_rate=1e-9", "smoke+training.batch_size=64")
    options = ("--search", "--seeds", 1, "--output", "out", "training.epochs=2")
    compare(*configs, *options, *TINY, cwd=tmp_path)
    files = sorted((tmp_path / "out" / "runs").glob("*/summary.json"))
    written = [file.stat().st_mtime_ns for file in files]
    assert len(files) == 2
    assert not any("test" in read_json(file) for file in files)
    output = compare(*configs, *options, *TINY, cwd=tmp_path)
    (ranking,) = (tmp_path / "out").glob("smoke-learning_rate-1e-9-smoke-*.md")
    named = f"this ranking in {ranking.relative_to(tmp_path)}, runs in out/runs\n"
    assert output.endswith(f"{ranking.read_text()}\n{named}")
    assert [file.stat().st_mtime_ns for file in files] == written


def test_configs_are_ranked_by_what_they_train():
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
