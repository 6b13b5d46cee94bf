"""What a threshold on the digit's confidence catches and costs, on MNIST's digits, drawings, letters and noise.

`python -m experiments.studies.thresholds` writes it into experiments/results. A picture is refused if the calibrated
probability of its likeliest digit is below the threshold. Letters are drawn like the digits of drawings.py, in the
fonts of its set `first`; some look like digits to anyone (O, I, Z, S). Noise is random blots.
"""

from pathlib import Path

import numpy as np
from scipy import ndimage

from experiments import environment
from experiments.report.markdown import table
from experiments.studies import drawings
from mnistsum import load, load_pretrained
from mnistsum.picture import to_mnist

THRESHOLDS = (0.5, 0.8, 0.95, 0.99)
COUNT = 520  # letters, and images of noise: twenty of each letter
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def letters() -> list[np.ndarray]:
    """Return drawn letters as images in MNIST's form, each equally often."""
    random = np.random.default_rng(22)
    fonts = drawings.FIRST
    drawn = (drawings.draw_one(random, LETTERS[i % 26], fonts[random.integers(len(fonts))]) for i in range(COUNT))
    return [to_mnist(np.asarray(each.image, np.float32)).image for each in drawn]


def noise() -> list[np.ndarray]:
    """Return random blots as images in MNIST's form."""
    random = np.random.default_rng(23)
    images = []
    for _ in range(COUNT):
        plane = ndimage.gaussian_filter(random.normal(size=(200, 200)), random.uniform(6, 20))
        dark = plane > np.quantile(plane, random.uniform(0.7, 0.95))
        images.append(to_mnist(np.repeat(np.where(dark, 30.0, 230.0)[..., None], 3, -1)).image)
    return images


def main() -> None:
    """Write the table."""
    predictor = load_pretrained("base")
    test = load(predictor.config.data).test
    drawn = [one for name in drawings.SETS for one in drawings.draw(name)]
    seen = [to_mnist(np.asarray(one.image, np.float32)).image for one in drawn]
    none = np.full(COUNT, -1)
    sets = {
        "MNIST, test set": (test.images, np.asarray(test.labels)),
        "drawings of digits": (np.stack(seen), np.array([one.label for one in drawn])),
        "letters": (np.stack(letters()), none),
        "noise": (np.stack(noise()), none),
    }
    rows = []
    for name, (images, labels) in sets.items():
        digit = predictor.predict(images, np.zeros(len(images), int)).digit
        right, sure = digit.argmax(-1) == labels, digit.max(-1)
        for threshold in THRESHOLDS:
            refused = sure < threshold
            caught = f"{refused[~right].sum():,} of {(~right).sum():,} ({refused[~right].mean():.1%})"
            cost = f"{refused[right].sum():,} of {right.sum():,} ({refused[right].mean():.2%})" if right.any() else "-"
            rows.append([name, threshold, caught, cost])
    provenance = environment.describe("python -m experiments.studies.thresholds")
    lines = [
        "What a threshold on the digit's calibrated probability catches and costs, with the network that ships "
        "(experiments/studies/thresholds.py). No answer to a letter or to noise is right.",
        f"Command: `{provenance['command']}`, commit {provenance['commit']}; {provenance['versions']}.",
        "",
        table(("pictures", "threshold", "wrong answers caught", "right answers refused"), rows),
    ]
    results = Path(__file__).parent.parent / "results" / "thresholds.md"
    results.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
