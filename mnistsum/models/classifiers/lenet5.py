"""The first convolutional network for digits."""

from functools import partial

from flax import nnx

from mnistsum.config import ModelConfig
from mnistsum.models.classifiers import widths
from mnistsum.models.flax_layers import quick_avg_pool
from mnistsum.types import DigitLogits, Features, Images

Conv = partial(nnx.Conv, kernel_init=nnx.initializers.he_normal())
Linear = partial(nnx.Linear, kernel_init=nnx.initializers.he_normal())
avg_pool = partial(quick_avg_pool, window_shape=(2, 2), strides=(2, 2))


class LeNet5(nnx.Module):
    """LeNet-5 with tanh and average pools: 61,706 parameters; four widths.

    Source: LeCun et al. 1998, "Gradient-based learning applied to document
    recognition", with all maps of the second convolution connected to all of the first,
    plain pools, and a dense layer instead of radial basis functions.
    """

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs):
        c1, c2, f1, f2 = widths(config, (6, 16, 120, 84))
        self.conv1 = Conv(1, c1, (5, 5), rngs=rngs)
        self.conv2 = Conv(c1, c2, (5, 5), padding="VALID", rngs=rngs)
        self.dense1 = Linear(25 * c2, f1, rngs=rngs)
        self.dense2 = Linear(f1, f2, rngs=rngs)
        self.features = f2
        self.output = Linear(f2, 10, rngs=rngs)

    def __call__(self, image: Images) -> tuple[Features, DigitLogits]:
        x = avg_pool(nnx.tanh(self.conv1(image)))
        x = avg_pool(nnx.tanh(self.conv2(x)))
        x = nnx.tanh(self.dense1(x.reshape(len(x), -1)))
        x = nnx.tanh(self.dense2(x))
        return x, self.output(x)
