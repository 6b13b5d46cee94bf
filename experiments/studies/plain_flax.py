"""Networks in plain Flax, and one of them in this project's layers; `experiments.benchmark` times most of them.

In plain Flax, only the pool is this project's (`quick_max_pool`).
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from mnistsum.config import ModelConfig
from mnistsum.models.flax_layers import quick_max_pool
from mnistsum.models.layers import Conv, Dense, flatten, max_pool, to_maps
from mnistsum.types import DigitLogits, Features, Images


class Network(nnx.Module):
    """A classifier: layers that return its features, and a linear layer."""

    def __init__(self, features: int, output: nnx.Module, *layers):
        self.features, self.output, self.body = (
            features,
            output,
            nnx.Sequential(*layers),
        )

    def __call__(self, image: Images) -> tuple[Features, DigitLogits]:
        features = self.body(image)
        return features, self.output(features)


class Residual(nnx.Module):
    """Layers whose output is added to their input, or to its projection."""

    def __init__(self, project, *layers):
        self.project, self.body = project, nnx.Sequential(*layers)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.project(x) + self.body(x)


pool = partial(quick_max_pool, window_shape=(2, 2), strides=(2, 2))
join = partial(jax.lax.collapse, start_dimension=1)
average = partial(jnp.mean, axis=(1, 2))


def two_convolutions(is_ours: bool, config: ModelConfig, rngs: nnx.Rngs) -> Network:
    """Return two convolutions with batch norms, pools and dropout, in plain Flax or in this project's layers."""
    layers: list[Any] = [to_maps] if is_ours else []
    for inputs, outputs in ((1, 32), (32, 64)):
        if is_ours:
            layers.append(Conv(config, (3, 3, inputs, outputs), rngs))
        else:
            layers.append(nnx.Conv(inputs, outputs, (3, 3), rngs=rngs))
        norm = nnx.BatchNorm(outputs, axis=0 if is_ours else -1, rngs=rngs)
        layers += [norm, nnx.relu, max_pool if is_ours else pool]
    output = (
        Dense(config, 7 * 7 * 64, 10, rngs)
        if is_ours
        else nnx.Linear(7 * 7 * 64, 10, rngs=rngs)
    )
    return Network(
        7 * 7 * 64,
        output,
        *layers,
        flatten if is_ours else join,
        nnx.Dropout(0.25, rngs=rngs),
    )


def compact(config: ModelConfig, rngs: nnx.Rngs) -> Network:
    """Return the classifier of `base` in plain Flax."""
    layers: list[Any] = []
    for inputs, outputs, size, stride, padding in (
        (1, 24, 5, 2, "VALID"),
        (24, 48, 3, 1, "VALID"),
        (48, 64, 3, 1, "SAME"),
        (64, 96, 3, 1, "VALID"),
    ):
        layers.append(
            nnx.Conv(inputs, outputs, (size, size), stride, padding=padding, rngs=rngs)
        )
        layers += [
            nnx.RMSNorm(outputs, reduction_axes=(1, 2, 3), feature_axes=3, rngs=rngs),
            nnx.relu,
        ]
        if outputs == 48:
            layers.append(pool)
    return Network(9 * 96, nnx.Linear(9 * 96, 10, rngs=rngs), *layers, join)


def resnet(config: ModelConfig, rngs: nnx.Rngs) -> Network:
    """Return three residual blocks of 16, 32 and 64 channels (He et al. 2015, arXiv:1512.03385)."""

    def convolve(
        inputs: int, outputs: int, stride: int = 1
    ) -> tuple[nnx.Module, nnx.Module]:
        layer = nnx.Conv(
            inputs, outputs, (3, 3), stride, padding=1, use_bias=False, rngs=rngs
        )
        return layer, nnx.BatchNorm(outputs, rngs=rngs)

    def block(inputs: int, outputs: int, project: Any, stride: int = 1) -> Residual:
        return Residual(
            project,
            *convolve(inputs, outputs, stride),
            nnx.relu,
            *convolve(outputs, outputs),
        )

    layers = [*convolve(1, 16), nnx.relu, block(16, 16, jax.nn.identity), nnx.relu]
    for width in (16, 32):
        project = nnx.Conv(width, 2 * width, (1, 1), 2, use_bias=False, rngs=rngs)
        layers += [block(width, 2 * width, project, 2), nnx.relu]
    return Network(64, nnx.Linear(64, 10, rngs=rngs), *layers, average)


def convnext(config: ModelConfig, rngs: nnx.Rngs) -> Network:
    """Return a ConvNeXt block of 48 channels, with a depthwise 7x7 convolution (Liu et al. 2022, arXiv:2201.03545)."""
    block = Residual(
        jax.nn.identity,
        nnx.Conv(48, 48, (7, 7), feature_group_count=48, rngs=rngs),
        nnx.LayerNorm(48, rngs=rngs),
        nnx.Linear(48, 192, rngs=rngs),
        nnx.gelu,
        nnx.Linear(192, 48, rngs=rngs),
    )
    stem = nnx.Conv(1, 48, (4, 4), 4, rngs=rngs)
    return Network(48, nnx.Linear(48, 10, rngs=rngs), stem, block, average)


CLASSIFIERS = {
    "plain_two_convolutions": partial(two_convolutions, False),
    "two_convolutions": partial(two_convolutions, True),
    "plain_compact": compact,
    "plain_resnet": resnet,
    "plain_convnext": convnext,
}
