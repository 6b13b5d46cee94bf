"""Both sides of the benchmark: the same network, batch and optimizer in mnistsum and in PyTorch.

As a program, `python -m experiments.benchmark.implementations NETWORK IMPLEMENTATION STARTED` trains one alone and
prints, as JSON, the seconds from STARTED (seconds since 1970) to the end of its first step, and its peak memory.
"""

import dataclasses
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from experiments import cli
from mnistsum.config import AugmentConfig, Config, OptimizerConfig

IMAGES = 10_000  # evaluated
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
    evaluate: Callable[[], Any]  # 10,000 images, each with all ten numbers
    answer: Callable[[], Any]  # digit and sum logits of the first 64 training images, with the numbers 0-9 in turn
    model: Any


def config_of(name: str) -> Config:
    """Return the config of `compact` or `reference`, with what both sides do alike: no distortion, no average."""
    config = cli.load_config("reference" if name == "reference" else "base")
    data = dataclasses.replace(config.data, scaling="standard")
    optimizer = config.optimizer if name == "reference" else ADAM
    return dataclasses.replace(config, data=data, augment=AugmentConfig(), optimizer=optimizer)


def ours(config: Config, dtype: str, steps: int) -> Implementation:
    """This project's side, as every program trains: so many steps at a time."""
    import jax.numpy as jnp

    from experiments import environment
    from experiments.training import loop
    from mnistsum.data import load, pair, scale
    from mnistsum.evaluation import evaluate

    config = dataclasses.replace(config, devices=1, model=dataclasses.replace(config.model, dtype=dtype))
    data = load(config.data)
    compiling = environment.in_background(loop.compile_program, config, len(data.train.labels))
    run = loop.train(config, [0], data.train, loop.every(steps), program=compiling)
    model = initial_model(config)
    evaluated = data.train._replace(images=data.train.images[:IMAGES], labels=data.train.labels[:IMAGES])
    images, labels = (jnp.asarray(part[:64]) for part in data.train)
    batch = pair(scale(config.data, images), labels, jnp.arange(64) % 10)
    return Implementation(
        train=lambda: next(run),
        evaluate=lambda: evaluate(config.data, model, evaluated),
        answer=lambda: model(batch.image, batch.number),
        model=model,
    )


def initial_model(config: Config) -> Any:
    """The model that a run of seed 0 starts from."""
    import jax

    from mnistsum.models import build
    from mnistsum.train import split_keys

    return jax.jit(build, static_argnums=0)(config.model, split_keys(0).init)


def pytorch(config: Config, compiled: bool, autocast: bool, steps: int, weights: Any = None) -> Implementation:
    """PyTorch's side, so many steps at a time, from the weights of a model of ours if given."""
    import numpy as np
    import torch

    from experiments.benchmark import pytorch as twins
    from mnistsum.data import load
    from mnistsum.models.classifiers.compact import Compact

    hidden = config.model.hidden
    reference = config.model.classifier == "reference"
    twin = twins.reference(hidden) if reference else twins.compact(Compact.widths(config.model), hidden)
    if weights is not None:
        twins.copy_weights(weights, twin)
    side = twins.TorchTraining(twin, load(config.data).train, config.optimizer)
    forward, classify = (torch.compile(twin), torch.compile(twin.classifier)) if compiled else (twin, twin.classifier)
    numbers = torch.tensor(np.eye(10, dtype=np.float32)[np.arange(64) % 10])

    def answer():
        with torch.no_grad():
            return twin(side.batch(torch.arange(64)), numbers)

    return Implementation(
        train=lambda: side.train(forward, steps, config.training.batch_size, autocast),
        evaluate=lambda: side.evaluate(classify, IMAGES, autocast),
        answer=answer,
        model=twin,
    )


def main(name: str, implementation: str, started: str) -> None:
    """Train one implementation alone: one step, then a few more."""
    from experiments import environment
    from mnistsum.app.compiler import set_up_compiler

    config = config_of(name)
    if implementation in OURS:
        set_up_compiler()
        side = ours(config, OURS[implementation], 1)
    else:
        side = pytorch(config, *PYTORCH[implementation], 1)
    side.train()
    first = time.time() - float(started)
    for _ in range(10):
        side.train()
    print(json.dumps({"first_step": first, "peak_memory": environment.peak_memory()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
