"""Pictures of single digits, of any size and color, converted to MNIST's form."""

import contextlib
import io
import itertools
import struct
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from PIL import Image, ImageOps, UnidentifiedImageError
from scipy import ndimage

from mnistsum.errors import InputError, first_line
from mnistsum.file_io import read_bytes

Source = str | Path | BinaryIO | bytes  # a path, an open file, or a file's content
Colors = Float[np.ndarray, "height width 3"]  # 0-255
Plane = Float[np.ndarray, "height width"]
Resized = Float[np.ndarray, "height2 width2"]
Mask = Bool[np.ndarray, "height width"]
Labels = Int[np.ndarray, "height width"]  # 0: no shape

FORMATS = ("PNG", "JPEG", "GIF", "BMP")
# What Pillow raises on damaged files.
DAMAGE = (OSError, SyntaxError, ValueError, TypeError, LookupError, AssertionError, struct.error)
MAX_PIXELS = 50_000_000  # of a picture
MAX_SIDE = 2000  # pixels of the longer side; larger pictures are scaled down first
WORKING_SIDE = 160  # pixels of the longer side of the page, and later of the digit's surroundings, during the search
MAX_STROKE = 0.4  # stroke width over the longer side; strokes are narrower, so a closing of this width leaves the paper
MIN_HAIRLINE = 0.2  # least ink of a hairline that is joined to a stroke, relative to the strongest ink
NEAR = 15  # pixels; side of the window in which a shape's outline is compared with its ink
MIN_INK = 0.06  # least share of the paper's light that ink absorbs
THINNEST, THICKEST = 0.09, 0.16  # stroke width over the digit's longer side: 6 % of MNIST's are below, a quarter above


class Picture(NamedTuple):
    """The digit found in a picture."""

    image: UInt8[np.ndarray, "28 28 1"]  # in MNIST's form
    warnings: tuple[str, ...]  # reasons why it may not be a digit


def read_picture(source: Source, name: str | None = None) -> UInt8[np.ndarray, "28 28 1"]:
    """Return the digit in a PNG, JPEG, GIF or BMP file, in MNIST's form. `inspect_picture` lists arguments and errors.

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
    return inspect_picture(source, name).image


def inspect_picture(source: Source, name: str | None = None) -> Picture:
    """Return the digit in a PNG, JPEG, GIF or BMP file, and reasons why it may not be one.

    Transparent parts become white or black paper, whichever contrasts with the rest. EXIF's rotation is undone.

    Args:
        source: a path, an open file, or a file's content.
        name: what error messages call the picture; by default the path.

    Raises:
        InputError: if the source is not a readable file of these formats, or shows an empty page.

    Examples:
        >>> import io
        >>> from PIL import Image, ImageDraw
        >>> import mnistsum
        >>> page, file = Image.new("L", (300, 200), "white"), io.BytesIO()
        >>> for x in (60, 240):
        ...     ImageDraw.Draw(page).line([(x, 40), (x, 160)], "black", width=20)
        >>> page.save(file, "PNG")
        >>> mnistsum.inspect_picture(file.getvalue(), "page.png").warnings
        ('more than one shape',)
    """
    if isinstance(source, str | Path):
        name, source = name or str(source), read_bytes(Path(source))
    name = name or "picture"
    try:
        pixels = _decode(source if isinstance(source, bytes) else source.read(), name)
    except UnidentifiedImageError:
        raise InputError(
            f"{name}: expected a {', '.join(FORMATS[:-1])} or {FORMATS[-1]} image, found another kind of file"
        ) from None
    except DAMAGE as error:
        raise InputError(f"{name}: a damaged image: {first_line(error)}") from None
    return to_mnist(_composite_on_paper(pixels), name)


def _decode(content: bytes, name: str) -> Float[np.ndarray, "height width 4"]:
    """Return a picture's colors and opacity, 0-255, upright and at most MAX_SIDE wide and high."""
    image = Image.open(io.BytesIO(content), formats=FORMATS)
    if image.width * image.height > MAX_PIXELS:
        raise InputError(f"{name}: expected at most {MAX_PIXELS:,} pixels, found more")
    image.load()
    with contextlib.suppress(*DAMAGE):  # if only EXIF is damaged, the picture is read as it is stored
        ImageOps.exif_transpose(image, in_place=True)
    if image.mode.startswith("I"):  # 16 bits per pixel, which Pillow would clip at 255
        image = Image.fromarray((np.asarray(image) // 257).astype(np.uint8))
    image = image.convert("RGBA")
    image.thumbnail((MAX_SIDE, MAX_SIDE))
    return np.asarray(image, np.float32)


def _composite_on_paper(pixels: Float[np.ndarray, "height width 4"]) -> Colors:
    """Return the colors on white or black paper, whichever contrasts with the opaque parts."""
    alpha, color = pixels[..., 3:] / 255, pixels[..., :3]
    paper = 255.0 if (alpha * color).sum() < 3 * 127.5 * alpha.sum() else 0.0
    return alpha * color + (1 - alpha) * paper


def to_mnist(pixels: Colors, name: str = "picture") -> Picture:
    """Return the digit in a picture, 0-255 in three colors, in MNIST's form.

    First, ink is separated from the paper around it. Thin strokes, such as a pen's on a large page, are thickened,
    because they would vanish. Thick ones are thinned, because they would fill the gaps between them. Then the digit is
    cropped, scaled to 20 pixels on its longer side with gray levels, and its center of mass moved to the middle of
    28x28, as in LeCun et al. 1998, "Gradient-based learning applied to document recognition", section III.A.

    Raises:
        InputError: if the page is empty.
    """
    gray = _gray(pixels)
    scale = max(gray.shape) / WORKING_SIDE
    shapes = _find_digit(_resize(gray, 1 / scale), name)[1]
    box = _box(shapes > 0)
    margin = scale * max(shapes[box].shape) / 2
    # Search again at full resolution, because a pen's hairlines are lost when a large page is scaled down.
    crop = gray[tuple(slice(max(0, int(side.start * scale - margin)), int(side.stop * scale + margin)) for side in box)]
    ink, shapes = _find_digit(_resize(crop, WORKING_SIDE / max(crop.shape)), name)
    digit = _normalize_stroke(ink, shapes > 0)
    digit = _resize(255 * digit, 20 / max(digit.shape)).clip(0, 255)
    center = ndimage.center_of_mass(digit)
    y, x = (np.clip(round(14 - float(at)), 0, 28 - n) for at, n in zip(center, digit.shape, strict=True))
    out = np.zeros((28, 28, 1), np.uint8)
    out[y : y + digit.shape[0], x : x + digit.shape[1], 0] = np.round(digit)
    return Picture(out, _warnings(shapes))


def _gray(pixels: Colors) -> Plane:
    """Project the colors onto the direction in which they vary most, or onto gray if they hardly vary."""
    covariance = np.cov(pixels[::4, ::4].reshape(-1, 3).T, bias=True) + 100
    weights = np.linalg.eigh(covariance)[1][:, -1].astype(np.float32)
    weights *= np.copysign(1 / np.abs(weights).sum(), weights.sum())
    return pixels @ weights - 255 * np.minimum(weights, 0).sum()


def _find_digit(gray: Plane, name: str) -> tuple[Plane, Labels]:
    """Return the ink and its shapes, or raise InputError if there are none.

    Strokes that reach the border are assumed to end there. If this finds only a shadow at the border, the page is
    assumed to continue beyond the border, and the digit to lie inside.
    """
    is_strip = min(gray.shape) < MAX_STROKE * max(gray.shape)  # a picture cut to the ink of a 1; a page is wider
    for ends_at_border, least_outline in ((True, 0.0 if is_strip else 0.72), (False, 0.95)):
        ink, has_paper = _find_ink(gray, ends_at_border)
        shapes = _find_shapes(ink, has_paper, least_outline)
        if shapes.any():
            return ink, shapes
    raise InputError(f"{name}: expected a digit, found an empty page")


def _find_ink(gray: Plane, ends_at_border: bool) -> tuple[Plane, Mask]:
    """Return each pixel's ink, relative to the strongest, and whether the pixel is lighter than the ink near it."""
    gray = ndimage.gaussian_filter(gray.clip(0, 255), 0.8 * max(gray.shape) / WORKING_SIDE)
    # Half of the border may be in shadow, and a quarter may be ink. A shadow divides light, so compare ratios.
    border = np.concatenate([gray[[0, -1]].ravel(), gray[:, [0, -1]].ravel()])
    dark, light = np.quantile(border, (0.25, 0.75))
    if (gray.max() + 8) / (light + 8) > (dark + 8) / (gray.min() + 8):  # chalk on a board
        gray, dark = 255 - gray, 255 - light
    # A closing fills strokes, but keeps the edge of a shadow.
    width = round(MAX_STROKE * max(gray.shape))
    pad = width // 2 + 1
    padded = np.pad(gray, pad, constant_values=dark) if ends_at_border else np.pad(gray, pad, "edge")
    paper = ndimage.grey_closing(padded, (width, width))[pad:-pad, pad:-pad]
    ink = (paper - gray) / np.maximum(paper, 16)
    strongest = ink.max()
    noise = np.median(ink[ink <= strongest / 2])
    contrast = (gray - ndimage.minimum_filter(gray, NEAR)) / np.maximum(paper, 16)
    has_paper = contrast > 0.5 * ndimage.maximum_filter(ink, NEAR)
    if strongest < max(MIN_INK, 4 * noise):
        return np.zeros_like(ink), has_paper
    return ((ink - noise) / (strongest - noise)).clip(0, 1), has_paper


def _find_shapes(ink: Plane, has_paper: Mask, least_outline: float) -> Labels:
    """Label the shapes: regions with over half of the strongest ink, together with hairlines joined to them.

    Lighter paper surrounds a stroke, but not a shadow's tip or a shadow at the border. So a shape is left out if less
    than `least_outline` of its outline is beside lighter paper.
    """
    square = np.ones((3, 3))
    strokes = ndimage.binary_propagation(ink > 0.5, square, ink > MIN_HAIRLINE)
    labels, count = cast(tuple[np.ndarray, int], ndimage.label(strokes, square))
    around = np.pad(labels, 2)
    around = ndimage.maximum_filter(around, 5) * (around == 0)
    outline = ndimage.mean(np.pad(has_paper, 2, "edge"), around, np.arange(1, count + 1))
    lengths = [max(np.divide(labels[box].shape, ink.shape)) for box in ndimage.find_objects(labels)]
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    # The border may cut a digit at both ends.
    sizes[1:][outline < least_outline - 0.15 * (np.array(lengths) >= 0.95)] = 0
    return np.where(sizes >= max(1, 0.05 * sizes.max()), np.arange(count + 1), 0)[labels]  # without specks


def _box(mask: Mask) -> tuple[slice, slice]:
    """Return the smallest rectangle around the mask."""
    return ndimage.find_objects(mask.astype(int))[0]


def _normalize_stroke(ink: Plane, mask: Mask) -> Resized:
    """Return the cropped digit with hairlines as wide and dark as MNIST's, and a thick pen's strokes thinned."""
    pad = WORKING_SIDE // 20
    box = _box(mask)
    ink, mask = np.pad(ink[box], pad), np.pad(mask[box], pad)
    length = max(mask.shape) - 2 * pad
    digit = (1.5 * ink - 0.25).clip(0, 1) * ndimage.binary_dilation(mask, iterations=2)
    # A thick pen closes the gap that tells a 4 from a 9. The stroke width is four times the mean distance of a stroke's
    # pixels from its edge. Ink that blurs into a gap does not count.
    strong = mask & (ink > 0.5)
    stroke = 4 * np.asarray(ndimage.distance_transform_edt(strong))[strong].mean() - 1
    radius = round((stroke - THICKEST * length) / 2)
    if radius > 0:
        y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
        thinner = ndimage.grey_erosion(digit, footprint=y * y + x * x <= radius * radius)
        digit = thinner if (thinner > 0.3).any() else digit
    # A hairline is gray only because it is finer than a pixel. It may join two thick strokes.
    inside = np.asarray(ndimage.distance_transform_edt(mask))
    width = 2 * ndimage.maximum_filter(inside, round(2 * THINNEST * length) or 1) - 1
    missing_width = (THINNEST * length - width) / 2
    thin = missing_width > 0.5
    if thin.any():
        outside = np.asarray(ndimage.distance_transform_edt(~mask))
        digit[thin] = np.maximum(digit, (inside - outside + missing_width + 0.5).clip(0, 1))[thin]
    return digit[_box(digit > 0.3)]


def _warnings(shapes: Labels) -> tuple[str, ...]:
    """Return the reasons why the shapes may not be one digit."""
    boxes = [box for box in ndimage.find_objects(shapes) if box is not None]
    longest = max(max(shapes[box].shape) for box in boxes)
    long = [box for box in boxes if 2 * max(shapes[box].shape) >= longest]
    apart = any(
        one.start >= other.stop or other.start >= one.stop
        for a, b in itertools.combinations(long, 2)
        for one, other in zip(a, b, strict=True)
    )
    mask = (shapes > 0)[_box(shapes > 0)]
    framed = mask.mean() < 0.5 and np.asarray(ndimage.binary_fill_holes(mask)).mean() > 0.9
    reasons = {"more than one shape": apart, "a frame": framed}
    return tuple(reason for reason, holds in reasons.items() if holds)


def _resize(plane: Plane, scale: float) -> Resized:
    """Return the plane at another size, anti-aliased."""
    size = [max(1, round(scale * n)) for n in plane.shape[::-1]]
    return np.asarray(Image.fromarray(plane.astype(np.float32)).resize(size, Image.Resampling.BICUBIC))
