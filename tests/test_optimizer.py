"""Optimizers: schedules by hand, and each rule's first step."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mnistsum.config import OptimizerConfig
from mnistsum.optimizer import optimizer, schedule
from mnistsum.own import added_names

PARAMS = {"kernel": jnp.ones((3, 3, 4, 8)), "matrix": jnp.ones((6, 5)), "bias": jnp.ones(5)}
GRADIENT = jax.tree.map(lambda leaf: jax.random.normal(jax.random.key(0), leaf.shape), PARAMS)


def first_update(**fields):
    return second_update(1, **fields)


def test_schedules_by_hand():
    def rates(name):
        rate = schedule(OptimizerConfig(schedule=name, learning_rate=0.5, warmup=0.2), 100)
        return [float(rate(step)) for step in (0, 10, 20, 60, 100)]

    np.testing.assert_allclose(rates("constant"), [0.5] * 5)
    np.testing.assert_allclose(rates("one_cycle"), [0, 0.25, 0.5, 0.25, 0], atol=1e-7)


def test_a_schedule_may_have_no_warm_up_or_be_all_warm_up():
    assert float(schedule(OptimizerConfig(learning_rate=0.5, warmup=0.0), 100)(0)) == 0.5
    rate = schedule(OptimizerConfig(learning_rate=0.5, warmup=0.999), 4)
    assert [float(rate(step)) for step in range(4)] == [0, 0.125, 0.25, 0.375]


def second_update(*lengths, **fields):
    """Return the update for a gradient of the second length, after one of the first."""
    rule = optimizer(OptimizerConfig(**({"schedule": "constant", "learning_rate": 0.1} | fields)), 100)
    state, update = rule.init(PARAMS), jax.jit(rule.update)
    for length in lengths:
        updates, state = update(jax.tree.map(lambda leaf, by=length: by * leaf, GRADIENT), state, PARAMS)
    return updates


def test_momentum_by_hand():
    for update, gradient in zip(
        *map(jax.tree.leaves, (second_update(1, 1, name="sgd", momentum=0.7), GRADIENT)), strict=True
    ):
        np.testing.assert_allclose(update, -0.1 * (1 + 0.7) * gradient, rtol=1e-5)
    # Adam after gradients g and 0: (b1 / (1 + b1)) g over the root of (b2 / (1 + b2)) g^2, with b2 = 0.999.
    length = (0.6 / 1.6) / np.sqrt(0.999 / 1.999)
    for update, gradient in zip(
        *map(jax.tree.leaves, (second_update(1, 0, name="adamw", momentum=0.6), GRADIENT)), strict=True
    ):
        np.testing.assert_allclose(update, -0.1 * length * jnp.sign(gradient), rtol=1e-3)


def test_the_momentum_of_muon_is_nesterovs():
    first, second = (jax.random.normal(jax.random.key(i), (6, 5)) for i in (1, 2))
    rule = optimizer(OptimizerConfig(learning_rate=1.0, momentum=0.5, schedule="constant"), 100)
    _, state = rule.update(first, rule.init(first), first)
    update, _ = rule.update(second, state, second)
    np.testing.assert_allclose(-update, orthogonalized(second + 0.5 * (second + 0.5 * first)), rtol=1e-4, atol=1e-5)


def test_muon_decays_matrices_alone():
    plain, decayed = first_update(name="muon"), first_update(name="muon", weight_decay=0.5)
    for name in ("kernel", "matrix"):
        np.testing.assert_allclose(decayed[name], plain[name] - 0.1 * 0.5, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(decayed["bias"], plain["bias"])


def test_sgd_steps_against_the_gradient_and_decays():
    plain, decayed = first_update(name="sgd"), first_update(name="sgd", weight_decay=0.5)
    for update, decayed_update, gradient in zip(*map(jax.tree.leaves, (plain, decayed, GRADIENT)), strict=True):
        np.testing.assert_allclose(update, -0.1 * gradient, rtol=1e-6)
        np.testing.assert_allclose(decayed_update, -0.1 * (gradient + 0.5), rtol=1e-5)


def test_the_decay_of_sgd_does_not_enter_its_momentum():
    fields = {"name": "sgd", "momentum": 0.7, "weight_decay": 0.5}
    for update, gradient in zip(*map(jax.tree.leaves, (second_update(1, 1, **fields), GRADIENT)), strict=True):
        np.testing.assert_allclose(update, -0.1 * ((1 + 0.7) * gradient + 0.5), rtol=1e-5, atol=1e-7)


def test_adamw_steps_by_the_sign_and_decays():
    plain, decayed = first_update(name="adamw"), first_update(name="adamw", weight_decay=0.5)
    for update, gradient in zip(*map(jax.tree.leaves, (plain, GRADIENT)), strict=True):
        np.testing.assert_allclose(update, -0.1 * jnp.sign(gradient), rtol=1e-4)
    np.testing.assert_allclose(decayed["bias"], plain["bias"] - 0.1 * 0.5, rtol=1e-5)


def test_muon_orthogonalizes_kernels_as_matrices_of_height_width_input_by_output():
    update = first_update(name="muon")
    for name in ("kernel", "matrix"):
        rows = np.asarray(update[name]).reshape(-1, update[name].shape[-1])
        singular = np.linalg.svd(rows, compute_uv=False)
        assert singular.max() / singular.min() < 2  # Newton-Schulz brings them to between about 0.7 and 1.2
        gradient = np.asarray(GRADIENT[name]).reshape(rows.shape)
        ratios = np.linalg.svd(gradient, compute_uv=False)
        assert ratios.max() / ratios.min() > 1.3 * singular.max() / singular.min()
    # Adam, whose first step has one length and the sign of the gradient
    steps = np.asarray(-update["bias"] * jnp.sign(GRADIENT["bias"]))
    assert (steps > 0.1).all()
    np.testing.assert_allclose(steps, steps[0], rtol=1e-4)


def orthogonalized(gradient, dtype="float32"):
    rule = optimizer(OptimizerConfig(learning_rate=1.0, momentum=0.0, schedule="constant", dtype=dtype), 100)
    return -jax.jit(rule.update)(gradient, rule.init(gradient), gradient)[0]


@pytest.mark.parametrize("shape", [(40, 8), (8, 8), (8, 40)])
def test_muon_matches_optax_which_uses_longer_products(shape):
    gradient = jax.random.normal(jax.random.key(0), shape) * jnp.geomspace(0.01, 100, shape[1])[None]
    longer = optax.contrib.muon(1.0, beta=0.0, ns_steps=3, preconditioning="aol")
    expected = -jax.jit(longer.update)(gradient, longer.init(gradient), gradient)[0]
    np.testing.assert_allclose(orthogonalized(gradient), expected, rtol=1e-4, atol=1e-5)


def test_muon_in_bfloat16_is_near_that_in_float32():
    gradient = jax.random.normal(jax.random.key(0), (64, 16))
    exact, rounded = orthogonalized(gradient), orthogonalized(gradient, "bfloat16")
    assert not np.array_equal(exact, rounded)
    assert float(jnp.linalg.norm(exact - rounded) / jnp.linalg.norm(exact)) < 0.05


def test_a_gradient_of_zero_leaves_muon_at_zero():
    np.testing.assert_array_equal(orthogonalized(jnp.zeros((6, 5))), 0)


def test_clipping_bounds_the_norm_of_the_whole_gradient():
    clipped = first_update(name="sgd", clip_norm=0.1)
    norm = np.sqrt(sum(float((leaf**2).sum()) for leaf in jax.tree.leaves(clipped)))
    np.testing.assert_allclose(norm, 0.1 * 0.1, rtol=1e-5)


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_clipping_comes_before_the_rule(name):
    # Clipped, a gradient a hundred times as long as the last has its length, and these rules give the same update.
    equal, clipped = (second_update(*lengths, name=name, clip_norm=0.1)["bias"] for lengths in ((1, 1), (1, 100)))
    np.testing.assert_allclose(clipped, equal, rtol=1e-4)
    assert (abs(second_update(1, 100, name=name)["bias"] - equal) > 0.003).all()


def test_an_optimizer_of_ones_own_is_given_the_schedule_and_has_to_be_a_transformation():
    names = {"signs": lambda config, rate: optax.sign_sgd(rate), "late": lambda config, rate: optax.sgd}
    with added_names(OPTIMIZERS=names):
        for update, gradient in zip(*map(jax.tree.leaves, (first_update(name="signs"), GRADIENT)), strict=True):
            np.testing.assert_allclose(update, -0.1 * jnp.sign(gradient), rtol=1e-6)
        with pytest.raises(TypeError, match=r"optimizer late: expected an optax.GradientTransformation"):
            optimizer(OptimizerConfig(name="late"), 1)
