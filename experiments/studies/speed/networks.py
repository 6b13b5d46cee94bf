"""A residual network in plain Flax, as a user would write it."""

from typing import Any

import jax
from flax import nnx

from mnistsum.config import ModelConfig
from mnistsum.types import DigitLogits, Features, Images


class Block(nnx.Module):
    """Two 3x3 convolutions; their output is added to their input or its projection."""

    def __init__(self, inputs: int, outputs: int, rngs: nnx.Rngs):
        stride = outputs // inputs
        options: dict[str, Any] = {"padding": 1, "use_bias": False, "rngs": rngs}
        self.first = nnx.Conv(inputs, outputs, (3, 3), stride, **options)
        self.first_norm = nnx.BatchNorm(outputs, rngs=rngs)
        self.second = nnx.Conv(outputs, outputs, (3, 3), **options)
        self.second_norm = nnx.BatchNorm(outputs, rngs=rngs)
        if inputs == outputs:
            self.project = jax.nn.identity
        else:
            self.project = nnx.Conv(
                inputs, outputs, (1, 1), stride, use_bias=False, rngs=rngs
            )

    def __call__(self, x: jax.Array) -> jax.Array:
        y = nnx.relu(self.first_norm(self.first(x)))
        y = self.second_norm(self.second(y))
        return nnx.relu(y + self.project(x))


class ResNet(nnx.Module):
    """Three blocks of 16, 32 and 64 channels (He et al. 2015, arXiv:1512.03385)."""

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs):
        self.features = 64
        self.stem = nnx.Conv(1, 16, (3, 3), padding=1, use_bias=False, rngs=rngs)
        self.norm = nnx.BatchNorm(16, rngs=rngs)
        self.blocks = nnx.List(
            [Block(16, 16, rngs), Block(16, 32, rngs), Block(32, 64, rngs)]
        )
        self.output = nnx.Linear(64, 10, rngs=rngs)

    def __call__(self, image: Images) -> tuple[Features, DigitLogits]:
        x = nnx.relu(self.norm(self.stem(image)))
        for block in self.blocks:
            x = block(x)
        features = x.mean((1, 2))
        return features, self.output(features)


CLASSIFIERS = {"plain_resnet": ResNet}
