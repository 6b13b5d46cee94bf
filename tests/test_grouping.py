"""Finished runs, grouped by config and by what else decides them."""

from pathlib import Path

import pytest
from programs import a_run

from experiments.comparison.grouping import differing_fields, group_by_key, group_runs
from mnistsum.config import Config, DataConfig, ModelConfig, OptimizerConfig
from mnistsum.errors import InputError


def finished(name, seeds, **fields):
    return [a_run(name, seed, **fields) for seed in seeds]


def test_runs_are_grouped_by_config_and_paired_by_common_seeds():
    runs, notes = group_runs([*finished("b", (2, 0, 1)), *finished("a", (0, 1, 5))])
    assert list(runs) == ["b", "a"]
    for each in runs.values():
        assert [run.config.seed for run in each] == [0, 1]
    assert notes == [
        f"{name}: left out seeds that not every config has: {seed}"
        for name, seed in (("b", 2), ("a", 5))
    ]


@pytest.mark.parametrize(
    "other, names",
    [
        (
            {"config": {"model": ModelConfig(scaling="unit")}},
            ["a+scaling=standard", "a+scaling=unit"],
        ),
        ({"run": {"program": {"training": "1"}}}, None),
        ({"run": {"versions": {"jax": "2"}}}, None),
        ({"run": {"settings": {"hardware": "another"}}}, None),
        ({"run": {"cores": 1}}, None),
    ],
)
def test_runs_of_other_fields_code_or_machines_are_never_pooled(other, names):
    groups, _ = group_by_key([*finished("a", (0,)), *finished("a", (1,), **other)])
    assert [list(seeds) for seeds in groups.values()] == [[0], [1]]
    assert list(groups) == names or all(name.startswith("a+record=") for name in groups)


@pytest.mark.parametrize(
    "runs, answer",
    [
        (
            finished("a", (0, 1)),
            "expected two configs or more .*, found a of seeds 0, 1",
        ),
        (
            finished("a", (0, 1)) + finished("b", (1, 2)),
            "in common, found a of seeds 0, 1; b of seeds 1, 2",
        ),
        (
            finished("a", (0,)) + finished("b", (0,), run={"data": {"test": "1"}}),
            "b-0: not trained and tested on the data",
        ),
        (
            [a_run()._replace(summary={})],
            "a-0: an untested run, such as that of a search",
        ),
    ],
)
def test_runs_that_do_not_fit_together_are_refused(runs, answer):
    with pytest.raises(InputError, match=answer):
        group_runs(runs)


def test_of_a_repeated_run_the_newest_is_shown():
    older, newer, other = (
        a_run(seed=seed, run={"started": f"2026-01-0{day}T12:00:00+0000"})._replace(
            folder=Path(folder)
        )
        for folder, day, seed in (("older", 1, 0), ("newer", 2, 0), ("other", 1, 1))
    )
    groups, notes = group_by_key([older, other, newer])
    assert groups == {"a": {0: newer, 1: other}}
    assert notes == [
        "older: left out, as newer is a newer run of the same config and seed"
    ]


def test_every_name_says_the_data_set_as_soon_as_two_differ():
    one = finished("a", (0,))
    two = finished("b", (0,), config={"data": DataConfig(name="kmnist")})
    assert list(group_by_key([*one, *finished("b", (0,))])[0]) == ["a", "b"]
    assert list(group_by_key([*one, *two])[0]) == [
        "a+data.name=mnist",
        "b+data.name=kmnist",
    ]


def test_differences_in_more_than_architecture_are_named():
    base = Config("a", optimizer=OptimizerConfig(learning_rate=0.1))
    wider = Config("b", model=ModelConfig(hidden=7), optimizer=base.optimizer)
    faster = Config("c", optimizer=OptimizerConfig(learning_rate=0.2))
    (note,) = differing_fields({"a": base, "b": wider, "c": faster})
    more = "c differs from a (in brackets) in more than architecture"
    assert note == f"{more}: optimizer.learning_rate=0.2 (0.1)"
