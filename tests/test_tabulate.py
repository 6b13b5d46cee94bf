"""The results table: the README shows the figures of the committed runs."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from programs import ROOT

from experiments.cli import load_config
from experiments.comparison import published
from experiments.tabulate import command, group, table
from mnistsum.config import Config, ModelConfig, TrainingConfig, read_config, to_json
from mnistsum.errors import InputError


def test_the_table_of_the_readme_is_that_of_the_committed_runs():
    runs = tuple(sorted((ROOT / "experiments" / "results" / "runs").iterdir()))
    assert table(group(runs)) in (ROOT / "README.md").read_text()


def test_a_published_run_is_of_the_config_that_bears_its_name():
    for folder in (ROOT / "experiments" / "results" / "runs").iterdir():
        config = read_config(folder)
        assert config == dataclasses.replace(load_config(config.name), seed=config.seed)


def a_run(folder: Path, config: Config, accuracy: float, passes: float) -> Path:
    """Return a folder with what a table reads of a finished run."""
    test = {"digit_accuracy": accuracy, "sum_accuracy": accuracy - 0.01, "passes": passes}
    costs = {"parameters": 1000, "multiply_adds": 20, "train_seconds": config.seed, "wall_seconds": 3}
    folder.mkdir()
    (folder / "summary.json").write_text(json.dumps({"config": config.name, "test": test} | costs))
    (folder / "config.json").write_text(to_json(config))
    (folder / "run.json").write_text("{}")
    return folder


def test_mean_and_deviation_by_hand(tmp_path):
    runs = a_run(tmp_path / "0", Config("x"), 0.98, 1), a_run(tmp_path / "1", Config("x", seed=2), 0.99, 1.5)
    row = table(group(runs)).splitlines()[-1]
    assert row == "| `x` | 1,000 | 25 | 98.50 ± 0.71 (n = 2) | 97.50 ± 0.71 (n = 2) | 1 (0-2) | 3 (3-3) |"


def test_seconds_of_a_whole_command_are_not_shown_of_one_that_trained_many(tmp_path):
    run = a_run(tmp_path / "0", Config("x"), 0.98, 1)
    (run / "run.json").write_text(json.dumps({"command": "python -m experiments.compare x y"}))
    assert table(group([run])).splitlines()[-1].endswith("| 0 | - |")


def test_runs_of_one_name_that_were_trained_in_different_ways_are_not_averaged(tmp_path):
    whole, part = Config("x"), Config("x", training=TrainingConfig(epochs=1.0))
    runs = a_run(tmp_path / "whole", whole, 0.98, 1), a_run(tmp_path / "part", part, 0.9, 1)
    assert list(group(runs)) == ["x+epochs=8.0", "x+epochs=1.0"]
    again = a_run(tmp_path / "again", whole, 0.98, 1)
    with pytest.raises(InputError, match=r"again: the same config and seed as .*whole; give one of them"):
        group((*runs, again))


def test_kinds_of_one_name_are_told_apart_by_the_whole_name_of_a_field_that_two_sections_have(tmp_path):
    rounded = Config("x", model=ModelConfig(dtype="bfloat16"))
    runs = a_run(tmp_path / "whole", Config("x"), 0.98, 1), a_run(tmp_path / "rounded", rounded, 0.9, 1)
    assert list(group(runs)) == ["x+model.dtype=float32", "x+model.dtype=bfloat16"]


@pytest.mark.parametrize("accuracy", [2.5, -0.1, float("nan"), "0.9", None])
def test_what_is_no_accuracy_is_refused_by_name(tmp_path, accuracy):
    test = {"digit_accuracy": 0.9, "sum_accuracy": accuracy}
    (tmp_path / "summary.json").write_text(json.dumps({"config": "x", "test": test}))
    with pytest.raises(InputError, match=r"summary.json: expected test.sum_accuracy of 0 to 1, found"):
        group((tmp_path,))


def test_a_run_of_a_search_is_refused_by_name(tmp_path):
    (tmp_path / "summary.json").write_text(json.dumps({"config": "x"}))
    with pytest.raises(InputError, match=r"summary.json: expected a run that was tested, found one of a search"):
        group((tmp_path,))


def test_an_unfinished_run_is_refused_by_name(tmp_path):
    with pytest.raises(InputError, match=r"summary.json: no such file"):
        group((tmp_path,))


def test_a_path_that_is_not_a_finished_run_is_skipped_with_a_notice(tmp_path, capsys):
    run = a_run(tmp_path / "done", Config("x"), 0.98, 1)
    others = [str(tmp_path), str(ROOT / "README.md"), "red\x1b[31m"]
    assert command([str(run), *others]) == 0
    captured = capsys.readouterr()
    assert "| `x` |" in captured.out
    others[-1] = "red\\x1b[31m"
    assert captured.err.splitlines() == [f"skipped: {path}: not a finished run" for path in others]


def test_a_chart_shows_each_network_at_its_costs_with_its_spread():
    ours = [published.Point("ours", 99.5, 0.1, 1_000, 30.0)]
    by_parameters, by_seconds = published.chart(ours).axes
    everyone = [*published.OTHERS, *ours]
    for axes, costs in (
        (by_parameters, {point: point.parameters for point in everyone}),
        (by_seconds, {point: point.seconds for point in everyone if point.seconds}),
    ):
        shown = sorted((x, y) for line in axes.lines for x, y in line.get_xydata())
        expected = sorted((cost, 1 - point.accuracy / 100) for point, cost in costs.items())
        np.testing.assert_allclose(shown, expected)
        *_, (bars,) = axes.containers[-1]
        np.testing.assert_allclose(bars.get_segments()[0][:, 1], [0.004, 0.006])  # a standard deviation each way
    assert [text.get_text() for text in by_parameters.texts] == [point.name for point in everyone]


def test_a_chart_is_written_beside_the_table(tmp_path, capsys):
    runs = sorted((ROOT / "experiments" / "results" / "runs").glob("base-*"))
    assert command([*map(str, runs), "--chart", str(tmp_path / "chart.png")]) == 0
    assert (tmp_path / "chart.png").read_bytes().startswith(b"\x89PNG")
    assert "`base`" in capsys.readouterr().out


def test_a_chart_of_other_images_is_refused(tmp_path):
    run = tmp_path / "base-0"
    shutil.copytree(ROOT / "experiments" / "results" / "runs" / "base-0", run)
    config = run / "config.json"
    config.write_text(config.read_text().replace('"mnist"', '"kmnist"'))
    with pytest.raises(InputError, match="--chart: expected runs on MNIST, as the published networks are, found"):
        command([str(run), "--chart", str(tmp_path / "chart.png")])


def test_a_chart_of_another_kind_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"--chart .*chart.pdf: expected a path that ends in .png"):
        command([str(ROOT / "experiments" / "results" / "runs" / "base-0"), "--chart", str(tmp_path / "chart.pdf")])
