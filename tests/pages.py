"""Pages as people photograph and scan them: a digit of MNIST or of a font, on paper that makes it hard to read.

Preprocessing is tested on these fonts of Matplotlib, MNIST's test images and the second half of scikit-learn's
`load_digits`. It was tuned on other fonts, MNIST's training images and the first half.
"""

import io
from collections.abc import Iterator
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

FOLDER = Path(matplotlib.get_data_path(), "fonts", "ttf")
FONTS = [FOLDER / f"{name}.ttf" for name in ("DejaVuSans", "DejaVuSans-Bold", "DejaVuSansMono", "DejaVuSerif", "cmr10")]
KINDS = ("gradient", "shadow", "ruled", "squared", "pencil", "jpeg", "corner", "turned")


def draw(kind: str, count: int, images: np.ndarray, labels: np.ndarray) -> Iterator[tuple[np.ndarray, int]]:
    """Yield pages of a kind, uint8 [height, width, 3], and labels; every second digit is from MNIST, unless turned."""
    random = np.random.default_rng(sum(map(ord, kind)))
    for i in range(count):
        # A digit of 28 pixels is a small part of a page of 800 to 1,600.
        size = random.integers(800, 1600, 2) if kind == "corner" else random.integers(240, 700, 2)
        length = 28 if kind == "corner" else int(min(size) * random.uniform(0.3, 0.6))
        if i % 2 and kind != "turned":
            label, digit = int(labels[i]), Image.fromarray(images[i, ..., 0])
        else:
            label, digit = i // 2 % 10, Image.new("L", (600, 600))
            font = ImageFont.truetype(FONTS[random.integers(len(FONTS))], 300)
            ImageDraw.Draw(digit).text((300, 300), str(label), 255, font, anchor="mm")
        if kind == "turned":
            digit = digit.rotate(random.uniform(-15, 15), Image.Resampling.BICUBIC)
        digit = np.asarray(ImageOps.contain(digit.crop(digit.getbbox()), (length, length))) / 255.0
        room = size - digit.shape
        if kind == "corner":
            y, x = abs(room * random.integers(2, size=2) - random.integers(10, 60, 2))
        else:
            y, x = (room * random.uniform(0.25, 0.75, 2)).astype(int)
        alpha = np.zeros((*size, 1))
        alpha[y : y + digit.shape[0], x : x + digit.shape[1], 0] = digit
        yield _photograph(kind, random, alpha), label


def _photograph(kind: str, random: np.random.Generator, alpha: np.ndarray) -> np.ndarray:
    """Return the page with light and noise."""
    height, width, _ = alpha.shape
    paper = np.full((height, width, 3), random.uniform(200, 250) + random.uniform(-10, 5, 3))
    pen = random.uniform(10, 80, 3)
    if kind in ("ruled", "squared"):
        every, first = int(min(height, width) * random.uniform(0.04, 0.2)), random.integers(10)
        for rows in (paper, paper.swapaxes(0, 1))[: 1 if kind == "ruled" else 2]:
            rows[(np.arange(len(rows)) - first) % every < random.integers(1, 4)] *= (0.75, 0.85, 0.95)
    if kind == "pencil":  # faint, and grainy on rough paper
        pen = paper * random.uniform(0.6, 0.8)
        alpha = alpha * random.uniform(0.7, 1, alpha.shape)
    light, direction = 1.0, random.uniform(0, 2 * np.pi)
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j][..., None]
    across = np.cos(direction) * x + np.sin(direction) * y
    if kind == "gradient":
        light = 1 - random.uniform(0.3, 0.6) * (across - across.min()) / np.ptp(across)
    if kind == "shadow":  # a hard edge near the middle
        light = np.where(across > random.uniform(-0.2, 0.2), 0.5, 1.0)
    pixels = (alpha * pen + (1 - alpha) * paper) * light + random.normal(0, random.uniform(0, 4), paper.shape)
    pixels = pixels.clip(0, 255).astype(np.uint8)
    if kind == "jpeg":
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "JPEG", quality=30)
        pixels = np.asarray(Image.open(file))
    return pixels


def cut(image: np.ndarray, margin: int, dark: bool) -> np.ndarray:
    """Crop an image in MNIST's form to its ink, with a margin; dark on light if asked for."""
    rows, columns = (np.flatnonzero(image[..., 0].any(axis)) for axis in (1, 0))
    ink = np.pad(image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1, 0], margin)
    return np.repeat((255 - ink if dark else ink)[..., None], 3, -1)
