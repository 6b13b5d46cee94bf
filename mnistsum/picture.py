"""Pictures of single digits, of any size and colour, brought into MNIST's form."""

import io
import warnings
from pathlib import Path
from typing import cast

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image, ImageOps, UnidentifiedImageError
from scipy import ndimage

from mnistsum.config import InputError

FORMATS = ("PNG", "JPEG", "GIF", "BMP")
MOST_PIXELS = 100_000_000
WORKING = 400  # pixels of the longer side at which the digit is looked for
FAINTEST = 24.0  # of 255: ink that differs less from its paper is none
THINNEST = 0.11  # stroke over digit, of its longer side: a quarter of MNIST's images are below


def read_picture(source: Path | bytes, name: str) -> UInt8[np.ndarray, "28 28 1"]:
    """The digit in a PNG, JPEG, GIF or BMP file as MNIST would hold it; InputError, with `name`, where there is none.

    Transparency is laid on the paper, white or black, from which the rest stands out; EXIF's rotation is undone.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # said below, in one line
            image = Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=FORMATS)
        if image.width * image.height > MOST_PIXELS:
            raise Image.DecompressionBombError
        image.thumbnail((2 * WORKING, 2 * WORKING))
        pixels = np.asarray(ImageOps.exif_transpose(image).convert("RGBA"), np.float32)
    except FileNotFoundError:
        raise InputError(f"{name}: no such file") from None
    except IsADirectoryError:
        raise InputError(f"{name}: expected an image, found a folder") from None
    except UnidentifiedImageError:
        raise InputError(f"{name}: expected a {', '.join(FORMATS[:-1])} or {FORMATS[-1]} image, found none") from None
    except Image.DecompressionBombError:
        raise InputError(f"{name}: expected at most {MOST_PIXELS:,} pixels, found more") from None
    except (OSError, SyntaxError, ValueError) as error:  # what Pillow makes of damaged files
        raise InputError(f"{name}: a damaged image: {str(error).splitlines()[0]}") from None
    cover, colour = pixels[..., 3:] / 255, pixels[..., :3]
    paper = 255.0 if (cover * colour).sum() < 127.5 * (cover * np.ones(3)).sum() else 0.0
    return to_mnist(cover * colour + (1 - cover) * (paper if cover.min() < 1 else 0), name)


def to_mnist(pixels: Float[np.ndarray, "height width 3"], name: str = "picture") -> UInt8[np.ndarray, "28 28 1"]:
    """The digit on a picture, 0-255 in three colours, as MNIST was made; InputError where the page is empty.

    As LeCun et al. 1998, "Gradient-based learning applied to document recognition", section III.A, say: the digit is
    cropped, its longer side brought to 20 pixels with grey levels, and its centre of mass put into the middle of
    28x28. Before that, ink is what differs from the paper, a smooth surface through most of the picture, and strokes
    thinner than most of MNIST's are thickened, as a pen on a large page would else vanish.
    """
    scale = WORKING / max(pixels.shape[:2])
    if scale < 1:
        pixels = np.stack([_resize(pixels[..., i], scale) for i in range(3)], -1)
    distance = np.linalg.norm(pixels - _paper(pixels), axis=-1) / np.sqrt(3)
    noise = np.median(distance)
    distance = ndimage.gaussian_filter(distance, max(pixels.shape[:2]) / WORKING)
    strongest = np.sort(distance, axis=None)[-max(9, distance.size // 1000) :].mean()
    if strongest < max(FAINTEST, 4 * noise):
        raise InputError(f"{name}: expected a digit, found an empty page")
    ink = _without_specks(distance > (strongest + noise) / 2)
    soft = np.clip((distance - noise) / (strongest - noise) * 2 - 0.5, 0, 1)
    soft *= ndimage.binary_dilation(ink, iterations=2)
    rows, columns = (np.flatnonzero(ink.any(axis)) for axis in (1, 0))
    length = max(np.ptp(rows), np.ptp(columns)) + 1
    thicken = max(0, round((THINNEST * length - _stroke(ink)) / 2))
    soft = ndimage.grey_dilation(np.pad(soft, thicken), footprint=_disc(thicken))
    # Padded and dilated by as much, the digit begins where it did.
    digit = soft[rows[0] : rows[-1] + 2 * thicken + 1, columns[0] : columns[-1] + 2 * thicken + 1]
    digit = _resize(digit, 20 / (length + 2 * thicken))
    digit = np.clip(digit / digit.max(), 0, 1)
    centre = ndimage.center_of_mass(digit)
    y, x = (np.clip(round(14 - float(at)), 0, 28 - n) for at, n in zip(centre, digit.shape, strict=True))
    out = np.zeros((28, 28, 1), np.uint8)
    out[y : y + digit.shape[0], x : x + digit.shape[1], 0] = np.round(255 * digit)
    return out


def _paper(pixels):
    """The colour of the paper at every pixel: a quadratic surface through the border, then through what is near it."""
    height, width = pixels.shape[:2]
    y, x = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)[None, :]
    every = max(1, min(height, width) // 64)  # enough of a grid for six numbers
    few = np.s_[::every, ::every]
    flat = pixels[few].reshape(-1, 3)
    terms = np.stack([np.broadcast_to(term, (height, width))[few].ravel() for term in _terms(x, y)], -1)
    near = (np.maximum(abs(x), abs(y)) > 0.8)[few].ravel()
    near &= np.abs(flat - np.median(flat[near], 0)).max(-1) < 64
    if not near.any():  # a border of two colours, neither the median
        near[:] = True
    weights = np.zeros((6, 3))
    for degree in (3, 6, 6):
        weights[:degree] = np.linalg.lstsq(terms[near, :degree], flat[near], rcond=None)[0]
        residual = np.abs(flat - terms @ weights).max(-1)
        near = residual < max(12.0, 4 * np.median(residual))
    return sum(term[..., None] * weight for term, weight in zip(_terms(x, y), weights, strict=True))


def _terms(x, y):
    return np.ones_like(x), x, y, x * y, x * x, y * y


def _without_specks(ink: Bool[np.ndarray, "height width"]) -> Bool[np.ndarray, "height width"]:
    """The mask without spots that are small beside the digit."""
    labels, count = cast(tuple[np.ndarray, int], ndimage.label(ink, np.ones((3, 3))))
    sizes = ndimage.sum_labels(ink, labels, np.arange(1, count + 1))
    return np.isin(labels, 1 + np.flatnonzero(sizes >= 0.05 * sizes.max()))


def _stroke(ink: Bool[np.ndarray, "height width"]) -> float:
    """The mean width of strokes: a strip's pixels lie a quarter of its width from its edge on average."""
    inside = np.asarray(ndimage.distance_transform_edt(np.pad(ink, 1)))
    return float(4 * inside[inside > 0].mean() - 1)


def _disc(radius: int):
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    return y * y + x * x <= radius * radius


def _resize(plane, scale: float):
    """The plane at another size, anti-aliased."""
    size = [max(1, round(scale * n)) for n in plane.shape[::-1]]
    return np.asarray(Image.fromarray(np.asarray(plane, np.float32)).resize(size, Image.Resampling.BICUBIC))
