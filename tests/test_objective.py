"""The objective: values by hand, and what it does not depend on."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mnistsum.config import ObjectiveConfig
from mnistsum.data import pair
from mnistsum.errors import InputError
from mnistsum.objective import batch_metrics, held_out_cells, negative_log_likelihood, objective
from mnistsum.registry import added_names
from mnistsum.types import Logits

BATCH = pair(jnp.zeros((2, 28, 28, 1)), jnp.array([1, 9]), jnp.array([4, 9]))


def test_negative_log_likelihood_by_hand():
    # softmax of log(1, 2, 5) is 1/8, 2/8, 5/8
    logits = jnp.log(jnp.array([[1.0, 2.0, 5.0], [1.0, 2.0, 5.0], [1.0, 1.0, 1.0]]))
    losses = jax.jit(negative_log_likelihood)(logits, jnp.array([0, 2, 1]))
    np.testing.assert_allclose(losses, np.log([8, 8 / 5, 3]), rtol=1e-6)


@pytest.mark.parametrize("weight", [0.0, 0.25, 0.5, 1.0])
def test_the_objective_is_the_weighted_mean_of_both(weight):
    # Uniform digits cost log 10; the sums are certain: right for the first, wrong by 20 nats for the second.
    logits = Logits(jnp.zeros((2, 10)), 20 * jax.nn.one_hot(jnp.array([5, 0]), 19))
    loss = jax.jit(objective, static_argnums=0)(ObjectiveConfig(digit_weight=weight), logits, BATCH)
    expected = weight * np.log(10) + (1 - weight) * 10
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    metrics = jax.jit(batch_metrics)(loss, logits, BATCH)
    np.testing.assert_allclose(metrics.loss, 2 * expected, rtol=1e-5)
    assert metrics.examples == 2
    assert metrics.sum_correct == 1
    assert metrics.digit_correct == 0  # argmax of equal logits is 0, and no label is


@pytest.mark.parametrize("weight", [0.0, 1.0, 2.5])
def test_an_adders_penalty_is_added_with_its_weight(weight):
    config, logits = ObjectiveConfig(penalty_weight=weight), Logits(jnp.zeros((2, 10)), jnp.zeros((2, 19)))
    with_penalty = objective(config, logits._replace(penalty=jnp.float32(3)), BATCH)
    np.testing.assert_allclose(with_penalty - objective(config, logits, BATCH), 3 * weight, rtol=1e-6)


@pytest.mark.parametrize("design", range(3))
@pytest.mark.parametrize("held_out", range(8))
def test_as_many_numbers_as_named_are_held_out_with_each_digit_and_no_sum_is_lost(held_out, design):
    cells = held_out_cells(ObjectiveConfig(held_out=held_out, design=design))
    assert (cells.sum(0) == held_out).all()
    assert (cells.sum(1) == held_out).all()
    assert set(np.add.outer(np.arange(10), np.arange(10))[~cells]) == set(range(19))


def test_each_design_holds_out_other_pairs():
    designs = [held_out_cells(ObjectiveConfig(held_out=3, design=design)) for design in range(20)]
    assert len({cells.tobytes() for cells in designs}) == 20


def test_held_out_cells_have_no_sum_loss():
    config = ObjectiveConfig(digit_weight=0.0, held_out=3)
    cells = held_out_cells(config)
    label, number = np.divmod(np.arange(100), 10)
    batch = pair(jnp.zeros((100, 28, 28, 1)), jnp.asarray(label), jnp.asarray(number))
    logits = Logits(jnp.zeros((100, 10)), jax.random.normal(jax.random.key(0), (100, 19)))
    loss, gradient = jax.jit(jax.value_and_grad(lambda logits: objective(config, logits, batch)))(logits)
    assert ((gradient.sum == 0).all(1) == cells.ravel()).all()
    trained = ~cells.ravel()
    np.testing.assert_allclose(loss, negative_log_likelihood(logits.sum, batch.sum)[trained].mean(), rtol=1e-5)


def test_an_objective_that_is_no_scalar_is_refused():
    def by_example(config, logits, batch):
        return negative_log_likelihood(logits.digit, batch.label)

    logits = Logits(jnp.zeros((2, 10)), jnp.zeros((2, 19)))
    for mine, found in ((by_example, r"\[2\]"), (lambda *_: None, "nothing: write `return`")):
        with added_names(OBJECTIVES={"mine": mine}), pytest.raises(InputError, match=f"mine: .*, found {found}$"):
            objective(ObjectiveConfig(name="mine"), logits, BATCH)
