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
    """Return the config of `compact` or `reference`, less what one side lacks: distortion, average and shift."""
    config = cli.load_config("reference" if name == "reference" else "base")
    data = dataclasses.replace(config.data, scaling="standard", test_shift=0)
    optimizer = config.optimizer if name == "reference" else ADAM
    training = dataclasses.replace(config.training, pressure=1.0)
    return dataclasses.replace(config, data=data, augment=AugmentConfig(), optimizer=optimizer, training=training)


def bare(config: Config) -> Config:
    """Return a config whose step is its network's alone: plain SGD, no distortion, draws by rank or average."""
    optimizer = OptimizerConfig(name="sgd", momentum=0.0, schedule="constant")
    training = dataclasses.replace(config.training, pressure=1.0)
    return dataclasses.replace(config, augment=AugmentConfig(), optimizer=optimizer, training=training)
