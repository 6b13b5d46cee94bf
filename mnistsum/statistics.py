"""Intervals and comparisons over seeds and images."""

import math
import reprlib
import warnings
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import stats

from mnistsum.errors import InputError

MARGIN = 0.001  # a difference in accuracy that does not matter: 0.1 points
# A typical comparison on MNIST (experiments/studies/verdicts/verdicts.md): the share of
# misread digits, the standard deviation of this share over seeds, and variances of one
# answer: of what differs from seed to seed, and of images' differences.
ERROR = 0.004
SEED_SD, RESIDUAL, BY_IMAGE = 0.05 * ERROR, ERROR / 4, 0.075 * ERROR


class Interval(NamedTuple):
    """A mean and the bounds of its confidence interval."""

    mean: float
    low: float
    high: float


class Difference(NamedTuple):
    """How much better another architecture is than the first, and the verdict."""

    mean: float
    low: float
    high: float
    standard_error: float
    verdict: str  # better, worse, at most 0.1 points worse, or undecided


def interval(values: Float[np.ndarray, " seeds"]) -> Interval:
    """Return the mean over seeds and its 95 % interval, infinite for a single value.

    Raises:
        InputError: if `values` is not an array of one or more finite numbers, [seeds].

    Examples:
        >>> import numpy as np
        >>> from mnistsum.statistics import interval
        >>> [round(value, 4) for value in interval(np.array([0.991, 0.993, 0.992]))]
        [0.992, 0.9895, 0.9945]
    """
    values = np.asarray(values, float)
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
        raise InputError(
            "values: expected finite numbers, [seeds], "
            f"found {reprlib.repr(values.tolist())}"
        )
    mean, n = float(np.mean(values)), len(values)
    if n < 2:
        return Interval(mean, -math.inf, math.inf)
    half = float(stats.t.ppf(0.975, n - 1) * np.std(values, ddof=1) / math.sqrt(n))
    return Interval(mean, mean - half, mean + half)


def difference(
    first: Float[np.ndarray, "..."] | Bool[np.ndarray, "..."],
    other: Float[np.ndarray, "..."] | Bool[np.ndarray, "..."],
    contrasts: int = 1,
    failures: int = 0,
    paired: bool = False,
) -> Difference:
    """Return the other's accuracy minus the first's, from results paired by image.

    Seeds and images are both samples: another seed or another test set would give
    another difference. Both architectures see the same images. Their seeds are two
    independent samples, or one sample of pairs. For each sample, the results of n seeds
    on m images are a crossed two-way layout (Searle, Casella & McCulloch 1992,
    "Variance components", chapter 4) with

        V = variance of the seeds' means / n
        R = mean square of the residual / (n m)

    V includes the residual. So does W, the variance of the images' mean differences /
    m. Hence the variance of the difference is sum(V) + W - sum(R). In expectation V is
    at least R, so a smaller value is due to chance, as with two seeds that happen to
    agree. Therefore each V is set to at least the mean of R over the samples. Then

        half width = sqrt(t(f)^2 sum(V) + t(m - 1)^2 max(W - sum(R), 0))
        f = (n - 1) sum(V)^2 / sum(V^2),

    where t is the quantile of Student's t, and f Welch's degrees of freedom, n - 1 for
    pairs. For samples of different sizes, each R is first scaled to the n of V, and f =
    sum(V)^2 / sum(V^2 / (n - 1)). A single quantile for both terms would be too small
    with few seeds: if they agree by chance, the images' many degrees of freedom
    dominate.

    Banerjee (1960, "Approximate confidence interval for linear functions of means of k
    populations when the population variances are not equal", Sankhya 22) proves that a
    sum of t^2 times variance covers the truth at least as often as stated, if means are
    normal and the variances are independent, each with its own degrees of freedom.
    Outside this theorem are f, which is estimated; the images' term, which is a
    difference of mean squares; and seeds that are not normal, such as those that fail.
    How often verdicts are wrong then was simulated:
    experiments/studies/verdicts/verdicts.md.

    Args:
        first: how right each seed is on each image, 0 to 1, [seeds, images].
        other: the same for the other architecture; unless `paired`, it may have another
            number of seeds.
        contrasts: how many differences are examined together. The chance that any
            interval misses is 5 % (Bonferroni).
        failures: how many seeds of either failed. If any did, the verdict is never "at
            most 0.1 points worse".
        paired: whether seed k of both architectures shares something that matters, such
            as its training images.

    Raises:
        InputError: if the arrays are not [seeds, images] with at least two of each,
            equal numbers of images and values from 0 to 1, or if another argument
            cannot be right; it names the argument.

    Examples:
        >>> import numpy as np
        >>> from mnistsum.statistics import difference
        >>> first = np.zeros((3, 1000), bool)
        >>> first[:, :900] = True  # three seeds, right on the same 900 of 1,000 images
        >>> other = first.copy()
        >>> other[:, 900:960] = True  # right on 60 images more
        >>> found = difference(first, other)
        >>> round(found.mean, 3), found.verdict
        (0.06, 'better')
    """
    a, b = _check_results("first", first), _check_results("other", other)
    _check_count("contrasts", contrasts, 1)
    _check_count("failures", failures, 0)
    if not isinstance(paired, bool | np.bool_):
        raise InputError(f"paired: expected True or False, found {paired!r}")
    if a.shape[1] != b.shape[1] or (paired and len(a) != len(b)):
        what = "the shape" if paired else "as many images as that"
        raise InputError(
            f"other: expected {what} of first, {list(a.shape)}, found {list(b.shape)}"
        )
    samples = [b - a] if paired else [a, b]
    m, n = a.shape[1], np.array([len(x) for x in samples])
    mean, by_image = b.mean() - a.mean(), b.mean(0) - a.mean(0)
    rests = np.array([_residual(x) for x in samples])
    # the mean residual, for as many seeds as each sample has
    least = (rests * (n / n[:, None])).mean(1)
    seeds = np.maximum([x.mean(1).var(ddof=1) / len(x) for x in samples], least)
    images = max(by_image.var(ddof=1) / m - sum(rests), 0.0)
    half = half_width(seeds, images, n, m, contrasts)
    low, high = mean - half, mean + half
    if low > 0:
        verdict = "better"
    elif high < 0:
        verdict = "worse"
    elif low > -MARGIN and not failures:
        verdict = f"at most {100 * MARGIN:g} points worse"
    else:
        verdict = "undecided"
    return Difference(
        float(mean), float(low), float(high), math.sqrt(seeds.sum() + images), verdict
    )


def _residual(sample: np.ndarray) -> float:
    """Return R: the mean square of a sample's residual / (seeds x images)."""
    n, m = sample.shape
    rest = sample.var() - sample.mean(1).var() - sample.mean(0).var()
    return max(rest, 0.0) / ((n - 1) * (m - 1))


def _check_count(name: str, value: int, least: int) -> None:
    """Raise InputError if a number is not whole, or is below the least."""
    if not isinstance(value, int | np.integer) or value < least:
        raise InputError(f"{name}: expected {least} or more, found {value!r}")


def _check_results(name: str, values: np.ndarray) -> np.ndarray:
    """Return results as floats; raise InputError if they cannot be right answers."""
    results = np.asarray(values, float)
    if results.ndim != 2 or min(results.shape) < 2:
        found = list(results.shape)
        raise InputError(
            f"{name}: expected [seeds, images], two or more of each, "
            f"found an array of shape {found}"
        )
    if not ((results >= 0) & (results <= 1)).all():  # false for nan, too
        raise InputError(
            f"{name}: expected finite values from 0 to 1, "
            f"found {results.min():g} to {results.max():g}"
        )
    if len(results) > results.shape[1]:
        found = list(results.shape)
        warnings.warn(
            f"{name}: expected [seeds, images], found more seeds than images, {found}",
            stacklevel=3,
        )
    return results


def half_width(
    seeds: Float[np.ndarray, "samples *trials"],
    images: float,
    n: Int[np.ndarray, " samples"],
    m: int,
    contrasts: int,
) -> Float[np.ndarray, "*trials"] | float:
    """Return half the width of the interval of `difference`.

    Args:
        seeds: variance of the mean over each sample of seeds, V.
        images: variance of the mean over images, W - sum(R).
        n: how many seeds each sample has.
        m: how many images.
        contrasts: as of `difference`.
    """
    seeds = np.maximum(seeds, 1e-30)  # so that degrees of freedom are finite
    variance, confidence = seeds.sum(0), 1 - 0.025 / contrasts
    # By Welch. The quotient comes first, because it is exactly 1 for equal numbers of
    # seeds.
    weights = ((n[0] - 1) / (n - 1)).reshape(-1, *[1] * (seeds.ndim - 1))
    freedom = (n[0] - 1) * variance**2 / (weights * seeds**2).sum(0)
    t_seeds, t_images = stats.t.ppf(confidence, freedom), stats.t.ppf(confidence, m - 1)
    return np.sqrt(t_seeds**2 * variance + t_images**2 * images)


def detectable(seeds: int, contrasts: int, images: int = 10_000) -> float:
    """Return the difference that unpaired comparisons detect with a power of 80 %.

    The interval's formula is applied to normal variates with the variances of a typical
    comparison, in which `ERROR` of the digits are misread. The other architecture's
    additional errors differ from seed to seed.

    Raises:
        InputError: if there are fewer than two seeds or images, or no contrast.

    Examples:
        >>> from mnistsum.statistics import detectable
        >>> round(100 * detectable(seeds=10, contrasts=2), 1)
        0.1
    """
    for name, value, least in (
        ("seeds", seeds, 2),
        ("contrasts", contrasts, 1),
        ("images", images, 2),
    ):
        _check_count(name, value, least)
    random = np.random.default_rng(0)
    chi = random.chisquare(seeds - 1, (2, 4000)) / (seeds - 1)
    normal, found = random.standard_normal(4000), 0.0
    for _ in range(20):  # more errors vary more
        rests = (RESIDUAL + np.array([[0.0], [found]])) / (seeds * images)
        variances = SEED_SD**2 / seeds + rests
        sampled = np.maximum(variances * chi, rests.mean())
        half = half_width(
            sampled, BY_IMAGE / images, np.array([seeds, seeds]), images, contrasts
        )
        found = float(
            np.quantile(
                half + normal * math.sqrt(variances.sum() + BY_IMAGE / images), 0.8
            )
        )
    return found
