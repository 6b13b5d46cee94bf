"""The parts that studies define: adders, the literature's network, methods of inference, and EM on a table."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from experiments.studies import (
    inference,
    mnist_net,
    plain_flax,
    random_readers,
    sharing,
)
from mnistsum import testing
from mnistsum.config import ModelConfig
from mnistsum.models import abstract_model
from mnistsum.models.summary import count_multiply_adds, count_parameters
from mnistsum.objective import digits_of_sum
from mnistsum.registry import added_names

CONFIGS = {
    name: ModelConfig(classifier="mlp", widths=(32,), adder=name)
    for name in sharing.ADDERS
}
CONFIGS["mnist_net"] = mnist_net.config.model


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
def test_the_quick_contract_holds(name):
    with added_names(ADDERS=sharing.ADDERS, CLASSIFIERS=mnist_net.CLASSIFIERS):
        for check in (*testing.QUICK, testing.check_gradients):
            check(CONFIGS[name])


def test_the_two_convolutions_are_one_network_in_plain_flax_and_in_our_layers():
    """Of equal size and work; the layers of this project keep their maps in another order."""
    with added_names(CLASSIFIERS=plain_flax.CLASSIFIERS):
        models = [
            abstract_model(ModelConfig(name))
            for name in ("plain_two_convolutions", "two_convolutions")
        ]
    assert (
        len({(count_parameters(model), count_multiply_adds(model)) for model in models})
        == 1
    )


@pytest.mark.parametrize("kind", [sharing.AnyShift, sharing.UnnormalizedShift])
def test_a_number_whose_shift_is_sure_is_added(kind):
    adder = kind(ModelConfig(), 0, nnx.Rngs(0))
    adder.scores[...] = 50.0 * (adder.shifts == np.arange(10)[:, None])
    digit, number = np.divmod(np.arange(100), 10)
    sums = jax.jit(lambda *inputs: adder(np.zeros((100, 0)), *inputs))(
        9 * np.eye(10)[digit], np.eye(10)[number]
    )
    assert (sums.argmax(-1) == digit + number).all()


def test_each_inference_is_that_of_all_readings_of_the_digits():
    digits = np.asarray(
        jax.nn.log_softmax(np.random.default_rng(0).normal(size=(2, 2, 10)) * 2),
        np.float32,
    )
    # all readings of a pair of two-digit numbers
    a, b, c, d = np.indices((10,) * 4).reshape(4, -1)
    probability = np.exp(
        digits[0, 0, a] + digits[0, 1, b] + digits[1, 0, c] + digits[1, 1, d]
    )
    total = 10 * a + b + 10 * c + d
    for wanted in (5, 65, 104, 198):
        proofs = np.sort(probability[total == wanted])
        places = [
            probability[total // base % 10 == wanted // base % 10].sum()
            for base in (100, 10, 1)
        ]
        by_hand = {
            inference.likeliest_proofs: -np.log(proofs[-inference.PROOFS :].sum()),
            inference.failure_probability: 1 - proofs.sum(),
            inference.marginals: -np.log(places).sum(),
        }
        for loss, expected in by_hand.items():
            found = jax.jit(loss)(
                jnp.array(digits),
                jnp.array([wanted // 100, wanted // 10 % 10, wanted % 10]),
            )
            np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.slow
def test_reinforce_raises_the_probability_of_readings_with_more_right_places():
    total = digits_of_sum(jnp.array([[[3, 7], [2, 8]]]))[0]
    known = 20.0 * jax.nn.one_hot(jnp.array([[3, 7], [2, 8]]), 10)
    digits = jax.nn.log_softmax(known.at[0, 1].set(0.0))  # all digits are known but one
    # draw other samples
    others = digits[None] + 1e-4 * jnp.arange(100.0)[:, None, None, None]
    gradient = jax.jit(jax.vmap(jax.grad(inference.reinforce), (0, None)))(
        others, total
    ).mean(0)
    assert gradient[0, 1].argmin() == 7


def test_em_finds_the_digits_from_an_even_start_and_can_stop_in_a_local_optimum_from_a_sure_one():
    random = np.random.default_rng(0)
    assert max(random_readers.fit_table(random, 1000.0) for _ in range(5)) < 1e-6
    stuck = [
        nats
        for nats in (random_readers.fit_table(random, 1.0) for _ in range(20))
        if nats > 0.5
    ]
    np.testing.assert_allclose(min(stuck), 0.795, atol=0.001)
