"""Classifiers: an image to features and 10 digit logits. Built as (config, rngs); `features` is how wide they are."""

import jax
from flax import nnx
from jaxtyping import Array, Float

from mnistsum.config import ModelConfig
from mnistsum.models.layers import Conv, Dense, Norm, flatten, max_pool, to_maps


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
        x = jax.nn.relu(self.conv1(to_maps(image)))
        x = max_pool(jax.nn.relu(self.conv2(x)))
        x = jax.nn.relu(self.conv3(x))
        x = max_pool(jax.nn.relu(self.conv4(x)))
        x = jax.nn.relu(self.conv5(x))
        x = jax.nn.relu(self.conv6(x))
        return x.mean((1, 2)).T, flatten(self.conv7(x))


class Compact(nnx.Module):
    """A small network for CPUs: few, large products, and no full-resolution map.

    A 5x5 convolution of stride 2 to 12x12, a 3x3 one and a pool to 5x5, padded 3x3 ones for all channels between the
    second and the last, and a last 3x3 one to 3x3; after each an RMS norm and a ReLU, at the end a dense layer.
    """

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs):
        self.depth = len(config.channels)
        for i, (inputs, outputs) in enumerate(zip((1, *config.channels), config.channels, strict=False)):
            size, stride = (5, 2) if i == 0 else (3, 1)
            padding = "SAME" if 1 < i < self.depth - 1 else "VALID"
            setattr(self, f"conv{i + 1}", Conv(config, inputs, outputs, size, rngs, stride, padding))
            setattr(self, f"norm{i + 1}", Norm(outputs, rngs))
        self.features = 9 * config.channels[-1]
        self.output = Dense(config, self.features, 10, rngs)

    def __call__(
        self, image: Float[Array, "batch 28 28 1"]
    ) -> tuple[Float[Array, "batch f"], Float[Array, "batch 10"]]:
        x = to_maps(image)
        for i in range(1, self.depth + 1):
            conv, norm = getattr(self, f"conv{i}"), getattr(self, f"norm{i}")
            x = jax.nn.relu(norm(conv(x)))
            if i == 2:
                x = max_pool(x)
        features = flatten(x)
        return features, self.output(features)
