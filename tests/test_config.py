"""Configs: ranges, JSON there and back, and what is refused."""

import dataclasses
import json

import pytest

from mnistsum.config import Config, InputError, TrainingConfig, from_json, to_json


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
        ("training.surprise", 1, "training: expected the fields epochs, batch_size"),
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


def test_json_that_is_none_is_refused():
    with pytest.raises(InputError, match=r"^config.json: "):
        from_json("{", "config.json")


@pytest.mark.parametrize("epochs", [0.0, -1.0, float("nan"), float("inf")])
def test_numbers_out_of_range_are_refused(epochs):
    with pytest.raises(InputError, match=r"training.epochs: expected above 0, found"):
        dataclasses.replace(Config(), training=TrainingConfig(epochs=epochs))


@pytest.mark.parametrize("name", ["", "../evil", "a/b", ".hidden", "a b"])
def test_a_name_cannot_leave_its_folder(name):
    with pytest.raises(InputError, match=r"^name: "):
        Config(name=name)


def test_custom_data_needs_a_folder():
    with pytest.raises(InputError, match=r"^data.dir: "):
        dataclasses.replace(Config(), data=dataclasses.replace(Config().data, name="custom"))
