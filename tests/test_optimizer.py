"""Optimizers: schedules by hand, and each rule's first steps."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mnistsum.config import OptimizerConfig
from mnistsum.optimizer import optimizer, schedule
from mnistsum.registry import added_names

PARAMS = {"kernel": jnp.ones((3, 3, 4, 8)), "matrix": jnp.ones((6, 5)), "bias": jnp.ones(5)}
GRADIENT = jax.tree.map(lambda leaf: jax.random.normal(jax.random.key(0), leaf.shape), PARAMS)


def update(*lengths, **fields):
    """Return the last update for gradients of these lengths, one after the other."""
    rule = optimizer(OptimizerConfig(**({"schedule": "constant", "learning_rate": 0.1} | fields)), 100)
    state, step = rule.init(PARAMS), jax.jit(rule.update)
    for length in lengths or (1,):
        updates, state = step(jax.tree.map(lambda leaf, by=length: by * leaf, GRADIENT), state, PARAMS)
    return updates


def assert_updates(found, of_gradient, rtol=1e-5, atol=1e-7):
    chex.assert_trees_all_close(found, jax.tree.map(of_gradient, GRADIENT), rtol=rtol, atol=atol)


def test_schedules_by_hand():
    def rates(name):
        rate = schedule(OptimizerConfig(schedule=name, learning_rate=0.5, warmup=0.2), 100)
        return [float(rate(step)) for step in (0, 10, 20, 60, 100)]

    np.testing.assert_allclose(rates("constant"), [0.5] * 5)
    np.testing.assert_allclose(rates("one_cycle"), [0, 0.25, 0.5, 0.25, 0], atol=1e-7)


def test_sgd_by_hand_with_momentum_and_a_decay_that_does_not_enter_it():
    assert_updates(update(name="sgd"), lambda g: -0.1 * g)
    assert_updates(update(1, 1, name="sgd", momentum=0.7), lambda g: -0.1 * (1 + 0.7) * g)
    decayed = update(1, 1, name="sgd", momentum=0.7, weight_decay=0.5)
    assert_updates(decayed, lambda g: -0.1 * ((1 + 0.7) * g + 0.5))


def test_adamw_by_hand():
    assert_updates(update(name="adamw"), lambda g: -0.1 * jnp.sign(g), rtol=1e-4)
    # After gradients g and 0: (b1 / (1 + b1)) g over the root of (b2 / (1 + b2)) g^2, with b2 = 0.999.
    length = (0.6 / 1.6) / np.sqrt(0.999 / 1.999)
    found = update(1, 0, name="adamw", momentum=0.6, weight_decay=0.5)
    assert_updates(found, lambda g: -0.1 * (length * jnp.sign(g) + 0.5), rtol=1e-3)


def test_muon_decays_matrices_alone():
    plain, decayed = update(name="muon"), update(name="muon", weight_decay=0.5)
    for name in ("kernel", "matrix"):
        np.testing.assert_allclose(decayed[name], plain[name] - 0.1 * 0.5, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(decayed["bias"], plain["bias"])


def test_muon_orthogonalizes_kernels_as_matrices_of_height_width_input_by_output():
    found = update(name="muon", momentum=0.0)
    rows, gradient = (tree["kernel"].reshape(-1, 8) for tree in (found, GRADIENT))
    np.testing.assert_allclose(rows, -0.1 * orthogonalized(gradient), rtol=1e-3, atol=1e-5)
    singular = np.linalg.svd(rows, compute_uv=False)
    assert singular.max() / singular.min() < 2  # Newton-Schulz brings them to between about 0.7 and 1.2
    # Adam, whose first step has one length and the sign of the gradient
    steps = np.asarray(-found["bias"] * jnp.sign(GRADIENT["bias"]))
    assert (steps > 0.1).all()
    np.testing.assert_allclose(steps, steps[0], rtol=1e-4)


def orthogonalized(*gradients, momentum=0.0, dtype="float32"):
    """Return minus the last of Muon's updates for a matrix."""
    config = OptimizerConfig(learning_rate=1.0, momentum=momentum, schedule="constant", dtype=dtype)
    rule = optimizer(config, 100)
    state = rule.init(gradients[0])
    for gradient in gradients:
        found, state = jax.jit(rule.update)(gradient, state, gradient)
    return -found


@pytest.mark.parametrize("shape", [(40, 8), (8, 40)])
def test_muon_matches_optax_which_uses_longer_products(shape):
    gradient = jax.random.normal(jax.random.key(0), shape) * jnp.geomspace(0.01, 100, shape[1])[None]
    longer = optax.contrib.muon(1.0, beta=0.0, ns_steps=3, preconditioning="aol")
    expected = -jax.jit(longer.update)(gradient, longer.init(gradient), gradient)[0]
    np.testing.assert_allclose(orthogonalized(gradient), expected, rtol=1e-4, atol=1e-5)
    # Its momentum is Nesterov's.
    ahead = gradient + 0.5 * (gradient + 0.5 * gradient[::-1])
    found = orthogonalized(gradient[::-1], gradient, momentum=0.5)
    np.testing.assert_allclose(found, orthogonalized(ahead), rtol=1e-3, atol=1e-4)


def test_muon_in_bfloat16_is_near_that_in_float32_and_zero_stays_zero():
    gradient = jax.random.normal(jax.random.key(0), (64, 16))
    exact, rounded = orthogonalized(gradient), orthogonalized(gradient, dtype="bfloat16")
    assert not np.array_equal(exact, rounded)
    assert float(jnp.linalg.norm(exact - rounded) / jnp.linalg.norm(exact)) < 0.05
    np.testing.assert_array_equal(orthogonalized(jnp.zeros((6, 5))), 0)


def test_clipping_bounds_the_norm_of_the_whole_gradient():
    np.testing.assert_allclose(optax.tree.norm(update(name="sgd", clip_norm=0.1)), 0.1 * 0.1, rtol=1e-5)


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_clipping_comes_before_the_rule(name):
    # Clipped, a gradient a hundred times as long as the last has its length, and these rules give the same update.
    equal, clipped = (update(*lengths, name=name, clip_norm=0.1)["bias"] for lengths in ((1, 1), (1, 100)))
    np.testing.assert_allclose(clipped, equal, rtol=1e-4)
    assert (abs(update(1, 100, name=name)["bias"] - equal) > 0.003).all()


def test_an_optimizer_of_ones_own_is_given_the_schedule_and_has_to_be_a_transformation():
    names = {"signs": lambda config, rate: optax.sign_sgd(rate), "late": lambda config, rate: optax.sgd}
    with added_names(OPTIMIZERS=names):
        assert_updates(update(name="signs"), lambda g: -0.1 * jnp.sign(g))
        with pytest.raises(TypeError, match=r"optimizer late: expected an optax.GradientTransformation"):
            update(name="late")
