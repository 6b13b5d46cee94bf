"""The benchmark's cases; its timings are not tested."""

import dataclasses

import pytest

from experiments.benchmark.__main__ import command
from experiments.benchmark.cases import bare, without_a_part
from experiments.cli import load_config
from mnistsum.config import AugmentConfig, OptimizerConfig

PARTS = {
    "base": ["without distortion", "without draws by rank", "without average", "with plain SGD"],
    "reference_fast": ["with plain SGD"],
}


def test_quick_takes_no_other_option(ended):
    for option in ("--rounds=9", "--output=elsewhere"):
        status, said = ended(command, "--quick", option)
        assert (status, said) == (
            2,
            "error: --quick: expected no other option, as it takes three rounds and writes nothing\n",
        )


@pytest.mark.parametrize("name", PARTS)
def test_a_bare_config_has_none_of_the_parts_and_each_variant_lacks_one(name):
    config = load_config(name)
    plain = OptimizerConfig(name="sgd", momentum=0.0, schedule="constant")
    training = dataclasses.replace(config.training, pressure=1.0)
    expected = dataclasses.replace(config, augment=AugmentConfig(), optimizer=plain, training=training)
    assert bare(config) == expected
    variants = without_a_part(config)
    assert list(variants) == PARTS[name]
    for lacking, variant in variants.items():
        assert bare(variant) == expected
        assert list(without_a_part(variant)) == [part for part in PARTS[name] if part != lacking]
    if name == "base":
        assert variants["with plain SGD"].optimizer == dataclasses.replace(plain, average=config.optimizer.average)
