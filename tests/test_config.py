"""Configs: ranges, the round trip through JSON, and refusals."""

import dataclasses
import json

import numpy as np
import pytest

from mnistsum.config import (
    Config,
    DataConfig,
    ModelConfig,
    ObjectiveConfig,
    OptimizerConfig,
    TrainingConfig,
    from_json,
    to_json,
)
from mnistsum.errors import InputError

pytestmark = pytest.mark.usefixtures("no_typechecker")


def test_json_gives_an_equal_config_back(config):
    assert from_json(to_json(config), "here") == config
    assert hash(from_json(to_json(config), "here")) == hash(config)


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("optimizer.learning_rate", "fast", "optimizer.learning_rate"),
        ("optimizer.name", "adm", "optimizer.name"),
        ("training.batch_size", 12.5, "training.batch_size"),
        ("model.widths", [1, "2"], "model.widths"),
        ("seed", True, "seed"),
        ("training.batch_size", 0, "training.batch_size: expected at least 1, found 0"),
        ("training.surprise", 1, "training: expected the fields epochs, .*; unknown: surprise$"),
        ("training", 5, "training: expected the fields epochs, .*, found 5$"),
        ("model.initialisation", "he", "model: expected the fields .*; unknown: initialisation$"),
        ("objective.digit_weight", None, "objective.digit_weight: expected float, found None"),
    ],
)
def test_json_with_a_bad_value_is_refused_by_name(key, value, named):
    values = json.loads(to_json(Config()))
    *groups, last = key.split(".")
    place = values
    for group in groups:
        place = place[group]
    place[last] = value
    with pytest.raises(InputError, match=f"^config.json: .*{named}"):
        from_json(json.dumps(values), "config.json")


def test_json_of_before_a_field_was_added_means_its_default():
    values = json.loads(to_json(Config()))
    del values["objective"]["name"]
    assert from_json(json.dumps(values), "here") == Config()
    del values["objective"]["held_out"]
    with pytest.raises(InputError, match=r"fields name, digit_weight, held_out; missing: held_out$"):
        from_json(json.dumps(values), "here")


def test_a_key_that_was_renamed_is_read_and_said():
    text = to_json(dataclasses.replace(Config(), model=ModelConfig(initialization="torch")))
    with pytest.warns(UserWarning, match=r"the config's model.initialisation is read as model.initialization"):
        config = from_json(text.replace("initialization", "initialisation"), "here")
    assert config.model.initialization == "torch"


@pytest.mark.parametrize(
    ("make", "answer"),
    [
        (
            lambda: OptimizerConfig(name="adam"),
            "optimizer.name: expected one of sgd, adamw, muon, found adam; did you mean adamw?",
        ),
        (
            lambda: OptimizerConfig(schedule="linear"),
            "optimizer.schedule: expected one of constant, one_cycle, cosine, found 'linear'",
        ),
        (lambda: DataConfig(scaling="none"), "data.scaling: expected one of unit, standard, found 'none'$"),
        (lambda: ModelConfig(classifier="resnet18"), "model.classifier: .* found resnet18; did you mean resnet?"),
        (lambda: ModelConfig(widths=[8, 16]), r"model.widths: expected a tuple of int, found \[8, 16\]"),
        (lambda: ModelConfig(hidden=12.0), "model.hidden: expected int, found 12.0"),
        (lambda: OptimizerConfig(learning_rate=10**400), "optimizer.learning_rate: expected a number below 1.8e308"),
        (lambda: ModelConfig(hidden=10**320), "model.hidden: expected 1 to a million, found 1000"),
        (lambda: ModelConfig(widths=(8, 10**320)), "model.widths: expected all positive, and a million at most, found"),
        (
            lambda: TrainingConfig(pressure=0.5),
            "training.pressure: expected at least 1, and a million at most, found 0.5",
        ),
        (lambda: ObjectiveConfig(digit_weight="half"), "objective.digit_weight: expected float, found 'half'"),
        (lambda: ObjectiveConfig(name="likely"), "objective.name: expected one of weighted"),
        (lambda: TrainingConfig(epochs=-1), "training.epochs: expected above 0, and a million at most, found -1.0"),
        (lambda: Config(model=OptimizerConfig()), "model: expected ModelConfig, found"),
        (lambda: Config(devices="some"), "devices: expected all or int, found 'some'"),
    ],
)
def test_a_config_is_checked_when_it_is_made(make, answer):
    with pytest.raises(InputError, match=f"^{answer}"):
        make()


def test_numbers_of_numpy_and_whole_numbers_become_pythons():
    config = OptimizerConfig(learning_rate=np.float32(0.5), momentum=0)
    assert (config.learning_rate, config.momentum) == (0.5, 0.0)
    assert type(config.learning_rate) is type(config.momentum) is float
    assert type(ModelConfig(hidden=np.int64(3)).hidden) is int


def test_json_that_is_none_is_refused():
    with pytest.raises(InputError, match=r"^config.json: "):
        from_json("{", "config.json")


@pytest.mark.parametrize("epochs", [0.0, -1.0, float("nan"), float("inf")])
def test_numbers_out_of_range_are_refused(epochs):
    with pytest.raises(InputError, match=r"training.epochs: expected above 0, and a million at most, found"):
        dataclasses.replace(Config(), training=TrainingConfig(epochs=epochs))


@pytest.mark.parametrize("name", ["", "../evil", "a/b", ".hidden", "a b"])
def test_a_name_cannot_leave_its_folder(name):
    with pytest.raises(InputError, match=r"^name: "):
        Config(name=name)


def test_custom_data_needs_a_folder():
    with pytest.raises(InputError, match=r"^data.dir: "):
        dataclasses.replace(Config(), data=dataclasses.replace(Config().data, name="custom"))
