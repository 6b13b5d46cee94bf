r"""The network of `best` with a learning rate that starts slowly, to learn from sums of very long numbers.

    python -m experiments.addition experiments/studies/slow_start.py \
        --digits 500 --seeds 3

With equally likely digits, hardly any place of a sum but the leftmost tells anything
about its images. What the other places teach grows with what the network already tells
apart, right or wrong. So the network should see many leftmost places before it takes
large steps (experiments/results/addition_zero_output.md).
"""

import dataclasses

import optax

from experiments.configs.base import config as base
from mnistsum import ModelConfig, OptimizerConfig, TrainingConfig


def cubic_warmup(config: OptimizerConfig, steps: int) -> optax.Schedule:
    """Return a rise from 0 with the cube of the step during `warmup`, then a linear fall to 0."""
    warmup = round(config.warmup * steps)
    fall = optax.linear_schedule(config.learning_rate, 0.0, steps - warmup)
    return optax.join_schedules(
        [lambda step: config.learning_rate * (step / warmup) ** 3, fall], [warmup]
    )


SCHEDULES = {"cubic_warmup": cubic_warmup}
config = dataclasses.replace(
    base,
    name="slow_start",
    model=ModelConfig(classifier="vgg", dtype="auto"),
    optimizer=dataclasses.replace(
        base.optimizer, learning_rate=0.03, schedule="cubic_warmup", warmup=0.4
    ),
    training=TrainingConfig(epochs=24.0, batch_size=4000),
)
