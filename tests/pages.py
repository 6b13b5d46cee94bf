"""Pages as people photograph and scan them: a digit of MNIST or of a font, on paper that makes it hard to read.

Preprocessing is judged on these fonts, MNIST's test images and the second half of scikit-learn's `load_digits`. It was
tuned on other fonts, MNIST's training images and the first half. The fonts are Matplotlib's and Debian's (see
experiments/studies/drawings.py).
"""

import io
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

OWN, DEBIAN = Path(matplotlib.get_data_path(), "fonts", "ttf"), Path("/usr/share/fonts")
JUDGING = (
    *(OWN / f"{name}.ttf" for name in ("DejaVuSans", "DejaVuSans-Bold", "DejaVuSansMono", "DejaVuSerif", "cmr10")),
    *(DEBIAN / f"opentype/bwht/BecauseWe{name}-Regular.otf" for name in ("Connect", "Create")),
    DEBIAN / "truetype/humor-sans/Humor-Sans.ttf",
    DEBIAN / "truetype/kiloji/kiloji_p.ttf",
    DEBIAN / "truetype/rufscript/Rufscript010.ttf",
    DEBIAN / "truetype/sjfonts/SteveHand.ttf",
)
KINDS = ("plain", "gradient", "shadow", "ruled", "squared", "pencil", "jpeg", "corner", "turned")


def draw(kind: str, count: int, fonts: tuple[Path, ...], images: np.ndarray, labels: np.ndarray):
    """Yield pages of a kind, uint8 [height, width, 3], and labels; every second digit is from MNIST, unless turned."""
    random = np.random.default_rng(sum(map(ord, kind)))
    for i in range(count):
        # A digit of 28 pixels is a small part of a page of 800 to 1,600.
        size = random.integers(*((800, 1600) if kind == "corner" else (240, 700)), 2)
        length = 28 if kind == "corner" else int(min(size) * random.uniform(0.3, 0.6))
        if i % 2 and kind != "turned":
            label = int(labels[i])
            digit = Image.fromarray(images[i, ..., 0]).resize((length * 28 // 20,) * 2, Image.Resampling.BICUBIC)
        else:
            font, label = fonts[random.integers(len(fonts))], i // 2 % 10
            digit = write(label, font, length, random.uniform(-15, 15) if kind == "turned" else 0)
        digit = np.asarray(digit.crop(digit.getbbox())) / 255.0
        room = size - digit.shape
        if kind == "corner":
            y, x = np.where(random.random(2) < 0.5, random.integers(10, 60, 2), room - random.integers(10, 60, 2))
        else:
            y, x = (room * random.uniform(0.25, 0.75, 2)).astype(int)
        alpha = np.zeros((*size, 1))
        alpha[y : y + digit.shape[0], x : x + digit.shape[1], 0] = digit
        yield _photograph(kind, random, alpha), label


def write(label: int, font: Path, length: int, angle: float = 0.0) -> Image.Image:
    """Draw a digit whose longer side is `length` pixels, white on black, turned by `angle` degrees."""
    large = Image.new("L", (600, 600))
    ImageDraw.Draw(large).text((300, 300), str(label), 255, ImageFont.truetype(font, 300), anchor="mm")
    large = large.rotate(angle, Image.Resampling.BICUBIC)
    large = large.crop(large.getbbox())
    scale = length / max(large.size)
    return large.resize([max(1, round(scale * n)) for n in large.size], Image.Resampling.LANCZOS)


def _photograph(kind: str, random: np.random.Generator, alpha: np.ndarray) -> np.ndarray:
    """Return the page with light and noise."""
    height, width = alpha.shape[:2]
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j][..., None]
    paper = np.full((height, width, 3), random.uniform(200, 250) + random.uniform(-10, 5, 3))
    pen = random.uniform(10, 80, 3)
    if kind in ("ruled", "squared"):
        every = int(min(height, width) * (random.uniform(0.1, 0.2) if kind == "ruled" else random.uniform(0.04, 0.1)))
        thick, first = random.integers(1, 4), random.integers(every)
        for rows in (paper, paper.swapaxes(0, 1))[: 1 if kind == "ruled" else 2]:
            rows[(np.arange(len(rows)) - first) % every < thick] *= (0.75, 0.85, 0.95)
    if kind == "pencil":  # faint, and grainy on rough paper
        pen = paper * random.uniform(0.6, 0.8)
        alpha = alpha * random.uniform(0.7, 1, alpha.shape)
    direction = random.uniform(0, 2 * np.pi)
    across = np.cos(direction) * x + np.sin(direction) * y
    light = np.ones((height, width, 1))
    if kind == "gradient":
        light = 1 - random.uniform(0.3, 0.6) * (across - across.min()) / np.ptp(across)
    if kind == "shadow":  # a hard edge near the middle
        light = np.where(across > random.uniform(-0.2, 0.2), 0.5, 1.0)
    pixels = (alpha * pen + (1 - alpha) * paper) * light + random.normal(0, random.uniform(0, 4), (height, width, 3))
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
