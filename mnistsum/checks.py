"""Checks of arrays that users pass to the library.

Values that JAX traces are not known and pass.
"""

import warnings
from typing import Any

import numpy as np
from jax.core import Tracer
from jaxtyping import Array, UInt8

from mnistsum.errors import InputError

DIM = 128  # a data set whose largest pixel is below this was not stored as 0-255
# how much lighter than the mean pixel the border of dark strokes on light is
LIGHT = 20


def check_digits(name: str, values: Any, n: int) -> None:
    """Check that an argument holds `n` whole numbers from 0 to 9, one for each image.

    Raises:
        InputError: if it does not; it names the argument.

    Examples:
        >>> import numpy as np
        >>> from mnistsum.checks import check_digits
        >>> check_digits("labels", np.array([7, 2]), 2)
    """
    expected = f"{name}: expected {n} whole numbers from 0 to 9, one for each image"
    is_traced = isinstance(values, Tracer)
    values = values if is_traced else np.asarray(values)
    if not np.issubdtype(values.dtype, np.integer) or values.shape != (n,):
        raise InputError(f"{expected}, found {describe_array(values)}")
    wrong = [] if is_traced else np.flatnonzero((values < 0) | (values > 9))
    if len(wrong):
        position = wrong[0]
        raise InputError(f"{expected}, found {values[position]} at position {position}")


def check_images(images: Any, name: str = "images") -> None:
    """Check that images are as MNIST stores them.

    Raises:
        InputError: if they are not.
    """
    is_array = hasattr(images, "dtype") and hasattr(images, "shape")
    if not is_array or images.dtype != np.uint8 or images.shape[1:] != (28, 28, 1):
        raise InputError(
            f"{name}: expected uint8 [n, 28, 28, 1], 0-255, found "
            f"{describe_array(images)}"
        )


def check_pixels(pixels: Any) -> None:
    """Check that pixels are not scaled yet.

    Raises:
        InputError: if they are floats that leave 0-255, or that end at 1.
    """
    if isinstance(pixels, Tracer) or pixels.dtype == np.uint8:
        return
    low, high = float(np.min(pixels, initial=0)), float(np.max(pixels, initial=0))
    if low < 0 or high > 255 or 0 < high <= 1:
        raise InputError(
            "pixels: expected values from 0 to 255, as they are before scaling, found "
            f"{pixels.dtype} from {low:g} to {high:g}"
        )


def warn_of_pixels(images: UInt8[Array | np.ndarray, "n 28 28 1"]) -> None:
    """Warn if pixels do not reach from 0 to 255, or if the background is light."""
    largest = images.max(initial=0)
    if 0 < largest < DIM:
        warnings.warn(
            f"images: expected pixels from 0 to 255, found at most {largest}; multiply "
            f"them by {255 // largest}",
            stacklevel=2,
        )
    edges = (images[:, 0], images[:, -1], images[:, :, 0], images[:, :, -1])
    border = np.mean([edge.mean() for edge in edges]) if len(images) else 0
    if border > images.mean() + LIGHT:
        warnings.warn(
            "images: expected light strokes on a dark background, found a light "
            "border; invert them (255 - images)",
            stacklevel=2,
        )


def describe_array(value: Any) -> str:
    """Return the type and shape of an array, or the type of what is none."""
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return f"{value.dtype} {list(value.shape)}"
    return type(value).__name__
