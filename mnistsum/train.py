"""Training as pure functions: draw a step's batch, take the step, and run many steps in one loop."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import chex
import jax
import jax.numpy as jnp
import optax
from jax import lax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Int, Integer, Key

from mnistsum.config import AugmentConfig, Config, DataConfig, ModelConfig, ObjectiveConfig, OptimizerConfig
from mnistsum.data import abstract_split, augment, draw_epoch, pair, scale
from mnistsum.devices import abstract_arrays, count_devices, replicated_sharding, shard_batch
from mnistsum.errors import InputError
from mnistsum.models import Model, build, in_evaluation, in_training, parameters, with_parameters
from mnistsum.objective import batch_metrics, objective
from mnistsum.optimizer import optimizer
from mnistsum.types import QUANTITIES, Batch, Epoch, FirstBad, Keys, Metrics, Split, TrainState


@dataclass(frozen=True)
class Recipe:
    """The parts of a config that shape its program: jit's static argument, equal for every seed, name and path."""

    scaling: DataConfig  # `scale` reads only its `scaling`
    augment: AugmentConfig
    model: ModelConfig
    objective: ObjectiveConfig
    optimizer: OptimizerConfig
    images: int  # how many are trained on
    batch_size: int  # images per step
    steps_per_epoch: int
    steps: int  # of the whole run and of the schedule
    devices: int  # how many share each batch


def make_recipe(config: Config, n: int, devices: int | None = None) -> Recipe:
    """Return the recipe of a config for `n` training images, by default on the config's devices.

    Raises:
        InputError: if the data is too small for `train_images` or a batch, or the devices cannot share a batch.

    Examples:
        >>> from mnistsum.config import Config
        >>> from mnistsum.train import make_recipe
        >>> recipe = make_recipe(Config(devices=1), n=55_000)
        >>> recipe.steps_per_epoch, recipe.steps
        (429, 3432)
    """
    size, images = config.training.batch_size, config.data.train_images or n
    if images > n:
        raise InputError(f"data.train_images: expected at most the {n} training images, found {images}")
    if size > images:
        raise InputError(f"training.batch_size: expected at most the {images} training images, found {size}")
    return Recipe(
        scaling=DataConfig(scaling=config.data.scaling),
        augment=config.augment,
        model=config.model,
        objective=config.objective,
        optimizer=config.optimizer,
        images=images,
        batch_size=size,
        steps_per_epoch=images // size,
        steps=max(1, round(config.training.epochs * (images // size))),
        devices=devices or count_devices(config),
    )


def split_keys(seed: int | Integer[Array, ""]) -> Keys:
    """Return a run's keys: the root key of its seed, split once into one key per purpose.

    Examples:
        >>> from mnistsum.train import split_keys
        >>> split_keys(0)._fields
        ('init', 'order', 'number', 'augment', 'dropout')
    """
    return Keys(*jax.random.split(jax.random.key(seed), len(Keys._fields)))


def init_state(recipe: Recipe, keys: Keys, model: Model | None = None) -> TrainState:
    """Return the state before the first step, with the given model or else one built from `keys.init`."""
    if model is None:
        model = build(recipe.model, keys.init)
    return TrainState(
        step=jnp.int32(0),
        model=model,
        opt_state=optimizer(recipe.optimizer, recipe.steps).init(parameters(model)),
        average=jax.tree.map(jnp.copy, model) if recipe.optimizer.average else None,
        metrics=Metrics(jnp.int32(0), jnp.float32(0), jnp.int32(0), jnp.int32(0)),
        first_bad=FirstBad(step=jnp.int32(-1), quantity=jnp.int32(0)),
    )


def begin_epoch(recipe: Recipe, keys: Keys, step: Int[Array, ""] | int, n: int) -> Epoch:
    """Return what `draw_batch` needs for the epoch that a step is in, out of `n` images."""
    return draw_epoch(keys.order, keys.number, step // recipe.steps_per_epoch, n, recipe.images)


def draw_batch(recipe: Recipe, keys: Keys, step: Int[Array, ""] | int, data: Split, epoch: Epoch) -> Batch:
    """Return a step's batch: the next images of the epoch, distorted and scaled, each with its number.

    Args:
        recipe: the static part of the config.
        keys: the run's keys.
        step: counted from 0 over the whole run, as distortions are drawn anew at each step.
        data: the training images.
        epoch: of this step, as `begin_epoch` returns it.

    Examples:
        A training loop of your own, which trains as `advance` does, up to rounding:

        >>> import jax, jax.numpy as jnp
        >>> from mnistsum.config import Config, ModelConfig, OptimizerConfig, TrainingConfig
        >>> from mnistsum.train import begin_epoch, draw_batch, init_state, make_recipe, split_keys, train_step
        >>> from mnistsum.types import Split
        >>> data = Split(jnp.zeros((64, 28, 28, 1), jnp.uint8), jnp.arange(64) % 10)
        >>> model, rule = ModelConfig(classifier="mlp", widths=(8,)), OptimizerConfig(name="sgd")
        >>> training = TrainingConfig(epochs=2.0, batch_size=16)
        >>> recipe = make_recipe(Config(devices=1, model=model, optimizer=rule, training=training), 64)
        >>> draw, step = (jax.jit(function, static_argnums=0) for function in (draw_batch, train_step))
        >>> keys = split_keys(0)
        >>> state = init_state(recipe, keys)
        >>> for _ in range(2):
        ...     epoch = begin_epoch(recipe, keys, state.step, len(data.labels))
        ...     for _ in range(recipe.steps_per_epoch):
        ...         state = step(recipe, keys.dropout, state, draw(recipe, keys, state.step, data, epoch))
        >>> int(state.step)
        8
    """
    chex.assert_shape([epoch.order, epoch.numbers], [(recipe.images,), data.labels.shape])
    images, labels = (jnp.asarray(field) for field in data)
    first = step % recipe.steps_per_epoch * recipe.batch_size
    chosen = shard_batch(recipe.devices, lax.dynamic_slice(epoch.order, (first,), (recipe.batch_size,)))
    pixels = augment(recipe.augment, jax.random.fold_in(keys.augment, step), images[chosen])
    return pair(scale(recipe.scaling, pixels), labels[chosen], epoch.numbers[chosen])


def train_step(recipe: Recipe, key: Key[Array, ""], state: TrainState, batch: Batch) -> TrainState:
    """Return the state after one optimizer step.

    Metrics are totals since the epoch began. The moving average of the weights w is a <- d a + (1 - d) w with
    d = min(optimizer.average, (1 + t) / (10 + t)) at step t, so it soon forgets the initialization. Batch norm
    statistics are averaged in the same way.

    Args:
        recipe: the static part of the config.
        key: the run's dropout key, into which the step index is folded.
        state: the state before the step.
        batch: the step's examples.
    """

    def loss_and_aux(params):
        model = in_training(with_parameters(state.model, params), jax.random.fold_in(key, state.step))
        logits = model(batch.image, batch.number)
        loss = objective(recipe.objective, logits, batch)
        return loss, (in_evaluation(model), batch_metrics(loss, logits, batch))

    params = parameters(state.model)
    (loss, (model, metrics)), gradient = jax.value_and_grad(loss_and_aux, has_aux=True)(params)
    rule = optimizer(recipe.optimizer, recipe.steps)
    # Some transformations, such as those that lower the rate on a plateau, need the loss.
    update = optax.with_extra_args_support(rule).update
    updates, opt_state = update(gradient, state.opt_state, params, value=loss)
    model = with_parameters(model, optax.apply_updates(params, updates))
    average = state.average
    if average is not None:
        decay = jnp.minimum(recipe.optimizer.average, (1 + state.step) / (10 + state.step))
        average = optax.incremental_update(model, average, 1 - decay)
    begins_epoch = state.step % recipe.steps_per_epoch == 0
    metrics = jax.tree.map(lambda total, new: jnp.where(begins_epoch, 0, total) + new, state.metrics, metrics)
    bad = ~jnp.stack([jnp.isfinite(loss), _all_finite(gradient), _all_finite(model)])
    this_step = FirstBad(state.step, bad.argmax().astype(jnp.int32))
    is_first = bad.any() & (state.first_bad.step < 0)
    first_bad = jax.tree.map(partial(jnp.where, is_first), this_step, state.first_bad)
    return TrainState(state.step + 1, model, opt_state, average, metrics, first_bad)


def advance(recipe: Recipe, keys: Keys, state: TrainState, data: Split, until: Int[Array, ""] | int) -> TrainState:
    """Return the state at step `until`, or at the last step, with the same bits however many calls lead there.

    Under jit it compiles once for a whole run because `until` is traced.

    Examples:
        >>> import jax, jax.numpy as jnp
        >>> from mnistsum.config import Config, ModelConfig, OptimizerConfig, TrainingConfig
        >>> from mnistsum.train import advance, init_state, make_recipe, split_keys
        >>> from mnistsum.types import Split
        >>> data = Split(jnp.zeros((64, 28, 28, 1), jnp.uint8), jnp.arange(64) % 10)
        >>> config = Config(
        ...     devices=1,
        ...     model=ModelConfig(classifier="mlp", widths=(8,)),
        ...     optimizer=OptimizerConfig(name="sgd"),
        ...     training=TrainingConfig(epochs=2.0, batch_size=16),
        ... )
        >>> recipe, keys = make_recipe(config, 64), split_keys(config.seed)
        >>> run = jax.jit(advance, static_argnums=0)
        >>> state = run(recipe, keys, init_state(recipe, keys), data, 3)  # stops within the first epoch
        >>> state = run(recipe, keys, state, data, recipe.steps)  # the same program goes on to the end
        >>> int(state.step), int(state.metrics.examples)
        (8, 64)
    """
    until = jnp.minimum(until, recipe.steps)

    def to_end_of_epoch(state: TrainState) -> TrainState:
        epoch = begin_epoch(recipe, keys, state.step, len(data.labels))

        def step(_: Any, state: TrainState) -> TrainState:
            return train_step(recipe, keys.dropout, state, draw_batch(recipe, keys, state.step, data, epoch))

        end = jnp.minimum(until, (state.step // recipe.steps_per_epoch + 1) * recipe.steps_per_epoch)
        return lax.fori_loop(state.step, end, step, state)

    return lax.while_loop(lambda state: state.step < until, to_end_of_epoch, state)


def compile_advance(recipe: Recipe, n: int) -> Any:
    """Return `advance` compiled for `n` images; call it with (keys, state, data, until).

    Compiling needs no arrays, so a program can compile while it reads the data. The state is donated: its buffers are
    reused for the new state, so memory never holds two. With several devices, keys, state and data must be
    placed with `replicated_sharding`.
    """
    keys = jax.eval_shape(lambda: split_keys(0))
    state = jax.eval_shape(lambda keys: init_state(recipe, keys), keys)
    keys, state, data = abstract_arrays((keys, state, abstract_split(n)), replicated_sharding(recipe.devices))
    compiled = jax.jit(advance, static_argnums=0, donate_argnames="state")
    return compiled.lower(recipe, keys, state, data, jax.ShapeDtypeStruct((), jnp.int32)).compile()


def non_finite(state: TrainState) -> str | None:
    """Return a description of the first non-finite quantity and its step, counted from 1; None if there is none."""
    step, quantity = int(state.first_bad.step), int(state.first_bad.quantity)
    return None if step < 0 else f"{QUANTITIES[quantity]} not finite at step {step + 1}"


def trained_model(state: TrainState) -> Model:
    """Return the model to evaluate and save: the average of the weights if there is one."""
    return state.model if state.average is None else state.average


def _all_finite(tree: Any) -> Bool[Array, ""]:
    """Return whether every value is finite, that is, no float32 exponent is all ones.

    The bits are compared as integers because XLA vectorizes an integer maximum on the CPU.
    """
    flat, _ = ravel_pytree(tree)  # one reduction compiles faster than one per leaf
    return (lax.bitcast_convert_type(flat, jnp.int32) & 0x7FFFFFFF).max() < 0x7F800000
