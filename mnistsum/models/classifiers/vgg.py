"""The classifier of `best`."""

import jax
from flax import nnx
from jaxtyping import Array, Float

from mnistsum.config import InputError, ModelConfig
from mnistsum.models.layers import Conv, Dense, Norm, flatten, max_pool, to_maps


class VGG(nnx.Module):
    """Three pairs of 3x3 convolutions, the first at full resolution, a pool after each of the first two pairs.

    Maps of 26x26 and 24x24, pooled to 12x12; 12x12 and 10x10, pooled to 5x5; 5x5 and 3x3; after each convolution an RMS
    norm and a ReLU, at the end a dense layer.
    Source: Simonyan & Zisserman 2015, arXiv:1409.1556, for stacks of 3x3 convolutions; norms for its dropout.
    """

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs):
        widths = config.widths or (16, 32, 64, 64, 128, 128)
        if len(widths) != 6:
            raise InputError(f"model.widths: expected six for vgg, found {widths}")
        for i, (inputs, outputs) in enumerate(zip((1, *widths), widths, strict=False), 1):
            padding = "SAME" if i in (3, 5) else "VALID"
            setattr(self, f"conv{i}", Conv(config, inputs, outputs, 3, rngs, padding=padding))
            setattr(self, f"norm{i}", Norm(outputs, rngs))
        self.features = 9 * widths[-1]
        self.output = Dense(config, self.features, 10, rngs)

    def __call__(
        self, image: Float[Array, "batch 28 28 1"]
    ) -> tuple[Float[Array, "batch f"], Float[Array, "batch 10"]]:
        x = to_maps(image)
        for i in range(1, 7):
            conv, norm = getattr(self, f"conv{i}"), getattr(self, f"norm{i}")
            x = jax.nn.relu(norm(conv(x)))
            if i in (2, 4):
                x = max_pool(x)
        features = flatten(x)
        return features, self.output(features)
