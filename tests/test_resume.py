"""Exact resume: a run stopped anywhere ends with the bits of one never stopped, and these tests notice if not.

In this process, XLA's optimizations are off (conftest.py). These tests prove that a checkpoint holds all of the state
and that `advance` does the same in one call as in several. That the optimized program of a user's run also gives the
same bits is proved by test_kill.py and test_run.py, whose runs have processes of their own.
"""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.errors import KeyReuseError

from mnistsum.config import AugmentConfig, OptimizerConfig
from mnistsum.evaluation import evaluate
from mnistsum.registry import added_names
from mnistsum.storage import restore, save_checkpoint
from mnistsum.train import advance, init_state, make_spec, split_keys, trained_model

KEYS = split_keys(0)
STEPS = 24  # three epochs of eight
ADVANCE = jax.jit(advance, static_argnums=0)
START = jax.jit(init_state, static_argnums=0)


@pytest.fixture(scope="module")
def config(config, normed):
    """A config with augmentation, batch norms, dropout, clipping and an average of the weights."""
    return dataclasses.replace(config, model=normed.model)


def run(config, train, folder, stops, fault=None):
    """Return the state after all steps, saved and restored at each stop; a fault then alters keys or state."""
    spec = make_spec(config, len(train.labels))
    keys, state = KEYS, START(spec, KEYS)
    for stop in stops:
        state = ADVANCE(spec, keys, state, train, jnp.int32(stop))
        save_checkpoint(folder, config, state, {})
        state = restore(folder, config).state
        if fault is not None:
            keys, state = fault(keys, state, START(spec, KEYS))
    return ADVANCE(spec, keys, state, train, jnp.int32(STEPS))


def bits(config, state, train) -> list[bytes]:
    """Return all of a run: every array of its state, and its predictions."""
    predicted = evaluate(config.data, trained_model(state), train)
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves((state, predicted))]


@pytest.fixture(scope="module")
def never_stopped(config, train, tmp_path_factory):
    return bits(config, run(config, train, tmp_path_factory.mktemp("never"), []), train)


@pytest.mark.parametrize(
    "stops",
    [
        *([stop] for stop in (1, 8, 21)),
        *(pytest.param([stop], marks=pytest.mark.slow) for stop in {*range(1, STEPS + 1)} - {1, 8, 21}),
        pytest.param(range(1, STEPS), marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_a_run_stopped_at_any_step_ends_with_the_bits_of_one_never_stopped(
    config, train, tmp_path, never_stopped, stops
):
    assert bits(config, run(config, train, tmp_path, stops), train) == never_stopped


@pytest.mark.slow
def test_an_optimizer_that_draws_resumes_to_the_same_weights(config, train, tmp_path):
    def noisy(config, rate):
        return optax.chain(optax.add_noise(0.01, 0.55, jax.random.key(0)), optax.sgd(rate))

    with added_names(OPTIMIZERS={"noisy": noisy}):
        config = dataclasses.replace(config, optimizer=OptimizerConfig(name="noisy"))
        chex.assert_trees_all_equal(*(run(config, train, tmp_path, stops).model for stops in ([], [3])))


def without_statistics(keys, state, start):
    state.average.classifier.norm.mean.set_value(start.model.classifier.norm.mean[...])
    return keys, state


FAULTS = {
    "optimizer state dropped": lambda keys, state, start: (keys, state._replace(opt_state=start.opt_state)),
    "step off by one": lambda keys, state, _: (keys, state._replace(step=state.step + 1)),
    "epoch order reset": lambda keys, state, _: (keys._replace(order=split_keys(1).order), state),
    "numbers redrawn": lambda keys, state, _: (keys._replace(number=split_keys(1).number), state),
    "average dropped": lambda keys, state, _: (keys, state._replace(average=jax.tree.map(jnp.copy, state.model))),
    "statistics dropped": without_statistics,
    "augmentation key reused": lambda keys, state, _: (keys._replace(augment=keys.dropout), state),
    "dropout key reused": lambda keys, state, _: (keys._replace(dropout=keys.augment), state),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_planted_fault_is_noticed(config, train, tmp_path, never_stopped, fault):
    assert bits(config, run(config, train, tmp_path, [19], fault), train) != never_stopped


@pytest.mark.slow
def test_no_key_is_used_twice(config, train):
    elastic = dataclasses.replace(config, augment=AugmentConfig(shift=2, rotation=10.0, elastic=0.5))
    spec = make_spec(elastic, len(train.labels))
    with jax.debug_key_reuse(True):
        state = START(spec, KEYS)
        for step in (1, 9):
            state = ADVANCE(spec, KEYS, state, train, jnp.int32(step))
        with pytest.raises(KeyReuseError):  # the checker checks
            jax.jit(lambda key: jax.random.normal(key) + jax.random.uniform(key))(KEYS.init)
