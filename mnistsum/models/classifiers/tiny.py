"""A small fully convolutional network."""

from functools import partial

from flax import nnx

from mnistsum.config import ModelConfig
from mnistsum.models.flax_layers import quick_max_pool
from mnistsum.models.classifiers import widths
from mnistsum.types import DigitLogits, Features, Images

init = nnx.initializers.he_normal()
Conv = partial(nnx.Conv, kernel_size=(3, 3), kernel_init=init)
# over the whole map of an example
Norm = partial(nnx.RMSNorm, reduction_axes=(1, 2, 3), feature_axes=-1)
max_pool = partial(quick_max_pool, window_shape=(2, 2), strides=(2, 2))


class Tiny(nnx.Module):
    """Convolutions and a global average; five widths.

    No layer has parameters for a position.

    Source of the global average: Lin et al. 2013, "Network in network",
    arXiv:1312.4400.
    """

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs):
        c1, c2, c3, c4, c5 = widths(config, (8, 16, 16, 16, 16))
        self.conv1, self.norm1 = Conv(1, c1, rngs=rngs), Norm(c1, rngs=rngs)
        self.conv2, self.norm2 = Conv(c1, c2, rngs=rngs), Norm(c2, rngs=rngs)
        self.conv3, self.norm3 = Conv(c2, c3, rngs=rngs), Norm(c3, rngs=rngs)
        self.conv4, self.norm4 = Conv(c3, c4, rngs=rngs), Norm(c4, rngs=rngs)
        self.conv5, self.norm5 = Conv(c4, c5, rngs=rngs), Norm(c5, rngs=rngs)
        self.features = c5
        self.output = nnx.Linear(c5, 10, kernel_init=init, rngs=rngs)

    def __call__(self, image: Images) -> tuple[Features, DigitLogits]:
        x = max_pool(nnx.relu(self.norm1(self.conv1(image))))
        x = nnx.relu(self.norm2(self.conv2(x)))
        x = max_pool(nnx.relu(self.norm3(self.conv3(x))))
        x = nnx.relu(self.norm4(self.conv4(x)))
        x = nnx.relu(self.norm5(self.conv5(x)))
        features = x.mean((1, 2))
        return features, self.output(features)
