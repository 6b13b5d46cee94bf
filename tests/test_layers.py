"""Layers: convolutions and their gradients as XLA's, norms and pools by hand, initialization as PyTorch's."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax

from mnistsum.config import ModelConfig
from mnistsum.models.layers import Conv, Dense, Norm, average_pool, max_pool

KEY = jax.random.key(3)
MAPS = jax.random.normal(KEY, (3, 9, 10, 2))


def convolution(stride=1, padding="SAME", size=3, dtype="float32") -> Conv:
    return Conv(ModelConfig(dtype=dtype), (size, size, 3, 4), nnx.Rngs(0), stride, padding)


@pytest.mark.parametrize("backend", ["cpu", "gpu"])  # the layer chooses its way by it
@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize(
    ("size", "stride"),
    [
        pytest.param(*case, marks=[] if case in ((1, 2), (3, 1), (4, 1), (5, 2)) else pytest.mark.slow)
        for case in itertools.product((1, 3, 4, 5), (1, 2, 3))
    ],
)
def test_convolution_and_its_gradients_equal_lax(size, stride, padding, backend, monkeypatch):
    def expected(layer, maps):
        layout = ("CHWN", "HWIO", "CHWN")
        out = lax.conv_general_dilated(maps, layer.kernel[...], (stride, stride), padding, dimension_numbers=layout)
        return out + layer.bias[:, None, None, None]

    def value(function):
        def total(layer, maps):
            out = function(layer, maps)
            return jnp.sin(out).sum(), out

        return jax.jit(jax.value_and_grad(total, argnums=(0, 1), has_aux=True))(layer, MAPS)

    layer = convolution(stride, padding, size)
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    for a, b in zip(jax.tree.leaves(value(Conv.__call__)), jax.tree.leaves(value(expected)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_a_bfloat16_convolution_rounds_its_operands_and_sums_in_float32():
    forward = jax.jit(Conv.__call__)
    layer, rough = convolution(), forward(convolution(dtype="bfloat16"), MAPS)
    exact = forward(layer, MAPS)
    layer.kernel[...] = jax.lax.reduce_precision(layer.kernel[...], 8, 7)  # bfloat16's
    rounded = forward(layer, jax.lax.reduce_precision(MAPS, 8, 7))
    assert rough.dtype == jnp.float32
    np.testing.assert_allclose(rough, rounded, rtol=1e-5, atol=1e-5)
    assert not np.allclose(rough, exact, rtol=1e-5, atol=1e-5)


def test_pools_by_hand():
    maps = jnp.array([[1.0, 2, 3, 4, 9], [5, 6, 7, 8, 9], [9, 9, 9, 9, 9]])[None, :, :, None]
    assert average_pool(maps)[0, :, :, 0].tolist() == [[3.5, 5.5]]
    assert max_pool(maps)[0, :, :, 0].tolist() == [[6.0, 8.0]]


def test_a_norm_divides_each_example_by_its_own_root_mean_square():
    norm = Norm(3, nnx.Rngs(0))
    norm.scale[...] = jnp.array([1.0, 2.0, 3.0])
    maps = np.asarray(MAPS)
    expected = maps / np.sqrt((maps**2).mean((0, 1, 2))) * np.array([1, 2, 3])[:, None, None, None]
    np.testing.assert_allclose(jax.jit(lambda maps: norm(maps))(MAPS), expected, rtol=1e-4)


def test_initialization_fills_the_bounds_of_torch_or_has_hes_variance_of_two_over_fan_in():
    he = Conv(ModelConfig(), (3, 3, 64, 64), nnx.Rngs(0))
    np.testing.assert_allclose(np.asarray(he.kernel[...]).var(), 2 / (9 * 64), rtol=0.03)
    assert not he.bias[...].any()
    config = ModelConfig(initialization="torch")
    for layer, fan_in in (
        (Conv(config, (3, 3, 64, 64), nnx.Rngs(0)), 9 * 64),
        (Conv(config, (5, 5, 1, 64), nnx.Rngs(0)), 25),
        (Dense(config, 20, 128, nnx.Rngs(0)), 20),
    ):
        bound = 1 / math.sqrt(fan_in)  # torch.nn.Conv2d and Linear: kernel and bias uniform within
        for leaf in map(np.asarray, jax.tree.leaves(layer)):
            assert 0.9 * bound < np.abs(leaf).max() <= bound
            np.testing.assert_allclose(leaf.std(), bound / math.sqrt(3), rtol=2 / math.sqrt(leaf.size))
            np.testing.assert_allclose(leaf.mean(), 0, atol=2.5 * bound / math.sqrt(leaf.size))
