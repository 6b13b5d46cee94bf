"""Optimizers: an Optax chain from a config."""

import jax
import optax

from mnistsum.config import OptimizerConfig
from mnistsum.registry import OPTIMIZERS


def schedule(config: OptimizerConfig, steps: int) -> optax.Schedule:
    """Return the learning rate as a function of the step, over a run of `steps` steps.

    Examples:
        >>> from mnistsum.config import OptimizerConfig
        >>> from mnistsum.optimizer import schedule
        >>> rate = schedule(OptimizerConfig(learning_rate=0.5, schedule="one_cycle", warmup=0.2), steps=100)
        >>> [float(rate(step)) for step in (0, 10, 20, 60, 100)]
        [0.0, 0.25, 0.5, 0.25, 0.0]
    """
    if config.schedule == "constant":
        return optax.constant_schedule(config.learning_rate)
    warmup = round(config.warmup * steps)
    rise = optax.linear_schedule(0.0, config.learning_rate, max(warmup, 1))
    if config.schedule == "one_cycle":
        fall = optax.linear_schedule(config.learning_rate, 0.0, steps - warmup)
    else:
        fall = optax.cosine_decay_schedule(config.learning_rate, steps - warmup)
    return optax.join_schedules([rise, fall], [warmup])


def optimizer(config: OptimizerConfig, steps: int) -> optax.GradientTransformation:
    """Return the transformation of gradients that the config names, over a run of `steps` steps.

    An optimizer of your own is a function of the config and the schedule, in your file's `OPTIMIZERS`.

    Examples:
        >>> import jax.numpy as jnp
        >>> from mnistsum.config import OptimizerConfig
        >>> from mnistsum.optimizer import optimizer
        >>> rule = optimizer(OptimizerConfig(name="sgd", learning_rate=0.5, momentum=0.0, schedule="constant"), steps=1)
        >>> updates, _ = rule.update(jnp.array([2.0]), rule.init(jnp.array([1.0])))
        >>> updates.tolist()
        [-1.0]
    """
    rule = OPTIMIZERS[config.name](config, schedule(config, steps))
    return optax.chain(optax.clip_by_global_norm(config.clip_norm), rule) if config.clip_norm else rule


def sgd(config: OptimizerConfig, rate: optax.Schedule) -> optax.GradientTransformation:
    """Return stochastic gradient descent with momentum."""
    return optax.sgd(rate, config.momentum or None)


def adamw(config: OptimizerConfig, rate: optax.Schedule) -> optax.GradientTransformation:
    """Return Adam with decoupled weight decay (Loshchilov & Hutter 2019, arXiv:1711.05101)."""
    return optax.adamw(rate, b1=config.momentum, weight_decay=config.weight_decay)


def muon(config: OptimizerConfig, rate: optax.Schedule) -> optax.GradientTransformation:
    """Return Muon for matrices and kernels, Adam for vectors (Jordan et al. 2024, kellerjordan.github.io/posts/muon).

    Three Newton-Schulz steps stand for Optax's five: with "almost orthogonal layer" rescaling (arXiv:2512.04632) fewer
    do, and in float32 they are a sixth of a small network's training.
    """
    return optax.contrib.muon(
        rate,
        beta=config.momentum,
        weight_decay=config.weight_decay,
        muon_weight_dimension_numbers=_matrices,
        ns_steps=3,
        preconditioning="aol",
    )


def _matrices(params):
    """How Muon reads each parameter as a matrix: all axes but the last are rows; vectors are left to Adam."""

    def read(leaf):
        if leaf.ndim < 2:
            return None
        return optax.contrib.MuonDimensionNumbers(tuple(range(leaf.ndim - 1)), leaf.ndim - 1)

    return jax.tree.map(read, params)
