"""Probabilities that mean what they say: temperatures of both outputs, and how far confidence lies from accuracy."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

BINS = 15  # of confidence, equally wide, as Guo et al. take them
RANGE = (0.05, 20.0)  # in which a temperature is looked for


class Temperatures(NamedTuple):
    """What the logits of each output are divided by before the softmax; 1 leaves them as they are."""

    digit: float = 1.0
    sum: float = 1.0


class Reliability(NamedTuple):
    """How often answers are right, by how sure they are said to be."""

    answers: list[int]  # [15], those whose confidence lies in each bin
    confidence: list[float]  # [15], their mean confidence; 0 where there are none
    accuracy: list[float]  # [15], the share of them that is right; 0 where there are none
    error: float  # expected calibration error: mean distance of the two, weighed by answers


def fit_temperature(logits: Float[np.ndarray, "n classes"], labels: Int[np.ndarray, " n"]) -> float:
    """Return the temperature of the least negative log-likelihood on held-out answers (Guo et al. 2017).

    Guo et al. 2017, "On calibration of modern neural networks", arXiv:1706.04599. No answer changes by it. It is 1
    where all answers are right: the likelihood would grow without end as it falls, and tells nothing of how often they
    err.

    Examples:
        >>> import numpy as np
        >>> from mnistsum.calibration import fit_temperature
        >>> logits = np.tile([4.0, 0.0], (100, 1))  # as sure as 98 %
        >>> labels = np.arange(100) % 4 == 0  # and right in 75 %
        >>> round(fit_temperature(logits, labels.astype(int)), 2)
        3.64
    """
    from scipy.optimize import minimize_scalar  # a quarter of a second that only a run's end takes

    if (logits.argmax(-1) == labels).all():
        return 1.0
    logits = np.asarray(logits, np.float64)
    logits = logits - logits.max(-1, keepdims=True)
    given = np.take_along_axis(logits, labels[:, None], -1)[:, 0]

    def loss(log_temperature: float) -> float:
        temperature = np.exp(log_temperature)
        return float((np.log(np.exp(logits / temperature).sum(-1)) - given / temperature).mean())

    found = minimize_scalar(loss, bounds=np.log(RANGE), method="bounded", options={"xatol": 1e-4})
    return float(np.exp(found["x"]))  # pyright: ignore[reportIndexIssue] - a dict of results


def reliability(
    logits: Float[np.ndarray, "n classes"], labels: Int[np.ndarray, " n"], temperature: float = 1.0
) -> Reliability:
    """Return how often answers are right by their confidence, the probability of the likeliest class.

    Examples:
        >>> import numpy as np
        >>> from mnistsum.calibration import reliability
        >>> logits = np.tile([4.0, 0.0], (100, 1))
        >>> labels = np.arange(100) % 4 == 0
        >>> before, after = (reliability(logits, labels.astype(int), each).error for each in (1.0, 3.64))
        >>> round(before, 2), round(after, 2)
        (0.23, 0.0)
    """
    logits = np.asarray(logits, np.float64) / temperature
    best = logits.argmax(-1)
    confidence = 1 / np.exp(logits - logits.max(-1, keepdims=True)).sum(-1)
    place = np.minimum((confidence * BINS).astype(int), BINS - 1)
    count = np.bincount(place, minlength=BINS)
    filled = np.maximum(count, 1)
    sure, right = (np.bincount(place, values, BINS) / filled for values in (confidence, best == labels))
    error = float((np.abs(sure - right) * count).sum() / count.sum())
    return Reliability(count.tolist(), sure.tolist(), right.tolist(), error)
