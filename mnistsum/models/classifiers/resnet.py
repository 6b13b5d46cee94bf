"""Residual blocks."""

import jax
from flax import nnx
from jaxtyping import Array, Float

from mnistsum.config import ModelConfig
from mnistsum.models.layers import Conv, Dense, Norm, to_maps
from mnistsum.types import DigitLogits, Features, Images


class ResidualBlock(nnx.Module):
    """Norm, ReLU and convolution, twice, added to the input.

    If shapes change, the first ReLU is projected instead.
    """

    def __init__(
        self,
        config: ModelConfig,
        inputs: int,
        outputs: int,
        rngs: nnx.Rngs,
        stride: int,
    ):
        self.norm1 = Norm(inputs, rngs)
        self.conv1 = Conv(config, (3, 3, inputs, outputs), rngs, stride)
        self.norm2 = Norm(outputs, rngs)
        self.conv2 = Conv(config, (3, 3, outputs, outputs), rngs)
        if (inputs, stride) == (outputs, 1):
            self.project = None
        else:
            self.project = Conv(config, (1, 1, inputs, outputs), rngs, stride)

    def __call__(
        self, maps: Float[Array, "c h w batch"]
    ) -> Float[Array, "c2 h2 w2 batch"]:
        x = jax.nn.relu(self.norm1(maps))
        shortcut = maps if self.project is None else self.project(x)
        return shortcut + self.conv2(jax.nn.relu(self.norm2(self.conv1(x))))


class ResNet(nnx.Module):
    """A pre-activation residual network: a 5x5 stem, then one block per width.

    Each block but the first halves height and width. RMS norms replace batch norms.
    Source: He et al. 2016, "Identity mappings in deep residual networks",
    arXiv:1603.05027.
    """

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs):
        widths = config.widths or (16, 32, 64)
        self.features = widths[-1]
        self.stem = Conv(config, (5, 5, 1, widths[0]), rngs, stride=2, padding="VALID")
        self.blocks = nnx.List()
        for i, (inputs, outputs) in enumerate(
            zip((widths[0], *widths), widths, strict=False)
        ):
            self.blocks.append(
                ResidualBlock(config, inputs, outputs, rngs, stride=1 if i == 0 else 2)
            )
        self.norm = Norm(self.features, rngs)
        self.output = Dense(config, self.features, 10, rngs)

    def __call__(self, image: Images) -> tuple[Features, DigitLogits]:
        x = self.stem(to_maps(image))
        for block in self.blocks:
            x = block(x)
        features = jax.nn.relu(self.norm(x)).mean((1, 2)).T
        return features, self.output(features)
