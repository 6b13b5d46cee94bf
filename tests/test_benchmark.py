"""The benchmark's cases; its timings are not tested."""

import dataclasses

import pytest

from experiments.benchmark.__main__ import command
from experiments.benchmark.cases import ablations, bare
from experiments.cli import load_config
from mnistsum.config import AugmentConfig, OptimizerConfig

ABLATIONS = {
    "base": ["without distortion", "without draws by rank", "without average", "with plain SGD"],
    "reference_fast": ["with plain SGD"],
}


def test_quick_takes_no_other_option(run_program):
    for option in ("--rounds=9", "--output=elsewhere"):
        status, stderr = run_program(command, "--quick", option)
        assert (status, stderr) == (
            2,
            "error: --quick: expected no other option, as it takes three rounds and writes nothing\n",
        )


@pytest.mark.parametrize("name", ABLATIONS)
def test_a_bare_config_has_none_of_the_parts_and_each_variant_lacks_one(name):
    config = load_config(name)
    plain = OptimizerConfig(name="sgd", momentum=0.0, schedule="constant")
    training = dataclasses.replace(config.training, pressure=1.0)
    expected = dataclasses.replace(config, augment=AugmentConfig(), optimizer=plain, training=training)
    assert bare(config) == expected
    variants = ablations(config)
    assert list(variants) == ABLATIONS[name]
    for lacking, variant in variants.items():
        assert bare(variant) == expected
        assert list(ablations(variant)) == [part for part in ABLATIONS[name] if part != lacking]
    if name == "base":
        assert variants["with plain SGD"].optimizer == dataclasses.replace(plain, average=config.optimizer.average)
