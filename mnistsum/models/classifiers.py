"""Classifiers: an image to features and 10 digit logits. Built as (config, rngs); `features` is how wide they are."""

import jax
from flax import nnx
from jaxtyping import Array, Float

from mnistsum.config import ModelConfig
from mnistsum.models.layers import Conv, Dense, Norm, max_pool


class Reference(nnx.Module):
    """The network of the write-up: seven 3x3 convolutions and 6,379,786 parameters, without norm or dropout.

    Source: the write-up gives the total; the layers are inferred from it and from the network of the same count in
    gkdivya/EVA, folder 3_PyTorchNeuralNetwork.
    """

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs):
        self.conv1 = Conv(config, 1, 32, 3, rngs)
        self.conv2 = Conv(config, 32, 64, 3, rngs)
        self.conv3 = Conv(config, 64, 128, 3, rngs)
        self.conv4 = Conv(config, 128, 256, 3, rngs)
        self.conv5 = Conv(config, 256, 512, 3, rngs, padding="VALID")
        self.conv6 = Conv(config, 512, 1024, 3, rngs, padding="VALID")
        self.conv7 = Conv(config, 1024, 10, 3, rngs, padding="VALID")
        self.features = 1024

    def __call__(
        self, image: Float[Array, "batch 28 28 1"]
    ) -> tuple[Float[Array, "batch f"], Float[Array, "batch 10"]]:
        x = jax.nn.relu(self.conv1(image))
        x = max_pool(jax.nn.relu(self.conv2(x)))
        x = jax.nn.relu(self.conv3(x))
        x = max_pool(jax.nn.relu(self.conv4(x)))
        x = jax.nn.relu(self.conv5(x))
        x = jax.nn.relu(self.conv6(x))
        return x.mean((1, 2)), self.conv7(x).reshape(len(image), 10)


class Compact(nnx.Module):
    """A small network for CPUs."""

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs):
        c1, c2, c3 = config.channels
        self.conv1 = Conv(config, 1, c1, 5, rngs, stride=2)
        self.norm1 = Norm(config, c1, rngs)
        self.conv2 = Conv(config, c1, c2, 3, rngs)
        self.norm2 = Norm(config, c2, rngs)
        self.conv3 = Conv(config, c2, c3, 3, rngs)
        self.norm3 = Norm(config, c3, rngs)
        self.features = 9 * c3
        self.output = Dense(config, self.features, 10, rngs)

    def __call__(
        self, image: Float[Array, "batch 28 28 1"]
    ) -> tuple[Float[Array, "batch f"], Float[Array, "batch 10"]]:
        x = jax.nn.relu(self.norm1(self.conv1(image)))
        x = max_pool(jax.nn.relu(self.norm2(self.conv2(x))))
        x = max_pool(jax.nn.relu(self.norm3(self.conv3(x))))
        features = x.reshape(len(image), -1)
        return features, self.output(features)
