"""Optimisers: an optax chain from a config."""

import jax
import optax

from mnistsum.config import OptimizerConfig


def schedule(config: OptimizerConfig, steps: int) -> optax.Schedule:
    """Step to learning rate, over a run of `steps` steps."""
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
    """The transformation of gradients, over a run of `steps` steps."""
    rate = schedule(config, steps)
    if config.name == "sgd":
        rule = optax.sgd(rate, config.momentum or None)
    elif config.name == "adamw":
        rule = optax.adamw(rate, b1=config.momentum, weight_decay=config.weight_decay)
    else:
        rule = optax.contrib.muon(
            rate,
            beta=config.momentum,
            weight_decay=config.weight_decay,
            muon_weight_dimension_numbers=_matrices,
            # Three Newton-Schulz steps for optax's five: with "almost orthogonal layer" rescaling (arXiv:2512.04632)
            # fewer do, and in float32 they are a sixth of a small network's training.
            ns_steps=3,
            preconditioning="aol",
        )
    return optax.chain(optax.clip_by_global_norm(config.clip_norm), rule) if config.clip_norm else rule


def _matrices(params):
    """How Muon reads each parameter as a matrix: all axes but the last are rows; vectors are left to Adam."""

    def read(leaf):
        if leaf.ndim < 2:
            return None
        return optax.contrib.MuonDimensionNumbers(tuple(range(leaf.ndim - 1)), leaf.ndim - 1)

    return jax.tree.map(read, params)
