"""The network and the training with which the literature adds MNIST images.

    python -m experiments.studies.written_sums --digits N --seeds 5 \
        experiments/studies/written_sums/mnist_net.py training.batch_size=S

Source: `MNIST_Net` of ML-KULeuven/deepproblog, which HEmile/a-nesi takes over, with
Adam at 0.001. A-NeSI trains on 16 examples at a time, so S = 32 N images, for 100
epochs (anesi/experiments/mnist_op/repeat).
"""

import jax
from flax import nnx

from mnistsum import Config, ModelConfig, OptimizerConfig, TrainingConfig
from mnistsum.models.layers import Conv, Dense, flatten, max_pool, to_maps
from mnistsum.types import DigitLogits, Features, Images


class MnistNet(nnx.Module):
    """Two 5x5 convolutions with max pools and three dense layers, 44,426 parameters."""

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs):
        self.conv1 = Conv(config, (5, 5, 1, 6), rngs, padding="VALID")
        self.conv2 = Conv(config, (5, 5, 6, 16), rngs, padding="VALID")
        self.dense1 = Dense(config, 256, 120, rngs)
        self.dense2 = Dense(config, 120, 84, rngs)
        self.features = 84
        self.output = Dense(config, 84, 10, rngs)

    def __call__(self, image: Images) -> tuple[Features, DigitLogits]:
        x = jax.nn.relu(max_pool(self.conv1(to_maps(image))))
        x = flatten(jax.nn.relu(max_pool(self.conv2(x))))
        x = jax.nn.relu(self.dense2(jax.nn.relu(self.dense1(x))))
        return x, self.output(x)


CLASSIFIERS = {"mnist_net": MnistNet}
config = Config(
    name="mnist_net",
    model=ModelConfig(classifier="mnist_net", initialization="torch"),
    optimizer=OptimizerConfig(
        name="adamw", learning_rate=0.001, momentum=0.9, schedule="constant"
    ),
    training=TrainingConfig(epochs=100.0, batch_size=32),
)
