"""Fully connected layers only."""

import jax
from flax import nnx
from jaxtyping import Array, Float

from mnistsum.config import ModelConfig
from mnistsum.models.layers import Dense


class MLP(nnx.Module):
    """A multilayer perceptron on the 784 pixels, a ReLU after each hidden layer; a width for each hidden layer.

    Source: Simard et al. 2003, "Best practices for convolutional neural networks applied to visual document analysis".
    """

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs):
        widths = config.widths or (256, 128)
        self.depth, self.features = len(widths), widths[-1]
        for i, (inputs, outputs) in enumerate(zip((784, *widths), widths, strict=False)):
            setattr(self, f"hidden{i + 1}", Dense(config, inputs, outputs, rngs))
        self.output = Dense(config, self.features, 10, rngs)

    def __call__(
        self, image: Float[Array, "batch 28 28 1"]
    ) -> tuple[Float[Array, "batch f"], Float[Array, "batch 10"]]:
        x = image.reshape(image.shape[0], 784)
        for i in range(self.depth):
            x = jax.nn.relu(getattr(self, f"hidden{i + 1}")(x))
        return x, self.output(x)
