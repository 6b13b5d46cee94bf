"""The write-up's classifier."""

from functools import partial

from flax import nnx

from mnistsum.config import ModelConfig
from mnistsum.models.classifiers import widths
from mnistsum.models.flax_layers import quick_max_pool
from mnistsum.models.layers import initializers
from mnistsum.types import DigitLogits, Features, Images

max_pool = partial(quick_max_pool, window_shape=(2, 2), strides=(2, 2))


class Reference(nnx.Module):
    """The write-up's network: seven 3x3 convolutions, 6,379,786 parameters.

    It has no norm and no dropout, and six widths.

    Source: the write-up gives the total; the layers are inferred from it and from the
    network with the same count in gkdivya/EVA, folder 3_PyTorchNeuralNetwork.
    """

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs):
        def conv(inputs: int, outputs: int, padding: str = "SAME") -> nnx.Conv:
            kernel_init, bias_init = initializers(config, 9 * inputs)
            return nnx.Conv(
                inputs,
                outputs,
                (3, 3),
                padding=padding,
                kernel_init=kernel_init,
                bias_init=bias_init,
                rngs=rngs,
            )

        c1, c2, c3, c4, c5, c6 = widths(config, (32, 64, 128, 256, 512, 1024))
        self.conv1 = conv(1, c1)
        self.conv2 = conv(c1, c2)
        self.conv3 = conv(c2, c3)
        self.conv4 = conv(c3, c4)
        self.conv5 = conv(c4, c5, padding="VALID")
        self.conv6 = conv(c5, c6, padding="VALID")
        self.conv7 = conv(c6, 10, padding="VALID")
        self.features = c6

    def __call__(self, image: Images) -> tuple[Features, DigitLogits]:
        x = nnx.relu(self.conv1(image))
        x = max_pool(nnx.relu(self.conv2(x)))
        x = nnx.relu(self.conv3(x))
        x = max_pool(nnx.relu(self.conv4(x)))
        x = nnx.relu(self.conv5(x))
        x = nnx.relu(self.conv6(x))
        return x.mean((1, 2)), self.conv7(x).reshape(len(x), 10)
