"""Training as pure functions: draw a batch, take a step, and run many steps."""

from dataclasses import dataclass
from typing import Any

import chex
import jax
import jax.numpy as jnp
import optax
from jax import lax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Int, Integer, Key

from mnistsum.config import (
    AugmentConfig,
    Config,
    ModelConfig,
    ObjectiveConfig,
    OptimizerConfig,
    check_config,
)
from mnistsum.data import abstract_split, augment, draw_epoch, pair, scale
from mnistsum.devices import abstract_arrays
from mnistsum.errors import InputError
from mnistsum.models import (
    Model,
    build,
    early_decay,
    parameters,
    train_forward,
    with_values,
)
from mnistsum.objective import batch_metrics, group_size, objective
from mnistsum.optimizer import optimizer
from mnistsum.types import Batch, Epoch, Keys, Metrics, Split, TrainState


@dataclass(frozen=True)
class Spec:
    """All of a config that its program depends on: a static argument of jit.

    Configs that differ only in seed, name or path share it, and so a program.
    """

    augment: AugmentConfig
    model: ModelConfig
    objective: ObjectiveConfig
    optimizer: OptimizerConfig
    images: int  # how many are trained on
    group: int  # images that stay together in every epoch
    batch_size: int  # images per step
    steps_per_epoch: int
    steps: int  # of the whole run and of the schedule


def make_spec(config: Config, n: int) -> Spec:
    """Return the spec of a config for `n` training images.

    Raises:
        InputError: if the data is too small for `train_images`, a batch or an example
            of the objective.

    Examples:
        >>> from mnistsum.config import Config
        >>> from mnistsum.train import make_spec
        >>> spec = make_spec(Config(), n=55_000)
        >>> spec.steps_per_epoch, spec.steps
        (429, 3432)
    """
    check_config(Config, config)
    images, group = config.data.train_images or n, group_size(config.objective)
    if images > n:
        raise InputError(
            f"data.train_images: expected at most the {n} training images, found "
            f"{images}"
        )
    if group > images:
        raise InputError(
            f"objective.name={config.objective.name}: an example has {group} images, "
            f"expected at most the {images} training images"
        )
    images = images // group * group
    size = max(1, config.training.batch_size // group) * group
    if size > images:
        raise InputError(
            f"training.batch_size: expected at most the {images} training images, "
            f"found {size}"
        )
    return Spec(
        augment=config.augment,
        model=config.model,
        objective=config.objective,
        optimizer=config.optimizer,
        images=images,
        group=group,
        batch_size=size,
        steps_per_epoch=images // size,
        steps=max(1, round(config.training.epochs * (images // size))),
    )


def split_keys(seed: int | Integer[Array, ""]) -> Keys:
    """Return a run's keys, split once from its seed, one for each purpose.

    Examples:
        >>> from mnistsum.train import split_keys
        >>> split_keys(0)._fields
        ('init', 'order', 'number', 'augment', 'dropout')
    """
    return Keys(*jax.random.split(jax.random.key(seed), len(Keys._fields)))


def init_state(spec: Spec, keys: Keys, model: Model | None = None) -> TrainState:
    """Return the state before the first step, of a given or a new model."""
    if model is None:
        model = build(spec.model, keys.init)
    return TrainState(
        step=jnp.int32(0),
        model=model,
        opt_state=optimizer(spec.optimizer, spec.steps).init(parameters(model)),
        average=jax.tree.map(jnp.copy, model) if spec.optimizer.average else None,
        metrics=Metrics(jnp.int32(0), jnp.float32(0), jnp.int32(0), jnp.int32(0)),
        fault=jnp.int32(-1),
    )


def begin_epoch(spec: Spec, keys: Keys, step: Int[Array, ""] | int, n: int) -> Epoch:
    """Return what `draw_batch` needs for the epoch that a step is in."""
    return draw_epoch(
        keys.order,
        keys.number,
        step // spec.steps_per_epoch,
        n,
        spec.images,
        spec.group,
    )


def draw_batch(
    spec: Spec, keys: Keys, step: Int[Array, ""] | int, data: Split, epoch: Epoch
) -> Batch:
    """Return a step's batch: the epoch's next images, distorted and scaled.

    Args:
        spec: the static part of the config.
        keys: the run's keys.
        step: counted from 0 over the whole run, as distortions are drawn anew at each
            step.
        data: the training images.
        epoch: of this step, as `begin_epoch` returns it.

    Examples:
        A training loop of your own, which trains as `advance` does, up to rounding:

        >>> import jax, jax.numpy as jnp
        >>> from mnistsum.config import Config, ModelConfig, TrainingConfig
        >>> from mnistsum.train import (
        ...     begin_epoch, draw_batch, init_state, make_spec, split_keys, train_step
        ... )
        >>> from mnistsum.types import Split
        >>> data = Split(jnp.zeros((64, 28, 28, 1), jnp.uint8), jnp.arange(64) % 10)
        >>> model = ModelConfig(classifier="mlp", widths=(8,))
        >>> training = TrainingConfig(epochs=2.0, batch_size=16)
        >>> spec = make_spec(Config(model=model, training=training), 64)
        >>> draw = jax.jit(draw_batch, static_argnums=0)
        >>> step = jax.jit(train_step, static_argnums=0)
        >>> keys = split_keys(0)
        >>> state = init_state(spec, keys)
        >>> for _ in range(2):
        ...     epoch = begin_epoch(spec, keys, state.step, len(data.labels))
        ...     for _ in range(spec.steps_per_epoch):
        ...         batch = draw(spec, keys, state.step, data, epoch)
        ...         state = step(spec, keys.dropout, state, batch)
        >>> int(state.step)
        8
    """
    chex.assert_shape([epoch.order, epoch.numbers], [(spec.images,), data.labels.shape])
    images, labels = (jnp.asarray(field) for field in data)
    first = step % spec.steps_per_epoch * spec.batch_size
    chosen = lax.dynamic_slice(epoch.order, (first,), (spec.batch_size,))
    pixels = augment(
        spec.augment, jax.random.fold_in(keys.augment, step), images[chosen]
    )
    return pair(
        scale(spec.model.scaling, pixels), labels[chosen], epoch.numbers[chosen]
    )


def train_step(
    spec: Spec, key: Key[Array, ""], state: TrainState, batch: Batch
) -> TrainState:
    """Return the state after one optimizer step.

    Metrics are totals since the epoch began. The moving average of the parameters w is
    a <- d a + (1 - d) w with d = min(optimizer.average, (1 + t) / (10 + t)) at step t,
    so it soon forgets the initialization. The statistics of batch norms are averaged in
    the same way (`train_forward`).

    Args:
        spec: the static part of the config.
        key: the run's dropout key, into which the step index is folded.
        state: the state before the step.
        batch: the step's examples.
    """

    def loss_and_aux(params):
        model = with_values(state.model, params)
        dropout = jax.random.fold_in(key, state.step)
        logits, statistics = train_forward(
            spec.optimizer.average, dropout, state.step, model, batch
        )
        loss = objective(spec.objective, logits, batch)
        return loss, (statistics, batch_metrics(loss, logits, batch))

    params = parameters(state.model)
    (loss, (statistics, metrics)), gradient = jax.value_and_grad(
        loss_and_aux, has_aux=True
    )(params)
    tx = optimizer(spec.optimizer, spec.steps)
    # Some transformations, such as those that lower the rate on a plateau, need the
    # loss.
    update = optax.with_extra_args_support(tx).update
    updates, opt_state = update(gradient, state.opt_state, params, value=loss)
    params = optax.apply_updates(params, updates)
    model, average = with_values(state.model, params, statistics), state.average
    if average is not None:
        decay = early_decay(spec.optimizer.average, state.step)
        averaged = optax.incremental_update(params, parameters(average), 1 - decay)
        average = with_values(model, averaged)
    begins_epoch = state.step % spec.steps_per_epoch == 0
    metrics = jax.tree.map(
        lambda total, new: jnp.where(begins_epoch, 0, total) + new,
        state.metrics,
        metrics,
    )
    is_first_fault = (state.fault < 0) & ~(
        jnp.isfinite(loss) & _all_finite(gradient) & _all_finite(model)
    )
    fault = jnp.where(is_first_fault, state.step, state.fault)
    return TrainState(state.step + 1, model, opt_state, average, metrics, fault)


def advance(
    spec: Spec, keys: Keys, state: TrainState, data: Split, until: Int[Array, ""] | int
) -> TrainState:
    """Return the state at step `until`, or at the last step.

    The bits are the same however many calls lead there.

    Under jit it compiles once for a whole run because `until` is traced.

    Examples:
        >>> import jax, jax.numpy as jnp
        >>> from mnistsum.config import Config, ModelConfig, TrainingConfig
        >>> from mnistsum.train import advance, init_state, make_spec, split_keys
        >>> from mnistsum.types import Split
        >>> data = Split(jnp.zeros((64, 28, 28, 1), jnp.uint8), jnp.arange(64) % 10)
        >>> config = Config(
        ...     model=ModelConfig(classifier="mlp", widths=(8,)),
        ...     training=TrainingConfig(epochs=2.0, batch_size=16),
        ... )
        >>> spec, keys = make_spec(config, 64), split_keys(config.seed)
        >>> run = jax.jit(advance, static_argnums=0)
        >>> state = run(spec, keys, init_state(spec, keys), data, 3)
        >>> state = run(spec, keys, state, data, spec.steps)  # and on to the end
        >>> int(state.step), int(state.metrics.examples)
        (8, 64)
    """
    until = jnp.minimum(until, spec.steps)

    def to_end_of_epoch(state: TrainState) -> TrainState:
        epoch = begin_epoch(spec, keys, state.step, len(data.labels))

        def step(_: Any, state: TrainState) -> TrainState:
            return train_step(
                spec,
                keys.dropout,
                state,
                draw_batch(spec, keys, state.step, data, epoch),
            )

        end = jnp.minimum(
            until, (state.step // spec.steps_per_epoch + 1) * spec.steps_per_epoch
        )
        return lax.fori_loop(state.step, end, step, state)

    return lax.while_loop(lambda state: state.step < until, to_end_of_epoch, state)


def lower_training(spec: Spec, n: int) -> tuple[Any, Any]:
    """Return `init_state` and `advance`, lowered for `n` images.

    They are traced, but not compiled.

    Once compiled, `advance` takes (keys, state, data, until). It donates the state: its
    buffers are reused for the new state, so memory never holds two.
    """
    keys = jax.eval_shape(lambda: split_keys(0))
    init = jax.jit(init_state, static_argnums=0).lower(spec, keys)
    arguments = abstract_arrays((keys, init.out_info, abstract_split(n)))
    jitted = jax.jit(advance, static_argnums=0, donate_argnames="state")
    return init, jitted.lower(spec, *arguments, jax.ShapeDtypeStruct((), jnp.int32))


def trained_model(state: TrainState) -> Model:
    """Return the model to evaluate and save: the average, if there is one."""
    return state.model if state.average is None else state.average


def _all_finite(tree: Any) -> Bool[Array, ""]:
    """Return whether every value is finite.

    One reduction compiles faster than one for each array.
    """
    flat, _ = ravel_pytree(tree)
    return jnp.isfinite(flat).all()
