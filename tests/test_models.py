"""Models: what they are made of, how they start, and what holds for any of them."""

import dataclasses
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from mnistsum.config import ModelConfig
from mnistsum.models import ADDERS, CLASSIFIERS, build
from mnistsum.models.layers import convolve, max_pool
from mnistsum.models.summary import count_multiply_adds, count_parameters, summarise

KEY = jax.random.key(3)
REFERENCE = ModelConfig(classifier="reference", initialisation="torch")
PAIRS = [
    ModelConfig(classifier=classifier, adder=adder, channels=(2, 3, 4))
    for classifier, adder in itertools.product(CLASSIFIERS, ADDERS)
]
IMAGE = jax.random.normal(KEY, (6, 28, 28, 1))
TYPES = ("float32", "bfloat16")
NUMBER = jax.nn.one_hot(jnp.arange(6), 10)


def test_the_reference_has_the_parameters_of_the_write_up_and_its_multiply_adds():
    assert count_parameters(REFERENCE) == 6_384_925
    assert count_multiply_adds(REFERENCE) == 158_985_600


def test_the_table_adds_up_and_shows_the_vectors_of_10_10_20_and_19():
    for config in (REFERENCE, ModelConfig()):
        rows = summarise(config)
        assert sum(row.parameters for row in rows) == count_parameters(config)
        assert sum(row.multiply_adds for row in rows) == count_multiply_adds(config)
        shapes = {row.name: row.shape for row in rows}
        assert [shapes[name] for name in ("digit", "number", "adder.join", "sum")] == [(10,), (10,), (20,), (19,)]


def test_multiply_adds_by_hand():
    # 12*12*25*2 + 10*10*9*2*3 + 3*3*9*3*4 + 36*10, then 20*128 + 128*19
    assert count_multiply_adds(ModelConfig(channels=(2, 3, 4))) == 7200 + 5400 + 972 + 360 + 2560 + 2432


def test_torch_initialisation_fills_the_bounds_of_torch():
    model = build(REFERENCE, KEY)
    for layer, fan_in in ((model.classifier.conv1, 9), (model.classifier.conv5, 9 * 256), (model.adder.hidden, 20)):
        bound = 1 / math.sqrt(fan_in)  # torch.nn.Conv2d and Linear: kernel and bias uniform within
        for leaf in jax.tree.leaves(layer):
            assert float(jnp.abs(leaf).max()) <= bound
        kernel = np.asarray(layer.kernel[...])
        assert np.abs(kernel).max() > 0.95 * bound
        np.testing.assert_allclose(kernel.std(), bound / math.sqrt(3), rtol=0.1)
        assert float(jnp.abs(layer.bias[...]).max()) > 0


def test_he_initialisation_has_variance_two_over_fan_in():
    model = build(dataclasses.replace(REFERENCE, initialisation="he"), KEY)
    for layer, fan_in in ((model.classifier.conv4, 9 * 128), (model.classifier.conv6, 9 * 512)):
        np.testing.assert_allclose(np.asarray(layer.kernel[...]).var(), 2 / fan_in, rtol=0.02)
        assert not layer.bias[...].any()


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("size", [1, 3, 4, 5])
def test_convolution_and_its_gradients_equal_lax(padding, stride, size):
    maps, kernel = jax.random.normal(KEY, (3, 9, 10, 2)), jax.random.normal(KEY, (size, size, 3, 4))

    def expected(maps, kernel):
        layout = ("CHWN", "HWIO", "CHWN")
        return lax.conv_general_dilated(maps, kernel, (stride, stride), padding, dimension_numbers=layout)

    def value(function):
        def total(maps, kernel):
            out = function(maps, kernel)
            return jnp.sin(out).sum(), out

        return jax.jit(jax.value_and_grad(total, argnums=(0, 1), has_aux=True))(maps, kernel)

    assert jax.default_backend() == "cpu"  # elsewhere, convolve is lax's own
    ours = value(lambda maps, kernel: convolve(maps, kernel, stride, padding, "float32"))
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(value(expected)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_a_bfloat16_convolution_rounds_its_operands_and_sums_in_float32():
    maps, kernel = jax.random.normal(KEY, (3, 9, 10, 2)), jax.random.normal(KEY, (3, 3, 3, 4))
    maps, kernel = (array.astype(jnp.bfloat16).astype(jnp.float32) for array in (maps, kernel))
    exact, rough = (jax.jit(convolve, static_argnums=(2, 3, 4))(maps, kernel, 1, "SAME", t) for t in TYPES)
    assert rough.dtype == jnp.float32
    np.testing.assert_allclose(rough, exact, rtol=1e-5, atol=1e-5)  # these operands are bfloat16 already


def test_max_pool_by_hand():
    maps = jnp.arange(15.0).reshape(1, 3, 5, 1)
    assert max_pool(maps)[0, :, :, 0].tolist() == [[6.0, 8.0]]


@pytest.mark.parametrize("config", PAIRS, ids=lambda config: f"{config.classifier}+{config.adder}")
class TestEveryPair:
    """What holds for any classifier with any adder."""

    def test_leaves_are_float32_parameters_and_logits_have_their_shapes(self, config):
        model = jax.eval_shape(lambda key: build(config, key), KEY)
        assert {leaf.dtype for leaf in jax.tree.leaves(model)} == {jnp.dtype("float32")}
        logits = jax.eval_shape(lambda model: model(IMAGE, NUMBER), model)
        assert (logits.digit.shape, logits.sum.shape) == ((6, 10), (6, 19))

    def test_a_permuted_batch_permutes_the_logits(self, config):
        model = jax.jit(build, static_argnums=0)(config, KEY)
        order = jnp.array([3, 0, 5, 1, 4, 2])
        forward = jax.jit(type(model).__call__)
        for a, b in zip(forward(model, IMAGE[order], NUMBER[order]), forward(model, IMAGE, NUMBER), strict=True):
            np.testing.assert_allclose(a, b[order], rtol=1e-5, atol=1e-5)

    def test_the_digit_does_not_depend_on_the_number_and_the_sum_does(self, config):
        model = build(config, KEY)
        digit, total = jax.jit(jax.jacobian(lambda number: tuple(model(IMAGE[:1], number))))(NUMBER[:1])
        assert not digit.any()
        assert total.any()

    def test_bfloat16_computes_near_float32_and_keeps_float32_logits(self, config):
        forward = jax.jit(lambda model: model(IMAGE, NUMBER))
        exact = forward(build(config, KEY))
        rough = forward(build(dataclasses.replace(config, dtype="bfloat16"), KEY))
        for a, b in zip(exact, rough, strict=True):
            assert b.dtype == jnp.float32
            assert (a != b).any()
            np.testing.assert_allclose(a, b, atol=0.1 * float(jnp.abs(a).max()))
