"""The classifier of `base`."""

import jax
from flax import nnx

from mnistsum.config import ModelConfig
from mnistsum.errors import InputError
from mnistsum.models.layers import Conv, Dense, Norm, flatten, max_pool, to_maps
from mnistsum.types import DigitLogits, Features, Images


class Compact(nnx.Module):
    """A small network for CPUs, with few and large matrix products.

    A 5x5 convolution with stride 2 (maps of 12x12); a 3x3 convolution and a pool (5x5);
    a padded 3x3 convolution for each width between the second and the last (5x5); and a
    3x3 convolution (3x3). An RMS norm and a ReLU follow each convolution; the output
    layer is dense.
    """

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs):
        widths = config.widths or (24, 48, 64, 96)
        if len(widths) < 3:
            raise InputError(
                f"model.widths: expected three or more for compact, found {widths}"
            )
        self.convs, self.norms = nnx.List(), nnx.List()
        for i, (inputs, outputs) in enumerate(zip((1, *widths), widths, strict=False)):
            size, stride = (5, 2) if i == 0 else (3, 1)
            padding = "SAME" if 1 < i < len(widths) - 1 else "VALID"
            self.convs.append(
                Conv(config, (size, size, inputs, outputs), rngs, stride, padding)
            )
            self.norms.append(Norm(outputs, rngs))
        self.features = 9 * widths[-1]
        self.output = Dense(config, self.features, 10, rngs)

    def __call__(self, image: Images) -> tuple[Features, DigitLogits]:
        x = to_maps(image)
        for i, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            x = jax.nn.relu(norm(conv(x)))
            if i == 1:
                x = max_pool(x)
        features = flatten(x)
        return features, self.output(features)
