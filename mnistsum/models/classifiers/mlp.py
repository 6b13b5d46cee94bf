"""Fully connected layers only."""

from functools import partial

from flax import nnx

from mnistsum.config import ModelConfig
from mnistsum.models.classifiers import require_he
from mnistsum.types import DigitLogits, Features, Images

Linear = partial(nnx.Linear, kernel_init=nnx.initializers.he_normal())


class MLP(nnx.Module):
    """A multilayer perceptron on the 784 pixels; one width for each hidden layer.

    Source: Simard et al. 2003, "Best practices for convolutional neural networks
    applied to visual document analysis".
    """

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs):
        require_he(config)
        widths = config.widths or (256, 128)
        self.features = widths[-1]
        sizes = zip((784, *widths), widths, strict=False)
        self.hidden = nnx.List(
            [Linear(inputs, outputs, rngs=rngs) for inputs, outputs in sizes]
        )
        self.output = Linear(self.features, 10, rngs=rngs)

    def __call__(self, image: Images) -> tuple[Features, DigitLogits]:
        x = image.reshape(-1, 784)
        for layer in self.hidden:
            x = nnx.relu(layer(x))
        return x, self.output(x)
