"""Pictures converted to MNIST's form, and files that are not pictures of a digit."""

import io
import itertools

import numpy as np
import pages
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw
from scipy import ndimage

from mnistsum.errors import InputError
from mnistsum.picture import inspect_picture, read_picture, to_mnist


def encode(image: Image.Image, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def seven(ink="black", paper="white", size=300, mode="RGB", width=20) -> Image.Image:
    """Draw a seven, off center, in a square of this size; `width` is that of its strokes at size 300."""
    image = Image.new(mode, (size, size), paper)
    points = [(x * size // 300, y * size // 300) for x, y in ((60, 50), (170, 50), (100, 210))]
    ImageDraw.Draw(image).line(points, ink, int(width * size / 300), "curve")
    return image


def differs(image, other) -> float:
    """Return the mean difference over the mean, at the best of nine shifts, as centering rounds to whole pixels."""
    moves = itertools.product((-1, 0, 1), repeat=2)
    return min(np.abs(np.roll(image.astype(float), move, (0, 1)) - other).mean() for move in moves) / other.mean()


SEVEN = read_picture(encode(seven()))


def on_a_page(image: np.ndarray) -> np.ndarray:
    alpha = np.asarray(Image.fromarray(image[..., 0]).resize((280, 280), Image.Resampling.BICUBIC)) / 255
    alpha = np.pad(alpha, ((60, 60), (30, 190)))[..., None]
    return (1 - alpha) * (250, 240, 225) + alpha * (40, 30, 90)


IN = {
    "on a page": (on_a_page, 0.25),
    "cut to its light ink": (lambda image: pages.cut(image, 0, dark=False), 0.15),
    "cut to its dark ink": (lambda image: pages.cut(image, 0, dark=True), 0.15),
}


@pytest.mark.parametrize(("picture", "most"), IN.values(), ids=IN)
def test_an_image_of_mnist_comes_back_from_a_picture_of_it(mnist, picture, most):
    images = mnist.test.images[:40]
    found = [differs(to_mnist(picture(image).astype(float)).image, image) for image in images]
    others = [differs(a, b) for a, b in itertools.pairwise(images)]
    assert np.median(found) < most < np.min(others)


GRAY = seven(0, 255, mode="L")


PICTURES = {
    "light on dark": encode(seven("white", "black")),
    "colored JPEG": encode(seven((180, 30, 40), (200, 220, 160)), "JPEG"),
    "large": encode(seven(size=900)),
    "small BMP": encode(seven(size=150), "BMP"),
    "GIF": encode(GRAY.convert("P"), "GIF"),
    "bilevel": encode(GRAY.convert("1")),
    "16 bits": encode(Image.fromarray((np.asarray(GRAY) * 200.0 + 9000).astype(np.uint16))),
    "transparent": encode(seven((0, 0, 0, 255), (0, 0, 0, 0), mode="RGBA")),
    "white ink": encode(seven((255, 255, 255, 255), (255, 255, 255, 0), mode="RGBA")),
}


@pytest.mark.parametrize("picture", PICTURES.values(), ids=PICTURES)
def test_color_size_and_format_change_little(picture):
    assert differs(read_picture(picture), SEVEN) < 0.2


def test_the_digit_is_20_pixels_long_and_its_mass_in_the_middle():
    assert SEVEN.shape == (28, 28, 1)
    assert SEVEN.max() == 255
    rows, columns = (np.flatnonzero(SEVEN[..., 0].max(axis) > 25) for axis in (1, 0))
    assert 19 <= max(np.ptp(rows), np.ptp(columns)) + 1 <= 20
    np.testing.assert_allclose(ndimage.center_of_mass(SEVEN[..., 0]), 14, atol=0.5)


def test_a_shadow_across_the_page_and_specks_of_dust_change_little():
    reflected = 0.45 + 0.55 * np.asarray(seven()) / 255  # a soft pencil: darker in the light than in the shadow
    page = 250 * reflected * np.linspace(0.35, 1, 300)[:, None]
    page[20:23, 270:273] = 40
    assert differs(to_mnist(page).image, SEVEN) < 0.2


@pytest.mark.parametrize(("size", "mode"), [(300, "L"), (3000, "L"), (3000, "1"), (3000, "P")])
def test_hairlines_are_kept_and_thickened(size, mode):
    page = seven(0, 255, size, "L", width=900 / size).convert(mode)
    assert read_picture(encode(page)).sum() > 0.6 * SEVEN.sum()


@pytest.mark.parametrize("angle", [0.0, 0.5, 2.0])
def test_the_hard_edge_of_a_shadow_is_no_ink(angle):
    y, x = np.mgrid[-1:1:300j, -1:1:300j][..., None]
    light = np.where(np.cos(angle) * x + np.sin(angle) * y > 0, 0.5, 1.0)
    assert differs(to_mnist(light * np.asarray(seven())).image, SEVEN) < 0.2


def shadows():
    """Yield blank pages of several sizes with the soft edge, the corner or the bay of a shadow."""
    for seed in range(6):
        random = np.random.default_rng(seed)
        height, width = random.integers(150, 600, 2)
        y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
        angle, reach = random.uniform(0, 2 * np.pi), random.uniform(-0.3, 0.3)
        depths = {
            "edge": np.cos(angle) * x + np.sin(angle) * y - reach,
            "corner of the page": np.minimum(x, y) - 0.2 - reach,
            "hand": 0.8 + reach - np.hypot(x - 0.9, y + 0.8),
        }
        for (kind, depth), softness in itertools.product(depths.items(), (0.1, 0.2, 0.3)):
            light = 1 - random.uniform(0.2, 0.6) / (1 + np.exp(-np.clip(depth / softness, -50, 50)))
            noise = random.normal(0, 2, (height, width, 3))
            yield pytest.param((230 * light[..., None] + noise).clip(0, 255), id=f"{kind} {softness} {seed}")


@pytest.mark.parametrize("page", [*shadows()])
def test_a_shadow_on_a_blank_page_is_no_digit_and_a_digit_in_it_is_read(page):
    with pytest.raises(InputError, match="expected a digit, found an empty page"):
        to_mnist(page)
    side = min(page.shape[:2])
    row, column = (np.array(page.shape[:2]) - side) // 2
    page[row : row + side, column : column + side] *= 0.15 + 0.85 * np.asarray(seven(size=side)) / 255
    assert differs(to_mnist(page).image, SEVEN) < 0.3


def test_a_picture_of_anything_but_a_single_digit_gives_a_warning():
    frame = Image.new("RGB", (300, 200), "white")
    ImageDraw.Draw(frame).rectangle((60, 40, 240, 160), outline="black", width=5)
    two = Image.fromarray(np.hstack([seven(), seven()]))
    for page, warnings in ((seven(), ()), (two, ("more than one shape",)), (frame, ("a frame",))):
        assert inspect_picture(encode(page)).warnings == warnings


@pytest.mark.parametrize(
    "page",
    [
        np.full((200, 300, 3), 240.0),
        np.linspace(100, 220, 300)[:, None] * np.ones((200, 300, 3)),
        np.random.default_rng(0).normal(200, 8, (200, 300, 3)),
        np.zeros((1, 1, 3)),
    ],
)
def test_an_empty_page_is_said_to_be_empty(page):
    with pytest.raises(InputError, match=r"^page: expected a digit, found an empty page$"):
        to_mnist(page, "page")


@pytest.mark.parametrize(
    ("picture", "answer"),
    [
        (b"", "expected a PNG, JPEG, GIF or BMP image, found another"),
        (b"P6 2 2 255 " + bytes(12), "expected a PNG, JPEG, GIF or BMP image, found another"),
        (encode(seven())[:400], "a damaged image: "),
        (encode(Image.new("1", (8_000, 8_000))), "expected at most 50,000,000 pixels, found more"),
    ],
    ids=["empty", "other format", "truncated", "bomb"],
)
def test_what_is_no_picture_is_refused_in_one_line(picture, answer):
    with pytest.raises(InputError, match=rf"\Ait: {answer}.*\Z"):
        read_picture(picture, "it")


@settings(max_examples=150, deadline=None, derandomize=True)
@given(data=st.data())
def test_harmed_files_are_read_or_refused_in_one_line(data):
    picture = bytearray(encode(seven(size=60), data.draw(st.sampled_from(["PNG", "JPEG", "GIF", "BMP"]))))
    for _ in range(data.draw(st.integers(1, 4))):
        picture[data.draw(st.integers(0, len(picture) - 1))] = data.draw(st.integers(0, 255))
    try:
        assert read_picture(bytes(picture), "it").shape == (28, 28, 1)
    except InputError as refusal:
        assert "\n" not in str(refusal)
