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

FORMATS = ("PNG", "JPEG", "GIF", "BMP")
# What Pillow raises on damaged files.
DAMAGE = (OSError, SyntaxError, ValueError, TypeError, LookupError, AssertionError, struct.error)
MAX_PIXELS = 50_000_000  # of a picture
MAX_SIDE = 2000  # pixels of the longer side; larger pictures are made smaller first
WORKING_SIDE = 160  # pixels of the longer side to which the page, then the digit's surroundings, are scaled for search
MAX_STROKE = 0.4  # of the longer side; strokes are narrower, so that a closing of this width leaves only paper
MIN_HAIRLINE = 0.2  # least share of the strongest ink for a hairline joined to it
NEAR = 15  # pixels of the window in which a shape's outline is compared with its ink
MIN_INK = 0.06  # least share of the paper's light that ink absorbs
THINNEST, THICKEST = 0.09, 0.16  # stroke width over the digit's longer side: 6 % of MNIST's are below, a quarter above


class Picture(NamedTuple):
    """What was found in a picture."""

    image: UInt8[np.ndarray, "28 28 1"]  # the digit, in MNIST's form
    warnings: tuple[str, ...]  # why it may not be a digit


def read_picture(source: str | Path | BinaryIO | bytes, name: str | None = None) -> UInt8[np.ndarray, "28 28 1"]:
    """Return the digit in a PNG, JPEG, GIF or BMP file in MNIST's form; InputError as in `inspect_picture`.

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


def inspect_picture(source: str | Path | BinaryIO | bytes, name: str | None = None) -> Picture:
    """Return the digit in a PNG, JPEG, GIF or BMP file, and reasons why it may not be one.

    Transparent parts become white or black paper, whichever contrasts with the rest; EXIF's rotation is undone.

    Args:
        source: a path, an open file, or a file's content.
        name: the start of error messages; by default the path.

    Raises:
        InputError: if the source cannot be read as one of these formats, or shows an empty page.

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
        pixels = _decode(source if isinstance(source, bytes) else source.read())
    except UnidentifiedImageError:
        raise InputError(
            f"{name}: expected a {', '.join(FORMATS[:-1])} or {FORMATS[-1]} image, found another kind of file"
        ) from None
    except Image.DecompressionBombError:
        raise InputError(f"{name}: expected at most {MAX_PIXELS:,} pixels, found more") from None
    except DAMAGE as error:
        reason = first_line(error) if str(error) else "its parts do not fit"
        raise InputError(f"{name}: a damaged image: {reason}") from None
    return to_mnist(_composite_on_paper(pixels), name)


def _decode(content: bytes) -> Float[np.ndarray, "height width channels"]:
    """Return a picture's colors, 0 to 255, upright and at most MAX_SIDE wide and high; a fourth channel is opacity."""
    image = Image.open(io.BytesIO(content), formats=FORMATS)
    if image.width * image.height > MAX_PIXELS:
        raise Image.DecompressionBombError
    image.load()
    with contextlib.suppress(*DAMAGE):  # in EXIF alone: the picture is shown as far as it can be turned
        ImageOps.exif_transpose(image, in_place=True)
    if image.mode.startswith("I"):  # 16 bits per pixel, which Pillow would clip at 255
        image = Image.fromarray((np.asarray(image) // 257).astype(np.uint8))
    mode = "RGBA" if image.has_transparency_data else "RGB"
    if image.mode in ("1", "P"):  # thumbnail would drop pixels of these
        image = image.convert(mode)
    image.thumbnail((MAX_SIDE, MAX_SIDE))
    return np.asarray(image.convert(mode), np.float32)


def _composite_on_paper(pixels: Float[np.ndarray, "height width channels"]) -> Float[np.ndarray, "height width 3"]:
    """Return the colors on white or black paper, from which the opaque parts stand out."""
    if pixels.shape[-1] == 3:
        return pixels
    alpha, color = pixels[..., 3:] / 255, pixels[..., :3]
    paper = 255.0 if (alpha * color).sum() < 3 * 127.5 * alpha.sum() else 0.0
    return alpha * color + (1 - alpha) * paper


def to_mnist(pixels: Float[np.ndarray, "height width 3"], name: str = "picture") -> Picture:
    """Return the digit in a picture, 0-255 in three colors, in MNIST's form; InputError if the page is empty.

    As in LeCun et al. 1998, "Gradient-based learning applied to document recognition", section III.A, the digit is
    cropped, scaled to 20 pixels on its longer side with gray levels, and its center of mass moved to the middle of
    28x28. Before that, ink is separated from the paper around it; thin strokes, as of a pen on a large page, are
    thickened, because they would vanish, and thick ones thinned, because they would fill the gaps between them.
    """
    gray = _gray(pixels)
    scale = max(gray.shape) / WORKING_SIDE
    box = _box(_find_digit(_resize(gray, 1 / scale), name)[1] > 0)
    margin = scale * max(side.stop - side.start for side in box) / 2
    rows, columns = (slice(max(0, int(side.start * scale - margin)), int(side.stop * scale + margin)) for side in box)
    # A second look at full resolution, as a pen's hairlines are lost when a large page is scaled down.
    crop = gray[rows, columns]
    ink, shapes = _find_digit(_resize(crop, WORKING_SIDE / max(crop.shape)), name)
    digit = _normalize_stroke(ink, shapes > 0)
    digit = _resize(255 * digit, 20 / max(digit.shape)).clip(0, 255)
    center = ndimage.center_of_mass(digit)
    y, x = (np.clip(round(14 - float(at)), 0, 28 - n) for at, n in zip(center, digit.shape, strict=True))
    out = np.zeros((28, 28, 1), np.uint8)
    out[y : y + digit.shape[0], x : x + digit.shape[1], 0] = np.round(digit)
    return Picture(out, _warnings(shapes))


def _gray(pixels: Float[np.ndarray, "height width 3"]) -> Float[np.ndarray, "height width"]:
    """Project the picture, 0-255, onto the direction in which its colors vary most, or onto gray if they do not."""
    stride = max(1, min(pixels.shape[:2]) // 48)
    covariance = np.cov(pixels[::stride, ::stride].reshape(-1, 3).T, bias=True) + 100
    weights = np.linalg.eigh(covariance)[1][:, -1].astype(np.float32)
    weights *= np.copysign(1 / np.abs(weights).sum(), weights.sum())
    return pixels @ weights - 255 * np.minimum(weights, 0).sum()


def _find_digit(
    gray: Float[np.ndarray, "height width"], name: str
) -> tuple[Float[np.ndarray, "height width"], Int[np.ndarray, "height width"]]:
    """Return the ink and its shapes; InputError if there are none.

    Strokes that reach the border are assumed to end there. If all that is found so is a shadow at the border, the page
    is assumed to go on there as it is, and the digit to lie inside.
    """
    is_strip = min(gray.shape) < MAX_STROKE * max(gray.shape)  # cut to a 1; a page is wider
    for ends_at_border, least_outline in ((True, 0.0 if is_strip else 0.72), (False, 0.95)):
        ink, has_paper = _find_ink(gray, ends_at_border)
        shapes = _find_shapes(ink, has_paper, least_outline)
        if shapes.any():
            return ink, shapes
    raise InputError(f"{name}: expected a digit, found an empty page")


def _find_ink(
    gray: Float[np.ndarray, "height width"], ends_at_border: bool
) -> tuple[Float[np.ndarray, "height width"], Bool[np.ndarray, "height width"]]:
    """Return the ink at every pixel, relative to the strongest, and which pixels are lighter than the ink near them."""
    gray = ndimage.gaussian_filter(gray.clip(0, 255), 0.8 * max(gray.shape) / WORKING_SIDE)
    few = min(gray.size, max(4, gray.size // 8000))
    ordered = np.sort(gray, axis=None)
    darkest, lightest = ordered[:few].mean(), ordered[-few:].mean()
    # Half of the border may be in shadow, and a quarter may be ink. Light counts by ratios, as a shadow divides it.
    border = np.concatenate([gray[0], gray[-1], gray[:, 0], gray[:, -1]])
    dark, light = np.quantile(border, (0.25, 0.75))
    if (lightest + 8) / (light + 8) > (dark + 8) / (darkest + 8):  # chalk on a board
        gray, dark = 255 - gray, 255 - light
    # The closing fills strokes and keeps a shadow's edge.
    width = round(MAX_STROKE * max(gray.shape))
    pad = width // 2 + 1
    padded = np.pad(gray, pad, constant_values=dark) if ends_at_border else np.pad(gray, pad, "edge")
    paper = ndimage.grey_closing(padded, (width, width))[pad:-pad, pad:-pad]
    ink = (paper - gray) / np.maximum(paper, 16)
    strongest = np.sort(ink, axis=None)[-few:].mean()
    noise = np.median(ink[ink <= max(strongest / 2, ink.min())])
    contrast = (gray - ndimage.minimum_filter(gray, NEAR)) / np.maximum(paper, 16)
    has_paper = contrast > 0.5 * ndimage.maximum_filter(ink, NEAR)
    if strongest < max(MIN_INK, 4 * noise):
        return np.zeros_like(ink), has_paper
    return ((ink - noise) / (strongest - noise)).clip(0, 1), has_paper


def _find_shapes(
    ink: Float[np.ndarray, "height width"], has_paper: Bool[np.ndarray, "height width"], least_outline: float
) -> Int[np.ndarray, "height width"]:
    """Label the shapes: regions with over half of the strongest ink, together with hairlines joined to them.

    Lighter paper surrounds a stroke, but a shadow's tip lies against the shadow, and a shadow at the border against the
    border: a shape with less than a share of its outline beside lighter paper is left out.
    """
    labels, count = cast(tuple[np.ndarray, int], ndimage.label(ink > MIN_HAIRLINE, np.ones((3, 3))))
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    sizes[np.setdiff1d(np.arange(count + 1), labels[ink > 0.5])] = 0
    sizes[0] = 0
    around = np.pad(labels, 2)
    around = np.where(around, 0, ndimage.maximum_filter(around, 5))
    outline = ndimage.mean(np.pad(has_paper, 2, "edge"), around, np.arange(count + 1))
    lengths = [
        max(np.divide([side.stop - side.start for side in box], ink.shape)) for box in ndimage.find_objects(labels)
    ]
    # The border may cut a digit at both ends.
    sizes[outline < least_outline - 0.15 * (np.array([0, *lengths]) >= 0.95)] = 0
    return np.where(sizes >= max(1, 0.05 * sizes.max()), np.arange(count + 1), 0)[labels]  # without specks


def _box(mask: Bool[np.ndarray, "height width"]) -> tuple[slice, slice]:
    """Return the smallest rectangle around the mask."""
    return ndimage.find_objects(mask.astype(int))[0]


def _normalize_stroke(
    ink: Float[np.ndarray, "height width"], mask: Bool[np.ndarray, "height width"]
) -> Float[np.ndarray, "height2 width2"]:
    """Return the cropped digit, with hairlines as wide and dark as MNIST's and a thick pen's strokes thinned."""
    pad = WORKING_SIDE // 20
    box = _box(mask)
    ink, mask = np.pad(ink[box], pad), np.pad(mask[box], pad)
    length = max(mask.shape) - 2 * pad
    digit = (1.5 * ink - 0.25).clip(0, 1) * ndimage.binary_dilation(mask, iterations=2)
    # A thick pen closes the gap that tells a 4 from a 9. A strip's pixels are on average a quarter of its width from
    # its edge; ink that blurs into a gap does not count.
    strong = mask & (ink > 0.5)
    stroke = 4 * np.asarray(ndimage.distance_transform_edt(strong))[strong].mean() - 1
    radius = round((stroke - THICKEST * length) / 2)
    if radius > 0:
        y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
        thinner = ndimage.grey_erosion(digit, footprint=y * y + x * x <= radius * radius)
        digit = thinner if (thinner > 0.3).any() else digit
    # A hairline is gray only because it is finer than a pixel, and may join two thick strokes.
    inside = np.asarray(ndimage.distance_transform_edt(mask))
    width = 2 * ndimage.maximum_filter(inside, round(2 * THINNEST * length) or 1) - 1
    missing_width = (THINNEST * length - width) / 2
    thin = missing_width > 0.5
    if thin.any():
        outside = np.asarray(ndimage.distance_transform_edt(~mask))
        digit[thin] = np.maximum(digit, (inside - outside + missing_width + 0.5).clip(0, 1))[thin]
    return digit[_box(digit > 0.3)]


def _warnings(shapes: Int[np.ndarray, "height width"]) -> tuple[str, ...]:
    """Return the reasons why the shapes may not be one digit."""
    boxes = [box for box in ndimage.find_objects(shapes) if box is not None]
    lengths = [max(side.stop - side.start for side in box) for box in boxes]
    long = [box for box, length in zip(boxes, lengths, strict=True) if 2 * length >= max(lengths)]
    apart = any(
        one.start >= other.stop or other.start >= one.stop
        for a, b in itertools.combinations(long, 2)
        for one, other in zip(a, b, strict=True)
    )
    mask = shapes[_box(shapes > 0)] > 0
    y, x = (max(1, n // 8) for n in mask.shape)
    sides = (mask[:y].any(0), mask[-y:].any(0), mask[:, :x].any(1), mask[:, -x:].any(1))
    inner = mask[y:-y, x:-x]
    framed = all(side.mean() > 0.9 for side in sides) and inner.size > 0 and inner.mean() < 0.5
    reasons = {"more than one shape": apart, "a frame": framed}
    return tuple(reason for reason, holds in reasons.items() if holds)


def _resize(plane: Float[np.ndarray, "height width"], scale: float) -> Float[np.ndarray, "height2 width2"]:
    """Return the plane at another size, anti-aliased."""
    size = [max(1, round(scale * n)) for n in plane.shape[::-1]]
    return np.asarray(Image.fromarray(plane.astype(np.float32)).resize(size, Image.Resampling.BICUBIC))
