"""A network with few parameters."""

import jax
from flax import nnx

from mnistsum.config import ModelConfig
from mnistsum.models.layers import Conv, Dense, Norm, max_pool, to_maps, widths
from mnistsum.types import DigitLogits, Features, Images


class Tiny(nnx.Module):
    """Convolutions and a global average; five widths.

    No layer has parameters for a position.

    Source of the global average: Lin et al. 2013, "Network in network",
    arXiv:1312.4400.
    """

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs):
        c1, c2, c3, c4, c5 = widths(config, (8, 16, 16, 16, 16))
        self.conv1, self.norm1 = Conv(config, (3, 3, 1, c1), rngs), Norm(c1, rngs)
        self.conv2, self.norm2 = Conv(config, (3, 3, c1, c2), rngs), Norm(c2, rngs)
        self.conv3, self.norm3 = Conv(config, (3, 3, c2, c3), rngs), Norm(c3, rngs)
        self.conv4, self.norm4 = Conv(config, (3, 3, c3, c4), rngs), Norm(c4, rngs)
        self.conv5, self.norm5 = Conv(config, (3, 3, c4, c5), rngs), Norm(c5, rngs)
        self.features = c5
        self.output = Dense(config, c5, 10, rngs)

    def __call__(self, image: Images) -> tuple[Features, DigitLogits]:
        x = max_pool(jax.nn.relu(self.norm1(self.conv1(to_maps(image)))))
        x = jax.nn.relu(self.norm2(self.conv2(x)))
        x = max_pool(jax.nn.relu(self.norm3(self.conv3(x))))
        x = jax.nn.relu(self.norm4(self.conv4(x)))
        x = jax.nn.relu(self.norm5(self.conv5(x)))
        features = x.mean((1, 2)).T
        return features, self.output(features)
