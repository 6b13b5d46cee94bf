"""Plain Flax layers, channels last, at full speed on CPUs.

On CPUs, XLA's own convolutions and the gradients of its pools are ten to thirty times slower inside a loop, as in
training (jax-ml/jax#12868). Here, a convolution is one matrix product with shifted slices, and a pool a maximum or a
mean of shifted slices.
"""

from collections.abc import Sequence
from functools import partial, reduce
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax
from jaxtyping import Array, Float

Maps = Float[Array, "batch height width channels"]
Pooled = Float[Array, "batch height2 width2 channels"]
Padding = str | Sequence[tuple[int, int]]


def speed_up(network: nnx.Module, dtype: str) -> None:
    """Give the `nnx.Conv` layers of a network a quick convolution, and a type if they have none of their own.

    Layers that were built with a `conv_general_dilated` of their own keep it.
    """
    for _, layer in nnx.iter_graph(network):
        if isinstance(layer, nnx.Conv) and layer.conv_general_dilated is lax.conv_general_dilated:
            layer.conv_general_dilated = quick_convolution
            if layer.dtype is None and dtype != "float32":
                layer.dtype, layer.preferred_element_type = jnp.dtype(dtype), jnp.float32


def quick_convolution(inputs: Array, kernel: Array, strides: Sequence[int], padding: Padding, **options: Any) -> Array:
    """Return what `lax.conv_general_dilated` returns, up to rounding; `nnx.Conv` takes this function in its place.

    On CPUs, it is a matrix product for images without input dilation, grouped or not; else it is XLA's convolution.
    """
    is_image = inputs.ndim == 4 and set(options.get("lhs_dilation") or (1,)) == {1}
    if jax.default_backend() != "cpu" or not is_image:
        return lax.conv_general_dilated(inputs, kernel, strides, padding, **options)
    groups, outputs = options.get("feature_group_count", 1), kernel.shape[-1]
    window = Window(kernel.shape[:2], tuple(strides), tuple(options.get("rhs_dilation") or (1, 1)))
    pads = window.pads(inputs.shape[1:3], padding)
    summed = options.get("preferred_element_type") or inputs.dtype
    if groups == 1:
        return jnp.asarray(_convolve(inputs, kernel, window, pads), summed)
    views = window.views(inputs.astype(summed), pads, 0.0)
    kernels = kernel.astype(summed).reshape(-1, *kernel.shape[2:])  # [positions, inputs of a group, outputs]
    if groups == inputs.shape[-1] == outputs:  # depthwise: XLA fuses the products of all positions
        return reduce(jnp.add, (view * weights[None, None] for view, weights in zip(views, kernels, strict=True)))
    stacked = jnp.stack([view.reshape(*view.shape[:3], groups, -1) for view in views], 4)
    stacked = stacked.reshape(*stacked.shape[:4], -1)  # [batch, height, width, groups, positions * inputs of a group]
    matrices = kernels.reshape(stacked.shape[-1], groups, -1)
    out = lax.dot_general(stacked, matrices, (((4,), (0,)), ((3,), (1,))))
    return jnp.moveaxis(out, 0, 3).reshape(*out.shape[1:4], outputs)


class Window(NamedTuple):
    """The window of a convolution or a pool, along height and width."""

    size: tuple[int, ...]
    strides: tuple[int, ...] = (1, 1)
    dilation: tuple[int, ...] = (1, 1)

    def pads(self, sides: Sequence[int], padding: Padding) -> tuple[tuple[int, int], ...]:
        """Return the padding before and after each of the image's sides."""
        if not isinstance(padding, str):
            return tuple((low, high) for low, high in padding)
        extent = [(side - 1) * step + 1 for side, step in zip(self.size, self.dilation, strict=True)]
        return tuple(lax.padtype_to_pads(sides, extent, self.strides, padding))

    def positions(self) -> list[tuple[int, ...]]:
        """Return where the window's positions begin in the padded image, in row-major order."""
        return [(y * self.dilation[0], x * self.dilation[1]) for y, x in np.ndindex(self.size)]

    def views(self, maps: Array, pads: Sequence[tuple[int, int]], fill: float) -> list[Array]:
        """Return the padded maps as seen from each position."""
        if maps.dtype == jnp.bfloat16:  # XLA's CPU backend moves bfloat16 via float32, but integers directly
            integers = self.views(lax.bitcast_convert_type(maps, jnp.uint16), pads, fill)
            return [lax.bitcast_convert_type(view, jnp.bfloat16) for view in integers]
        maps = jnp.pad(maps, ((0, 0), *pads, (0, 0)), constant_values=fill)
        height, width = (side - last for side, last in zip(maps.shape[1:3], self.positions()[-1], strict=True))
        return [maps[:, y : y + height : self.strides[0], x : x + width : self.strides[1]] for y, x in self.positions()]


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _convolve(inputs, kernel, window, pads):
    """Return the convolution as one matrix product, summed in float32."""
    return _forward(inputs, kernel, window, pads)[0]


def _forward(inputs, kernel, window, pads):
    views = jnp.concatenate(window.views(inputs, pads, 0.0), -1)
    return _product(views, kernel.reshape(-1, kernel.shape[-1]), (3,), (0,)), (inputs, kernel, views)


def _backward(window, pads, residuals, gradient):
    inputs, kernel, views = residuals
    gradient = gradient.astype(kernel.dtype)
    kernel_gradient = _product(views, gradient, (0, 1, 2), (0, 1, 2)).reshape(kernel.shape)
    views_gradient = _product(gradient, kernel.reshape(-1, kernel.shape[-1]), (3,), (1,))
    inputs_gradient = jnp.zeros(inputs.shape, jnp.float32)
    parts = jnp.split(views_gradient, len(window.positions()), -1)
    for part, position in zip(parts, window.positions(), strict=True):  # add it where its view was cut
        sides = zip(position, pads, inputs.shape[1:3], gradient.shape[1:3], window.strides, strict=True)
        edges = [(at - low, side + low - at - (n - 1) * step - 1, step - 1) for at, (low, _), side, n, step in sides]
        inputs_gradient += lax.pad(part, jnp.float32(0), ((0, 0, 0), *edges, (0, 0, 0)))
    return inputs_gradient.astype(inputs.dtype), kernel_gradient.astype(kernel.dtype)


_convolve.defvjp(_forward, _backward)


def _product(left: Array, right: Array, of_left: Sequence[int], of_right: Sequence[int]) -> Array:
    return lax.dot_general(left, right, ((of_left, of_right), ((), ())), preferred_element_type=jnp.float32)


def quick_max_pool(
    inputs: Maps, window_shape: Sequence[int], strides: Sequence[int] | None = None, padding: Padding = "VALID"
) -> Pooled:
    """Return what `nnx.max_pool` returns. If several values are the maximum, they share the gradient.

    Examples:
        >>> import jax.numpy as jnp
        >>> from mnistsum.models.flax_layers import quick_max_pool
        >>> quick_max_pool(jnp.arange(16.0).reshape(1, 4, 4, 1), (2, 2), strides=(2, 2)).ravel().tolist()
        [5.0, 7.0, 13.0, 15.0]
    """
    return reduce(jnp.maximum, _windows(inputs, window_shape, strides, padding, -jnp.inf))


def quick_avg_pool(
    inputs: Maps, window_shape: Sequence[int], strides: Sequence[int] | None = None, padding: Padding = "VALID"
) -> Pooled:
    """Return what `nnx.avg_pool` returns with its defaults: padding counts as zeros.

    Examples:
        >>> import jax.numpy as jnp
        >>> from mnistsum.models.flax_layers import quick_avg_pool
        >>> quick_avg_pool(jnp.arange(16.0).reshape(1, 4, 4, 1), (2, 2), strides=(2, 2)).ravel().tolist()
        [2.5, 4.5, 10.5, 12.5]
    """
    return reduce(jnp.add, _windows(inputs, window_shape, strides, padding, 0.0)) / np.prod(window_shape)


def _windows(inputs: Array, size: Sequence[int], strides: Any, padding: Padding, fill: float) -> list[Array]:
    """Return the values at each position of a window, as maps."""
    window = Window(tuple(size), tuple(strides or (1, 1)))
    if window.strides == window.size and padding == "VALID":  # windows do not overlap: a reshape is quicker than slices
        batch, height, width, channels = inputs.shape
        (y, x), (rows, columns) = window.size, (height // size[0], width // size[1])
        windows = inputs[:, : rows * y, : columns * x].reshape(batch, rows, y, columns, x, channels)
        return [windows[:, :, i, :, j] for i, j in np.ndindex(y, x)]
    return window.views(inputs, window.pads(inputs.shape[1:3], padding), fill)
