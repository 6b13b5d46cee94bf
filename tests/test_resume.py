"""Exact resume: a run stopped anywhere ends with the bits of one never stopped, and these tests notice if not."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.errors import KeyReuseError

from mnistsum.config import AugmentConfig
from mnistsum.data import NO_EPOCH
from mnistsum.evaluation import evaluate
from mnistsum.storage import restore, save_checkpoint
from mnistsum.train import advance, init_state, make_recipe, split_keys, trained_model

KEYS = split_keys(0)
STEPS = 24  # three epochs of eight
ADVANCE = jax.jit(advance, static_argnums=0)
START = jax.jit(init_state, static_argnums=0)


def run(config, train, folder, stops, fault=None):
    """Return the state after all steps, saved and restored at each stop; a fault then alters keys or state."""
    recipe = make_recipe(config, len(train.labels))
    keys, state = KEYS, START(recipe, KEYS)
    for stop in stops:
        state = ADVANCE(recipe, keys, state, train, jnp.int32(stop))
        save_checkpoint(folder, config, state, {})
        state = restore(folder, config).state
        if fault is not None:
            keys, state = fault(config, keys, state)
    return ADVANCE(recipe, keys, state, train, jnp.int32(STEPS))


def bits(config, state, train) -> list[bytes]:
    """Return all of a run: every array of its state, and its predictions."""
    predicted = evaluate(config.data, trained_model(state), train)
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


@pytest.fixture(scope="module")
def normed_never_stopped(normed, train, tmp_path_factory):
    return bits(normed, run(normed, train, tmp_path_factory.mktemp("never"), []), train)


def test_a_run_with_batch_norms_and_dropout_resumes_with_the_same_bits(normed, train, tmp_path, normed_never_stopped):
    assert bits(normed, run(normed, train, tmp_path, [5, 19]), train) == normed_never_stopped


def start(config):
    return START(make_recipe(config, 256), KEYS)


def without_statistics(config, keys, state):
    state.average.classifier.norm.mean.set_value(start(config).model.classifier.norm.mean[...])
    return keys, state


FAULTS = {  # each returns what it has altered
    "optimizer state dropped": lambda config, keys, state: (keys, state._replace(opt_state=start(config).opt_state)),
    "step off by one": lambda _, keys, state: (keys, state._replace(step=state.step + 1)),
    "epoch order reset": lambda _, keys, state: (keys._replace(order=split_keys(1).order), state),
    "numbers redrawn": lambda _, keys, state: (keys._replace(number=split_keys(1).number), state),
    "average dropped": lambda _, keys, state: (keys, state._replace(average=jax.tree.map(jnp.copy, state.model))),
    "metrics lost": lambda config, keys, state: (keys, state._replace(metrics=start(config).metrics)),
    "augmentation key reused": lambda _, keys, state: (keys._replace(augment=keys.dropout), state),
}
FAULTS_OF_NORMED = {
    "statistics lost": without_statistics,
    "dropout key reused": lambda _, keys, state: (keys._replace(dropout=keys.augment), state),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_noticed(config, train, tmp_path, never_stopped, name):
    assert bits(config, run(config, train, tmp_path, [19], FAULTS[name]), train) != never_stopped


@pytest.mark.parametrize("name", FAULTS_OF_NORMED)
def test_a_fault_in_what_batch_norms_and_dropout_need_is_noticed(normed, train, tmp_path, normed_never_stopped, name):
    assert bits(normed, run(normed, train, tmp_path, [19], FAULTS_OF_NORMED[name]), train) != normed_never_stopped


def test_training_is_traced_once_over_seeds_epochs_and_resumes(config, train, tmp_path):
    chex.clear_trace_counter()
    traced = jax.jit(chex.assert_max_traces(advance, n=1), static_argnums=0)
    for seed in (0, 1):
        variant = dataclasses.replace(config, seed=seed, name=f"run-{seed}")
        recipe, keys = make_recipe(variant, len(train.labels)), split_keys(seed)
        state = START(recipe, keys)
        for stop in (5, 8, 13, 16, STEPS):
            until = jnp.int32(stop)
            with jax.transfer_guard_host_to_device("disallow"):
                state = traced(recipe, keys, state, train, until)
            if stop in (5, 13):
                save_checkpoint(tmp_path / str(seed), variant, state, {})
                state = restore(tmp_path / str(seed), variant).state
    with pytest.raises(AssertionError, match="traced"):  # the counter counts
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
