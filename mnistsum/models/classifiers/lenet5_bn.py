"""LeNet-5 with later techniques: batch norm, ReLU and dropout."""

from functools import partial

from flax import nnx

from mnistsum.config import ModelConfig
from mnistsum.models.classifiers import widths
from mnistsum.models.flax_layers import quick_avg_pool
from mnistsum.types import DigitLogits, Features, Images

Conv = partial(nnx.Conv, kernel_init=nnx.initializers.he_normal())
Linear = partial(nnx.Linear, kernel_init=nnx.initializers.he_normal())
avg_pool = partial(quick_avg_pool, window_shape=(2, 2), strides=(2, 2))

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
        self.conv1 = Conv(1, c1, (5, 5), rngs=rngs)
        self.norm1 = nnx.BatchNorm(c1, momentum=MOMENTUM, rngs=rngs)
        self.conv2 = Conv(c1, c2, (5, 5), padding="VALID", rngs=rngs)
        self.norm2 = nnx.BatchNorm(c2, momentum=MOMENTUM, rngs=rngs)
        self.dense1 = Linear(25 * c2, f1, rngs=rngs)
        self.norm3 = nnx.BatchNorm(f1, momentum=MOMENTUM, rngs=rngs)
        self.dropout1 = nnx.Dropout(DROPPED, rngs=rngs)
        self.dense2 = Linear(f1, f2, rngs=rngs)
        self.norm4 = nnx.BatchNorm(f2, momentum=MOMENTUM, rngs=rngs)
        self.dropout2 = nnx.Dropout(DROPPED, rngs=rngs)
        self.features = f2
        self.output = Linear(f2, 10, rngs=rngs)

    def __call__(self, image: Images) -> tuple[Features, DigitLogits]:
        x = avg_pool(nnx.relu(self.norm1(self.conv1(image))))
        x = avg_pool(nnx.relu(self.norm2(self.conv2(x))))
        x = self.dense1(x.reshape(len(x), -1))
        x = self.dropout1(nnx.relu(self.norm3(x)))
        x = self.dropout2(nnx.relu(self.norm4(self.dense2(x))))
        return x, self.output(x)
