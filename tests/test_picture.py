"""Pictures converted to MNIST's form, and files that are not pictures of a digit."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageOps
from scipy import ndimage

from mnistsum.errors import InputError
from mnistsum.picture import read_picture, to_mnist
from mnistsum.predict import load_pretrained


def encode(image, kind="PNG"):
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def seven(ink="black", paper="white", size=300, mode="RGB", width=20):
    """Draw a seven, off center, in a square, with strokes of a width at size 300."""
    image = Image.new(mode, (size, size), paper)
    points = [
        (x * size // 300, y * size // 300) for x, y in ((60, 50), (170, 50), (100, 210))
    ]
    ImageDraw.Draw(image).line(points, ink, width * size // 300, "curve")
    return image


def blank(size):
    return encode(Image.new("1", (size, size)))


SEVEN = read_picture(encode(seven()))
GRAY = seven(0, 255, mode="L")
DEEP = Image.fromarray((np.asarray(GRAY) * 200.0 + 9000).astype(np.uint16))
BLACK = (0, 0, 0, 255)
WHITE = (255, 255, 255, 255)


PICTURES = {
    "light on dark": encode(seven("white", "black")),
    "colored JPEG": encode(seven((180, 30, 40), (200, 220, 160)), "JPEG"),
    "large": encode(seven(size=900)),
    "small BMP": encode(seven(size=150), "BMP"),
    "GIF": encode(GRAY.convert("P"), "GIF"),
    "bilevel": encode(GRAY.convert("1")),
    "16 bits": encode(DEEP),
    "transparent": encode(seven(BLACK, (0, 0, 0, 0), mode="RGBA")),
    "white ink": encode(seven(WHITE, (255, 255, 255, 0), mode="RGBA")),
}


@pytest.mark.parametrize("picture", PICTURES.values(), ids=PICTURES)
def test_color_size_and_format_change_little(picture):
    difference = np.abs(read_picture(picture).astype(float) - SEVEN)
    assert difference.mean() < 0.1 * SEVEN.mean()


def test_the_digit_is_20_pixels_long_and_its_mass_in_the_middle():
    assert SEVEN.shape == (28, 28, 1)
    assert SEVEN.max() == 255
    rows, columns = (np.flatnonzero(SEVEN[..., 0].max(axis) > 25) for axis in (1, 0))
    assert max(np.ptp(rows), np.ptp(columns)) + 1 == 20
    np.testing.assert_allclose(ndimage.center_of_mass(SEVEN[..., 0]), 14, atol=0.5)


def test_a_thin_stroke_is_as_bright_as_a_thick_one():
    assert read_picture(encode(seven(width=2))).max() == 255


def draw_on_page(image, length, room, dark):
    """Return the digit of an image, enlarged, in the upper right of a page."""
    digit = Image.fromarray(image[..., 0])
    digit = ImageOps.contain(digit.crop(digit.getbbox()), (length, length))
    page = np.pad(np.asarray(digit), ((room // 4, room), (room, room // 4)))
    return 255 - page if dark else page


@pytest.mark.parametrize("dark", [False, True], ids=["light ink", "dark ink"])
@pytest.mark.parametrize("length, room", [(20, 8), (20, 200), (140, 0), (300, 200)])
def test_a_network_reads_a_digit_on_a_page_as_it_reads_the_image(
    mnist, length, room, dark
):
    base = load_pretrained("base")
    images = mnist.test.images[:64]
    pages = [draw_on_page(image, length, room, dark) for image in images]
    found = base.predict(np.stack([to_mnist(page) for page in pages]), 0).digit
    assert (found.argmax(-1) == base.predict(images, 0).digit.argmax(-1)).mean() > 0.98


@pytest.mark.parametrize(
    "page",
    [
        np.full((200, 300), 240),
        np.zeros((1, 1)),
        np.random.default_rng(0).normal(200, 8, (200, 300)),
    ],
    ids=["white", "a black pixel", "noise"],
)
def test_an_empty_page_is_said_to_be_empty(page):
    with pytest.raises(InputError, match=r"^page: expected a digit, found an empty"):
        to_mnist(page.astype(np.uint8), "page")


def test_specks_are_no_digit():
    page = np.full((600, 600), 255, np.uint8)
    page[5, 5] = page[-5, -5] = 0
    with pytest.raises(InputError, match=r"^page: expected a digit, found specks"):
        to_mnist(page, "page")


@pytest.mark.parametrize(
    "picture, answer",
    [
        (b"", "expected a PNG, JPEG, GIF or BMP image, found another"),
        (
            b"P6 2 2 255 " + bytes(12),
            "expected a PNG, JPEG, GIF or BMP image, found another",
        ),
        (encode(seven())[:400], "a damaged image: "),
        (blank(8_000), "expected at most 50,000,000 pixels, found more"),
        (blank(10_000), "expected at most 50,000,000 pixels, found more"),
        (blank(14_000), "expected at most 50,000,000 pixels, found more"),
    ],
    ids=["empty", "other format", "truncated", "large", "warned of", "bomb"],
)
def test_what_is_no_picture_is_refused_in_one_line(picture, answer):
    with pytest.raises(InputError, match=rf"\Ait: {answer}.*\Z"):
        read_picture(picture, "it")


@settings(max_examples=150, deadline=None, derandomize=True)
@given(data=st.data())
def test_harmed_files_are_read_or_refused_in_one_line(data):
    kind = data.draw(st.sampled_from(["PNG", "JPEG", "GIF", "BMP"]))
    picture = bytearray(encode(seven(size=60), kind))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(picture) - 1))
        picture[place] = data.draw(st.integers(0, 255))
    try:
        assert read_picture(bytes(picture), "it").shape == (28, 28, 1)
    except InputError as refusal:
        assert "\n" not in str(refusal)
