"""Layers shared by the architectures. Feature maps are [channels, height, width, batch].

With the batch innermost, the shifted views of a convolution, norms and pools move whole rows of memory and fill the
CPU's vectors; an accelerator's compiler chooses its own layout.
"""

import math
from collections.abc import Sequence
from functools import partial, reduce

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax
from jaxtyping import Array, Float, Shaped

from mnistsum.config import ModelConfig
from mnistsum.errors import InputError


def convolve(
    maps: Float[Array, "inputs height width batch"],
    kernel: Float[Array, "size _size inputs outputs"],
    stride: int,
    padding: str,
    dtype: str,
) -> Float[Array, "outputs height2 width2 batch"]:
    """Convolve in the fastest way for this backend, with operands rounded to `dtype` and sums in float32.

    An accelerator uses XLA's own convolution, which also rounds the sums to `dtype`.

    The CPU uses one matrix product with the stacked shifted views of the maps: XLA's own convolutions are several times
    slower to differentiate inside a loop, as in training (jax-ml/jax#12868). An evaluation takes longer with them, too:
    1.25 to 3.4 times as long on an AMD EPYC (docs/speed.md).
    """
    pads = tuple(lax.padtype_to_pads(maps.shape[1:3], kernel.shape[:2], (stride, stride), padding))
    if jax.default_backend() != "cpu":
        layout = ("CHWN", "HWIO", "CHWN")
        maps, kernel = maps.astype(dtype), kernel.astype(dtype)
        out = lax.conv_general_dilated(maps, kernel, (stride, stride), pads, dimension_numbers=layout)
        return out.astype(jnp.float32)
    return _convolve(maps, kernel, stride, pads, dtype)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _convolve(maps, kernel, stride, pads, dtype):
    return _convolve_forward(maps, kernel, stride, pads, dtype)[0]


def _convolve_forward(maps, kernel, stride, pads, dtype):
    views = stack_views(maps.astype(dtype), kernel.shape[:2], stride, pads)
    matrix = kernel.reshape(-1, kernel.shape[-1])
    # Without the barrier, XLA's CPU backend folds the transpose into the product and cannot then do it in bfloat16.
    rows = lax.optimization_barrier(matrix.astype(dtype).T)
    return product(rows, views, ((1,), (0,))), (views, kernel, maps.shape)


def _convolve_backward(stride, pads, dtype, residuals, gradient):
    views, kernel, shape = residuals
    gradient = gradient.astype(dtype)
    matrix = kernel.reshape(-1, kernel.shape[-1]).astype(dtype)
    kernel_gradient = product(views, gradient, ((1, 2, 3), (1, 2, 3)))
    views_gradient = product(matrix, gradient, ((1,), (0,)))
    views_gradient = views_gradient.reshape(*kernel.shape[:2], -1, *gradient.shape[1:])
    maps_gradient = jnp.zeros(shape, jnp.float32)
    for y, x in np.ndindex(*kernel.shape[:2]):
        edges = [
            (offset - low, size + low - offset - (n - 1) * stride - 1, stride - 1)
            for offset, (low, _), size, n in zip((y, x), pads, shape[1:3], gradient.shape[1:3], strict=True)
        ]
        maps_gradient += lax.pad(views_gradient[y, x], jnp.float32(0), ((0, 0, 0), *edges, (0, 0, 0)))
    return maps_gradient, kernel_gradient.reshape(kernel.shape)


_convolve.defvjp(_convolve_forward, _convolve_backward)


def product(
    left: Float[Array, "..."], right: Float[Array, "..."], contracted: tuple[Sequence[int], Sequence[int]]
) -> Float[Array, "..."]:
    """Return the matrix product over these axes of both operands, summed in float32.

    Height, width and batch stay separate axes, so that devices can share the batch.

    Examples:
        >>> import jax.numpy as jnp
        >>> from mnistsum.models.layers import product
        >>> product(jnp.ones((2, 3), jnp.bfloat16), jnp.ones((3, 4), jnp.bfloat16), ((1,), (0,))).dtype
        dtype('float32')
    """
    return lax.dot_general(left, right, (contracted, ((), ())), preferred_element_type=jnp.float32)


def stack_views(
    maps: Shaped[Array, "channels height width batch"],
    size: Sequence[int],
    stride: int,
    pads: Sequence[tuple[int, int]],
) -> Shaped[Array, "stacked height2 width2 batch"]:
    """Return the padded maps as seen from each position of a kernel, stacked along the channels.

    Positions are in row-major order, and the channels of one position are contiguous.

    Examples:
        >>> import jax.numpy as jnp
        >>> from mnistsum.models.layers import stack_views
        >>> maps = jnp.arange(9.0).reshape(1, 3, 3, 1)
        >>> stack_views(maps, (2, 2), stride=1, pads=((0, 0), (0, 0)))[:, 0, 0, 0].tolist()
        [0.0, 1.0, 3.0, 4.0]
    """
    if maps.dtype == jnp.bfloat16:  # XLA's CPU backend moves bfloat16 via float32, but integers directly
        integers = lax.bitcast_convert_type(maps, jnp.uint16)
        return lax.bitcast_convert_type(stack_views(integers, size, stride, pads), jnp.bfloat16)
    maps = jnp.pad(maps, ((0, 0), *pads, (0, 0)))

    def shifted(maps, axis):
        last = (maps.shape[axis] - size[axis - 1]) // stride * stride
        return [lax.slice_in_dim(maps, low, low + last + 1, stride, axis) for low in range(size[axis - 1])]

    if len(maps) == 1:  # an image: XLA would fuse its distortion into a stack of few views and recompute it for each
        return jnp.concatenate([view for row in shifted(maps, 1) for view in shifted(row, 2)])
    # Otherwise, one axis after the other, because six slices compile in half the time of nine.
    return jnp.concatenate(shifted(jnp.concatenate(shifted(maps, 2)), 1))


def to_maps(images: Float[Array, "batch height width channels"]) -> Float[Array, "channels height width batch"]:
    """Return images as feature maps."""
    return images.transpose(3, 1, 2, 0)


def flatten(maps: Float[Array, "channels height width batch"]) -> Float[Array, "batch channels*height*width"]:
    """Return each example's maps as one vector."""
    return maps.reshape(-1, maps.shape[-1]).T


class Conv(nnx.Module):
    """A convolution with bias: [inputs, height, width, batch] to [outputs, height', width', batch].

    The kernel's shape is (height, width, inputs, outputs).
    """

    def __init__(self, config: ModelConfig, shape: tuple[int, int, int, int], rngs: nnx.Rngs, stride=1, padding="SAME"):
        kernel_init, bias_init = initializers(config, math.prod(shape[:3]))
        self.kernel = nnx.Param(kernel_init(rngs.params(), shape, jnp.float32))
        self.bias = nnx.Param(bias_init(rngs.params(), shape[3:], jnp.float32))
        self.stride, self.padding, self.dtype = stride, padding, config.dtype

    def __call__(self, maps: Float[Array, "inputs height width batch"]) -> Float[Array, "outputs height2 width2 batch"]:
        inputs = self.kernel.shape[2]
        if maps.ndim != 4 or maps.shape[0] != inputs:
            raise TypeError(f"Conv: expected maps [{inputs}, height, width, batch] (`to_maps`), found {maps.shape}")
        out = convolve(maps, self.kernel[...], self.stride, self.padding, self.dtype)
        return out + self.bias[:, None, None, None]


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
    """Divides each example by the root mean square of all its maps; one learned scale per channel.

    Source: Zhang & Sennrich 2019, arXiv:1910.07467, over channels, height and width.
    """

    def __init__(self, channels: int, rngs: nnx.Rngs):
        super().__init__(channels, reduction_axes=(0, 1, 2), feature_axes=0, rngs=rngs)


def widths(config: ModelConfig, default: tuple[int, ...]) -> tuple[int, ...]:
    """Return the config's widths, or else the default; raise InputError if their counts differ."""
    if config.widths and len(config.widths) != len(default):
        found, example = config.widths, ",".join(map(str, default))
        raise InputError(
            f"model.widths: expected {len(default)}, such as {example}, for {config.classifier}, found {found}"
        )
    return config.widths or default


def initializers(config: ModelConfig, fan_in: int):
    """Return the initializers of a kernel and of its bias.

    `torch`: both uniform in +-1 / sqrt(fan_in), PyTorch's default for convolutions and linear layers (the formula of
    `torch.nn.init.kaiming_uniform_` with a = sqrt(5)). `he`: kernel truncated normal with variance 2 / fan_in (He et
    al. 2015, arXiv:1502.01852), bias zero.
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
    """Return the maximum of each 2x2 square; an odd last row or column is dropped.

    Written as maxima of four views because the gradient of XLA's pooling is a scatter, which is slow on the CPU.
    """
    return reduce(jnp.maximum, _squares(maps))


def _squares(
    maps: Float[Array, "channels height width batch"],
) -> list[Float[Array, "channels height//2 width//2 batch"]]:
    """Return the four values of each 2x2 square, as maps."""
    channels, height, width, batch = maps.shape
    squares = maps[:, : height // 2 * 2, : width // 2 * 2].reshape(channels, height // 2, 2, width // 2, 2, batch)
    return [squares[:, :, y, :, x] for y in (0, 1) for x in (0, 1)]
