"""Intervals and paired comparisons over seeds and images."""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy import stats

MARGIN = 0.001  # a difference in accuracy that does not matter: 0.1 points


class Interval(NamedTuple):
    """A mean and the bounds of its confidence interval."""

    mean: float
    low: float
    high: float


class Difference(NamedTuple):
    """How much better another architecture is than the first, as fractions, and the verdict."""

    mean: float
    low: float
    high: float
    standard_error: float
    verdict: str  # better, worse, at most 0.1 points worse, or undecided


def interval(values: Float[np.ndarray, " seeds"]) -> Interval:
    """Return the mean over seeds and its 95 % Student's t interval, which is infinite for a single value.

    Examples:
        >>> import numpy as np
        >>> from mnistsum.statistics import interval
        >>> [round(value, 4) for value in interval(np.array([0.991, 0.993, 0.992]))]
        [0.992, 0.9895, 0.9945]
    """
    mean, n = float(np.mean(values)), len(values)
    if n < 2:
        return Interval(mean, -math.inf, math.inf)
    half = float(stats.t.ppf(0.975, n - 1) * np.std(values, ddof=1) / math.sqrt(n))
    return Interval(mean, mean - half, mean + half)


def difference(
    first: Float[np.ndarray, "seeds images"] | Bool[np.ndarray, "seeds images"],
    other: Float[np.ndarray, "seeds images"] | Bool[np.ndarray, "seeds images"],
    contrasts: int = 1,
    failures: int = 0,
) -> Difference:
    """Return the other's accuracy minus the first's, from results paired by seed and by image.

    Seeds and images are both samples: another seed or another test set would give another difference. Let d be the
    difference of seed s on image i. In this crossed two-way layout of n seeds and m images (Searle, Casella & McCulloch
    1992, "Variance components", chapter 4),

        variance = (MS_seeds + MS_images - MS_rest) / (n m),

    which is the variance of the seeds' means / n plus that of the images' means / m, minus what both count. Each part
    has its own degrees of freedom, few for the seeds and many for the images, and so its own quantile of Student's t,
    as for a sum of means with unequal variances (Banerjee 1960, "Approximate confidence interval for linear functions
    of means of k populations when the population variances are not equal", Sankhya 22):

        half width = sqrt(t(n - 1)^2 max(MS_seeds, MS_rest) + t(m - 1)^2 max(MS_images - MS_rest, 0)) / sqrt(n m).

    In expectation MS_seeds is at least MS_rest, so a smaller value is due to chance: with two seeds it may be zero. A
    single quantile, by Satterthwaite's degrees of freedom, is too small with few seeds: if they agree by chance, the
    images' many degrees of freedom dominate.

    Args:
        first: how right each seed is on each image, 0 to 1.
        other: the same for the other architecture.
        contrasts: how many differences are examined together; all hold jointly at 95 % (Bonferroni).
        failures: how many seeds of either failed; if any did, the other is never called at most 0.1 points worse.

    Raises:
        ValueError: with fewer than two seeds or images.

    Examples:
        >>> import numpy as np
        >>> from mnistsum.statistics import difference
        >>> first = np.zeros((3, 1000), bool)
        >>> first[:, :900] = True  # three seeds, each right on the same 900 of 1,000 images
        >>> other = first.copy()
        >>> other[:, 900:960] = True  # right on 60 images more
        >>> found = difference(first, other)
        >>> round(found.mean, 3), found.verdict
        (0.06, 'better')
    """
    d = np.asarray(other, float) - np.asarray(first, float)
    n, m = d.shape
    if n < 2 or m < 2:
        raise ValueError(f"difference: expected two seeds and two images or more, found {n} and {m}")
    mean, by_seed, by_image = d.mean(), d.mean(1), d.mean(0)
    rest = ((d - by_seed[:, None] - by_image + mean) ** 2).sum() / ((n - 1) * (m - 1)) / (n * m)
    seeds = max(by_seed.var(ddof=1) / n, rest)
    images = max(by_image.var(ddof=1) / m - rest, 0.0)
    confidence = 1 - 0.025 / contrasts
    t_seeds, t_images = stats.t.ppf(confidence, n - 1), stats.t.ppf(confidence, m - 1)
    half = math.sqrt(t_seeds**2 * seeds + t_images**2 * images)
    low, high = mean - half, mean + half
    if low > 0:
        verdict = "better"
    elif high < 0:
        verdict = "worse"
    elif low > -MARGIN and not failures:
        verdict = f"at most {100 * MARGIN:g} points worse"
    else:
        verdict = "undecided"
    return Difference(float(mean), float(low), float(high), math.sqrt(seeds + images), verdict)
