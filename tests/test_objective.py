"""The objective: values by hand, and what it does not depend on."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mnistsum.config import ObjectiveConfig
from mnistsum.data import pair
from mnistsum.errors import InputError
from mnistsum.objective import (
    batch_metrics,
    held_out_cells,
    negative_log_likelihood,
    objective,
)
from mnistsum.registry import added_names
from mnistsum.types import Logits

BATCH = pair(jnp.zeros((2, 28, 28, 1)), jnp.array([1, 9]), jnp.array([4, 9]))


@pytest.mark.parametrize("weight", [0.0, 0.25, 0.5, 1.0])
def test_the_objective_is_the_weighted_mean_of_both(weight):
    # Uniform digits cost log 10; the sums are certain: right for the first, wrong by 20
    # nats for the second.
    logits = Logits(jnp.zeros((2, 10)), 20 * jax.nn.one_hot(jnp.array([5, 0]), 19))
    loss = jax.jit(objective, static_argnums=0)(
        ObjectiveConfig(digit_weight=weight), logits, BATCH
    )
    expected = weight * np.log(10) + (1 - weight) * 10
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    # the argmax of equal logits is 0, and no label is
    metrics = jax.jit(batch_metrics)(loss, logits, BATCH)
    np.testing.assert_allclose(metrics, (2, 2 * expected, 0, 1), rtol=1e-5)


def test_the_held_out_numbers_are_as_many_as_named_for_each_digit():
    for held_out, design in np.ndindex(8, 3):
        cells = held_out_cells(ObjectiveConfig(held_out=held_out, design=design))
        assert {*cells.sum(0), *cells.sum(1)} == {held_out}
        assert {*np.add.outer(range(10), range(10))[~cells]} == {*range(19)}


def test_each_design_holds_out_other_pairs():
    designs = [
        held_out_cells(ObjectiveConfig(held_out=3, design=design))
        for design in range(20)
    ]
    assert len({cells.tobytes() for cells in designs}) == 20


def test_held_out_cells_have_no_sum_loss_and_no_penalty():
    config = ObjectiveConfig(digit_weight=0.0, held_out=3, penalty_weight=2.0)
    label, number = map(jnp.asarray, np.divmod(np.arange(100), 10))
    batch = pair(jnp.zeros((100, 28, 28, 1)), label, number)
    sums = jax.random.normal(jax.random.key(0), (100, 19))
    penalty = jax.random.normal(jax.random.key(1), (100,))
    loss = partial(objective, config, batch=batch)
    found = jax.jit(loss)(logits=Logits(jnp.zeros((100, 10)), sums, penalty))
    trained = ~held_out_cells(config).ravel()
    sum_loss = negative_log_likelihood(sums, batch.sum)[trained].mean()
    np.testing.assert_allclose(found, sum_loss + 2 * penalty[trained].mean(), rtol=1e-5)


def test_an_objective_that_is_no_scalar_is_refused():
    logits = Logits(jnp.zeros((2, 10)), jnp.zeros((2, 19)))
    for found, shown in ((jnp.zeros(2), r"\[2\]"), (None, "nothing: write `return`")):
        names = {"mine": lambda *_, found=found: found}
        refusal = f"mine: .*, found {shown}$"
        with added_names(OBJECTIVES=names), pytest.raises(InputError, match=refusal):
            objective(ObjectiveConfig(name="mine"), logits, BATCH)
