"""Residual blocks."""

from functools import partial
from itertools import pairwise

from flax import nnx
from jaxtyping import Array, Float

from mnistsum.config import ModelConfig
from mnistsum.types import DigitLogits, Features, Images

Conv = partial(nnx.Conv, kernel_init=nnx.initializers.he_normal())
Linear = partial(nnx.Linear, kernel_init=nnx.initializers.he_normal())
# over the whole map of an example
Norm = partial(nnx.RMSNorm, reduction_axes=(1, 2, 3), feature_axes=-1)


class ResidualBlock(nnx.Module):
    """Norm, ReLU and convolution, twice, added to the input.

    If shapes change, the first ReLU is projected instead.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, rngs: nnx.Rngs):
        self.norm1 = Norm(inputs, rngs=rngs)
        self.conv1 = Conv(inputs, outputs, (3, 3), stride, rngs=rngs)
        self.norm2 = Norm(outputs, rngs=rngs)
        self.conv2 = Conv(outputs, outputs, (3, 3), rngs=rngs)
        if (inputs, stride) == (outputs, 1):
            self.project = None
        else:
            self.project = Conv(inputs, outputs, (1, 1), stride, rngs=rngs)

    def __call__(
        self, x: Float[Array, "batch h w c"]
    ) -> Float[Array, "batch h2 w2 c2"]:
        y = nnx.relu(self.norm1(x))
        shortcut = x if self.project is None else self.project(y)
        return shortcut + self.conv2(nnx.relu(self.norm2(self.conv1(y))))


class ResNet(nnx.Module):
    """A pre-activation residual network: a 5x5 stem, then one block per width.

    Each block but the first halves height and width. RMS norms replace batch norms.
    Source: He et al. 2016, "Identity mappings in deep residual networks",
    arXiv:1603.05027.
    """

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs):
        widths = config.widths or (16, 32, 64)
        self.features = widths[-1]
        self.stem = Conv(1, widths[0], (5, 5), 2, padding="VALID", rngs=rngs)
        self.blocks = nnx.List([ResidualBlock(widths[0], widths[0], 1, rngs)])
        for inputs, outputs in pairwise(widths):
            self.blocks.append(ResidualBlock(inputs, outputs, 2, rngs))
        self.norm = Norm(self.features, rngs=rngs)
        self.output = Linear(self.features, 10, rngs=rngs)

    def __call__(self, image: Images) -> tuple[Features, DigitLogits]:
        x = self.stem(image)
        for block in self.blocks:
            x = block(x)
        features = nnx.relu(self.norm(x)).mean((1, 2))
        return features, self.output(features)
