"""Digits drawn in handwriting fonts on all kinds of paper, to judge predictions, which were never tuned on them.

The fonts are Debian's. Those of the set `first` were chosen before the preprocessing was written, and what was misread
in them showed what to change; how was decided on drawings in other fonts. The set `last` was read when no more changes
were planned.

`python -m experiments.studies.drawings` writes a table by font and a figure of the misread drawings into
experiments/results.
"""

from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from experiments.comparison.tables import markdown
from experiments.report.figures import save
from mnistsum import load_pretrained
from mnistsum.picture import to_mnist

FIRST = (
    *(f"opentype/bwht/BecauseWe{name}-Regular.otf" for name in ("Build", "Connect", "Create")),
    *(f"opentype/bwht/BecauseWe{name}-Regular.otf" for name in ("Learn", "Mentor", "Organize")),
    "truetype/breip/breipfont.ttf",
    "truetype/fifthhorseman/dkg.ttf",
    "truetype/ecolier-court/Ecolier-court.ttf",
    "truetype/humor-sans/Humor-Sans.ttf",
    "truetype/kristi/Kristi.ttf",
)
LAST = (
    "truetype/kiloji/kiloji.ttf",
    "truetype/rufscript/Rufscript010.ttf",
    "truetype/tomsontalks/TomsonTalks.ttf",
    "truetype/dustin/Domestic_Manners.ttf",
    "truetype/sjfonts/Delphine.ttf",
    "truetype/sjfonts/SteveHand.ttf",
)
SETS = {"first": (FIRST, 20260101), "last": (LAST, 7)}  # fonts and seed
FOLDER = Path("/usr/share/fonts")


class Drawing(NamedTuple):
    """A picture of one character, with its label."""

    image: Image.Image
    label: int
    font: str


def draw(name: str, count: int = 400) -> list[Drawing]:
    """Return a set of drawings, each digit equally often."""
    fonts, seed = SETS[name]
    random = np.random.default_rng(seed)
    return [draw_one(random, i % 10, fonts[random.integers(len(fonts))]) for i in range(count)]


def draw_one(random: np.random.Generator, label: int, font: str) -> Drawing:
    """Return a digit drawn in a font, with random thickness, tilt, size, colors, light, blur and noise."""
    width, height = random.integers(120, 900, 2)
    size = int(min(width, height) * random.uniform(0.3, 0.75))
    face = ImageFont.truetype(str(FOLDER / font), size)
    ink = Image.new("L", (int(width), int(height)))
    center = (width / 2 + random.uniform(-0.1, 0.1) * width, height / 2 + random.uniform(-0.1, 0.1) * height)
    thickness = int(random.uniform(0, 0.05) * size)
    ImageDraw.Draw(ink).text(center, str(label), 255, face, anchor="mm", stroke_width=thickness)
    ink = ink.rotate(random.uniform(-10, 10), Image.Resampling.BICUBIC)
    ink = ink.filter(ImageFilter.GaussianBlur(random.uniform(0, 0.01) * size))
    alpha = np.asarray(ink, np.float32)[..., None] / 255
    paper, pen = random.uniform(170, 255, 3), random.uniform(0, 90, 3)
    if random.random() < 0.3:  # chalk on a board
        paper, pen = pen, paper
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    slope = random.uniform(-0.12, 0.12, 2)
    light = (1 + slope[0] * y + slope[1] * x)[..., None]
    pixels = (alpha * pen + (1 - alpha) * paper) * light
    pixels += random.normal(0, random.uniform(0, 12), pixels.shape)
    return Drawing(Image.fromarray(pixels.clip(0, 255).astype(np.uint8)), label, Path(font).stem)


def judge(drawn: list[Drawing]) -> tuple[np.ndarray, np.ndarray]:
    """Return each drawing as the shipped network sees it, and the digit that it reads."""
    seen = np.stack([to_mnist(np.asarray(drawing.image, np.float32)).image for drawing in drawn])
    return seen, read(seen)


def read(seen: np.ndarray) -> np.ndarray:
    """Return the digits that the shipped network reads in images of MNIST's form."""
    return np.asarray(load_pretrained("base").predict(seen, 0).digit).argmax(-1)


def main() -> None:
    """Write the tables, and a figure of the misread drawings, into experiments/results."""
    results = Path(__file__).parent.parent / "results"
    lines = [
        "Digits drawn in handwriting fonts (`python -m experiments.studies.drawings`), and read by the network that "
        "ships; [those misread](drawings.png)."
    ]
    misread = []
    for name in SETS:
        drawn = draw(name)
        seen, digits = judge(drawn)
        wrong = [i for i, drawing in enumerate(drawn) if drawing.label != digits[i]]
        right = len(drawn) - len(wrong)
        lines += ["", f"Set `{name}`: {right} of {len(drawn)} are read right, {right / len(drawn):.2%}.", ""]
        fonts, failed = Counter(drawing.font for drawing in drawn), Counter(drawn[i].font for i in wrong)
        rows = [[font, fonts[font], failed[font]] for font in sorted(fonts)]
        lines.append(markdown(["font", "drawings", "misread"], rows))
        misread += [(drawn[i], seen[i], digits[i]) for i in wrong]
    (results / "drawings.md").write_text("\n".join(lines) + "\n")

    rows = -(-len(misread) // 5)
    figure = Figure((11, 1.75 * rows), layout="constrained")
    pairs = figure.subplots(rows, 10).reshape(-1, 2)  # a misread drawing beside what the network sees
    for axes, (drawing, image, digit) in zip(pairs, misread, strict=False):
        axes[0].imshow(drawing.image)
        axes[0].set_title(drawing.font.removesuffix("-Regular"), fontsize=7)
        axes[1].imshow(image[..., 0], cmap="gray_r")
        axes[1].set_title(f"{drawing.label} read as {digit}", fontsize=8)
    for axes in figure.axes:
        axes.axis("off")
    save([figure], results / "drawings.png", dpi=90)


if __name__ == "__main__":
    main()
