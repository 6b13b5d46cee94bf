"""Convolution on the CPU as one matrix product (im2col), with its gradient.

XLA's own convolutions on the CPU are several times slower to differentiate inside a loop, as in training
(jax-ml/jax#12868). They make evaluation slower too, by a factor of 1.25 to 3.4 on an AMD EPYC (docs/speed.md).
"""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Shaped


@partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def convolve(
    maps: Float[Array, "inputs height width batch"],
    kernel: Float[Array, "size _size inputs outputs"],
    stride: int,
    padding: str,
    dtype: str,
) -> Float[Array, "outputs height2 width2 batch"]:
    """Return the convolution, with operands rounded to `dtype` and sums in float32; `padding` is SAME or VALID."""
    return _forward(maps, kernel, stride, padding, dtype)[0]


def _forward(maps, kernel, stride, padding, dtype):
    views = stack_views(maps.astype(dtype), kernel.shape[:2], stride, _pads(maps, kernel, stride, padding))
    matrix = kernel.reshape(-1, kernel.shape[-1])
    # Without the barrier, XLA's CPU backend folds the transpose into the product and cannot then do it in bfloat16.
    rows = lax.optimization_barrier(matrix.astype(dtype).T)
    return _product(rows, views, ((1,), (0,))), (maps, kernel, views)


def _backward(stride, padding, dtype, residuals, gradient):
    maps, kernel, views = residuals
    pads = _pads(maps, kernel, stride, padding)
    gradient = gradient.astype(dtype)
    matrix = kernel.reshape(-1, kernel.shape[-1]).astype(dtype)
    kernel_gradient = _product(views, gradient, ((1, 2, 3), (1, 2, 3)))
    views_gradient = _product(matrix, gradient, ((1,), (0,)))
    views_gradient = views_gradient.reshape(*kernel.shape[:2], -1, *gradient.shape[1:])
    maps_gradient = jnp.zeros(maps.shape, jnp.float32)
    for y, x in np.ndindex(*kernel.shape[:2]):  # add each view's gradient where the view was cut
        edges = [
            (offset - low, size + low - offset - (n - 1) * stride - 1, stride - 1)
            for offset, (low, _), size, n in zip((y, x), pads, maps.shape[1:3], gradient.shape[1:3], strict=True)
        ]
        maps_gradient += lax.pad(views_gradient[y, x], jnp.float32(0), ((0, 0, 0), *edges, (0, 0, 0)))
    return maps_gradient, kernel_gradient.reshape(kernel.shape)


convolve.defvjp(_forward, _backward)


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
        >>> from mnistsum.models.conv_cpu import stack_views
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


def _pads(maps, kernel, stride, padding):
    return lax.padtype_to_pads(maps.shape[1:3], kernel.shape[:2], (stride, stride), padding)


def _product(left, right, contracted):
    """Return the product over these axes. Height, width and batch stay apart, so that devices can share the batch."""
    return lax.dot_general(left, right, (contracted, ((), ())), preferred_element_type=jnp.float32)
