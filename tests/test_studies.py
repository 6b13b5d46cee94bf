"""The parts that studies define: adders between `concat` and `learned_shift`, and the literature's network."""

import jax
import numpy as np
import pytest
from flax import nnx

from experiments.studies import mnist_net, plain_flax, sharing
from mnistsum import testing
from mnistsum.config import ModelConfig
from mnistsum.models import abstract_model
from mnistsum.models.summary import count_multiply_adds, count_parameters
from mnistsum.registry import added_names

CONFIGS = {name: ModelConfig(classifier="mlp", widths=(32,), adder=name) for name in sharing.ADDERS}
CONFIGS["mnist_net"] = mnist_net.config.model


@pytest.mark.parametrize("name", CONFIGS)
def test_the_quick_contract_holds(name):
    with added_names(ADDERS=sharing.ADDERS, CLASSIFIERS=mnist_net.CLASSIFIERS):
        for check in (*testing.QUICK, testing.check_gradients):
            check(CONFIGS[name])


def test_the_timed_networks_are_one_network_in_several_layers():
    """Of equal size and work; the layers of this project keep their maps in another order."""
    with added_names(CLASSIFIERS=plain_flax.NETWORKS):
        models = [abstract_model(ModelConfig(name)) for name in plain_flax.NETWORKS if name.startswith("two")]
    assert len({(count_parameters(model), count_multiply_adds(model)) for model in models}) == 1


@pytest.mark.parametrize("kind", [sharing.AnyShift, sharing.UnnormalizedShift])
def test_a_number_whose_shift_is_sure_is_added(kind):
    adder = kind(ModelConfig(), 0, nnx.Rngs(0))
    adder.scores[...] = 50.0 * (adder.shifts == np.arange(10)[:, None])
    digit, number = np.divmod(np.arange(100), 10)
    sums = jax.jit(lambda *inputs: adder(np.zeros((100, 0)), *inputs))(9 * np.eye(10)[digit], np.eye(10)[number])
    assert (sums.argmax(-1) == digit + number).all()
