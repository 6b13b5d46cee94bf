"""The write-up's classifier."""

import jax
from flax import nnx

from mnistsum.config import ModelConfig
from mnistsum.models.layers import Conv, flatten, max_pool, to_maps, widths
from mnistsum.types import DigitLogits, Features, Images


class Reference(nnx.Module):
    """The write-up's network: seven 3x3 convolutions, 6,379,786 parameters.

    It has no norm and no dropout, and six widths.

    Source: the write-up gives the total; the layers are inferred from it and from the
    network with the same count in gkdivya/EVA, folder 3_PyTorchNeuralNetwork.
    """

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs):
        c1, c2, c3, c4, c5, c6 = widths(config, (32, 64, 128, 256, 512, 1024))
        self.conv1 = Conv(config, (3, 3, 1, c1), rngs)
        self.conv2 = Conv(config, (3, 3, c1, c2), rngs)
        self.conv3 = Conv(config, (3, 3, c2, c3), rngs)
        self.conv4 = Conv(config, (3, 3, c3, c4), rngs)
        self.conv5 = Conv(config, (3, 3, c4, c5), rngs, padding="VALID")
        self.conv6 = Conv(config, (3, 3, c5, c6), rngs, padding="VALID")
        self.conv7 = Conv(config, (3, 3, c6, 10), rngs, padding="VALID")
        self.features = c6

    def __call__(self, image: Images) -> tuple[Features, DigitLogits]:
        x = jax.nn.relu(self.conv1(to_maps(image)))
        x = max_pool(jax.nn.relu(self.conv2(x)))
        x = jax.nn.relu(self.conv3(x))
        x = max_pool(jax.nn.relu(self.conv4(x)))
        x = jax.nn.relu(self.conv5(x))
        x = jax.nn.relu(self.conv6(x))
        return x.mean((1, 2)).T, flatten(self.conv7(x))
