"""The cases that are timed: networks and implementations by name. JAX and PyTorch are not imported here."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from experiments import cli
from mnistsum.config import AugmentConfig, Config, OptimizerConfig

STEPS = {"compact": 100, "reference": 4}  # per network, timed together
ADAM = OptimizerConfig(name="adamw", learning_rate=1e-3, schedule="constant")
OURS = {"mnistsum float32": "float32", "mnistsum bfloat16": "bfloat16"}  # to the type of the products' operands
PYTORCH = {  # to (compiled, autocast to bfloat16)
    "PyTorch float32": (False, False),
    "PyTorch bfloat16": (False, True),
    "PyTorch compiled float32": (True, False),
    "PyTorch compiled bfloat16": (True, True),
}


@dataclass(frozen=True)
class Implementation:
    """One implementation of a case."""

    train: Callable[[], Any]  # the steps that are timed together
    evaluate: Callable[[], Any]  # some images, each with all ten numbers
    answer: Callable[[], Any]  # digit and sum logits of the first 64 training images, with the numbers 0-9 in turn
    model: Any


def config_of(name: str) -> Config:
    """Return the config of `compact` or `reference`, without what PyTorch's side lacks.

    That is distortion, draws by rank, the average, test-time shifts, unit scaling, and Muon, which Adam replaces.
    """
    config = cli.load_config("reference" if name == "reference" else "base")
    data = dataclasses.replace(config.data, scaling="standard", test_shift=0)
    optimizer = config.optimizer if name == "reference" else ADAM
    training = config.training
    return dataclasses.replace(config, data=data, augment=AugmentConfig(), optimizer=optimizer, training=training)


def bare(config: Config) -> Config:
    """Return a config whose step only trains its network: plain SGD, no distortion, no draws by rank, no average."""
    for remove in REMOVALS.values():
        config = remove(config)
    return config


def ablations(config: Config) -> dict[str, Config]:
    """Return, by name, the config without each of the parts that `bare` removes, if it has that part."""
    variants = {name: remove(config) for name, remove in REMOVALS.items()}
    return {name: variant for name, variant in variants.items() if variant != config}


def _with_plain_sgd(config: Config) -> Config:
    plain = OptimizerConfig(name="sgd", momentum=0.0, schedule="constant", average=config.optimizer.average)
    return dataclasses.replace(config, optimizer=plain)


def _without_average(config: Config) -> Config:
    return dataclasses.replace(config, optimizer=dataclasses.replace(config.optimizer, average=0.0))


def _without_distortion(config: Config) -> Config:
    return dataclasses.replace(config, augment=AugmentConfig())


def _without_draws_by_rank(config: Config) -> Config:
    return config


REMOVALS = {
    "without distortion": _without_distortion,
    "without draws by rank": _without_draws_by_rank,
    "without average": _without_average,
    "with plain SGD": _with_plain_sgd,
}
