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
from mnistsum.models.layers import Conv, Dense, Norm, average_pool, convolve, max_pool

KEY = jax.random.key(3)
MAPS, KERNEL = jax.random.normal(KEY, (3, 9, 10, 2)), jax.random.normal(KEY, (3, 3, 3, 4))


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize(
    ("size", "stride"),
    [
        pytest.param(*case, marks=[] if case in ((1, 2), (3, 1), (4, 1), (5, 2)) else pytest.mark.slow)
        for case in itertools.product((1, 3, 4, 5), (1, 2, 3))
    ],
)
def test_convolution_and_its_gradients_equal_lax(padding, stride, size, monkeypatch):
    kernel = jax.random.normal(KEY, (size, size, 3, 4))

    def expected(maps, kernel):
        layout = ("CHWN", "HWIO", "CHWN")
        return lax.conv_general_dilated(maps, kernel, (stride, stride), padding, dimension_numbers=layout)

    def value(function):
        def total(maps, kernel):
            out = function(maps, kernel)
            return jnp.sin(out).sum(), out

        return jax.jit(jax.value_and_grad(total, argnums=(0, 1), has_aux=True))(MAPS, kernel)

    for backend in ("cpu", "gpu"):  # convolve chooses its way by it
        monkeypatch.setattr(jax, "default_backend", lambda backend=backend: backend)
        ours = value(lambda maps, kernel: convolve(maps, kernel, stride, padding, "float32"))
        for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(value(expected)), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_a_bfloat16_convolution_rounds_its_operands_and_sums_in_float32():
    rounded = (array.astype(jnp.bfloat16).astype(jnp.float32) for array in (MAPS, KERNEL))
    convolution = jax.jit(convolve, static_argnums=(2, 3, 4))
    rough = convolution(MAPS, KERNEL, 1, "SAME", "bfloat16")
    assert rough.dtype == jnp.float32
    np.testing.assert_allclose(rough, convolution(*rounded, 1, "SAME", "float32"), rtol=1e-5, atol=1e-5)
    assert not np.allclose(rough, convolution(MAPS, KERNEL, 1, "SAME", "float32"), rtol=1e-5, atol=1e-5)


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
