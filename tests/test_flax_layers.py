"""Plain Flax layers: the quick convolution and pools are those of Flax, and a network gets the convolution unasked."""

import dataclasses
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
from mnistsum.models import abstract_model, build, layers_in_other_types
from mnistsum.models.flax_layers import (
    quick_avg_pool,
    quick_convolution,
    quick_max_pool,
)
from mnistsum.models.summary import slow_operations
from mnistsum.registry import added_names

KEY = jax.random.key(0)
MAPS = jax.random.normal(KEY, (3, 9, 8, 6))


def value_and_gradients(function, *inputs):
    """Return a function's output, and the gradients of a sum of its squares."""
    output, pullback = jax.vjp(jax.jit(function), *inputs)
    return output, *pullback(jnp.cos(output))


@pytest.mark.parametrize(
    "options",
    [
        {"padding": "SAME"},
        {"padding": "VALID", "strides": 2},
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
def test_the_quick_convolution_and_its_gradients_are_those_of_flax(options):
    options = {"kernel_size": (3, 2), "in_features": 6, "out_features": 6} | options
    found = []
    for function in (lax.conv_general_dilated, quick_convolution):
        layer = nnx.Conv(**options, conv_general_dilated=function, rngs=nnx.Rngs(KEY))
        found.append(value_and_gradients(nnx.Conv.__call__, layer, MAPS))
    for a, b in zip(*map(jax.tree.leaves, found), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("strides", "padding"), [((1, 1), "SAME"), ((1, 3), ((2, 1), (0, 3)))]
)
def test_in_bfloat16_the_quick_convolution_and_its_gradients_are_those_of_rounded_operands(
    strides, padding
):
    def convolution(function, maps, kernel):
        layout = ("NHWC", "HWIO", "NHWC")
        return function(
            maps,
            kernel,
            strides,
            padding,
            dimension_numbers=layout,
            preferred_element_type=jnp.float32,
        )

    rounded = [
        array.astype(jnp.bfloat16)
        for array in (MAPS, jax.random.normal(KEY, (3, 2, 6, 5)))
    ]
    found = []
    for function, operands in (
        (quick_convolution, rounded),
        (
            lax.conv_general_dilated,
            [operand.astype(jnp.float32) for operand in rounded],
        ),
    ):
        output, pullback = jax.vjp(jax.jit(partial(convolution, function)), *operands)
        gradient = (
            jnp.cos(jnp.arange(output.size))
            .reshape(output.shape)
            .astype(jnp.bfloat16)
            .astype(jnp.float32)
        )
        found.append((output, *pullback(gradient)))
    # gradients have the type of the operands
    for a, b, rtol in zip(*found, (1e-5, 1e-2, 1e-2), strict=True):
        np.testing.assert_allclose(a.astype(jnp.float32), b, rtol=rtol, atol=rtol)


POOLS = [
    {"strides": (2, 2)},
    {"strides": (2, 1), "padding": "SAME"},
    {},
    {"padding": ((1, 0), (2, 1))},
]


@pytest.mark.parametrize("options", POOLS, ids=str)
@pytest.mark.parametrize(
    ("quick", "plain"), [(quick_max_pool, nnx.max_pool), (quick_avg_pool, nnx.avg_pool)]
)
def test_the_quick_pools_and_their_gradients_are_those_of_flax(options, quick, plain):
    for window in ((2, 2), (3, 2)):
        found = [
            value_and_gradients(partial(pool, window_shape=window, **options), MAPS)
            for pool in (quick, plain)
        ]
        for a, b in zip(*found, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("strides", "windows"), [((2, 2), 4), ((1, 1), 9)])
def test_equal_maxima_share_the_gradient(strides, windows):
    flat = jnp.ones((1, 4, 4, 1))
    gradient = jax.jit(
        jax.grad(lambda maps: quick_max_pool(maps, (2, 2), strides).sum())
    )(flat)
    assert (gradient > 0).all()
    assert gradient.sum() == windows
    if windows == 4:  # which do not overlap
        assert (gradient == 1 / 4).all()


class Plain(nnx.Module):
    """A network in plain Flax; its second convolution has a type of its own, its third another convolution."""

    def __init__(self, config, rngs):
        self.features = 4
        self.conv1 = nnx.Conv(1, 4, (3, 3), rngs=rngs)
        self.conv2 = nnx.Conv(4, 4, (3, 3), rngs=rngs, dtype=jnp.float32)
        self.conv3 = nnx.Conv(4, 4, (3, 3), rngs=rngs, conv_general_dilated=native)
        self.output = nnx.Linear(4, 10, rngs=rngs)

    def __call__(self, image):
        x = nnx.max_pool(
            self.conv3(self.conv2(jax.nn.relu(self.conv1(image)))), (2, 2), (2, 2)
        )
        features = x.mean((1, 2))
        return features, self.output(features)


def native(*arguments, **options):
    return lax.conv_general_dilated(*arguments, **options)


@pytest.fixture
def plain():
    with added_names(CLASSIFIERS={"plain": Plain}):
        yield ModelConfig(classifier="plain", dtype="bfloat16")


def test_a_network_gets_the_quick_convolution_and_the_type_where_it_has_chosen_none(
    plain,
):
    convs = [getattr(build(plain, KEY).classifier, f"conv{i}") for i in (1, 2, 3)]
    assert [conv.conv_general_dilated for conv in convs] == [
        quick_convolution,
        quick_convolution,
        native,
    ]
    assert [conv.dtype for conv in convs] == [jnp.bfloat16, jnp.float32, None]
    assert convs[0](jnp.ones((1, 28, 28, 1))).dtype == jnp.float32


@pytest.mark.slow
def test_what_stays_slow_is_named_with_the_remedy(plain):
    slow = [("classifier", "convolution"), ("classifier", "pool")]
    assert slow_operations(abstract_model(plain)) == slow
    lines = check_own(override(smoke, ["model.classifier=plain"]))
    for operation, remedy in (("convolution", "nnx.Conv"), ("pool", "quick_max_pool")):
        said = f"its classifier trains slowly on CPUs, because it holds XLA's own {operation}; use {remedy}"
        assert any(said in line for line in lines)


class Mixed(nnx.Module):
    def __init__(self, config, rngs):
        self.features = 10
        self.conv = nnx.Conv(1, 2, (3, 3), strides=3, rngs=rngs)
        self.plain = nnx.Linear(200, 10, rngs=rngs)
        self.output = nnx.Linear(10, 10, dtype=config.dtype, rngs=rngs)

    def __call__(self, image):
        features = self.plain(self.conv(image).reshape(len(image), -1))
        return features, self.output(features)


def test_layers_that_do_not_compute_in_the_type_of_the_config_are_named(mnist):
    with added_names(CLASSIFIERS={"mixed": Mixed}):
        config = ModelConfig(classifier="mixed", dtype="bfloat16")
        with console.capture() as shown:
            introduce(prepare(Config("mine", model=config), "", mnist))
        assert shown.get().startswith(
            "mine, seed 0, bfloat16 except in classifier.plain, on "
        )
        assert layers_in_other_types(abstract_model(config), "bfloat16") == [
            "classifier.plain"
        ]
        config = dataclasses.replace(config, dtype="float32")
        assert layers_in_other_types(abstract_model(config), "float32") == []
    assert (
        layers_in_other_types(abstract_model(ModelConfig(dtype="bfloat16")), "bfloat16")
        == []
    )
