"""Convolution on the CPU as one matrix product (im2col), with its gradient.

XLA's own convolutions on the CPU are several times slower to differentiate inside a
loop, as in training (jax-ml/jax#12868). They make evaluation slower too, by a factor of
1.25 to 3.4 on an AMD EPYC (docs/speed.md).

Height and width are the second and third axes of maps. The axis of the channels,
`channels`, is 0 or 3.
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Shaped

Padding = str | Sequence[tuple[int, int]]


class Window(NamedTuple):
    """The window of a convolution or a pool; each field is of height and width."""

    size: tuple[int, ...]
    strides: tuple[int, ...]
    pads: tuple[tuple[int, int], ...]  # before and after
    dilation: tuple[int, ...]


def make_window(
    maps: Shaped[Array, "_ height width _"],
    size: Sequence[int],
    strides: Sequence[int],
    padding: Padding,
    dilation: Sequence[int] = (1, 1),
) -> Window:
    """Return a window on maps; `padding` is SAME, VALID or the padding before and after each side."""
    if isinstance(padding, str):
        extent = [
            (side - 1) * step + 1 for side, step in zip(size, dilation, strict=True)
        ]
        padding = lax.padtype_to_pads(maps.shape[1:3], extent, strides, padding)
    pads = tuple((low, high) for low, high in padding)
    return Window(tuple(size), tuple(strides), pads, tuple(dilation))


@partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def convolve(
    maps: Float[Array, "_ height width _"],
    kernel: Float[Array, "size _size inputs outputs"],
    window: Window,
    dtype: str,
    channels: int,
) -> Float[Array, "_ height2 width2 _"]:
    """Return the convolution, with operands rounded to `dtype` and sums in float32."""
    return _forward(maps, kernel, window, dtype, channels)[0]


def _forward(maps, kernel, window, dtype, channels):
    views = stack_views(maps.astype(dtype), window, channels)
    matrix = kernel.reshape(-1, kernel.shape[-1])
    if channels == 0:
        # Without the barrier, XLA's CPU backend folds the transpose into the product
        # and cannot then do it in bfloat16.
        rows = lax.optimization_barrier(matrix.astype(dtype).T)
        return _product(rows, views, (1,), (0,)), (maps, kernel, views)
    return _product(views, matrix.astype(dtype), (3,), (0,)), (maps, kernel, views)


def _backward(window, dtype, channels, residuals, gradient):
    maps, kernel, views = residuals
    gradient = gradient.astype(dtype)
    matrix = kernel.reshape(-1, kernel.shape[-1]).astype(dtype)
    others = tuple(axis for axis in range(4) if axis != channels)
    if channels == 3 and dtype == "bfloat16":
        # XLA's CPU backend would transpose the views. In bfloat16, stacking views of
        # transposed maps is quicker.
        views = stack_views(maps.astype(dtype).transpose(3, 1, 2, 0), window, 0)
        kernel_gradient = _product(
            views, gradient.transpose(1, 2, 0, 3), (1, 2, 3), (0, 1, 2)
        )
    else:
        kernel_gradient = _product(views, gradient, others, others)
    product = (
        _product(matrix, gradient, (1,), (0,))
        if channels == 0
        else _product(gradient, matrix, (3,), (1,))
    )
    before, after = gradient.shape[:channels], gradient.shape[channels + 1 :]
    views_gradient = product.reshape(*before, *window.size, -1, *after)
    maps_gradient = jnp.zeros(maps.shape, jnp.float32)
    for position in np.ndindex(window.size):
        part = views_gradient[(slice(None),) * channels + position]
        height, width = (
            _place_of_view(window, position, axis, maps.shape[1:3], part.shape[1:3])
            for axis in (0, 1)
        )
        padding = (0, 0, 0), height, width, (0, 0, 0)
        maps_gradient += lax.pad(part, jnp.float32(0), padding)
    kernel_gradient = kernel_gradient.reshape(kernel.shape).astype(kernel.dtype)
    return maps_gradient.astype(maps.dtype), kernel_gradient


convolve.defvjp(_forward, _backward)


def _place_of_view(window, position, axis, maps_size, view_size):
    """Return the `lax.pad` that puts a view back where it was cut from the maps.

    It is negative where the view reaches into the maps' own padding.
    """
    stride = window.strides[axis]
    before = position[axis] * window.dilation[axis] - window.pads[axis][0]
    extent = (view_size[axis] - 1) * stride + 1
    return before, maps_size[axis] - before - extent, stride - 1


def stack_views(
    maps: Shaped[Array, "_ height width _"], window: Window, channels: int
) -> Shaped[Array, "_ height2 width2 _"]:
    """Return the padded maps as seen from each position of a window, stacked along the channels.

    Positions are in row-major order, and the channels of one position are contiguous.

    Examples:
        >>> import jax.numpy as jnp
        >>> from mnistsum.models.conv_cpu import make_window, stack_views
        >>> maps = jnp.arange(9.0).reshape(1, 3, 3, 1)
        >>> window = make_window(maps, size=(2, 2), strides=(1, 1), padding="VALID")
        >>> stack_views(maps, window, channels=0)[:, 0, 0, 0].tolist()
        [0.0, 1.0, 3.0, 4.0]
    """
    # XLA's CPU backend moves bfloat16 via float32, but integers directly
    if maps.dtype == jnp.bfloat16:
        integers = lax.bitcast_convert_type(maps, jnp.uint16)
        return lax.bitcast_convert_type(
            stack_views(integers, window, channels), jnp.bfloat16
        )
    maps = jnp.pad(maps, ((0, 0), *window.pads, (0, 0)))
    # With one input channel, XLA would recompute the augmentation for each view.
    if channels == 3 or len(maps) == 1:
        return jnp.concatenate(list_views(maps, window), channels)
    # Otherwise, one axis after the other, because six slices compile in half the time
    # of nine.
    return jnp.concatenate(
        _shifted(jnp.concatenate(_shifted(maps, window, 2)), window, 1)
    )


def list_views(
    maps: Shaped[Array, "_ height width _"], window: Window
) -> list[Shaped[Array, "_ height2 width2 _"]]:
    """Return the maps, which must be padded already, as seen from each position of a window, in row-major order."""
    return [
        view for row in _shifted(maps, window, 1) for view in _shifted(row, window, 2)
    ]


def _shifted(maps, window, axis):
    size, stride, apart = (
        field[axis - 1] for field in (window.size, window.strides, window.dilation)
    )
    last = (maps.shape[axis] - (size - 1) * apart - 1) // stride * stride
    return [
        lax.slice_in_dim(maps, at * apart, at * apart + last + 1, stride, axis)
        for at in range(size)
    ]


def _product(left, right, of_left, of_right):
    """Return the product over these axes."""
    return lax.dot_general(
        left, right, ((of_left, of_right), ((), ())), preferred_element_type=jnp.float32
    )
