"""Intervals and paired comparisons over seeds and images."""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy import stats

MARGIN = 0.001  # a difference of accuracy that does not matter: 0.1 points


class Interval(NamedTuple):
    """A mean and where it lies, at a stated confidence."""

    mean: float
    low: float
    high: float


class Difference(NamedTuple):
    """How much another architecture is better than the first, as fractions, and what follows."""

    mean: float
    low: float
    high: float
    standard_error: float
    verdict: str  # better, worse, no worse by 0.1 points, or undecided


def interval(values: Float[np.ndarray, " seeds"], confidence: float = 0.95) -> Interval:
    """Return the mean over seeds and its interval by Student's t; of one value, the interval is infinite."""
    mean, n = float(np.mean(values)), len(values)
    if n < 2:
        return Interval(mean, -math.inf, math.inf)
    half = float(stats.t.ppf((1 + confidence) / 2, n - 1) * np.std(values, ddof=1) / math.sqrt(n))
    return Interval(mean, mean - half, mean + half)


def difference(
    first: Float[np.ndarray, "seeds images"] | Bool[np.ndarray, "seeds images"],
    other: Float[np.ndarray, "seeds images"] | Bool[np.ndarray, "seeds images"],
    contrasts: int = 1,
) -> Difference:
    """Return the other's accuracy less the first's, from the images that each seed gets right, paired by both.

    Seeds and images are both samples: another seed, and another test set, would give another difference. With d the
    difference of seed s on image i, a crossed two-way layout of n seeds and m images (Searle, Casella & McCulloch 1992,
    "Variance components", chapter 4),

        variance = (MS_seeds + MS_images - MS_rest) / (n m),

    which is the variance of the seeds' means / n plus that of the images' means / m, less what both count twice; never
    below the larger of the two. Student's t with Satterthwaite's degrees of freedom; 95 % over all `contrasts` together
    (Bonferroni). ValueError with fewer than two seeds.
    """
    d = np.asarray(other, float) - np.asarray(first, float)
    n, m = d.shape
    if n < 2:
        raise ValueError(f"difference: expected two seeds or more, found {n}")
    mean, by_seed, by_image = d.mean(), d.mean(1), d.mean(0)
    rest = ((d - by_seed[:, None] - by_image + mean) ** 2).sum() / ((n - 1) * (m - 1)) / (n * m)
    seeds, images = by_seed.var(ddof=1) / n, by_image.var(ddof=1) / m
    variance = max(seeds + images - rest, seeds, images)
    parts = seeds**2 / (n - 1) + images**2 / (m - 1)
    freedom = max(variance**2 / parts, n - 1) if parts else n - 1
    error = math.sqrt(variance)
    half = float(stats.t.ppf(1 - 0.025 / contrasts, freedom)) * error
    low, high = mean - half, mean + half
    if low > 0:
        verdict = "better"
    elif high < 0:
        verdict = "worse"
    elif low > -MARGIN:
        verdict = "no worse by 0.1 points"
    else:  # with more seeds, their part of the variance shrinks, the images' does not
        goal = (max(abs(mean), mean + MARGIN) / stats.norm.ppf(1 - 0.025 / contrasts)) ** 2 - max(images - rest, 0)
        if goal > 0:
            verdict = f"undecided, about {max(math.ceil(seeds * n / goal) - n, 1):,} more seeds"
        else:
            verdict = "undecided, and more seeds alone will not decide it"
    return Difference(float(mean), float(low), float(high), error, verdict)
