"""Intervals and comparisons over seeds and images."""

import math
import reprlib
import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy import stats

from mnistsum.errors import InputError

MARGIN = 0.001  # a difference in accuracy that does not matter: 0.1 points
# A typical comparison on MNIST (experiments/studies/verdicts/verdicts.md): the share of
# misread digits, the standard deviation of this share over seeds, and variances of one
# answer: of what differs from seed to seed, and of images' differences.
ERROR = 0.004
SEED_SD, RESIDUAL, BY_IMAGE = 0.05 * ERROR, ERROR / 4, 0.075 * ERROR
TABLES = 4000  # how many are drawn to find how wide joint intervals must be
HELD = 0.98  # of which all intervals must hold in this share


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


def differences(
    results: Float[np.ndarray, "..."] | Bool[np.ndarray, "..."],
    failures: Sequence[int] = (),
    paired: bool = False,
) -> list[list[Difference]]:
    """Return each other architecture's accuracy minus the first's, for each output.

    All architectures see the same images. Seeds and images are both samples, because
    other seeds or another test set would give other differences. The intervals hold
    jointly: the chance that any of them misses is 5 %. docs/method.md has the formulas,
    and experiments/studies/verdicts/verdicts.md how often simulated verdicts are wrong.

    Args:
        results: how right each seed of each architecture is on each image, 0 to 1,
            [architectures, outputs, seeds, images].
        failures: how many seeds of each architecture failed; empty: none. If any seed
            of two architectures failed, their verdict is never "at most 0.1 points
            worse".
        paired: whether seed k of all architectures shares something that matters, such
            as its training images.

    Returns:
        The differences of each architecture but the first, one for each output.

    Raises:
        InputError: if `results` has another shape, fewer than two architectures, seeds
            or images, or values that are not from 0 to 1, or if another argument cannot
            be right; it names the argument.

    Examples:
        >>> import numpy as np
        >>> from mnistsum.statistics import differences
        >>> results = np.zeros((2, 1, 3, 1000), bool)  # three seeds, one output
        >>> results[..., :900] = True  # all are right on the same 900 images
        >>> results[1, ..., 900:960] = True  # the second is right on 60 images more
        >>> [[found]] = differences(results)
        >>> round(found.mean, 3), found.verdict
        (0.06, 'better')
    """
    results = _check_results(results)
    failed = _check_failures(failures, len(results))
    if not isinstance(paired, bool | np.bool_):
        raise InputError(f"paired: expected True or False, found {paired!r}")
    n, m = results.shape[2:]
    samples = results[1:] - results[0] if paired else results
    seed_means = samples.mean(3)
    by_image = results[1:].mean(2) - results[0].mean(1)
    residuals = _terms(_residuals(samples), paired)
    # A variance of seeds below the mean residual is due to chance.
    least = residuals.mean(0)
    seeds = np.maximum(_terms(seed_means.var(2, ddof=1) / n, paired), least)
    images = np.maximum(by_image.var(2, ddof=1) / m - residuals.sum(0), 0)
    contrasts = _effective_contrasts(seed_means, least, by_image, images, paired)
    means = results.mean((2, 3))
    mean, half = means[1:] - means[0], half_width(seeds, images, n, m, contrasts)
    bounds = np.stack([mean, mean - half, mean + half], 2).tolist()
    found = []
    for failed_seeds, outputs in zip(failed[1:], bounds, strict=True):
        any_failed = failed[0] + failed_seeds > 0
        found.append([_difference(a, b, c, any_failed) for a, b, c in outputs])
    return found


def _difference(mean: float, low: float, high: float, any_failed: bool) -> Difference:
    """Return a difference with its verdict."""
    if low > 0:
        verdict = "better"
    elif high < 0:
        verdict = "worse"
    elif low > -MARGIN and not any_failed:
        verdict = f"at most {100 * MARGIN:g} points worse"
    else:
        verdict = "undecided"
    return Difference(mean, low, high, verdict)


def _terms(values: np.ndarray, paired: bool) -> np.ndarray:
    """Return the terms of each difference, [..., terms, others, outputs].

    These are the values of the pairs, or those of the first and of the other.
    """
    if paired:
        return values[..., None, :, :]
    first, others = values[..., :1, :], values[..., 1:, :]
    return np.stack(np.broadcast_arrays(first, others), -3)


def _residuals(samples: np.ndarray) -> np.ndarray:
    """Return R of each sample: the mean square of its residual / (seeds x images)."""
    n, m = samples.shape[2:]
    rest = samples.var((2, 3)) - samples.mean(3).var(2) - samples.mean(2).var(2)
    return np.maximum(rest, 0) / ((n - 1) * (m - 1))


def _effective_contrasts(
    seed_means: Float[np.ndarray, "samples outputs seeds"],
    least: Float[np.ndarray, "others outputs"],
    by_image: Float[np.ndarray, "others outputs images"],
    images: Float[np.ndarray, "others outputs"],
    paired: bool,
) -> float:
    """Return how many independent contrasts need as wide intervals as the table.

    Tables are drawn with the variances and correlations of this one, as far as its
    seeds tell. With this number, all intervals hold in `HELD` of them. It is at least
    the number of outputs, and at most that of differences.
    """
    n, m = seed_means.shape[2], by_image.shape[2]
    low, high = float(images.shape[1]), float(images.size)
    if paired and n == 2:  # two pairs look as if all differences were one
        return high
    random = np.random.default_rng(0)
    deviations = seed_means - seed_means.mean(2, keepdims=True)
    # pairs vary together, and each architecture by itself
    independent = 1 if paired else len(seed_means)
    drawn = np.empty((TABLES, *deviations.shape))  # [tables, samples, outputs, seeds]
    for table in range(TABLES):  # one by one, because n x n numbers of all are large
        drawn[table] = deviations @ random.standard_normal((independent, n, n))
    # few seeds tell little of the true variances, which are drawn, too
    drawn /= np.sqrt(random.chisquare(n - 1, (TABLES, independent, 1, 1)))
    seeds = np.maximum(_terms(drawn.var(3, ddof=1) / n, paired), least)
    means = drawn.mean(3) if paired else drawn[:, 1:].mean(3) - drawn[:, :1].mean(3)
    covariance = np.atleast_2d(np.cov(by_image.reshape(images.size, m)))
    scale = np.sqrt(images.ravel() / np.maximum(np.diag(covariance), 1e-30))
    covariance *= np.outer(scale, scale)
    of_images = random.multivariate_normal(np.zeros(images.size), covariance, TABLES)
    means += of_images.reshape(means.shape)
    # only tables that miss with the least number are looked at again
    misses = (np.abs(means) > half_width(seeds, images, n, m, low)).any((1, 2))
    seeds, means = seeds[misses], means[misses]
    while high > 1.01 * low:
        middle = math.sqrt(low * high)
        misses = (np.abs(means) > half_width(seeds, images, n, m, middle)).any((1, 2))
        if misses.sum() > (1 - HELD) * TABLES:
            low = middle
        else:
            high = middle
    return high


def half_width(
    seeds: Float[np.ndarray, "*tables terms others outputs"],
    images: Float[np.ndarray, "others outputs"],
    n: int,
    m: int,
    contrasts: float,
) -> Float[np.ndarray, "*tables others outputs"]:
    """Return half the widths of the intervals of `differences`.

    Args:
        seeds: variance of the mean over each sample of seeds, V.
        images: variance of the mean over images, W - sum(R).
        n: how many seeds.
        m: how many images.
        contrasts: the number of independent contrasts for which they hold jointly.
    """
    seeds = np.maximum(seeds, 1e-30)  # so that degrees of freedom are finite
    variance, confidence = seeds.sum(-3), 1 - 0.025 / contrasts
    freedom = (n - 1) * variance**2 / (seeds**2).sum(-3)  # by Welch
    t_seeds, t_images = stats.t.ppf(confidence, freedom), stats.t.ppf(confidence, m - 1)
    return np.sqrt(t_seeds**2 * variance + t_images**2 * images)


def _check_failures(failures: Sequence[int], architectures: int) -> Sequence[int]:
    """Return how many seeds of each architecture failed; raise InputError if wrong."""
    failures = list(failures) or [0] * architectures
    if len(failures) != architectures or min(failures) < 0:
        raise InputError(
            f"failures: expected {architectures} numbers of failed seeds, one for each "
            f"architecture, found {failures}"
        )
    return failures


def _check_count(name: str, value: int, least: int) -> None:
    """Raise InputError if a number is not whole, or is below the least."""
    if not isinstance(value, int | np.integer) or value < least:
        raise InputError(f"{name}: expected {least} or more, found {value!r}")


def _check_results(values: np.ndarray) -> np.ndarray:
    """Return results as floats; raise InputError if they cannot be right answers."""
    results = np.asarray(values, float)
    found = list(results.shape)
    if len(found) != 4 or min(found[0], *found[2:]) < 2:
        raise InputError(
            "results: expected [architectures, outputs, seeds, images], two or more of "
            f"each but the outputs, found an array of shape {found}"
        )
    if not ((results >= 0) & (results <= 1)).all():  # false for nan, too
        raise InputError(
            "results: expected finite values from 0 to 1, "
            f"found {results.min():g} to {results.max():g}"
        )
    if found[2] > found[3]:
        warnings.warn(
            "results: expected [architectures, outputs, seeds, images], found more "
            f"seeds than images, {found}",
            stacklevel=3,
        )
    return results


def detectable(
    seeds: int, others: int = 1, images: int = 10_000, outputs: int = 1
) -> float:
    """Return the difference that unpaired comparisons detect with a power of 80 %.

    The interval's formula is applied to normal variates with the variances of a typical
    comparison, in which `ERROR` of the digits are misread. The other architectures'
    additional errors differ from seed to seed.

    Args:
        seeds: how many each architecture has.
        others: how many architectures are compared with the first.
        images: how many are answered.
        outputs: how many of them are compared. They are right on the same images.

    Raises:
        InputError: if there are fewer than two seeds or images, no other architecture,
            or no output.

    Examples:
        >>> from mnistsum.statistics import detectable
        >>> round(100 * detectable(seeds=10, outputs=2), 1)
        0.1
    """
    for name, value, least in (
        ("seeds", seeds, 2),
        ("others", others, 1),
        ("images", images, 2),
        ("outputs", outputs, 1),
    ):
        _check_count(name, value, least)
    random = np.random.default_rng(0)
    contrasts = _typical_contrasts(random, seeds, others, images, outputs)
    chi = random.chisquare(seeds - 1, (4000, 2, 1, 1)) / (seeds - 1)
    normal, found = random.standard_normal((4000, 1, 1)), 0.0
    by_image = np.full((1, 1), BY_IMAGE / images)
    for _ in range(20):  # more errors vary more
        rests = (RESIDUAL + np.array([[[0.0]], [[found]]])) / (seeds * images)
        variances = SEED_SD**2 / seeds + rests
        sampled = np.maximum(variances * chi, rests.mean())
        half = half_width(sampled, by_image, seeds, images, contrasts)
        error = normal * np.sqrt(variances.sum(0) + by_image)
        found = float(np.quantile(half + error, 0.8))
    return found


def _typical_contrasts(
    random: np.random.Generator, seeds: int, others: int, images: int, outputs: int
) -> float:
    """Return the mean of `_effective_contrasts` over a few typical comparisons."""
    residual = RESIDUAL / images
    least = np.full((others, outputs), residual / seeds)
    found = []
    for _ in range(5):
        means = random.standard_normal((1 + others, 1, seeds)).repeat(outputs, 1)
        means *= math.sqrt(SEED_SD**2 + residual)
        by_image = random.standard_normal((1 + others, 1, images)).repeat(outputs, 1)
        by_image = math.sqrt(BY_IMAGE / 2) * (by_image[1:] - by_image[0])
        of_images = np.full((others, outputs), BY_IMAGE / images)
        found.append(_effective_contrasts(means, least, by_image, of_images, False))
    return float(np.mean(found))
