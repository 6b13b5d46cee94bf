"""Convolution on the CPU, with its gradient, quick inside a loop.

A convolution is one matrix product (im2col), because XLA's own takes several times as
long to differentiate inside a loop, as in training (jax-ml/jax#12868). Evaluation would
take longer too, by a factor of 1.25 to 3.4 on an AMD EPYC (docs/speed.md).

Only the gradient of the kernel is slow in XLA. So for large maps with few channels,
channels last, the other two convolutions are XLA's own.

Height and width are the second and third axes of maps. The axis of the channels,
`channel_axis`, is 0 or 3.
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.custom_batching import sequential_vmap
from jaxtyping import Array, Float, Shaped

Padding = str | Sequence[tuple[int, int]]

# XLA's own convolution is quicker from this number of output positions on, and up to
# this number of input channels.
NATIVE_POSITIONS = 150
NATIVE_CHANNELS = 64


class Side(NamedTuple):
    """The height or the width of a window."""

    size: int
    stride: int
    before: int  # values that pad the maps
    after: int
    dilation: int


class Window(NamedTuple):
    """The window of a convolution or a pool."""

    height: Side
    width: Side


def make_window(
    maps: Shaped[Array, "_ height width _"],
    size: Sequence[int],
    strides: Sequence[int],
    padding: Padding,
    dilation: Sequence[int] = (1, 1),
) -> Window:
    """Return a window on maps.

    Args:
        maps: only their shape matters.
        size: height and width, as in all that follow.
        strides: how far the window moves.
        padding: SAME, VALID or the padding before and after each side.
        dilation: the distance between neighboring values of a window.
    """
    if isinstance(padding, str):
        extent = [(size[axis] - 1) * dilation[axis] + 1 for axis in (0, 1)]
        padding = lax.padtype_to_pads(maps.shape[1:3], extent, strides, padding)
    height, width = (
        Side(size[axis], strides[axis], *padding[axis], dilation[axis])
        for axis in (0, 1)
    )
    return Window(height, width)


def pad(
    maps: Shaped[Array, "_ height width _"], window: Window, value: float = 0
) -> Shaped[Array, "_ padded_height padded_width _"]:
    """Return the maps with the padding of a window."""
    height, width = window
    pads = ((0, 0), (height.before, height.after), (width.before, width.after), (0, 0))
    return jnp.pad(maps, pads, constant_values=value)


def convolve(
    maps: Float[Array, "batch height width inputs"],
    kernel: Float[Array, "size _size inputs outputs"],
    window: Window,
    dtype: str,
) -> Float[Array, "batch height2 width2 outputs"]:
    """Return the convolution, channels last, in the way that trains quicker.

    Operands are rounded to `dtype`, and sums are float32.
    """
    height, width = (_outputs(maps.shape[1 + i], side) for i, side in enumerate(window))
    is_dense = all(side.stride == side.dilation == 1 for side in window)
    is_large = height * width >= NATIVE_POSITIONS
    if is_dense and is_large and 1 < maps.shape[3] <= NATIVE_CHANNELS:
        return convolve_natively(maps, kernel, window, dtype)
    return convolve_as_product(maps, kernel, window, dtype, 3)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def convolve_as_product(
    maps: Float[Array, "_ height width _"],
    kernel: Float[Array, "size _size inputs outputs"],
    window: Window,
    dtype: str,
    channel_axis: int,
) -> Float[Array, "_ height2 width2 _"]:
    """Return the convolution as a matrix product.

    Operands are rounded to `dtype`, and sums are float32.
    """
    return _forward(maps, kernel, window, dtype, channel_axis)[0]


def _forward(maps, kernel, window, dtype, channel_axis):
    views = stack_views(maps.astype(dtype), window, channel_axis)
    matrix = kernel.reshape(-1, kernel.shape[-1])
    if channel_axis == 0:
        # Without the barrier, XLA's CPU backend folds the transpose into the product
        # and cannot then do it in bfloat16.
        rows = lax.optimization_barrier(matrix.astype(dtype).T)
        return _product(rows, views, (1,), (0,)), (maps, kernel, views)
    return _product(views, matrix.astype(dtype), (3,), (0,)), (maps, kernel, views)


def _backward(window, dtype, channel_axis, residuals, gradient):
    maps, kernel, views = residuals
    gradient = gradient.astype(dtype)
    matrix = kernel.reshape(-1, kernel.shape[-1]).astype(dtype)
    if channel_axis == 0:
        kernel_gradient = _product(views, gradient, (1, 2, 3), (1, 2, 3))
        views_gradient = _product(matrix, gradient, (1,), (0,))
    else:
        kernel_gradient = _kernel_gradient(maps, gradient, window)
        views_gradient = _product(gradient, matrix, (3,), (1,))
    maps_gradient = _add_views(views_gradient, maps.shape, window, channel_axis)
    return (
        maps_gradient.astype(maps.dtype),
        kernel_gradient.reshape(kernel.shape).astype(kernel.dtype),
    )


convolve_as_product.defvjp(_forward, _backward)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def convolve_natively(
    maps: Float[Array, "batch height width inputs"],
    kernel: Float[Array, "size _size inputs outputs"],
    window: Window,
    dtype: str,
) -> Float[Array, "batch height2 width2 outputs"]:
    """Return the convolution with stride 1, channels last, by XLA's own.

    Operands are rounded to `dtype`, and sums are float32.
    """
    return _native_forward(maps, kernel, window, dtype)[0]


def _native_forward(maps, kernel, window, dtype):
    out = _native(_rounded(maps, dtype), _rounded(kernel, dtype), window)
    return out, (maps, kernel)


def _native_backward(window, dtype, residuals, gradient):
    maps, kernel = residuals
    # XLA's CPU backend would recognize the flipped kernel, and take a slower way.
    flipped = lax.optimization_barrier(lax.rev(_rounded(kernel, dtype), (0, 1)))
    maps_gradient = _native(
        _rounded(gradient, dtype),
        flipped.swapaxes(2, 3),
        Window(*(_opposite(side) for side in window)),
    )
    kernel_gradient = _kernel_gradient(maps, gradient.astype(dtype), window)
    return (
        maps_gradient.astype(maps.dtype),
        kernel_gradient.reshape(kernel.shape).astype(kernel.dtype),
    )


convolve_natively.defvjp(_native_forward, _native_backward)


def stack_views(
    maps: Shaped[Array, "_ height width _"], window: Window, channel_axis: int
) -> Shaped[Array, "_ height2 width2 _"]:
    """Return padded maps as seen from each position of a window, stacked.

    Positions are in row-major order, and the channels of one position are contiguous.

    Examples:
        >>> import jax.numpy as jnp
        >>> from mnistsum.models.conv_cpu import make_window, stack_views
        >>> maps = jnp.arange(9.0).reshape(1, 3, 3, 1)
        >>> window = make_window(maps, size=(2, 2), strides=(1, 1), padding="VALID")
        >>> stack_views(maps, window, channel_axis=0)[:, 0, 0, 0].tolist()
        [0.0, 1.0, 3.0, 4.0]
    """
    # XLA's CPU backend moves bfloat16 via float32, but integers directly.
    if maps.dtype == jnp.bfloat16:
        integers = lax.bitcast_convert_type(maps, jnp.uint16)
        views = stack_views(integers, window, channel_axis)
        return lax.bitcast_convert_type(views, jnp.bfloat16)
    maps = pad(maps, window)
    # With one input channel, XLA would recompute the augmentation for each view.
    if channel_axis == 3 or len(maps) == 1:
        return jnp.concatenate(list_views(maps, window), channel_axis)
    # Otherwise, one axis after the other, because six slices compile in half the time
    # of nine.
    columns = jnp.concatenate(_shifted(maps, window.width, 2))
    return jnp.concatenate(_shifted(columns, window.height, 1))


def list_views(
    maps: Shaped[Array, "_ height width _"], window: Window
) -> list[Shaped[Array, "_ height2 width2 _"]]:
    """Return the maps, already padded, as seen from each position of a window.

    Positions are in row-major order.
    """
    views = []
    for rows in _shifted(maps, window.height, 1):
        views += _shifted(rows, window.width, 2)
    return views


def _outputs(length: int, side: Side) -> int:
    """Return how many positions a window has along an axis of this length."""
    reach = (side.size - 1) * side.dilation
    return (side.before + length + side.after - reach - 1) // side.stride + 1


def _shifted(maps, side, axis):
    """Return the padded maps as seen from each position along one axis of a window."""
    reach = (side.size - 1) * side.dilation
    last = (maps.shape[axis] - reach - 1) // side.stride * side.stride
    starts = [position * side.dilation for position in range(side.size)]
    return [
        lax.slice_in_dim(maps, start, start + last + 1, side.stride, axis)
        for start in starts
    ]


def _add_views(views, shape, window, channel_axis):
    """Return maps of this shape, to which each view is added where it was cut."""
    height, width = window
    rows, columns = views.shape[1:3]
    before, after = views.shape[:channel_axis], views.shape[channel_axis + 1 :]
    views = views.reshape(*before, height.size, width.size, -1, *after)
    maps = jnp.zeros(shape, jnp.float32)
    for i, j in np.ndindex(height.size, width.size):
        view = views[(slice(None),) * channel_axis + (i, j)]
        vertical = _edges(i, height, shape[1], rows)
        horizontal = _edges(j, width, shape[2], columns)
        pads = ((0, 0, 0), vertical, horizontal, (0, 0, 0))
        maps += lax.pad(view, jnp.float32(0), pads)
    return maps


def _edges(position, side, length, count):
    """Return the zeros before, after and between the values of a view in its maps."""
    first = position * side.dilation - side.before
    last = first + (count - 1) * side.stride
    return first, length - 1 - last, side.stride - 1


def _kernel_gradient(maps, gradient, window):
    """Return the gradient of a kernel as a matrix, channels last."""
    maps = maps.astype(gradient.dtype)
    if gradient.dtype == jnp.bfloat16:
        # XLA's CPU backend would transpose the views. In bfloat16, stacking views of
        # transposed maps is quicker.
        views = stack_views(maps.transpose(3, 1, 2, 0), window, 0)
        return _product(views, gradient.transpose(1, 2, 0, 3), (1, 2, 3), (0, 1, 2))
    return _product(stack_views(maps, window, 3), gradient, (0, 1, 2), (0, 1, 2))


def _native(maps, kernel, window):
    """Return XLA's own convolution with stride 1, channels last."""
    height, width = window
    convolution = partial(
        lax.conv_general_dilated,
        window_strides=(1, 1),
        padding=((height.before, height.after), (width.before, width.after)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    # `jax.vmap` would make one grouped convolution of several, which is slow.
    return sequential_vmap(convolution)(maps, kernel)


def _opposite(side):
    """Return the side of the window with which gradients return to the maps."""
    most = side.size - 1
    return side._replace(before=most - side.before, after=most - side.after)


def _rounded(array, dtype):
    """Return a float32 array whose values are those of another type."""
    return array.astype(dtype).astype(jnp.float32)


def _product(left, right, of_left, of_right):
    """Return the product over these axes."""
    axes = ((of_left, of_right), ((), ()))
    return lax.dot_general(left, right, axes, preferred_element_type=jnp.float32)
