"""What is timed: both networks, and each implementation by name. JAX and PyTorch are not imported here."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from experiments import cli
from mnistsum.config import AugmentConfig, Config, OptimizerConfig

STEPS = {"compact": 100, "reference": 4}  # of each network, timed at once
ADAM = OptimizerConfig(name="adamw", learning_rate=1e-3, schedule="constant")
OURS = {"mnistsum float32": "float32", "mnistsum bfloat16": "bfloat16"}  # to the type of the operands of products
PYTORCH = {  # to (compiled, autocast to bfloat16)
    "PyTorch float32": (False, False),
    "PyTorch bfloat16": (False, True),
    "PyTorch compiled float32": (True, False),
    "PyTorch compiled bfloat16": (True, True),
}


@dataclass(frozen=True)
class Implementation:
    """What is timed."""

    train: Callable[[], Any]  # the steps that are timed at once
    evaluate: Callable[[], Any]  # so many images, each with all ten numbers
    answer: Callable[[], Any]  # digit and sum logits of the first 64 training images, with the numbers 0-9 in turn
    model: Any


def config_of(name: str) -> Config:
    """Return the config of `compact` or `reference`, with what both sides do alike: no distortion, average or shift."""
    config = cli.load_config("reference" if name == "reference" else "base")
    data = dataclasses.replace(config.data, scaling="standard", test_shift=0)
    optimizer = config.optimizer if name == "reference" else ADAM
    training = dataclasses.replace(config.training, pressure=1.0)
    return dataclasses.replace(config, data=data, augment=AugmentConfig(), optimizer=optimizer, training=training)


def bare(config: Config) -> Config:
    """Return a config with plain SGD, no distortion, draws by rank or average: a step of its network alone."""
    optimizer = OptimizerConfig(name="sgd", momentum=0.0, schedule="constant")
    training = dataclasses.replace(config.training, pressure=1.0)
    return dataclasses.replace(config, augment=AugmentConfig(), optimizer=optimizer, training=training)
