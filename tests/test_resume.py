"""Exact resume: a run stopped anywhere ends with the bits of one never stopped, and these tests notice if not."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.errors import KeyReuseError

from mnistsum.config import AugmentConfig
from mnistsum.evaluation import evaluate
from mnistsum.storage import restore, save_checkpoint
from mnistsum.train import advance, init_state, make_spec, split_keys, trained_model

KEYS = split_keys(0)
STEPS = 24  # three epochs of eight
ADVANCE = jax.jit(advance, static_argnums=0)
START = jax.jit(init_state, static_argnums=0)


def run(config, train, folder, stops, fault=None):
    """Return the state after all steps, saved and restored at each stop; a fault then alters keys or state."""
    spec = make_spec(config, len(train.labels))
    keys, state = KEYS, START(spec, KEYS)
    for stop in stops:
        state = ADVANCE(spec, keys, state, train, jnp.int32(stop))
        save_checkpoint(folder, config, state, {})
        state = restore(folder, config).state
        if fault is not None:
            keys, state = fault(config, keys, state)
    return ADVANCE(spec, keys, state, train, jnp.int32(STEPS))


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
    return START(make_spec(config, 256), KEYS)


def without_statistics(config, keys, state):
    state.average.classifier.norm.mean.set_value(start(config).model.classifier.norm.mean[...])
    return keys, state


FAULTS = {  # each returns what it has altered
    "optimizer state dropped": lambda config, keys, state: (keys, state._replace(opt_state=start(config).opt_state)),
    "step off by one": lambda _, keys, state: (keys, state._replace(step=state.step + 1)),
    "epoch order reset": lambda _, keys, state: (keys._replace(order=split_keys(1).order), state),
    "numbers redrawn": lambda _, keys, state: (keys._replace(number=split_keys(1).number), state),
    "average dropped": lambda _, keys, state: (keys, state._replace(average=jax.tree.map(jnp.copy, state.model))),
    "augmentation key reused": lambda _, keys, state: (keys._replace(augment=keys.dropout), state),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_planted_fault_is_noticed(config, train, tmp_path, never_stopped, fault):
    assert bits(config, run(config, train, tmp_path, [19], fault), train) != never_stopped


@pytest.mark.parametrize(
    "fault", [without_statistics, lambda _, keys, state: (keys._replace(dropout=keys.augment), state)]
)
def test_a_fault_in_what_batch_norms_and_dropout_need_is_noticed(normed, train, tmp_path, normed_never_stopped, fault):
    assert bits(normed, run(normed, train, tmp_path, [19], fault), train) != normed_never_stopped


@pytest.mark.slow
@pytest.mark.parametrize("name", ["plain", "normed"])
def test_no_key_is_used_twice(config, normed, train, name):
    distorted = dataclasses.replace(config, augment=AugmentConfig(shift=2, rotation=10.0, elastic=0.5))
    spec = make_spec(normed if name == "normed" else distorted, len(train.labels))
    with jax.debug_key_reuse(True):
        state = START(spec, KEYS)
        for step in (1, 9):
            state = ADVANCE(spec, KEYS, state, train, jnp.int32(step))
        with pytest.raises(KeyReuseError):  # the checker checks
            jax.jit(lambda key: jax.random.normal(key) + jax.random.uniform(key))(KEYS.init)
