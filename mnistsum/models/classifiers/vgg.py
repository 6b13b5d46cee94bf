"""The classifier of `best`."""

import jax
from flax import nnx

from mnistsum.config import ModelConfig
from mnistsum.models.layers import Conv, Dense, Norm, flatten, max_pool, to_maps, widths
from mnistsum.types import DigitLogits, Features, Images


class VGG(nnx.Module):
    """Three pairs of 3x3 convolutions, with a pool after the first two pairs.

    Maps of 26x26 and 24x24, pooled to 12x12; 12x12 and 10x10, pooled to 5x5; 5x5 and
    3x3. An RMS norm and a ReLU follow each convolution; the output layer is dense.
    Source: Simonyan & Zisserman 2015, arXiv:1409.1556, for stacks of 3x3 convolutions;
    norms replace its dropout.
    """

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs):
        c1, c2, c3, c4, c5, c6 = widths(config, (16, 32, 64, 64, 128, 128))
        self.conv1 = Conv(config, (3, 3, 1, c1), rngs, padding="VALID")
        self.norm1 = Norm(c1, rngs)
        self.conv2 = Conv(config, (3, 3, c1, c2), rngs, padding="VALID")
        self.norm2 = Norm(c2, rngs)
        self.conv3 = Conv(config, (3, 3, c2, c3), rngs)
        self.norm3 = Norm(c3, rngs)
        self.conv4 = Conv(config, (3, 3, c3, c4), rngs, padding="VALID")
        self.norm4 = Norm(c4, rngs)
        self.conv5 = Conv(config, (3, 3, c4, c5), rngs)
        self.norm5 = Norm(c5, rngs)
        self.conv6 = Conv(config, (3, 3, c5, c6), rngs, padding="VALID")
        self.norm6 = Norm(c6, rngs)
        self.features = 9 * c6
        self.output = Dense(config, self.features, 10, rngs)

    def __call__(self, image: Images) -> tuple[Features, DigitLogits]:
        x = jax.nn.relu(self.norm1(self.conv1(to_maps(image))))
        x = max_pool(jax.nn.relu(self.norm2(self.conv2(x))))
        x = jax.nn.relu(self.norm3(self.conv3(x)))
        x = max_pool(jax.nn.relu(self.norm4(self.conv4(x))))
        x = jax.nn.relu(self.norm5(self.conv5(x)))
        x = jax.nn.relu(self.norm6(self.conv6(x)))
        features = flatten(x)
        return features, self.output(features)
