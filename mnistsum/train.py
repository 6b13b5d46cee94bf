"""Training: one step, and as many steps as wanted in one compiled program."""

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Int

from mnistsum.config import Config, InputError
from mnistsum.data import augment, draw_epoch, pair, scale
from mnistsum.devices import count, on_each, share
from mnistsum.models import Model, build
from mnistsum.objective import objective
from mnistsum.optimizer import optimizer
from mnistsum.types import QUANTITIES, Epoch, FirstBad, Keys, Metrics, Split, TrainState


def split_keys(seed: int | Int[Array, ""]) -> Keys:
    """A run's keys: the root key of its seed, split once by purpose."""
    return Keys(*jax.random.split(jax.random.key(seed), len(Keys._fields)))


def steps_per_epoch(config: Config, n: int) -> int:
    """Steps in an epoch of `n` images, what is left of a batch dropped; InputError where there is none."""
    if config.training.batch_size > n:
        raise InputError(
            f"training.batch_size: expected at most the {n} training images, found {config.training.batch_size}"
        )
    return n // config.training.batch_size


def total_steps(config: Config, n: int) -> int:
    """Steps in a whole run on `n` images."""
    return max(1, round(config.training.epochs * steps_per_epoch(config, n)))


def program(config: Config) -> Config:
    """The config without what leaves the compiled program alone: the static argument of jit, equal for every seed.

    InputError where the batch cannot be shared by the config's devices.
    """
    data = dataclasses.replace(config.data, name="mnist", dir=None)
    return dataclasses.replace(config, name="program", seed=0, devices=count(config), data=data)


@partial(jax.jit, static_argnames=("config", "n"))
def init_state(config: Config, keys: Keys, n: int) -> TrainState:
    """The state before the first step of a run on `n` images."""
    model: Any = build(config.model, keys.init)
    return TrainState(
        step=jnp.int32(0),
        model=model,
        opt_state=optimizer(config.optimizer, total_steps(config, n)).init(model),
        average=jax.tree.map(jnp.copy, model) if config.optimizer.average else None,
        metrics=jax.tree.map(jnp.zeros_like, Metrics(jnp.int32(0), jnp.float32(0), jnp.int32(0), jnp.int32(0))),
        first_bad=FirstBad(step=jnp.int32(-1), quantity=jnp.int32(0)),
    )


def non_finite(state: TrainState) -> str | None:
    """What first was not finite and at which step, counted from 1, in words; None where all has been finite."""
    step, quantity = int(state.first_bad.step), int(state.first_bad.quantity)
    return None if step < 0 else f"{QUANTITIES[quantity]} not finite at step {step + 1}"


def trained_model(state: TrainState) -> Model:
    """The model to evaluate and to keep: the average of the weights where there is one."""
    return state.model if state.average is None else state.average


@partial(jax.jit, static_argnames="config")
def train_step(config: Config, keys: Keys, state: TrainState, data: Split, epoch: Epoch) -> TrainState:
    """The state one optimiser step on; the state's step decides which images of the epoch it sees.

    Metrics are totals since the epoch began. The average of the weights w follows a <- d a + (1 - d) w with
    d = min(optimizer.average, (1 + t) / (10 + t)) at step t, so that it forgets the initialisation soon.
    """
    n = len(data.labels)
    place = state.step % steps_per_epoch(config, n)
    chosen = lax.dynamic_slice(epoch.order, (place * config.training.batch_size,), (config.training.batch_size,))
    chosen = share(config, chosen)
    pixels = augment(config.augment, jax.random.fold_in(keys.augment, state.step), data.images[chosen])
    batch = pair(scale(config.data, pixels), data.labels[chosen], epoch.numbers[chosen])

    def loss_and_metrics(model):
        return objective(config.objective, model(batch.image, batch.number), batch)

    (loss, metrics), gradient = jax.value_and_grad(loss_and_metrics, has_aux=True)(state.model)
    transformation = optimizer(config.optimizer, total_steps(config, n))
    updates, opt_state = transformation.update(gradient, state.opt_state, state.model)
    model = optax.apply_updates(state.model, updates)
    average = state.average
    if average is not None:
        decay = jnp.minimum(config.optimizer.average, (1 + state.step) / (10 + state.step))
        average = optax.incremental_update(model, average, 1 - decay)
    metrics = jax.tree.map(lambda total, new: jnp.where(place == 0, 0, total) + new, state.metrics, metrics)
    bad = ~jnp.stack([jnp.isfinite(loss), _finite(gradient), _finite(model)])
    here = FirstBad(state.step, bad.argmax().astype(jnp.int32))
    is_first = bad.any() & (state.first_bad.step < 0)
    first_bad = jax.tree.map(lambda new, old: jnp.where(is_first, new, old), here, state.first_bad)
    return TrainState(state.step + 1, model, opt_state, average, metrics, first_bad)


def _finite(tree: Any) -> Bool[Array, ""]:
    """Whether no float32 has an exponent of ones alone; as integers, whose maximum XLA vectorises on the CPU."""
    flat, _ = ravel_pytree(tree)  # one reduction, which compiles sooner than one for each leaf
    return (lax.bitcast_convert_type(flat, jnp.int32) & 0x7FFFFFFF).max() < 0x7F800000


def _advance(config: Config, keys: Keys, state: TrainState, data: Split, until: Int[Array, ""]) -> TrainState:
    """The state at step `until`, the same bits wherever it stops on the way; compiled once, as `until` is traced."""
    n = len(data.labels)
    steps = steps_per_epoch(config, n)

    def to_end_of_epoch(state: TrainState) -> TrainState:
        number = state.step // steps
        epoch = draw_epoch(keys.order, keys.number, number, n)
        end = jnp.minimum(until, (number + 1) * steps)
        return lax.fori_loop(state.step, end, lambda _, state: train_step(config, keys, state, data, epoch), state)

    return lax.while_loop(lambda state: state.step < until, to_end_of_epoch, state)


advance = jax.jit(_advance, static_argnames="config")
# The same, but it uses its state up: the buffers become the new state's, so that there are never two in memory.
advance_donating = jax.jit(_advance, static_argnames="config", donate_argnames="state")


def compile_advance(config: Config, n: int) -> Any:
    """`advance_donating`, compiled for runs on `n` images, to be called with (keys, state, data, until).

    No array is needed yet, so that a program can compile while it reads the data. With several devices, keys, state and
    data lie `on_each`.
    """
    keys = jax.eval_shape(lambda: split_keys(0))
    state = jax.eval_shape(lambda keys: init_state(config, keys, n), keys)
    data = jax.eval_shape(lambda: Split(jnp.zeros((n, 28, 28, 1), jnp.uint8), jnp.zeros(n, jnp.int32)))
    keys, state, data = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=on_each(config)), (keys, state, data)
    )
    return advance_donating.lower(config, keys, state, data, jax.ShapeDtypeStruct((), jnp.int32)).compile()
