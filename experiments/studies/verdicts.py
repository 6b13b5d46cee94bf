"""How often verdicts of comparisons are wrong, by simulation.

`python -m experiments.studies.verdicts` prints the table.

A seed of an architecture misreads an image with a probability that depends on all three: most images are never
misread, a few often; half of the images are equally hard for every architecture, the others are not; and each seed
multiplies all of its probabilities by a gamma variate, so that the seeds' error rates have the stated standard
deviation. Sums are wrong if the digit is, and in a few other pairs. In expectation, either all architectures are
equally accurate, or the others are just over the margin behind the first, so that a verdict of "at most 0.1 points
worse" is false.
"""

import itertools
from typing import NamedTuple

import numpy as np
from scipy.special import gammainc

from experiments.comparison.tables import markdown
from mnistsum.statistics import MARGIN, Difference, difference, interval

ERROR = 0.006  # mean share of misread digits
HARDNESS = (2 * ERROR, 2 * (1 - ERROR))  # of the images' probabilities, a beta distribution
ADDER_ERROR = 0.0005  # mean share of wrong sums if the digit is right
CONFIGS = 6  # the first and five others
SEEDS = (2, 3, 5, 10)
SPREADS = (0.05, 0.2, 0.4, 0.8)  # standard deviation over seeds, in shares of the error rate
BEHIND = 1.01 * MARGIN  # just too much for "at most 0.1 points worse" to be true
IMAGES, TRIALS = 10_000, 1000


class Rates(NamedTuple):
    """Shares of the trials, with one other config or five, and both outputs."""

    false_of_one: float  # any false verdict
    false_of_five: float
    covered: float  # intervals of the difference that contain the truth, with one other config
    mean_covered: float  # intervals of an accuracy over seeds that contain its expectation on these images
    decided: float  # any verdict, with one other config


def simulate(
    random: np.random.Generator, seeds: int, images: int, spread: float, behind: float
) -> tuple[np.ndarray, np.ndarray, float]:
    """Return the right shares of digits and sums, [configs, seeds, images], and the first's expected digit accuracy.

    Args:
        random: the source of randomness.
        seeds: seeds per config.
        images: test images.
        spread: standard deviation of the seeds' error rates, as a share of their mean.
        behind: how much less accurate, in expectation, all configs but the first are.
    """
    same = random.random(images) < 0.5
    chance = np.where(same, random.beta(*HARDNESS, images), random.beta(*HARDNESS, (CONFIGS, images)))
    factor = random.gamma(spread**-2, spread**2, (2, CONFIGS, seeds, 1))
    digit = random.random((CONFIGS, seeds, images)) >= np.minimum(chance[:, None] * factor[0], 1)
    digit[1:] &= random.random((CONFIGS - 1, seeds, images)) >= behind
    lost = random.binomial(10, np.minimum(ADDER_ERROR * factor[1], 1), digit.shape) / 10
    # The expectation of min(q f, 1) for a gamma variate f.
    shape, q = spread**-2, np.maximum(chance[0], 1e-12)
    misread = q * gammainc(shape + 1, shape / q) + 1 - gammainc(shape, shape / q)
    return digit, digit * (1 - lost), 1 - float(misread.mean())


def rates(seeds: int, spread: float, behind: float, images: int = IMAGES, trials: int = TRIALS) -> Rates:
    """Return how often verdicts and intervals were wrong or right."""
    random = np.random.default_rng([seeds, round(1000 * spread), round(1e6 * behind)])
    truth = -behind * (1 - ERROR)
    outcomes = []
    for _ in range(trials):
        digit, total, expectation = simulate(random, seeds, images, spread, behind)
        one, five = (compare(digit, total, others) for others in (1, CONFIGS - 1))
        alone = interval(digit[0].mean(1))
        outcomes.append(
            (
                any(is_false(d.verdict, truth) for d in one),
                any(is_false(d.verdict, truth) for d in five),
                np.mean([d.low <= truth <= d.high for d in one]),
                alone.low <= expectation <= alone.high,
                any(d.verdict != "undecided" for d in one),
            )
        )
    return Rates(*np.mean(outcomes, 0).tolist())


def compare(digit: np.ndarray, total: np.ndarray, others: int) -> list[Difference]:
    """Return the differences of `others` configs from the first, for both outputs."""
    return [
        difference(right[0], right[other], 2 * others) for other in range(1, others + 1) for right in (digit, total)
    ]


def is_false(verdict: str, truth: float) -> bool:
    """Return whether a verdict is wrong, given the other's true difference."""
    return {
        "better": truth <= 0,
        "worse": truth >= 0,
        "at most 0.1 points worse": truth <= -MARGIN,
        "undecided": False,
    }[verdict]


def table() -> str:
    """Return the rates for every number of seeds, spread and truth, in Markdown."""
    header = ["seeds", "sd / error rate", "truth, points", "any false, 1 other", "any false, 5 others"]
    header += ["difference covered", "mean covered", "decided, 1 other"]
    rows = []
    for seeds, spread, behind in itertools.product(SEEDS, SPREADS, (0.0, BEHIND)):
        found = rates(seeds, spread, behind)
        rows.append([seeds, spread, f"{0 - 100 * behind:.1f}", *(f"{100 * rate:.1f}" for rate in found)])
    return markdown(header, rows, texts=())


if __name__ == "__main__":
    print(table())
