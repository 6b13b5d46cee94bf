"""Pictures of one digit on plain paper, of any size, converted to MNIST's form."""

import contextlib
import io
import warnings
from pathlib import Path
from typing import BinaryIO

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageOps, UnidentifiedImageError
from scipy import ndimage

from mnistsum.datasets import DAMAGE, to_gray
from mnistsum.errors import InputError, first_line
from mnistsum.file_io import read_bytes

Source = str | Path | BinaryIO | bytes  # a path, an open file, or a file's content
Gray = UInt8[np.ndarray, "height width"]
Ink = Float[np.ndarray, "height width"]

FORMATS = ("PNG", "JPEG", "GIF", "BMP")
BOMBS = (Image.DecompressionBombWarning, Image.DecompressionBombError)
MAX_PIXELS = 50_000_000  # of a picture
MAX_SIDE = 2000  # pixels of the longer side; larger pictures are scaled down first
MIN_CONTRAST = 24  # gray levels between ink and paper, on average; noise has less


def read_picture(
    source: Source, name: str | None = None
) -> UInt8[np.ndarray, "28 28 1"]:
    """Return the digit in a PNG, JPEG, GIF or BMP file, in MNIST's form.

    Transparent parts become white or black paper, whichever contrasts with the rest.
    EXIF's rotation is undone.

    Args:
        source: a path, an open file, or a file's content.
        name: what error messages call the picture; by default the path.

    Raises:
        InputError: if the source is not a readable file of these formats, or shows an
            empty page.

    Examples:
        >>> import io
        >>> from PIL import Image, ImageDraw
        >>> import mnistsum
        >>> page, file = Image.new("L", (200, 300), "white"), io.BytesIO()
        >>> ImageDraw.Draw(page).line([(100, 60), (100, 240)], "black", width=20)
        >>> page.save(file, "PNG")
        >>> image = mnistsum.read_picture(file.getvalue(), "page.png")
        >>> image.shape, image.dtype
        ((28, 28, 1), dtype('uint8'))
    """
    if isinstance(source, str | Path):
        name, source = name or str(source), read_bytes(Path(source))
    name = name or "picture"
    content = source if isinstance(source, bytes) else source.read()
    try:
        gray = _decode(content, name)
    except UnidentifiedImageError:
        formats = f"{', '.join(FORMATS[:-1])} or {FORMATS[-1]}"
        raise InputError(
            f"{name}: expected a {formats} image, found another kind of file"
        ) from None
    except DAMAGE as error:
        raise InputError(f"{name}: a damaged image: {first_line(error)}") from None
    return to_mnist(gray, name)


def _decode(content: bytes, name: str) -> Gray:
    """Return a picture's gray levels, upright and at most MAX_SIDE wide and high."""
    too_large = InputError(
        f"{name}: expected at most {MAX_PIXELS:,} pixels, found more"
    )
    try:
        with warnings.catch_warnings(action="error", category=BOMBS[0]):
            image = Image.open(io.BytesIO(content), formats=FORMATS)
    except BOMBS:
        raise too_large from None
    if image.width * image.height > MAX_PIXELS:
        raise too_large
    image.load()
    with contextlib.suppress(*DAMAGE):  # if only EXIF is damaged, it is ignored
        ImageOps.exif_transpose(image, in_place=True)
    page = to_gray(image)
    page.thumbnail((MAX_SIDE, MAX_SIDE))
    return np.asarray(page)


def to_mnist(gray: Gray, name: str = "picture") -> UInt8[np.ndarray, "28 28 1"]:
    """Return the digit on a page of gray levels, 0-255, in MNIST's form.

    The digit is light on black, cropped, and scaled to 20 pixels on its longer side.
    Its center of mass is in the middle of 28x28, as in LeCun et al. 1998,
    "Gradient-based learning applied to document recognition", section III.A.

    Args:
        gray: dark ink on light paper, or light ink on dark paper.
        name: what the error message calls the page.

    Raises:
        InputError: if the page is empty.
    """
    ink = _find_ink(gray, name)
    (box,) = ndimage.find_objects((ink > 0.5).astype(int))
    digit = Image.fromarray(np.round(255 * ink[box]).astype(np.uint8))
    scale = 20 / max(digit.size)
    width, height = (max(1, round(scale * side)) for side in digit.size)
    digit = np.asarray(digit.resize((width, height), Image.Resampling.BICUBIC))
    if not digit.any():
        raise InputError(f"{name}: expected a digit, found specks")
    digit = np.round(digit * (255 / digit.max()))  # thin strokes have turned gray
    y, x = np.array(ndimage.center_of_mass(digit))
    top = int(np.clip(np.round(14 - y), 0, 28 - height))
    left = int(np.clip(np.round(14 - x), 0, 28 - width))
    image = np.zeros((28, 28, 1), np.uint8)
    image[top : top + height, left : left + width, 0] = digit
    return image


def _find_ink(gray: Gray, name: str) -> Ink:
    """Return the ink at each pixel, from 0 (like most paper) to 1 (like most ink).

    Most of the border is paper.
    """
    is_light = gray > _otsu_threshold(gray)
    if is_light.all() or not is_light.any():
        raise InputError(f"{name}: expected a digit, found an empty page")
    light, dark = gray[is_light].mean(), gray[~is_light].mean()
    if light - dark < MIN_CONTRAST:
        raise InputError(f"{name}: expected a digit, found an empty page")
    border = np.concatenate([*is_light[[0, -1]], *is_light[:, [0, -1]].T])
    paper, ink = (light, dark) if border.mean() > 0.5 else (dark, light)
    return ((gray - paper) / (ink - paper)).clip(0, 1)


def _otsu_threshold(gray: Gray) -> int:
    """Return the gray level that best separates dark from light pixels.

    It maximizes the variance between both classes (Otsu 1979, "A threshold selection
    method from gray-level histograms").
    """
    counts = np.bincount(gray.ravel(), minlength=256) / gray.size
    dark = counts.cumsum()  # the share of pixels that are at most this light
    level = (counts * np.arange(256)).cumsum()
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = (level[-1] * dark - level) ** 2 / (dark * (1 - dark))
    return int(np.nanargmax(np.where(np.isfinite(variance), variance, 0)))
