"""Calibration of probabilities: temperatures for both outputs, and how far confidence is from accuracy."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

BINS = 15  # of confidence, equally wide, as in Guo et al.
RANGE = (0.05, 20.0)  # search range for a temperature


class Temperatures(NamedTuple):
    """Divisors of each output's logits before the softmax; 1 leaves them unchanged."""

    digit: float = 1.0
    sum: float = 1.0


class Reliability(NamedTuple):
    """How often answers are right, by their confidence."""

    answers: list[int]  # [15], how many have their confidence in each bin
    confidence: list[float]  # [15], mean confidence in each bin; 0 if it is empty
    accuracy: list[float]  # [15], share of right answers in each bin; 0 if it is empty
    error: float  # expected calibration error: mean |confidence - accuracy|, weighted by answers


def fit_temperature(logits: Float[np.ndarray, "n classes"], labels: Int[np.ndarray, " n"]) -> float:
    """Return the temperature that minimizes the negative log-likelihood on held-out answers (Guo et al. 2017).

    Guo et al. 2017, "On calibration of modern neural networks", arXiv:1706.04599. The temperature changes no answer. It
    is 1 if all answers are right: the likelihood would then keep rising as the temperature falls to zero, and would say
    nothing about the error rate.

    Examples:
        >>> import numpy as np
        >>> from mnistsum.calibration import fit_temperature
        >>> logits = np.tile([4.0, 0.0], (100, 1))  # confidence 98 %
        >>> labels = np.arange(100) % 4 == 0  # accuracy 75 %
        >>> round(fit_temperature(logits, labels.astype(int)), 2)
        3.64
    """
    from scipy.optimize import minimize_scalar  # takes a quarter of a second, only needed at the end of a run

    if (logits.argmax(-1) == labels).all():
        return 1.0
    logits = np.asarray(logits, np.float64)
    logits = logits - logits.max(-1, keepdims=True)
    label_logits = np.take_along_axis(logits, labels[:, None], -1)[:, 0]

    def loss(log_temperature: float) -> float:
        temperature = np.exp(log_temperature)
        return float((np.log(np.exp(logits / temperature).sum(-1)) - label_logits / temperature).mean())

    result = minimize_scalar(loss, bounds=np.log(RANGE), method="bounded", options={"xatol": 1e-4})
    return float(np.exp(result["x"]))  # pyright: ignore[reportIndexIssue] - a dict of results


def reliability(
    logits: Float[np.ndarray, "n classes"], labels: Int[np.ndarray, " n"], temperature: float = 1.0
) -> Reliability:
    """Return how often answers are right, by their confidence: the probability of the most likely class.

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
    bin_index = np.minimum((confidence * BINS).astype(int), BINS - 1)
    count = np.bincount(bin_index, minlength=BINS)
    divisor = np.maximum(count, 1)
    mean_confidence, accuracy = (
        np.bincount(bin_index, values, BINS) / divisor for values in (confidence, best == labels)
    )
    error = float((np.abs(mean_confidence - accuracy) * count).sum() / count.sum())
    return Reliability(count.tolist(), mean_confidence.tolist(), accuracy.tolist(), error)
