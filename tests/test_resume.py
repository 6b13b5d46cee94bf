"""Exact resume: a run stopped anywhere ends with the bits of one never stopped, and these tests notice if not."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.errors import KeyReuseError

from mnistsum import checkpoint, evaluation
from mnistsum.config import AugmentConfig
from mnistsum.data import NO_EPOCH
from mnistsum.errors import InputError
from mnistsum.train import advance, init_state, make_recipe, split_keys, trained_model

KEYS = split_keys(0)
STEPS = 24  # three epochs of eight
ADVANCE = jax.jit(advance, static_argnums=0)
START = jax.jit(init_state, static_argnums=0)


def run(config, train, folder, stops, fault=None):
    """Return the state after all steps, saved and restored at each stop; a fault alters (keys, state) after each."""
    recipe = make_recipe(config, len(train.labels))
    keys, state = KEYS, START(recipe, KEYS)
    for stop in stops:
        state = ADVANCE(recipe, keys, state, train, jnp.int32(stop))
        checkpoint.save(folder, config, state, {})
        state = checkpoint.restore(folder, config).state
        if fault is not None:
            keys, state = fault(keys, state)
    return ADVANCE(recipe, keys, state, train, jnp.int32(STEPS))


def bits(config, state, train) -> list[bytes]:
    """Return all of a run: every array of its state, and its predictions."""
    predicted = evaluation.evaluate(config.data, trained_model(state), train)
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves((state, predicted))]


@pytest.fixture(scope="module")
def never_stopped(config, train, tmp_path_factory):
    return bits(config, run(config, train, tmp_path_factory.mktemp("never"), []), train)


@pytest.mark.parametrize(
    "stop", [stop if stop in (1, 8, 21) else pytest.param(stop, marks=pytest.mark.slow) for stop in range(1, STEPS + 1)]
)
def test_a_run_stopped_at_any_step_ends_with_the_bits_of_one_never_stopped(
    config, train, tmp_path, never_stopped, stop
):
    assert bits(config, run(config, train, tmp_path, [stop]), train) == never_stopped


@pytest.mark.slow
def test_a_run_stopped_after_every_step_ends_with_the_bits_of_one_never_stopped(config, train, tmp_path, never_stopped):
    assert bits(config, run(config, train, tmp_path, range(1, STEPS)), train) == never_stopped


FAULTS = {
    "optimizer state dropped": lambda config, keys, state: (
        keys,
        state._replace(opt_state=START(make_recipe(config, 256), KEYS).opt_state),
    ),
    "step off by one": lambda config, keys, state: (keys, state._replace(step=state.step + 1)),
    "epoch order reset": lambda config, keys, state: (keys._replace(order=split_keys(1).order), state),
    "numbers redrawn": lambda config, keys, state: (keys._replace(number=split_keys(1).number), state),
    "average dropped": lambda config, keys, state: (keys, state._replace(average=jax.tree.map(jnp.copy, state.model))),
    "metrics doubled": lambda config, keys, state: (
        keys,
        state._replace(metrics=jax.tree.map(lambda total: 2 * total, state.metrics)),
    ),
    "augmentation key reused": lambda config, keys, state: (
        keys._replace(augment=keys.dropout),  # as if the key for another purpose had been used
        state,
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_noticed(config, train, tmp_path, never_stopped, name):
    def fault(keys, state):
        return FAULTS[name](config, keys, state)

    assert bits(config, run(config, train, tmp_path, [19], fault), train) != never_stopped


# Batch norms and dropout have statistics and keys that a resumed run needs as well.
@pytest.fixture(scope="module")
def normed_never_stopped(normed, train, tmp_path_factory):
    return bits(normed, run(normed, train, tmp_path_factory.mktemp("never"), []), train)


def test_a_run_with_batch_norms_and_dropout_resumes_with_the_same_bits(normed, train, tmp_path, normed_never_stopped):
    assert bits(normed, run(normed, train, tmp_path, [5, 19]), train) == normed_never_stopped


@pytest.mark.parametrize("fault", ["statistics lost", "dropout key reused"])
def test_a_fault_in_what_batch_norms_and_dropout_need_is_noticed(normed, train, tmp_path, normed_never_stopped, fault):
    fresh = START(make_recipe(normed, 256), KEYS).model.classifier.norm

    def harm(keys, state):
        if fault == "dropout key reused":
            return keys._replace(dropout=keys.augment), state
        state.average.classifier.norm.mean.set_value(fresh.mean[...])
        return keys, state

    assert bits(normed, run(normed, train, tmp_path, [19], harm), train) != normed_never_stopped


# Draws by rank need the places of the epoch's images and their losses.
@pytest.fixture(scope="module")
def by_rank(config):
    return dataclasses.replace(config, training=dataclasses.replace(config.training, pressure=20.0))


@pytest.fixture(scope="module")
def by_rank_never_stopped(by_rank, train, tmp_path_factory):
    return bits(by_rank, run(by_rank, train, tmp_path_factory.mktemp("never"), []), train)


def test_a_run_that_draws_by_rank_resumes_with_the_same_bits(by_rank, train, tmp_path, by_rank_never_stopped):
    assert bits(by_rank, run(by_rank, train, tmp_path, [5, 8, 19]), train) == by_rank_never_stopped


@pytest.mark.parametrize("pressure", [1.0, 20.0])
def test_a_checkpoint_of_fewer_epochs_is_of_the_run_where_nothing_spans_them(config, tmp_path, pressure):
    constant = dataclasses.replace(config.optimizer, schedule="constant")
    few = dataclasses.replace(config.training, pressure=pressure)
    few, more = (
        dataclasses.replace(config, optimizer=constant, training=dataclasses.replace(few, epochs=epochs))
        for epochs in (3.0, 4.0)
    )
    checkpoint.save(tmp_path, few, START(make_recipe(few, 256), KEYS), {})
    if pressure == 1:
        assert checkpoint.restore(tmp_path, more).state.step == 0
    else:
        with pytest.raises(InputError, match=r"from another config: expected training.epochs to be 4.0, found 3.0"):
            checkpoint.restore(tmp_path, more)


@pytest.mark.parametrize("lost", ["places", "losses"])
def test_a_fault_in_what_draws_by_rank_need_is_noticed(by_rank, train, tmp_path, by_rank_never_stopped, lost):
    def harm(keys, state):
        return keys, state._replace(draws=state.draws._replace(**{lost: jnp.zeros_like(getattr(state.draws, lost))}))

    assert bits(by_rank, run(by_rank, train, tmp_path, [13], harm), train) != by_rank_never_stopped


def test_training_and_evaluation_are_traced_once_over_seeds_epochs_and_resumes(config, train, tmp_path):
    chex.clear_trace_counter()
    traced = jax.jit(chex.assert_max_traces(advance, n=1), static_argnums=0)
    evaluation._evaluate_batches.clear_cache()
    for seed in (0, 1):
        variant = dataclasses.replace(config, seed=seed, name=f"run-{seed}")
        recipe, keys = make_recipe(variant, len(train.labels)), split_keys(seed)
        state = START(recipe, keys)
        for stop in (5, 8, 13, 16, STEPS):
            until = jnp.int32(stop)
            with jax.transfer_guard_host_to_device("disallow"):
                state = traced(recipe, keys, state, train, until)
            evaluation.evaluate(config.data, trained_model(state), train, batch_size=50)
            if seed == 0 and stop in (5, 13):
                checkpoint.save(tmp_path / str(seed), variant, state, {})
                state = checkpoint.restore(tmp_path / str(seed), variant).state
    assert evaluation._evaluate_batches._cache_size() == 1
    evaluation.evaluate(config.data, trained_model(state), train, batch_size=32)
    assert evaluation._evaluate_batches._cache_size() == 2  # the counters count
    with pytest.raises(AssertionError, match="traced"):
        traced(recipe, keys, state, jax.tree.map(lambda array: array[:128], train), jnp.int32(STEPS + 1))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["plain", "normed"])
def test_no_key_is_used_twice(config, normed, train, name):
    distorted = dataclasses.replace(config, augment=AugmentConfig(shift=2, rotation=10.0, elastic=0.5))
    recipe = make_recipe(normed if name == "normed" else distorted, len(train.labels))
    with jax.debug_key_reuse(True):
        state = START(recipe, KEYS)
        for step in (1, 9):
            state = ADVANCE(recipe, KEYS, state, train, jnp.int32(step))
        with pytest.raises(KeyReuseError):  # the checker checks
            jax.jit(lambda key: jax.random.normal(key) + jax.random.uniform(key))(KEYS.init)


def test_all_keys_that_a_run_derives_are_distinct():
    epochs, steps, runs = jnp.arange(40), jnp.arange(5_000), 3
    derived = []

    @jax.jit
    def derive(key, indices):
        folded = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, indices)
        parts = jax.vmap(lambda key: jax.random.split(key, 3))(folded)  # as in augment
        return jax.random.key_data(folded), jax.random.key_data(parts).reshape(-1, 2)

    for seed in range(runs):
        keys = split_keys(seed)
        derived += list(map(jax.random.key_data, keys))
        derived += map(np.asarray, derive(keys.order, jnp.array([NO_EPOCH], jnp.uint32)))  # of train_images
        purposes = ((keys.order, epochs), (keys.number, epochs), (keys.augment, steps), (keys.dropout, steps))
        for key, indices in purposes:
            derived += map(np.asarray, derive(key, indices))
    derived = np.concatenate([np.reshape(each, (-1, 2)) for each in derived])
    assert len(np.unique(derived, axis=0)) == len(derived) == runs * (5 + 4 + 4 * (2 * 40 + 2 * 5_000))
