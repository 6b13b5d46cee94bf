"""Fully connected layers only."""

import jax
from flax import nnx

from mnistsum.config import ModelConfig
from mnistsum.models.layers import Dense
from mnistsum.types import DigitLogits, Features, Images


class MLP(nnx.Module):
    """A multilayer perceptron on the 784 pixels; one width for each hidden layer.

    Source: Simard et al. 2003, "Best practices for convolutional neural networks
    applied to visual document analysis".
    """

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs):
        widths = config.widths or (256, 128)
        self.features = widths[-1]
        sizes = zip((784, *widths), widths, strict=False)
        self.hidden = nnx.List(
            [Dense(config, inputs, outputs, rngs) for inputs, outputs in sizes]
        )
        self.output = Dense(config, self.features, 10, rngs)

    def __call__(self, image: Images) -> tuple[Features, DigitLogits]:
        x = image.reshape(image.shape[0], 784)
        for layer in self.hidden:
            x = jax.nn.relu(layer(x))
        return x, self.output(x)
