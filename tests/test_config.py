"""Configs: the round trip through JSON, overrides, and refusals."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest
from programs import ROOT

from mnistsum.config import (
    Config,
    ModelConfig,
    Role,
    field_comments,
    fields_with,
    from_json,
    override,
    read_config,
    to_json,
)
from mnistsum.errors import InputError


def test_json_gives_an_equal_config_back(config):
    copied = from_json(to_json(config), "here")
    assert copied == config
    assert hash(copied) == hash(config)


@pytest.mark.parametrize(
    "key, value, answer",
    [
        (
            "optimizer.learning_rate",
            "fast",
            "optimizer.learning_rate: .*number.*, found 'fast'",
        ),
        ("training.epochs", float("nan"), "training.epochs: .*, found nan"),
        ("training.surprise", 1, "training.surprise: unknown field"),
        ("training", 5, "training: .*, found 5"),
    ],
)
def test_json_with_a_wrong_value_is_refused_in_one_line_by_name(key, value, answer):
    values = json.loads(to_json(Config()))
    section, _, name = key.rpartition(".")
    (values[section] if section else values)[name] = value
    with pytest.raises(InputError, match=rf"\Aconfig.json: {answer}\Z"):
        from_json(json.dumps(values), "config.json")


def test_json_that_is_no_config_is_refused(tmp_path):
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(InputError, match=f"^{tmp_path}/config.json: .*"):
        read_config(tmp_path)


def test_overrides_are_read_as_their_fields_types():
    lines = [
        "optimizer.learning_rate=3e-4",
        "model.widths=8,16",
        "model.adder_gradient=false",
        "seed=5",
    ]
    expected = Config(seed=5, model=ModelConfig(widths=(8, 16), adder_gradient=False))
    assert override(Config(), lines) == replace(
        expected, optimizer=replace(expected.optimizer, learning_rate=3e-4)
    )
    assert (
        override(Config(model=ModelConfig(widths=(8,))), ["model.widths=none"])
        == Config()
    )
    assert override(Config(), ["data.dir=a=b"]).data.dir == "a=b"
    assert override(Config(), ["data.dir=None"]) == Config()


@pytest.mark.parametrize(
    "lines, widths",
    [
        (["model.classifier=vgg"], ()),
        (["model.widths=4,8", "model.classifier=vgg"], (4, 8)),
        # the config's own
        (["model.classifier=vgg", "model.classifier=mlp"], (16, 32)),
        (["model.adder=shift"], (16, 32)),
    ],
)
def test_another_classifier_does_not_inherit_the_widths(lines, widths):
    assert (
        override(
            Config(model=ModelConfig(classifier="mlp", widths=(16, 32))), lines
        ).model.widths
        == widths
    )


@pytest.mark.parametrize(
    "line, answer",
    [
        (
            "optimizer.lerning_rate=0.1",
            "optimizer.lerning_rate: .*; did you mean optimizer.learning_rate.*--help",
        ),
        ("epochs=2", "epochs: .*; did you mean training.epochs"),
        ("model.widths=8,x", "model.widths: .*integer.*, found 'x'"),
        # it names a folder
        *((f"name={name}", "name: ") for name in ("", "a/b", ".hidden", "a b")),
    ],
)
def test_a_wrong_override_is_refused_in_one_line(line, answer):
    with pytest.raises(InputError, match=rf"\A{answer}.*\Z"):
        override(Config(), [line])


@pytest.mark.parametrize(
    "make, answer",
    [
        (
            lambda: ModelConfig(classifer="mlp"),
            "model.classifer: unknown field; did you mean model.classifier?",
        ),
        (lambda: replace(Config(), foo=1), "foo: unknown field"),
        (
            lambda: ModelConfig(widths=(8, 0)),
            "model.widths: expected greater than or equal to 1, found 0",
        ),
    ],
)
def test_a_mistake_in_python_gets_the_words_of_the_command_line(make, answer):
    with pytest.raises(InputError) as error:
        make()
    assert str(error.value) == answer


def test_importing_the_library_does_not_import_jax():
    code = """
import sys, mnistsum
mnistsum.Config()
assert not {'jax', 'flax', 'scipy'} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)


def test_fields_are_found_by_their_roles():
    assert fields_with(Role.REPETITION) == ("seed",)
    structure = ("model.classifier", "model.adder", "model.adder_input")
    assert fields_with(Role.INPUT, Role.STRUCTURE) == (*structure, "model.scaling")
    assert fields_with(Role.STRUCTURE, Role.SIZE) == (
        *structure[:1],
        "model.widths",
        *structure[1:],
        "model.hidden",
    )


def test_every_field_has_a_comment_for_the_help():
    comments = field_comments()
    assert comments["seed"] == "of everything random except the validation split"
    assert comments["training.batch_size"].startswith("images per step")
