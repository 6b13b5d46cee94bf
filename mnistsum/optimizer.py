"""Optimizers: an Optax chain from a config."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, Float, PyTree

from mnistsum.config import OptimizerConfig
from mnistsum.devices import resolve_dtype
from mnistsum.errors import InputError, look_up

NEWTON_SCHULZ_STEPS = 3  # of the Newton-Schulz iteration in Muon
# Jordan's coefficients of a x + b x^3 + c x^5, steep at zero
QUINTIC = (3.4445, -4.7750, 2.0315)
TINY = 1e-8  # lower bound of the sums that the kernel is divided by


def schedule(config: OptimizerConfig, steps: int) -> optax.Schedule:
    """Return the learning rate as a function of the step, over a run of `steps` steps.

    Examples:
        >>> from mnistsum.config import OptimizerConfig
        >>> from mnistsum.optimizer import schedule
        >>> config = OptimizerConfig("sgd", 0.5, schedule="one_cycle", warmup=0.2)
        >>> rate = schedule(config, steps=100)
        >>> [float(rate(step)) for step in (0, 10, 20, 60, 100)]
        [0.0, 0.25, 0.5, 0.25, 0.0]
    """
    return look_up(SCHEDULES, "optimizer.schedule", config.schedule)(config, steps)


def constant(config: OptimizerConfig, steps: int) -> optax.Schedule:
    """Return the same rate for all steps."""
    return optax.constant_schedule(config.learning_rate)


def one_cycle(config: OptimizerConfig, steps: int) -> optax.Schedule:
    """Return a linear rise from 0 during `warmup`, then a linear fall to 0."""
    warmup = round(config.warmup * steps)
    rise = optax.linear_schedule(0.0, config.learning_rate, max(warmup, 1))
    fall = optax.linear_schedule(config.learning_rate, 0.0, steps - warmup)
    return optax.join_schedules([rise, fall], [warmup])


def optimizer(config: OptimizerConfig, steps: int) -> optax.GradientTransformation:
    """Return the gradient transformation that the config names.

    It is for a run of `steps` steps.

    To define your own, put a function of the config and the schedule into a dict
    `OPTIMIZERS` in your file.

    Examples:
        >>> import jax.numpy as jnp
        >>> from mnistsum.config import OptimizerConfig
        >>> from mnistsum.optimizer import optimizer
        >>> config = OptimizerConfig("sgd", 0.5, momentum=0.0, schedule="constant")
        >>> rule = optimizer(config, steps=1)
        >>> updates, _ = rule.update(jnp.array([2.0]), rule.init(jnp.array([1.0])))
        >>> updates.tolist()
        [-1.0]
    """
    config = resolve_dtype(config)
    make = look_up(OPTIMIZERS, "optimizer.name", config.name)
    rate = schedule(config, steps)
    rule = make(config, rate)
    if not isinstance(rule, optax.GradientTransformation):
        raise InputError(
            f"optimizer {config.name}: expected an optax.GradientTransformation, found "
            f"{rule!r}"
        )
    if config.adder_decay is not None:
        changed = dataclasses.replace(config, weight_decay=config.adder_decay)
        of_adder = make(changed, rate)
        rule = optax.partition({"classifier": rule, "adder": of_adder}, _part_of_each)
    if config.clip_norm:
        return optax.chain(optax.clip_by_global_norm(config.clip_norm), rule)
    return rule


def _part_of_each(params: PyTree) -> PyTree:
    """Return the name of the part, classifier or adder, that holds each parameter."""
    return jax.tree.map_with_path(lambda path, _: path[0].key, params)


def sgd(config: OptimizerConfig, rate: optax.Schedule) -> optax.GradientTransformation:
    """Return gradient descent with momentum and decoupled weight decay."""
    momentum = optax.trace(config.momentum) if config.momentum else optax.identity()
    decay = (
        [optax.add_decayed_weights(config.weight_decay)] if config.weight_decay else []
    )
    return optax.chain(momentum, *decay, optax.scale_by_learning_rate(rate))


def adamw(
    config: OptimizerConfig, rate: optax.Schedule
) -> optax.GradientTransformation:
    """Return Adam with decoupled weight decay.

    Source: Loshchilov & Hutter 2019, arXiv:1711.05101.
    """
    return optax.adamw(rate, b1=config.momentum, weight_decay=config.weight_decay)


def muon(config: OptimizerConfig, rate: optax.Schedule) -> optax.GradientTransformation:
    """Return Muon for matrices and kernels, and NAdam for vectors.

    Source: Jordan et al. 2024, kellerjordan.github.io/posts/muon.
    """

    def orthogonalize(update: Any, _: Any) -> Any:
        return _orthogonalize(update, config.dtype)

    matrices = optax.chain(
        optax.trace(config.momentum, nesterov=True),
        optax.stateless_with_tree_map(orthogonalize),
        optax.add_decayed_weights(config.weight_decay),
        optax.scale_by_learning_rate(rate),
    )
    vectors = optax.adam(rate, nesterov=True)
    return optax.partition({"matrix": matrices, "vector": vectors}, _kinds)


def _kinds(params: PyTree) -> PyTree:
    """Return for each array whether it is a matrix or a vector."""
    return jax.tree.map(lambda leaf: "matrix" if leaf.ndim > 1 else "vector", params)


def _orthogonalize(kernel: Float[Array, "..."], dtype: str) -> Float[Array, "..."]:
    """Return a nearby matrix with nearly orthonormal columns or rows.

    They are those of which there are fewer.

    The iteration starts with the rescaling of an "almost orthogonal layer"
    (arXiv:2512.04632) and takes three steps instead of the usual five.

    Args:
        kernel: a matrix, with the last axis as its columns and all other axes as its
            rows.
        dtype: type of the products' operands; sums are float32.

    Returns:
        An array of the kernel's shape, times sqrt(columns / rows) if there are more
        columns, as in Muon's source.
    """
    # `optax.contrib.muon` gives the same updates, but a training step of `base` takes
    # 1.07 times as long with it: the median of 25 alternating pairs, on one core of an
    # AMD EPYC, with jax 0.10.2 and optax 0.2.8. Each of its steps multiplies the tall
    # matrix. Here the steps' polynomials of the small Gram matrix are multiplied first.

    def multiply(left, right, contracted=((1,), (0,))):
        left, right = left.astype(dtype), right.astype(dtype)
        return lax.dot_general(
            left, right, (contracted, ((), ())), preferred_element_type=jnp.float32
        )

    x = kernel.reshape(-1, kernel.shape[-1])
    rows, columns = x.shape
    is_wide = rows <= columns
    gram = multiply(x, x, ((1,), (1,)) if is_wide else ((0,), (0,)))
    scale = lax.rsqrt(jnp.abs(gram).sum(0).clip(TINY))
    gram *= scale[None] * scale[:, None]
    a, b, c = QUINTIC
    identity = jnp.eye(len(gram))
    total = identity
    for step in range(NEWTON_SCHULZ_STEPS):
        factor = a * identity + b * gram + c * multiply(gram, gram)
        total = multiply(factor, total) if step else factor
        gram = multiply(factor, multiply(factor, gram))
    if is_wide:
        return (math.sqrt(columns / rows) * multiply(total * scale[None], x)).reshape(
            kernel.shape
        )
    return multiply(x, scale[:, None] * total).reshape(kernel.shape)


SCHEDULES: dict[str, Callable[[OptimizerConfig, int], optax.Schedule]] = {
    "constant": constant,
    "one_cycle": one_cycle,
}
OPTIMIZERS: dict[
    str, Callable[[OptimizerConfig, optax.Schedule], optax.GradientTransformation]
] = {
    "sgd": sgd,
    "adamw": adamw,
    "muon": muon,
}
