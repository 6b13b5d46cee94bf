"""Pictures of single digits, of any size and color, brought into MNIST's form."""

import io
import stat
import warnings
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image, ImageOps, UnidentifiedImageError
from scipy import ndimage

from mnistsum.errors import InputError

FORMATS = ("PNG", "JPEG", "GIF", "BMP")
MOST_BYTES, MOST_PIXELS = 50_000_000, 50_000_000  # of a picture
LARGEST = 2000  # pixels of the longer side; larger pictures are made smaller first
WORKING = 250  # pixels of the longer side at which the digit is looked for, and again in what surrounds it
WEAKEST = 0.3  # share of the strongest ink that a hairline joined to it has at least
FAINTEST = 24.0  # of 255: ink that differs less from its paper is none
THINNEST, THICKEST = 0.11, 0.18  # stroke, over the digit's longer side: of MNIST's images a quarter and 90 % are below


def read_picture(
    source: Path | BinaryIO | bytes, name: str, most_pixels: int = MOST_PIXELS
) -> UInt8[np.ndarray, "28 28 1"]:
    """Return the digit in a PNG, JPEG, GIF or BMP file as MNIST would hold it.

    Transparency is laid on the paper, white or black, from which the rest stands out; EXIF's rotation is undone.

    Raises:
        InputError: where there is none; it begins with `name`.

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
    try:
        content = source if isinstance(source, bytes) else _read(source, name)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # said below, in one line
            image = Image.open(io.BytesIO(content), formats=FORMATS)
        if image.width * image.height > most_pixels:
            raise Image.DecompressionBombError
        if image.mode.startswith("I"):  # sixteen bits a pixel, which Pillow would cut off at 255
            image = Image.fromarray((np.asarray(image) // 257).astype(np.uint8))
        image.thumbnail((LARGEST, LARGEST))
        pixels = np.asarray(ImageOps.exif_transpose(image).convert("RGBA"), np.float32)
    except FileNotFoundError:
        raise InputError(f"{name}: no such file") from None
    except UnidentifiedImageError:
        raise InputError(f"{name}: expected a {', '.join(FORMATS[:-1])} or {FORMATS[-1]} image, found none") from None
    except Image.DecompressionBombError:
        raise InputError(f"{name}: expected at most {most_pixels:,} pixels, found more") from None
    except (OSError, SyntaxError, ValueError) as error:  # what Pillow makes of damaged files
        raise InputError(f"{name}: a damaged image: {str(error).splitlines()[0]}") from None
    cover, color = pixels[..., 3:] / 255, pixels[..., :3]
    paper = 255.0 if (cover * color).sum() < 3 * 127.5 * cover.sum() else 0.0
    return to_mnist(cover * color + (1 - cover) * paper, name)


def _read(source: Path | BinaryIO, name: str) -> bytes:
    """Return what a file or stream holds; InputError where it is no file, or longer than MOST_BYTES."""
    if isinstance(source, Path):
        mode = source.stat().st_mode  # before it is opened: to open a pipe waits for its writer
        if not stat.S_ISREG(mode):
            kind = "folder" if stat.S_ISDIR(mode) else "pipe or a device"
            raise InputError(f"{name}: expected an image, found a {kind}")
        with source.open("rb") as file:
            return _read(file, name)
    content = source.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise InputError(f"{name}: expected at most {MOST_BYTES:,} bytes, found more")
    return content


def to_mnist(pixels: Float[np.ndarray, "height width 3"], name: str = "picture") -> UInt8[np.ndarray, "28 28 1"]:
    """Return the digit on a picture, 0-255 in three colors, as MNIST was made; InputError where the page is empty.

    As LeCun et al. 1998, "Gradient-based learning applied to document recognition", section III.A, say: the digit is
    cropped, its longer side brought to 20 pixels with gray levels, and its center of mass put into the middle of
    28x28. Before that, ink is what differs from the paper, a smooth surface through most of the picture, and strokes
    are brought to the thickness of most of MNIST's, as a pen on a large page would else vanish.
    """
    found = _box(_find_ink(_resize(pixels, min(1.0, WORKING / max(pixels.shape[:2]))), name))
    scale = max(1, max(pixels.shape[:2]) / WORKING)
    margin = scale * max(side.stop - side.start for side in found) / 2
    rows, columns = (slice(max(0, int(side.start * scale - margin)), int(side.stop * scale + margin)) for side in found)
    # A second look at full resolution, as a pen's hairlines are lost when a large page is scaled down.
    near = pixels[rows, columns]
    ink = _find_ink(_resize(near, WORKING / max(near.shape[:2])), name)
    ink = _with_usual_stroke(ink[_box(ink)])
    digit = _resize(255.0 * ink, 20 / max(ink.shape)).clip(0, 255)
    center = ndimage.center_of_mass(digit)
    y, x = (np.clip(round(14 - float(at)), 0, 28 - n) for at, n in zip(center, digit.shape, strict=True))
    out = np.zeros((28, 28, 1), np.uint8)
    out[y : y + digit.shape[0], x : x + digit.shape[1], 0] = np.round(digit)
    return out


def _find_ink(pixels: Float[np.ndarray, "height width 3"], name: str) -> Bool[np.ndarray, "height width"]:
    """Which pixels are ink: what reaches half of the strongest, and what is joined to it and reaches WEAKEST."""
    distance = np.linalg.norm(pixels - _paper(pixels), axis=-1) / np.sqrt(3)
    noise = np.median(distance)
    distance = ndimage.gaussian_filter(distance, max(pixels.shape[:2]) / WORKING)
    few = min(distance.size, max(9, distance.size // 1000))
    strongest = np.partition(distance, -few, axis=None)[-few:].mean()
    if strongest < max(FAINTEST, 4 * noise):
        raise InputError(f"{name}: expected a digit, found an empty page")
    share = (distance - noise) / (strongest - noise)
    ink = ndimage.binary_propagation(share > 0.5, np.ones((3, 3)), share > WEAKEST)
    labels, count = cast(tuple[np.ndarray, int], ndimage.label(ink, np.ones((3, 3))))
    sizes = ndimage.sum_labels(ink, labels, np.arange(1, count + 1))
    return np.isin(labels, 1 + np.flatnonzero(sizes >= 0.05 * sizes.max()))  # without specks


def _box(ink: Bool[np.ndarray, "height width"]) -> tuple[slice, slice]:
    """Return the smallest rectangle around the mask."""
    return ndimage.find_objects(ink.astype(int))[0]


def _paper(pixels):
    """Return the paper's color at every pixel: a quadratic surface through the border, then through what is near it."""
    y, x = (np.vander(np.linspace(-1, 1, length, dtype=np.float32), 3, increasing=True) for length in pixels.shape[:2])
    every = max(1, min(pixels.shape[:2]) // 32)  # enough of a grid for six numbers
    few = np.s_[::every, ::every]
    flat = pixels[few].reshape(-1, 3)
    powers = ((0, 0), (0, 1), (1, 0), (1, 1), (0, 2), (2, 0))  # of y and of x
    terms = np.stack([np.outer(y[::every, i], x[::every, j]).ravel() for i, j in powers], -1)
    near = np.maximum(abs(terms[:, 1]), abs(terms[:, 2])) > 0.8
    near &= np.abs(flat - np.median(flat[near], 0)).max(-1) < 64
    if not near.any():  # a border of two colors, neither the median
        near[:] = True
    weights = np.zeros((6, 3), np.float32)
    for degree in (3, 6, 6):
        weights[:degree] = np.linalg.lstsq(terms[near, :degree], flat[near], rcond=None)[0]
        residual = np.abs(flat - terms @ weights).max(-1)
        near = residual < max(12.0, 4 * np.median(residual))
    square = np.zeros((3, 3, 3), np.float32)
    for (i, j), weight in zip(powers, weights, strict=True):
        square[i, j] = weight
    return np.einsum("yi,ijc,xj->yxc", y, square, x, optimize=True)


def _with_usual_stroke(ink: Bool[np.ndarray, "height width"]) -> Bool[np.ndarray, "height2 width2"]:
    """Return the digit, cropped, its strokes thickened or thinned to where most of MNIST's are."""
    length = max(ink.shape)
    # A strip's pixels lie a quarter of its width from its edge on average.
    inside = np.asarray(ndimage.distance_transform_edt(np.pad(ink, 1)))
    stroke = 4 * inside[inside > 0].mean() - 1
    change = round((np.clip(stroke, THINNEST * length, THICKEST * length) - stroke) / 2)
    y, x = np.mgrid[-abs(change) : abs(change) + 1, -abs(change) : abs(change) + 1]
    disc = y * y + x * x <= change * change
    changed = (ndimage.binary_dilation if change > 0 else ndimage.binary_erosion)(np.pad(ink, abs(change)), disc)
    return changed[_box(changed)]


def _resize(
    array: Float[np.ndarray, "height width *colors"], scale: float
) -> Float[np.ndarray, "height2 width2 *colors"]:
    """Return the picture or plane at another size, anti-aliased."""
    size = [max(1, round(scale * n)) for n in array.shape[1::-1]]
    planes = np.atleast_3d(np.asarray(array, np.float32))
    resized = [
        np.asarray(Image.fromarray(plane).resize(size, Image.Resampling.BICUBIC))
        for plane in np.moveaxis(planes, -1, 0)
    ]
    return np.stack(resized, -1).reshape(*size[::-1], *array.shape[2:])
