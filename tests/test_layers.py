"""Layers: convolutions as XLA's, norms by hand, initialization as PyTorch's."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax

from mnistsum.config import ModelConfig
from mnistsum.models.layers import Conv, Dense, Norm

MAPS = jax.random.normal(jax.random.key(3), (3, 9, 10, 2))


def conv(config, shape=(3, 3, 3, 4), **fields) -> Conv:
    return Conv(config, shape, nnx.Rngs(0), **fields)


def dense(config, inputs=3, outputs=4) -> Dense:
    return Dense(config, inputs, outputs, nnx.Rngs(0))


@pytest.mark.parametrize("backend", ["cpu", "gpu"])  # the layer chooses its way by it
@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize(
    "size, stride",
    [
        pytest.param(
            *case,
            marks=[] if case in ((1, 2), (3, 1), (4, 1), (5, 2)) else pytest.mark.slow,
        )
        for case in itertools.product((1, 3, 4, 5), (1, 2, 3))
    ],
)
def test_convolution_and_its_gradients_equal_lax(
    size, stride, padding, backend, monkeypatch
):
    layer = conv(ModelConfig(), (size, size, 3, 4), stride=stride, padding=padding)
    monkeypatch.setattr(jax, "default_backend", lambda: backend)

    def expected(layer, maps):
        layout = ("CHWN", "HWIO", "CHWN")
        out = lax.conv_general_dilated(
            maps, layer.kernel[...], (stride, stride), padding, dimension_numbers=layout
        )
        return out + layer.bias[:, None, None, None]

    def with_gradients(function):
        out, gradients = jax.vjp(function, layer, MAPS)
        return jax.tree.leaves((out, gradients(jnp.cos(out))))

    both = (
        jax.jit(with_gradients, static_argnums=0)(function)
        for function in (Conv.__call__, expected)
    )
    for a, b in zip(*both, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind, inputs", [(conv, MAPS), (dense, MAPS.T)])
def test_in_bfloat16_a_layer_rounds_its_operands_alone(kind, inputs):
    def round_(array):
        return lax.reduce_precision(array, exponent_bits=8, mantissa_bits=7)

    layer, forward = kind(ModelConfig()), jax.jit(lambda layer, inputs: layer(inputs))
    exact, rough = (
        forward(layer, inputs),
        forward(kind(ModelConfig(dtype="bfloat16")), inputs),
    )
    layer.kernel[...] = round_(layer.kernel[...])
    assert rough.dtype == jnp.float32
    np.testing.assert_allclose(
        rough, forward(layer, round_(inputs)), rtol=1e-5, atol=1e-5
    )
    assert not np.allclose(rough, exact, rtol=1e-5, atol=1e-5)


def test_a_norm_divides_each_example_by_its_own_root_mean_square():
    norm = Norm(3, nnx.Rngs(0))
    norm.scale[...] = jnp.array([1.0, 2.0, 3.0])
    maps = np.asarray(MAPS)
    expected = (
        maps
        / np.sqrt((maps**2).mean((0, 1, 2)))
        * np.array([1, 2, 3])[:, None, None, None]
    )
    np.testing.assert_allclose(
        jax.jit(lambda maps: norm(maps))(MAPS), expected, rtol=1e-4
    )


def test_initialization_is_that_of_torch_or_he():
    he = conv(ModelConfig(), (3, 3, 64, 64))
    np.testing.assert_allclose(he.kernel[...].var(), 2 / (9 * 64), rtol=0.03)
    assert not he.bias[...].any()
    config = ModelConfig(initialization="torch")
    for layer, fan_in in (
        (conv(config, (3, 3, 64, 64)), 9 * 64),
        (conv(config, (5, 5, 1, 64)), 25),
        (dense(config, 20, 128), 20),
    ):
        # torch.nn.Conv2d and Linear: kernel and bias uniform within
        bound = 1 / math.sqrt(fan_in)
        for leaf in jax.tree.leaves(layer):
            assert 0.9 * bound < jnp.abs(leaf).max() <= bound
            np.testing.assert_allclose(
                leaf.std(), bound / math.sqrt(3), rtol=2 / math.sqrt(leaf.size)
            )
