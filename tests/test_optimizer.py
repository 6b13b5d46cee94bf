"""Optimizers: the first steps of each rule."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mnistsum.config import OptimizerConfig
from mnistsum.errors import InputError
from mnistsum.optimizer import optimizer
from mnistsum.registry import added_names

SHAPES = {"kernel": (3, 3, 4, 8), "matrix": (40, 8), "wide": (8, 40), "bias": (5,)}
PARAMS = {name: jnp.ones(shape) for name, shape in SHAPES.items()}
GRADIENT = {
    name: np.random.default_rng(0).standard_normal(shape, np.float32)
    for name, shape in SHAPES.items()
}


def last_update(params, gradients, **fields):
    fields = {"schedule": "constant", "learning_rate": 0.1} | fields
    rule = optimizer(OptimizerConfig(**fields), 100)
    state = rule.init(params)
    step = jax.jit(rule.update)
    for gradient in gradients:
        updates, state = step(gradient, state, params)
    return updates


def update(*lengths, **fields):
    """Return the last update for gradients of these lengths, one after the other."""
    gradients = [optax.tree.scale(by, GRADIENT) for by in lengths or (1,)]
    return last_update(PARAMS, gradients, **fields)


def assert_updates(found, of_gradient, rtol=1e-5):
    expected = jax.tree.map(of_gradient, GRADIENT)
    chex.assert_trees_all_close(found, expected, rtol=rtol, atol=1e-7)


def test_sgd_by_hand():
    assert_updates(update(name="sgd"), lambda g: -0.1 * g)
    decayed = update(1, 1, name="sgd", momentum=0.7, weight_decay=0.5)
    assert_updates(decayed, lambda g: -0.1 * ((1 + 0.7) * g + 0.5))


def test_adamw_by_hand():
    assert_updates(update(name="adamw"), lambda g: -0.1 * jnp.sign(g), rtol=1e-4)
    # After gradients g and 0: (b1 / (1 + b1)) g over the root of (b2 / (1 + b2)) g^2,
    # with b2 = 0.999.
    length = (0.6 / 1.6) / np.sqrt(0.999 / 1.999)
    found = update(1, 0, name="adamw", momentum=0.6, weight_decay=0.5)
    assert_updates(found, lambda g: -0.1 * (length * jnp.sign(g) + 0.5), rtol=1e-3)


def test_muon_is_that_of_optax_which_uses_longer_products():
    def kernels(params):
        numbers = optax.contrib.MuonDimensionNumbers
        return jax.tree.map(
            lambda leaf: (
                numbers((*range(leaf.ndim - 1),), -1) if leaf.ndim > 1 else None
            ),
            params,
        )

    theirs = optax.contrib.muon(
        0.1,
        ns_steps=3,
        weight_decay=0.5,
        preconditioning="aol",
        muon_weight_dimension_numbers=kernels,
    )
    expected, _ = jax.jit(theirs.update)(GRADIENT, theirs.init(PARAMS), PARAMS)
    chex.assert_trees_all_close(
        update(name="muon", weight_decay=0.5), expected, rtol=1e-4, atol=1e-5
    )


def test_muon_has_nesterovs_momentum_and_rounds_its_operands():
    gradient = GRADIENT["matrix"]
    exact = last_update(
        gradient, [gradient + 0.5 * (gradient + 0.5 * gradient[::-1])], momentum=0.0
    )
    found, rounded = (
        last_update(gradient, [gradient[::-1], gradient], momentum=0.5, dtype=dtype)
        for dtype in ("float32", "bfloat16")
    )
    np.testing.assert_allclose(found, exact, rtol=1e-3, atol=1e-5)
    assert 1e-4 < jnp.linalg.norm(exact - rounded) / jnp.linalg.norm(exact) < 0.05
    np.testing.assert_array_equal(last_update(jnp.ones((6, 5)), [jnp.zeros((6, 5))]), 0)


def test_the_whole_gradient_is_clipped_before_the_rule():
    norm = optax.tree.norm(update(name="sgd", clip_norm=0.1))
    np.testing.assert_allclose(norm, 0.1 * 0.1, rtol=1e-5)
    # Clipped, a gradient a hundred times as long as the last has its length, so that
    # momentum gives the same update.
    equal, clipped, free = (
        update(1, length, name="adamw", clip_norm=norm)["bias"]
        for length, norm in ((1, 0.1), (100, 0.1), (100, 0.0))
    )
    np.testing.assert_allclose(clipped, equal, rtol=1e-4)
    assert (abs(free - equal) > 0.003).all()


@pytest.mark.parametrize("name", ["sgd", "adamw", "muon"])
def test_the_adder_decays_by_its_own_rate(name):
    params = {"classifier": PARAMS, "adder": PARAMS}
    gradient = {"classifier": GRADIENT, "adder": GRADIENT}
    decays = {"weight_decay": 0.1, "adder_decay": 0.5}
    updates = last_update(params, [gradient], name=name, **decays)
    for part, decay in (("classifier", 0.1), ("adder", 0.5)):
        expected = update(name=name, weight_decay=decay)
        chex.assert_trees_all_close(updates[part], expected, rtol=1e-5)


def test_an_optimizer_of_ones_own_is_given_the_schedule():
    names = {
        "signs": lambda config, rate: optax.sign_sgd(rate),
        "late": lambda config, rate: optax.sgd,
    }
    refused = r"optimizer late: expected an optax.GradientTransformation"
    with added_names(OPTIMIZERS=names):
        assert_updates(update(name="signs"), lambda g: -0.1 * jnp.sign(g))
        with pytest.raises(InputError, match=refused):
            update(name="late")
