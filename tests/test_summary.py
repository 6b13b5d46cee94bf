"""What an architecture costs: parameters that add up, and multiply-adds by hand."""

from functools import partial

import jax
import jax.numpy as jnp
import pytest
from flax import nnx
from jax import lax

from mnistsum.config import DataConfig, ModelConfig
from mnistsum.evaluation import classify
from mnistsum.models import abstract_model
from mnistsum.models.adders import ADDERS
from mnistsum.models.classifiers import CLASSIFIERS
from mnistsum.models.layers import Conv
from mnistsum.models.summary import (
    count_multiply_adds,
    count_parameters,
    multiply_adds,
    parameters_by_layer,
)
from mnistsum.registry import added_names

# of the adder `shift`: numbers with the table, then digits
SHIFT = 10 * 10 * 19 + 10 * 10


def work(function, *inputs) -> int:
    return multiply_adds(jax.make_jaxpr(function)(*inputs).eqns)


def work_of(layer) -> int:
    """Return the multiply-adds of applying a layer to 8x8 maps of 4 channels."""

    class Applies(nnx.Module):
        def __init__(self, config, rngs):
            self.features, self.layer = 10, layer(rngs=rngs)

        def __call__(self, image):
            maps = jnp.broadcast_to(image[:, :8, :8], (len(image), 8, 8, 4))
            features = self.layer(maps).sum() * jnp.ones((len(image), 10))
            return features, features

    with added_names(CLASSIFIERS={"applies": Applies}):
        model = abstract_model(ModelConfig("applies", adder="shift"))
        return count_multiply_adds(model) - SHIFT


CONV = partial(nnx.Conv, kernel_size=(3, 3))
UP = partial(nnx.ConvTranspose, 4, 6, (3, 3))
ATTENTION = partial(nnx.MultiHeadAttention, num_heads=2, in_features=4, qkv_features=6)
HAND = {
    "plain": (partial(CONV, 4, 6), 64 * 9 * 4 * 6),
    "without padding": (partial(CONV, 4, 6, padding="VALID"), 36 * 9 * 4 * 6),
    "strided": (partial(CONV, 4, 6, strides=2), 16 * 9 * 4 * 6),
    "grouped": (partial(CONV, 4, 6, feature_group_count=2), 64 * 9 * 2 * 6),
    "depthwise": (partial(CONV, 4, 4, feature_group_count=4), 64 * 9 * 4),
    "along rows": (partial(nnx.Conv, 4, 6, (3,)), 64 * 3 * 4 * 6),
    # Each costs as much as the convolution from its outputs to its 8x8 inputs.
    "transposed": (partial(UP, strides=2), 64 * 9 * 4 * 6),
    "transposed, without padding": (partial(UP, padding="VALID"), 64 * 9 * 4 * 6),
    # with four examples
    "ours": (partial(Conv, ModelConfig(), (3, 3, 1, 6)), 4 * 64 * 9 * 6),
    "Einsum": (partial(nnx.Einsum, "bhwc,wcd->bhwd", (8, 4, 6)), 64 * 4 * 6),
    # Queries, keys and values; scores and averages of eight rows; outputs.
    "attention": (
        partial(ATTENTION, decode=False),
        64 * 4 * 18 + 2 * 8 * 64 * 6 + 64 * 6 * 4,
    ),
}


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
@pytest.mark.parametrize("layer, expected", HAND.values(), ids=HAND)
def test_multiply_adds_are_those_of_the_layer_as_it_is_written(
    monkeypatch, layer, expected, backend
):
    # convolutions choose their way by it
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    assert work_of(layer) == expected


def test_shifts_count_all_classifications_and_one_addition():
    model = abstract_model(ModelConfig("mlp", widths=(32,)))
    image, number = jnp.zeros((1, 28, 28, 1), jnp.uint8), jnp.zeros((1, 10))

    def answer(model):
        return model.add(*classify(DataConfig(test_shift=1), model, image), number)

    by_hand = 9 * (784 * 32 + 32 * 10) + 20 * 128 + 128 * 19
    assert count_multiply_adds(model, test_shift=1) == work(answer, model) == by_hand


MODELS = [
    *map(ModelConfig, CLASSIFIERS),
    *(ModelConfig("mlp", adder=name) for name in ADDERS),
]


@pytest.mark.parametrize("config", MODELS)
def test_the_parameters_of_the_layers_add_up(config):
    model = abstract_model(config)
    layers = parameters_by_layer(model)
    assert sum(layers.values()) == count_parameters(model)
    assert all(layers.values())


class Twice(nnx.Module):
    """A classifier with a layer that is called twice, and a kernel of its own."""

    def __init__(self, config, rngs):
        self.features = 28
        self.layers = nnx.Dict(inner=nnx.Linear(28, 28, rngs=rngs))
        self.kernel = nnx.Param(jnp.ones((28, 10)))

    def __call__(self, image):
        features = self.layers.inner(self.layers.inner(image[..., 0])).mean(1)
        return features, features @ self.kernel


def test_a_layer_costs_as_often_as_it_is_called():
    with added_names(CLASSIFIERS={"twice": Twice}):
        model = abstract_model(ModelConfig("twice", adder="shift"))
        assert parameters_by_layer(model) == {
            "classifier": 280,
            "classifier.layers.inner": 812,
        }
        assert count_multiply_adds(model) == 2 * 28**3 + 280 + SHIFT


KERNEL = jnp.ones((8, 8))
LOOPS = {
    5: lambda x: lax.scan(lambda x, _: (x @ KERNEL, None), x, length=5),
    3: lambda x: lax.fori_loop(0, 3, lambda _, x: x @ KERNEL, x),
    2: lambda x: lax.cond(x.sum() > 0, lambda: x @ KERNEL @ KERNEL, lambda: x @ KERNEL),
}


@pytest.mark.parametrize("count, function", LOOPS.items())
def test_loops_count_by_length_and_branches_by_the_costliest(count, function):
    assert work(function, jnp.ones((1, 8))) == count * 64


def test_a_loop_of_unknown_length_counts_once_with_a_warning():
    def loop(x):
        return lax.while_loop(lambda x: x.sum() > 1, lambda x: x @ KERNEL, x)

    with pytest.warns(UserWarning, match="at least"):
        assert work(loop, jnp.ones((1, 8))) == 64
