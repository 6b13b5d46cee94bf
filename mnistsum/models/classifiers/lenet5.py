"""The first convolutional network for digits."""

import jax.numpy as jnp
from flax import nnx

from mnistsum.config import ModelConfig
from mnistsum.models.layers import Conv, Dense, average_pool, flatten, to_maps, widths
from mnistsum.types import DigitLogits, Features, Images


class LeNet5(nnx.Module):
    """LeNet-5 with tanh and average pools: 61,706 parameters; four widths.

    Source: LeCun et al. 1998, "Gradient-based learning applied to document
    recognition", with all maps of the second convolution connected to all of the first,
    plain pools, and a dense layer instead of radial basis functions.
    """

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs):
        c1, c2, f1, f2 = widths(config, (6, 16, 120, 84))
        self.conv1 = Conv(config, (5, 5, 1, c1), rngs)
        self.conv2 = Conv(config, (5, 5, c1, c2), rngs, padding="VALID")
        self.dense1 = Dense(config, 25 * c2, f1, rngs)
        self.dense2 = Dense(config, f1, f2, rngs)
        self.features = f2
        self.output = Dense(config, f2, 10, rngs)

    def __call__(self, image: Images) -> tuple[Features, DigitLogits]:
        x = average_pool(jnp.tanh(self.conv1(to_maps(image))))
        x = flatten(average_pool(jnp.tanh(self.conv2(x))))
        x = jnp.tanh(self.dense2(jnp.tanh(self.dense1(x))))
        return x, self.output(x)
