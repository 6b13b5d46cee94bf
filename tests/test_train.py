"""Training: what a step does, and that stopping, compiling or stacking seeds changes nothing."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mnistsum import train as training
from mnistsum.config import AugmentConfig, InputError, ObjectiveConfig, OptimizerConfig, TrainingConfig
from mnistsum.data import draw_epoch
from mnistsum.models import build
from mnistsum.objective import objective
from mnistsum.train import (
    advance,
    advance_donating,
    init_state,
    non_finite,
    split_keys,
    steps_per_epoch,
    total_steps,
    train_step,
)

N = 256


def equal(a, b) -> bool:
    return all((np.asarray(x) == np.asarray(y)).all() for x, y in zip(*map(jax.tree.leaves, (a, b)), strict=True))


@pytest.fixture(scope="module")
def keys():
    return split_keys(0)


@pytest.fixture(scope="module")
def start(config, keys):
    return init_state(config, keys, N)


def test_keys_are_distinct_within_a_run_and_between_seeds():
    data = [jax.random.key_data(key).tolist() for seed in (0, 1) for key in split_keys(seed)]
    assert len({tuple(key) for key in data}) == 10


def test_steps_by_hand(config):
    assert steps_per_epoch(config, N) == 8
    assert steps_per_epoch(config, N + 31) == 8
    assert total_steps(config, N) == 24
    assert total_steps(dataclasses.replace(config, training=TrainingConfig(epochs=0.3, batch_size=32)), N) == 2
    with pytest.raises(InputError, match=r"training.batch_size: expected at most the 31 training images, found 32"):
        steps_per_epoch(config, 31)


def test_stopping_anywhere_gives_the_bits_of_single_steps(config, keys, start, train):
    state, step = start, jax.jit(train_step, static_argnums=0)
    singles = []
    for i in range(20):  # into the third epoch
        epoch = draw_epoch(keys.order, keys.number, i // 8, N)
        state = step(config, keys, state, train, epoch)
        singles.append(state)
    for stops in ([20], [1, 20], [7, 8, 9, 16, 20], range(1, 21)):
        state = start
        for until in stops:
            state = advance(config, keys, state, train, jnp.int32(until))
            np.testing.assert_array_equal(state.step, until)
            chex.assert_trees_all_close(state, singles[until - 1], rtol=1e-5, atol=1e-6)
        if stops == [20]:
            once = state
        assert equal(state, once)


def test_an_epoch_counts_its_examples_and_starts_anew(config, keys, start, train):
    counts = [int(advance(config, keys, start, train, jnp.int32(i)).metrics.examples) for i in (1, 8, 9, 17)]
    assert counts == [32, 256, 32, 32]


def test_every_step_distorts_anew(config, keys, train):
    # All images are one, a step moves nothing, and only the digit counts: only the distortion can change the loss.
    copies = jax.tree.map(lambda array: jnp.repeat(array[:1], N, 0), train)

    def losses(augmentation):
        still = dataclasses.replace(
            config,
            augment=augmentation,
            objective=ObjectiveConfig(digit_weight=1.0),
            optimizer=OptimizerConfig(name="sgd", learning_rate=1e-30, schedule="constant"),
            training=TrainingConfig(3.0, 32),
        )
        start = init_state(still, keys, N)
        first, both = (float(advance(still, keys, start, copies, jnp.int32(step)).metrics.loss) for step in (1, 2))
        return first, both - first

    same, distorted = losses(AugmentConfig()), losses(config.augment)
    np.testing.assert_allclose(same[0], same[1], rtol=1e-5)
    assert abs(distorted[0] - distorted[1]) > 1e-3 * distorted[0]


@pytest.mark.slow
def test_vmapped_seeds_match_single_runs(config, train):
    config = dataclasses.replace(config, optimizer=OptimizerConfig(name="sgd", schedule="constant", average=0.9))
    keys = [split_keys(seed) for seed in range(2)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *keys)

    def first_step(keys):
        return train_step(config, keys, init_state(config, keys, N), train, draw_epoch(keys.order, keys.number, 0, N))

    together = jax.jit(jax.vmap(first_step))(stacked)
    single = jax.jit(first_step)
    for i, key in enumerate(keys):
        alone = single(key)
        chex.assert_trees_all_close(jax.tree.map(lambda leaf, i=i: leaf[i], together), alone, rtol=1e-5, atol=1e-6)


def test_the_same_seed_gives_the_same_bits_and_another_seed_others(config, keys, start, train):
    run = advance(config, keys, start, train, jnp.int32(5))
    assert equal(run, advance(config, split_keys(0), init_state(config, split_keys(0), N), train, jnp.int32(5)))
    assert not equal(run.model, advance(config, split_keys(1), start, train, jnp.int32(5)).model)


def test_the_average_follows_its_formula(config, keys, start, train):
    average = start.model
    state = start
    for t in range(12):
        state = advance(config, keys, state, train, jnp.int32(t + 1))
        decay = min(0.9, (1 + t) / (10 + t))
        average = jax.tree.map(lambda a, w, d=decay: d * a + (1 - d) * w, average, state.model)
    chex.assert_trees_all_close(average, state.average, rtol=1e-4, atol=1e-6)
    assert training.trained_model(state) is state.average


def test_without_an_average_the_model_itself_is_kept(config, keys, train):
    config = dataclasses.replace(config, optimizer=dataclasses.replace(config.optimizer, average=0.0))
    state = init_state(config, keys, N)
    assert state.average is None
    assert training.trained_model(state) is state.model


def test_models_of_one_config_have_one_tree_structure(config):
    structures = {jax.tree.structure(build(config.model, jax.random.key(i))) for i in range(3)}
    assert len(structures) == 1


def test_donating_its_state_changes_no_bit_and_uses_the_state_up(config, train):
    keys = split_keys(0)
    kept = advance(config, keys, init_state(config, keys, len(train.labels)), train, jnp.int32(11))
    given = init_state(config, keys, len(train.labels))
    for until in (4, 11):
        before = given
        given = advance_donating(config, keys, given, train, jnp.int32(until))
        assert all(leaf.is_deleted() for leaf in jax.tree.leaves(before.model))
    for a, b in zip(jax.tree.leaves(given), jax.tree.leaves(kept), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_first_number_that_is_not_finite_is_named_with_its_step(config, keys, start, train):
    at_5 = advance(config, keys, start, train, jnp.int32(5))
    assert non_finite(at_5) is None
    infinite = jax.tree.map(lambda leaf: leaf + jnp.inf if leaf.dtype == jnp.float32 else leaf, at_5.opt_state)
    for harmed, quantity in (
        (at_5._replace(model=jax.tree.map(lambda leaf: leaf * jnp.nan, at_5.model)), "loss"),
        (at_5._replace(opt_state=infinite), "parameters"),
    ):
        for until in (6, 10):  # it stays the first
            found = non_finite(advance(config, keys, harmed, train, jnp.int32(until)))
            assert found == f"{quantity} not finite at step 6"


def test_a_gradient_that_is_not_finite_is_named_where_the_loss_still_is(config, keys, start, train, monkeypatch):
    def edged(settings, logits, batch):  # zero, with the slope of a square root at zero
        loss, metrics = objective(settings, logits, batch)
        return loss + jnp.sqrt(0 * logits.digit.sum()), metrics

    monkeypatch.setattr(training, "objective", edged)
    monkeypatch.setattr(training, "train_step", training.train_step.__wrapped__)
    # A new function, as JAX keeps what it has traced of an old one.
    state = jax.jit(lambda *arrays: training.advance.__wrapped__(config, *arrays))(keys, start, train, jnp.int32(3))
    assert non_finite(state) == "gradient not finite at step 1"
