"""Predictions of a trained network for pairs of an image and a number."""

from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from mnistsum.checks import check_digits, check_images, warn_of_pixels
from mnistsum.config import DataConfig
from mnistsum.evaluation import classify, in_chunks, shaping
from mnistsum.models import Model, rebuilt
from mnistsum.storage import Weights, load_run, locate

PAIRS = 16  # per call of the compiled program


class Prediction(NamedTuple):
    """A network's probabilities for n pairs of an image and a number."""

    digit: Float[Array | np.ndarray, "n 10"]
    sum: Float[Array | np.ndarray, "n 19"]


def probabilities(
    config: DataConfig,
    model: Model,
    images: UInt8[Array, "batch 28 28 1"],
    numbers: Int[Array, " batch"],
) -> Prediction:
    """Return the probabilities for a batch of images 0-255 and numbers 0-9.

    JAX can trace this function.
    """
    features, digit = classify(config, model, images)
    total = rebuilt(model).add(features, digit, jax.nn.one_hot(numbers, 10))
    return Prediction(jax.nn.softmax(digit), jax.nn.softmax(total))


_probabilities = jax.jit(probabilities, static_argnums=0)


class Predictor(Weights):
    """A trained network that predicts."""

    def predict(
        self,
        images: UInt8[np.ndarray, "n 28 28 1"],
        numbers: int | Int[np.ndarray, " m"],
    ) -> Prediction:
        """Return the probabilities of each digit and sum.

        Args:
            images: one or more.
            numbers: 0-9, one for each image or one for all.

        Raises:
            InputError: if an argument cannot be right; it names the argument.
        """
        check_images(images)
        warn_of_pixels(images)
        n = len(images)
        numbers = np.full(n, numbers) if np.ndim(numbers) == 0 else np.asarray(numbers)
        check_digits("numbers", numbers, n)
        answer = partial(_probabilities, shaping(self.config.data), self.model)
        return in_chunks(answer, (images, numbers), PAIRS)


def load_pretrained(
    name_or_path: str | Path = "base", file: str | Path | None = None
) -> Predictor:
    """Return a trained network.

    Args:
        name_or_path: the name of a network shipped with the package
            (pretrained/README.md), a run's folder, or exported weights.
        file: the .py file that defines the architecture, if it is your own.

    Raises:
        InputError: if there is no such network.

    Examples:
        >>> import mnistsum, numpy as np
        >>> predictor = mnistsum.load_pretrained("base")
        >>> test = mnistsum.load(predictor.config.data).test
        >>> prediction = predictor.predict(test.images[:3], np.array([1, 1, 5]))
        >>> prediction.digit.argmax(-1).tolist(), prediction.sum.argmax(-1).tolist()
        ([7, 2, 1], [8, 3, 6])
    """
    return Predictor(*load_run(locate(name_or_path), file))
