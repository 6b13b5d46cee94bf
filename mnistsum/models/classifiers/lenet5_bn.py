"""LeNet-5 with later techniques: batch norm, ReLU and dropout."""

import jax
from flax import nnx

from mnistsum.config import ModelConfig
from mnistsum.models.layers import Conv, Dense, average_pool, flatten, to_maps, widths
from mnistsum.types import DigitLogits, Features, Images

DROPPED = 0.25  # share of the units of each hidden dense layer
MOMENTUM = 0.9  # of the batch norms' running statistics


class LeNet5BN(nnx.Module):
    """LeNet-5 with batch norms, ReLU instead of tanh, and dropout.

    A batch norm precedes each nonlinearity, and dropout follows both hidden layers.

    Sources: LeCun et al. 1998, "Gradient-based learning applied to document
    recognition"; Ioffe & Szegedy 2015, "Batch normalization", arXiv:1502.03167;
    Srivastava et al. 2014, "Dropout: a simple way to prevent neural networks from
    overfitting".
    """

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs):
        c1, c2, f1, f2 = widths(config, (6, 16, 120, 84))
        self.conv1 = Conv(config, (5, 5, 1, c1), rngs)
        self.norm1 = nnx.BatchNorm(c1, axis=0, momentum=MOMENTUM, rngs=rngs)
        self.conv2 = Conv(config, (5, 5, c1, c2), rngs, padding="VALID")
        self.norm2 = nnx.BatchNorm(c2, axis=0, momentum=MOMENTUM, rngs=rngs)
        self.dense1 = Dense(config, 25 * c2, f1, rngs)
        self.norm3 = nnx.BatchNorm(f1, momentum=MOMENTUM, rngs=rngs)
        self.dropout1 = nnx.Dropout(DROPPED, rngs=rngs)
        self.dense2 = Dense(config, f1, f2, rngs)
        self.norm4 = nnx.BatchNorm(f2, momentum=MOMENTUM, rngs=rngs)
        self.dropout2 = nnx.Dropout(DROPPED, rngs=rngs)
        self.features = f2
        self.output = Dense(config, f2, 10, rngs)

    def __call__(self, image: Images) -> tuple[Features, DigitLogits]:
        x = average_pool(jax.nn.relu(self.norm1(self.conv1(to_maps(image)))))
        x = flatten(average_pool(jax.nn.relu(self.norm2(self.conv2(x)))))
        x = self.dropout1(jax.nn.relu(self.norm3(self.dense1(x))))
        x = self.dropout2(jax.nn.relu(self.norm4(self.dense2(x))))
        return x, self.output(x)
