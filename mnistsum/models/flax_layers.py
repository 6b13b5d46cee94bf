"""Plain Flax layers, channels last, at full speed on CPUs.

On CPUs, XLA's own convolutions and the gradients of its pools are ten to thirty times
slower inside a loop, as in training (jax-ml/jax#12868). Here, `conv_cpu` computes
convolutions, and a pool is a maximum or a mean of shifted slices.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial, reduce
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array, Float

from mnistsum.models.conv_cpu import (
    Padding,
    convolve,
    convolve_as_product,
    list_views,
    make_window,
    pad,
)

Maps = Float[Array, "batch height width channels"]
Pooled = Float[Array, "batch height2 width2 channels"]


def speed_up(network: nnx.Module, dtype: str) -> None:
    """Give the layers of a network a type, and its convolutions a quick function.

    These are `nnx.Conv` and `nnx.Linear`. A layer with a type of its own keeps it. One
    that was built with a `conv_general_dilated` or a `dot_general` of its own stays as
    it is.
    """
    for _, layer in nnx.iter_graph(network):
        if not _uses_xla(layer):
            continue
        if isinstance(layer, nnx.Conv):
            layer.conv_general_dilated = quick_convolution
        if layer.dtype is None and dtype != "float32":
            layer.dtype, layer.preferred_element_type = jnp.dtype(dtype), jnp.float32


def replace_quick(network: nnx.Module, convolution: Callable) -> None:
    """Give another function to the layers that have `quick_convolution`."""
    for _, layer in nnx.iter_graph(network):
        if getattr(layer, "conv_general_dilated", None) is quick_convolution:
            layer.conv_general_dilated = convolution


def _uses_xla(layer: Any) -> bool:
    """Return whether a layer computes with XLA's own convolution or product."""
    if isinstance(layer, nnx.Conv):
        return layer.conv_general_dilated is lax.conv_general_dilated
    return isinstance(layer, nnx.Linear) and layer.dot_general is lax.dot_general


def quick_convolution(
    inputs: Array,
    kernel: Array,
    strides: Sequence[int],
    padding: Padding,
    **options: Any,
) -> Array:
    """Return what `lax.conv_general_dilated` returns, up to rounding.

    On CPUs, `conv_cpu` computes it for images without input dilation, grouped or not;
    else it is XLA's convolution.
    """
    if jax.default_backend() == "cpu" and _is_image(inputs, options):
        return _on_cpus(inputs, kernel, strides, padding, options)
    return lax.conv_general_dilated(inputs, kernel, strides, padding, **options)


def portable_convolution(
    inputs: Array,
    kernel: Array,
    strides: Sequence[int],
    padding: Padding,
    **options: Any,
) -> Array:
    """Return what `quick_convolution` returns on the platform that it is lowered for.

    So a program can be exported for several.
    """

    def quick(inputs: Array, kernel: Array) -> Array:
        return _on_cpus(inputs, kernel, strides, padding, options)

    def native(inputs: Array, kernel: Array) -> Array:
        return lax.conv_general_dilated(inputs, kernel, strides, padding, **options)

    on_cpus = quick if _is_image(inputs, options) else native
    return lax.platform_dependent(inputs, kernel, cpu=on_cpus, default=native)


def _is_image(inputs: Array, options: dict[str, Any]) -> bool:
    return inputs.ndim == 4 and set(options.get("lhs_dilation") or (1,)) == {1}


def _on_cpus(
    inputs: Array,
    kernel: Array,
    strides: Sequence[int],
    padding: Padding,
    options: dict[str, Any],
) -> Array:
    """Return the convolution of images, grouped or not, in the way that is quick."""
    groups = options.get("feature_group_count", 1)
    summed = options.get("preferred_element_type") or inputs.dtype
    dilation = options.get("rhs_dilation") or (1, 1)
    window = make_window(inputs, kernel.shape[:2], strides, padding, dilation)
    dtype = inputs.dtype.name
    if groups == 1:
        out: Array = convolve(inputs, kernel, window, dtype)
    elif groups == inputs.shape[-1] == kernel.shape[-1]:
        # Depthwise: XLA fuses the products of all positions.
        views = list_views(pad(inputs.astype(summed), window), window)
        weights = kernel.astype(summed).reshape(len(views), 1, 1, 1, groups)
        return reduce(jnp.add, map(jnp.multiply, views, weights))
    else:
        of_group = partial(
            convolve_as_product, window=window, dtype=dtype, channel_axis=3
        )
        maps = inputs.reshape(*inputs.shape[:3], groups, -1)
        kernels = kernel.reshape(*kernel.shape[:3], groups, -1)
        out = jax.vmap(of_group, in_axes=3, out_axes=3)(maps, kernels)
        out = out.reshape(*out.shape[:3], -1)
    return out.astype(summed)


def quick_max_pool(
    inputs: Maps,
    window_shape: Sequence[int],
    strides: Sequence[int] | None = None,
    padding: Padding = "VALID",
) -> Pooled:
    """Return what `nnx.max_pool` returns.

    If several values are the maximum, they share the gradient.

    Examples:
        >>> import jax.numpy as jnp
        >>> from mnistsum.models.flax_layers import quick_max_pool
        >>> maps = jnp.arange(16.0).reshape(1, 4, 4, 1)
        >>> quick_max_pool(maps, (2, 2), strides=(2, 2)).ravel().tolist()
        [5.0, 7.0, 13.0, 15.0]
    """
    if _is_tiled(window_shape, strides, padding):
        return split_tiles(inputs, window_shape).max((2, 4))
    return reduce(
        jnp.maximum, _windows(inputs, window_shape, strides, padding, -jnp.inf)
    )


def quick_avg_pool(
    inputs: Maps,
    window_shape: Sequence[int],
    strides: Sequence[int] | None = None,
    padding: Padding = "VALID",
) -> Pooled:
    """Return what `nnx.avg_pool` returns with its defaults: padding counts as zeros.

    Examples:
        >>> import jax.numpy as jnp
        >>> from mnistsum.models.flax_layers import quick_avg_pool
        >>> maps = jnp.arange(16.0).reshape(1, 4, 4, 1)
        >>> quick_avg_pool(maps, (2, 2), strides=(2, 2)).ravel().tolist()
        [2.5, 4.5, 10.5, 12.5]
    """
    if _is_tiled(window_shape, strides, padding):
        return split_tiles(inputs, window_shape).mean((2, 4))
    return reduce(
        jnp.add, _windows(inputs, window_shape, strides, padding, 0.0)
    ) / math.prod(window_shape)


def _is_tiled(
    size: Sequence[int], strides: Sequence[int] | None, padding: Padding
) -> bool:
    """Return whether windows are tiles, which are quicker as axes than as slices."""
    return strides is not None and tuple(strides) == tuple(size) and padding == "VALID"


def split_tiles(
    maps: Float[Array, "first height width last"], size: Sequence[int]
) -> Float[Array, "first rows y columns x last"]:
    """Return maps cut into tiles of a height y and a width x.

    What remains at the lower and right edge is dropped.
    """
    first, height, width, last = maps.shape
    (y, x), (rows, columns) = size, (height // size[0], width // size[1])
    return maps[:, : rows * y, : columns * x].reshape(first, rows, y, columns, x, last)


def _windows(
    inputs: Array,
    size: Sequence[int],
    strides: Sequence[int] | None,
    padding: Padding,
    fill: float,
) -> list[Array]:
    """Return the values at each position of a window, as maps."""
    window = make_window(inputs, size, strides or (1, 1), padding)
    return list_views(pad(inputs, window, fill), window)
