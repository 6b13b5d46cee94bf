"""Plain Flax layers: quick convolutions and pools are those of Flax."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax

from experiments.configs.smoke import config as smoke
from experiments.report.terminal import introduce
from experiments.training.record import check_own, prepare
from mnistsum.app.console import console
from mnistsum.config import Config, ModelConfig, override
from mnistsum.models import (
    abstract_model,
    build,
    flax_layers,
    layers_in_other_types,
)
from mnistsum.models.flax_layers import quick_convolution, quick_max_pool
from mnistsum.registry import added_names

KEY = jax.random.key(0)
MAPS = jax.random.normal(KEY, (3, 9, 8, 6))
LARGE = jax.random.normal(KEY, (3, 14, 13, 6))  # where XLA's own convolution is quicker
KERNEL = jax.random.normal(KEY, (3, 2, 6, 5))


def value_and_gradients(function, *inputs):
    """Return a function's output, and the gradients of a sum of its squares."""
    output, pullback = jax.vjp(jax.jit(function), *inputs)
    return output, *pullback(jnp.cos(output))


def assert_close(found, expected, rtol=1e-4, atol=1e-5):
    leaves = map(jax.tree.leaves, (found, expected))
    for a, b in zip(*leaves, strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=atol)


@pytest.mark.parametrize(
    "options",
    [
        {"padding": "SAME"},
        {"padding": "VALID", "strides": 2},
        {"padding": ((2, 1), (0, 3))},
        {"padding": ((2, 1), (0, 3)), "strides": (1, 3)},
        {"padding": "SAME", "kernel_dilation": (2, 1), "strides": (2, 1)},
        {"padding": "CIRCULAR", "use_bias": False},
        {"feature_group_count": 6},
        {"feature_group_count": 3, "strides": 2},
        {"feature_group_count": 6, "out_features": 12},
        {"input_dilation": 2, "padding": ((0, 0), (0, 0))},  # which XLA computes
    ],
    ids=str,
)
@pytest.mark.parametrize("maps", [MAPS, LARGE], ids=["small", "large"])
def test_the_quick_convolution_and_its_gradients_are_flaxs(options, maps):
    options = {"kernel_size": (3, 2), "in_features": 6, "out_features": 6} | options
    found = []
    for function in (quick_convolution, lax.conv_general_dilated):
        layer = nnx.Conv(**options, conv_general_dilated=function, rngs=nnx.Rngs(KEY))
        found.append(value_and_gradients(nnx.Conv.__call__, layer, maps))
    assert_close(*found)


@pytest.mark.parametrize(
    "strides, padding", [((1, 1), "SAME"), ((1, 3), ((2, 1), (0, 3)))]
)
@pytest.mark.parametrize("maps", [MAPS, LARGE], ids=["small", "large"])
def test_in_bfloat16_the_quick_convolution_rounds_its_operands(strides, padding, maps):
    """Output and gradients are those of rounded operands in float32."""
    rounded = [
        array.astype(jnp.bfloat16)
        for array in (maps, jax.random.normal(KEY, (3, 2, 6, 5)))
    ]

    def results(function, dtype):
        def convolution(*operands):
            options = {"dimension_numbers": ("NHWC", "HWIO", "NHWC")}
            options |= {"preferred_element_type": jnp.float32}
            return function(*operands, strides, padding, **options)

        operands = [array.astype(dtype) for array in rounded]
        output, pullback = jax.vjp(jax.jit(convolution), *operands)
        slopes = jax.random.normal(KEY, output.shape, jnp.bfloat16)
        gradients = pullback(slopes.astype(jnp.float32))
        return output, [gradient.astype(jnp.float32) for gradient in gradients]

    output, gradients = results(quick_convolution, jnp.bfloat16)
    expected, slopes = results(lax.conv_general_dilated, jnp.float32)
    assert_close(output, expected, 1e-5)
    # they have the type of the operands
    assert_close(gradients, slopes, 1e-2, 1e-2)


@pytest.mark.parametrize(
    "options",
    [
        {"strides": (2, 2)},
        {"strides": (2, 1), "padding": "SAME"},
        {},
        {"padding": ((1, 0), (2, 1))},
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", ["max_pool", "avg_pool"])
def test_the_quick_pools_and_their_gradients_are_flaxs(options, kind):
    pools = getattr(flax_layers, f"quick_{kind}"), getattr(nnx, kind)
    for window in ((2, 2), (3, 2)):
        found, expected = (
            value_and_gradients(partial(pool, window_shape=window, **options), MAPS)
            for pool in pools
        )
        assert_close(found, expected, 1e-5)


def test_equal_maxima_share_the_gradient():
    @partial(jax.jit, static_argnums=1)
    @jax.grad
    def slopes(maps, stride):
        return quick_max_pool(maps, (2, 2), (stride, stride)).sum()

    flat = jnp.ones((1, 4, 4, 1))
    assert (slopes(flat, 2) == 1 / 4).all()
    assert (slopes(flat, 1) > 0).all() and slopes(flat, 1).sum() == 9  # they overlap


def native(*arguments, **options):
    return lax.conv_general_dilated(*arguments, **options)


def product(*arguments, **options):
    return lax.dot_general(*arguments, **options)


class Plain(nnx.Module):
    """A plain layer of each kind, one with a type, and one with a function."""

    def __init__(self, config, rngs):
        self.features = 4
        self.conv1 = nnx.Conv(1, 4, (3, 3), rngs=rngs)
        self.conv2 = nnx.Conv(4, 4, (3, 3), rngs=rngs, dtype=jnp.float32)
        self.conv3 = nnx.Conv(4, 4, (3, 3), rngs=rngs, conv_general_dilated=native)
        self.dense1 = nnx.Linear(4, 4, rngs=rngs)
        self.dense2 = nnx.Linear(4, 4, rngs=rngs, dtype=jnp.float32)
        self.output = nnx.Linear(4, 10, rngs=rngs, dot_general=product)

    def __call__(self, image):
        maps = self.conv3(self.conv2(jax.nn.relu(self.conv1(image))))
        pooled = nnx.max_pool(maps, (2, 2), (2, 2)).mean((1, 2))
        features = self.dense2(self.dense1(pooled))
        return features, self.output(features)


@pytest.fixture
def plain():
    with added_names(CLASSIFIERS={"plain": Plain}):
        yield ModelConfig(classifier="plain", dtype="bfloat16")


def test_a_network_gets_what_it_has_not_chosen(plain):
    """The quick convolution, and the type of the config."""
    network = build(plain, KEY).classifier
    convs = network.conv1, network.conv2, network.conv3
    functions = [conv.conv_general_dilated for conv in convs]
    assert functions == [quick_convolution, quick_convolution, native]
    for layers in (convs, (network.dense1, network.dense2, network.output)):
        assert [layer.dtype for layer in layers] == [jnp.bfloat16, jnp.float32, None]
    for layer, inputs in ((network.conv1, (1, 28, 28, 1)), (network.dense1, (1, 4))):
        assert layer(jnp.ones(inputs)).dtype == jnp.float32


@pytest.mark.slow
def test_what_stays_slow_is_named_with_the_remedy(plain):
    lines = "\n".join(check_own(override(smoke, ["model.classifier=plain"])))
    for operation, remedy in (("convolution", "nnx.Conv"), ("pool", "quick_max_pool")):
        reason = f"it holds XLA's own {operation}; use {remedy}"
        assert f"its classifier trains slowly on CPUs, because {reason}" in lines


class Mixed(nnx.Module):
    def __init__(self, config, rngs):
        self.features = 10
        self.exact = nnx.Linear(784, 10, dtype=jnp.float32, rngs=rngs)
        self.output = nnx.Linear(10, 10, rngs=rngs)

    def __call__(self, image):
        features = self.exact(image.reshape(len(image), 784))
        return features, self.output(features)


def test_layers_that_compute_in_another_type_are_named(mnist):
    config = ModelConfig(classifier="mixed", dtype="bfloat16")
    with added_names(CLASSIFIERS={"mixed": Mixed}), console.capture() as shown:
        introduce(prepare(Config("mine", model=config), "", mnist))
    said = "mine, seed 0, bfloat16 except in classifier.exact, on "
    assert shown.get().startswith(said)
    for dtype in ("float32", "bfloat16"):
        ours = abstract_model(ModelConfig(dtype=dtype))
        assert layers_in_other_types(ours, dtype) == []
