"""Both sides of the benchmark: the same network, batch and optimiser in mnistsum and in PyTorch.

As a program, `python -m experiments.contenders NETWORK CONTENDER STARTED` trains one contender alone and prints, as
JSON, the seconds from STARTED (seconds since 1970) to the end of its first step, and its peak memory.
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
class Contender:
    """What is timed."""

    train: Callable[[int], Any]  # so many steps
    evaluate: Callable[[], Any]  # 10,000 images, each with all ten numbers
    answer: Callable[[], Any]  # digit and sum logits of the first 64 training images, with the numbers 0-9 in turn
    model: Any


def network(name: str) -> Config:
    """The config of `compact` or `reference`, with what both sides do alike: no distortion, no average."""
    config = cli.load_config("reference" if name == "reference" else "base")
    data = dataclasses.replace(config.data, scaling="standard")
    optimizer = config.optimizer if name == "reference" else ADAM
    return dataclasses.replace(config, data=data, augment=AugmentConfig(), optimizer=optimizer)


def ours(config: Config, dtype: str) -> Contender:
    """This project's side, as `experiments.run` does it."""
    import jax
    import jax.numpy as jnp

    from experiments import environment
    from mnistsum.data import load, pair, scale
    from mnistsum.evaluation import evaluate
    from mnistsum.train import compile_advance, init_state, program, split_keys

    model = dataclasses.replace(config.model, dtype=dtype)
    config = program(dataclasses.replace(config, model=model, devices=1))
    data, keys = load(config.data), split_keys(0)
    compiling = environment.in_background(compile_advance, config, len(data.train.labels))
    train = jax.device_put(data.train)
    state = init_state(config, keys, len(data.train.labels))
    compiled = compiling.result()
    evaluated = data.train._replace(images=data.train.images[:IMAGES], labels=data.train.labels[:IMAGES])
    batch = pair(scale(config.data, train.images[:64]), train.labels[:64], jnp.arange(64) % 10)
    return Contender(
        # A copy, as training uses its state up.
        train=lambda steps: jax.block_until_ready(
            compiled(keys, jax.tree.map(jnp.copy, state), train, jnp.int32(steps))
        ),
        evaluate=lambda: evaluate(config.data, state.model, evaluated),
        answer=lambda: state.model(batch.image, batch.number),
        model=state.model,
    )


def pytorch(config: Config, compiled: bool, autocast: bool, weights: Any = None) -> Contender:
    """PyTorch's side, from the weights of a model of ours if given."""
    import numpy as np
    import torch

    from experiments import peers
    from mnistsum.data import load
    from mnistsum.models.classifiers import Compact

    hidden = config.model.hidden
    reference = config.model.classifier == "reference"
    twin = peers.reference(hidden) if reference else peers.compact(Compact.widths(config.model), hidden)
    if weights is not None:
        peers.copy_weights(weights, twin)
    side = peers.TorchTraining(twin, load(config.data).train, config.optimizer)
    forward, classify = (torch.compile(twin), torch.compile(twin.classifier)) if compiled else (twin, twin.classifier)
    numbers = torch.tensor(np.eye(10, dtype=np.float32)[np.arange(64) % 10])

    def answer():
        with torch.no_grad():
            return twin(side.batch(torch.arange(64)), numbers)

    return Contender(
        train=lambda steps: side.train(forward, steps, config.training.batch_size, autocast),
        evaluate=lambda: side.evaluate(classify, IMAGES, autocast),
        answer=answer,
        model=twin,
    )


def main(name: str, contender: str, started: str) -> None:
    """Trains one contender alone: one step, then a few more."""
    from experiments import environment

    config = network(name)
    if contender in OURS:
        environment.set_up_compiler()
        side = ours(config, OURS[contender])
    else:
        side = pytorch(config, *PYTORCH[contender])
    side.train(1)
    first = time.time() - float(started)
    side.train(10)
    print(json.dumps({"first_step": first, "peak_memory": environment.peak_memory()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
