"""Finished runs, grouped by config and by what else decides them."""

import pytest
from programs import a_run

from experiments.comparison.grouping import differing_fields, group_by_key, group_runs
from mnistsum.config import Config, DataConfig, ModelConfig, OptimizerConfig
from mnistsum.errors import InputError


def finished(name, seeds, **fields):
    return [a_run(name, seed, **fields) for seed in seeds]


def test_runs_are_grouped_by_config_and_paired_by_the_seeds_that_all_have():
    runs, notes = group_runs([*finished("b", (2, 0, 1)), *finished("a", (0, 1, 5))])
    assert [(name, [run.config.seed for run in each]) for name, each in runs.items()] == [("b", [0, 1]), ("a", [0, 1])]
    assert notes == [f"{name}: left out seeds that not every config has: {seed}" for name, seed in (("b", 2), ("a", 5))]


def test_configs_of_one_name_are_told_apart_by_the_fields_that_differ():
    configs = {"data": DataConfig(scaling="unit")}, {"model": ModelConfig(dtype="bfloat16")}
    runs = [*finished("a", (0, 1)), *(run for config in configs for run in finished("a", (0, 1), config=config))]
    names = [
        f"a+scaling={scaling}+model.dtype={dtype}"
        for scaling, dtype in (("standard", "float32"), ("unit", "float32"), ("standard", "bfloat16"))
    ]
    assert list(group_by_key(runs)) == names


@pytest.mark.parametrize(
    "run",
    [{"program": {"training": "1"}}, {"versions": {"jax": "2"}}, {"settings": {"hardware": "another"}}, {"cores": 1}],
)
def test_runs_of_other_code_versions_or_machines_are_never_pooled(run):
    groups = group_by_key([*finished("a", (0,)), *finished("a", (1,), run=run)])
    assert [list(seeds) for seeds in groups.values()] == [[0], [1]]
    assert all(name.startswith("a+record=") for name in groups)


@pytest.mark.parametrize(
    ("runs", "answer"),
    [
        (finished("a", (0, 1)), "expected two configs or more .*, found a of seeds 0, 1"),
        (finished("a", (0, 1)) + finished("b", (1, 2)), "in common, found a of seeds 0, 1; b of seeds 1, 2"),
        (finished("a", (0, 0)), "a-0: the same config and seed as a-0"),
        (
            finished("a", (0,)) + finished("b", (0,), run={"data": {"test": "1"}}),
            "b-0: not trained and tested on the data",
        ),
        ([a_run()._replace(summary={})], "a-0: an untested run, such as that of a search"),
    ],
)
def test_runs_that_do_not_fit_together_are_refused(runs, answer):
    with pytest.raises(InputError, match=answer):
        group_runs(runs)


def test_differences_in_more_than_architecture_are_named():
    base = Config("a", optimizer=OptimizerConfig(learning_rate=0.1))
    wider = Config("b", model=ModelConfig(hidden=7), optimizer=base.optimizer)
    faster = Config("c", optimizer=OptimizerConfig(learning_rate=0.2))
    (note,) = differing_fields({"a": base, "b": wider, "c": faster})
    assert note == "c differs from a (in brackets) in more than architecture: optimizer.learning_rate=0.2 (0.1)"
