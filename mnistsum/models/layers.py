"""Layers shared by the architectures.

Feature maps are [channels, height, width, batch].

With the batch innermost, convolutions, norms and pools on the CPU move whole rows of
memory and use its vector units fully. Classifiers are written with these layers where
plain Flax takes more time (experiments/studies/speed/plain_flax.md). An accelerator's
compiler chooses its own layout.
"""

import math
from functools import partial, reduce

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax
from jaxtyping import Array, Float

from mnistsum.config import ModelConfig
from mnistsum.errors import InputError
from mnistsum.models import conv_cpu
from mnistsum.models.flax_layers import split_tiles


def to_maps(
    images: Float[Array, "batch height width channels"],
) -> Float[Array, "channels height width batch"]:
    """Return images as feature maps."""
    return images.transpose(3, 1, 2, 0)


def flatten(
    maps: Float[Array, "channels height width batch"],
) -> Float[Array, "batch channels*height*width"]:
    """Return each example's maps as one vector."""
    return maps.reshape(-1, maps.shape[-1]).T


class Conv(nnx.Module):
    """A convolution with bias, from [inputs, h, w, batch] to [outputs, h', w', batch].

    The kernel's shape is (height, width, inputs, outputs). Operands are rounded to
    `config.dtype`. Sums are float32 on the CPU and `config.dtype` on accelerators.
    """

    # Whether the platform is chosen when the program is lowered, as in exports.
    # Otherwise it is that of this process, because a choice would change the digests of
    # programs.
    is_portable = False

    def __init__(
        self,
        config: ModelConfig,
        shape: tuple[int, int, int, int],
        rngs: nnx.Rngs,
        stride=1,
        padding="SAME",
    ):
        kernel_init, bias_init = initializers(config, math.prod(shape[:3]))
        self.kernel = nnx.Param(kernel_init(rngs.params(), shape, jnp.float32))
        self.bias = nnx.Param(bias_init(rngs.params(), shape[3:], jnp.float32))
        self.stride, self.padding, self.dtype = stride, padding, config.dtype

    def __call__(
        self, maps: Float[Array, "inputs height width batch"]
    ) -> Float[Array, "outputs height2 width2 batch"]:
        inputs = self.kernel.shape[2]
        if maps.ndim != 4 or maps.shape[0] != inputs:
            raise TypeError(
                f"Conv: expected maps [{inputs}, height, width, batch] (`to_maps`), "
                f"found {maps.shape}"
            )
        if self.is_portable:
            out: Array = lax.platform_dependent(
                maps, cpu=self._as_product, default=self._native
            )
        elif jax.default_backend() == "cpu":
            out = self._as_product(maps)
        else:
            out = self._native(maps)
        return out + self.bias[:, None, None, None]

    def _as_product(self, maps):
        window = conv_cpu.make_window(
            maps, self.kernel.shape[:2], (self.stride,) * 2, self.padding
        )
        return conv_cpu.convolve_as_product(
            maps, self.kernel[...], window, self.dtype, 0
        )

    def _native(self, maps):
        maps, kernel = maps.astype(self.dtype), self.kernel[...].astype(self.dtype)
        convolve = partial(
            lax.conv_general_dilated,
            window_strides=(self.stride,) * 2,
            padding=self.padding,
        )
        return convolve(
            maps, kernel, dimension_numbers=("CHWN", "HWIO", "CHWN")
        ).astype(jnp.float32)


class Dense(nnx.Linear):
    """A fully connected layer with bias: [..., inputs] to [..., outputs], float32."""

    def __init__(self, config: ModelConfig, inputs: int, outputs: int, rngs: nnx.Rngs):
        kernel_init, bias_init = initializers(config, inputs)
        super().__init__(
            inputs,
            outputs,
            dtype=jnp.dtype(config.dtype),
            preferred_element_type=jnp.float32,
            kernel_init=kernel_init,
            bias_init=bias_init,
            rngs=rngs,
        )


class Norm(nnx.RMSNorm):
    """Divides each example by the root mean square of all its maps.

    It learns one scale for each channel.

    Source: Zhang & Sennrich 2019, arXiv:1910.07467, over channels, height and width.
    """

    def __init__(self, channels: int, rngs: nnx.Rngs):
        super().__init__(channels, reduction_axes=(0, 1, 2), feature_axes=0, rngs=rngs)


def widths(config: ModelConfig, default: tuple[int, ...]) -> tuple[int, ...]:
    """Return the config's widths, or the default if it has none."""
    if config.widths and len(config.widths) != len(default):
        found, example = config.widths, ",".join(map(str, default))
        raise InputError(
            f"model.widths: expected {len(default)}, such as {example}, for "
            f"{config.classifier}, found {found}"
        )
    return config.widths or default


def initializers(config: ModelConfig, fan_in: int):
    """Return the initializers of a kernel and of its bias.

    `torch`: both uniform in +-1 / sqrt(fan_in), PyTorch's default for convolutions and
    linear layers (the formula of `torch.nn.init.kaiming_uniform_` with a = sqrt(5)).
    `he`: kernel truncated normal with variance 2 / fan_in (He et al. 2015,
    arXiv:1502.01852), bias zero.
    """
    if config.initialization == "torch":
        bound = 1 / math.sqrt(fan_in)

        def uniform(key, shape, dtype=jnp.float32, out_sharding=None):
            return jax.random.uniform(key, shape, dtype, -bound, bound)

        return uniform, uniform
    return nnx.initializers.he_normal(), nnx.initializers.zeros_init()


def average_pool(
    maps: Float[Array, "channels height width batch"],
) -> Float[Array, "channels height//2 width//2 batch"]:
    """Return the mean of each 2x2 square; an odd last row or column is dropped."""
    return reduce(jnp.add, _squares(maps)) / 4


def max_pool(
    maps: Float[Array, "channels height width batch"],
) -> Float[Array, "channels height//2 width//2 batch"]:
    """Return the maximum of each 2x2 square; an odd last row or column is dropped."""
    return reduce(jnp.maximum, _squares(maps))


def _squares(maps: Array) -> list[Array]:
    """Return the values at each place of 2x2 squares.

    A reduction over axes, as in `quick_max_pool`, would change the bits of trained
    weights, and so published results.
    """
    tiles = split_tiles(maps, (2, 2))
    return [tiles[:, :, i, :, j] for i, j in np.ndindex(2, 2)]
