"""Evaluation: answers for every image with all ten numbers, and their scores."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Int, UInt8

from mnistsum.checks import check_digits, check_images, warn_of_pixels
from mnistsum.config import DataConfig, check_config
from mnistsum.data import abstract_split, scale
from mnistsum.devices import abstract_arrays
from mnistsum.models import Model, rebuilt
from mnistsum.models.adders import ADDS_UP
from mnistsum.objective import negative_log_likelihood
from mnistsum.programs import digest_program, settings, versions
from mnistsum.types import DigitLogits, Evaluation, Features, Split

BATCH_SIZE = 100  # images at a time
BATCHES = 10  # per call of the compiled program
Answers = TypeVar("Answers")


def evaluate(
    config: DataConfig, model: Model, split: Split, batch_size: int = BATCH_SIZE
) -> Evaluation:
    """Return the model's answers to all n x 10 pairs, as NumPy arrays.

    No image is dropped. One compiled program, a loop over batches, serves every split.

    Args:
        config: the `data` part of the run's config. Only `test_shift` matters.
        model: in evaluation mode, as `build`, `load_run` and `trained_model` give it.
        split: raw images, uint8 0-255, and their labels.
        batch_size: images at a time; it affects answers only by rounding.

    Raises:
        InputError: if an argument cannot be right; it names the argument.

    Examples:
        >>> import jax
        >>> import mnistsum
        >>> from mnistsum.types import Split
        >>> network = mnistsum.ModelConfig(classifier="mlp", widths=(32,))
        >>> config = mnistsum.Config(model=network)
        >>> model = mnistsum.build(config.model, jax.random.key(0))
        >>> test = mnistsum.load(config.data).test
        >>> few = Split(test.images[:50], test.labels[:50])
        >>> evaluation = mnistsum.evaluate(config.data, model, few, batch_size=50)
        >>> evaluation.digit.shape, evaluation.sum.shape
        ((50,), (50, 10))
    """
    check_config(DataConfig, config)
    check_images(split.images)
    check_digits("split.labels", split.labels, len(split.images))
    warn_of_pixels(split.images)
    return in_chunks(
        lambda *chunk: evaluate_chunk(
            shaping(config), model, Split(*chunk), batch_size
        ),
        split,
        BATCHES * batch_size,
    )


def in_chunks(
    function: Callable[..., Answers], arrays: Sequence[Any], size: int
) -> Answers:
    """Return a function's answers to arrays of equal length, `size` at a time.

    The last chunk is padded with zeros, and the padding's answers are discarded, so one
    compiled program serves all.
    """
    n = len(arrays[0])
    starts = range(0, max(n, 1), size)
    padding = len(starts) * size - n
    padded = [
        np.pad(array, [(0, padding)] + [(0, 0)] * (np.ndim(array) - 1))
        for array in arrays
    ]
    chunks = []
    for start in starts:
        chunks.append(function(*(array[start : start + size] for array in padded)))
    return jax.tree.map(lambda *fields: np.concatenate(fields)[:n], *chunks)


def classify(
    config: DataConfig, model: Model, images: UInt8[Array, "batch 28 28 1"]
) -> tuple[Features, DigitLogits]:
    """Return a trained model's features and digit logits for raw images, 0-255.

    With `test_shift`, both are means over all shifts of the image by up to that many
    whole pixels along each axis, with black outside: test-time augmentation (Krizhevsky
    et al. 2012, "ImageNet classification with deep convolutional neural networks"). No
    image's answer depends on the others in its batch.
    """
    images, side = jnp.asarray(images), 2 * config.test_shift + 1
    if side == 1:
        return rebuilt(model).classify(scale(model.scaling, images))
    edge = (config.test_shift, config.test_shift)
    padded = jnp.pad(images, ((0, 0), edge, edge, (0, 0)))
    shifted = jnp.stack(
        [padded[:, y : y + 28, x : x + 28] for y, x in np.ndindex(side, side)]
    )
    answers = rebuilt(model).classify(
        scale(model.scaling, shifted.reshape(-1, 28, 28, 1))
    )
    features, digit = (
        answer.reshape(side * side, -1, answer.shape[-1]).mean(0) for answer in answers
    )
    return features, digit


def evaluate_batch(config: DataConfig, model: Model, batch: Split) -> Evaluation:
    """Return the model's answers to a batch of images, each with all ten numbers."""
    images, labels = jnp.asarray(batch.images), jnp.asarray(batch.labels)
    features, digit = classify(config, model, images)
    # One-hot numbers [10, batch, 10] to sum logits [batch, 10, 19].
    numbers = jnp.broadcast_to(jnp.eye(10)[:, None], (10, len(labels), 10))
    sums = jax.vmap(
        lambda number: rebuilt(model).add(features, digit, number), out_axes=1
    )(numbers)
    return Evaluation(
        digit=digit.argmax(-1).astype(jnp.int32),  # in 64-bit mode, indices are longer
        sum=sums.argmax(-1).astype(jnp.int32),
        digit_loss=negative_log_likelihood(digit, labels),
        sum_loss=negative_log_likelihood(sums, labels[:, None] + jnp.arange(10)[None]),
        impossible=jnp.where(ADDS_UP.any(1)[None], 0, jax.nn.softmax(sums)).sum(-1),
        digit_logits=digit,
        sum_logits=sums,
    )


@partial(jax.jit, static_argnums=(0, 3))
def evaluate_chunk(
    config: DataConfig, model: Model, chunk: Split, batch_size: int
) -> Evaluation:
    """Return the model's answers to a whole number of batches.

    In a loop, XLA rounds and transposes convolution kernels once rather than once per
    batch.
    """
    batches = jax.tree.map(
        lambda field: field.reshape(-1, batch_size, *field.shape[1:]), chunk
    )
    answers = lax.map(lambda batch: evaluate_batch(config, model, batch), batches)
    return jax.tree.map(lambda field: field.reshape(-1, *field.shape[2:]), answers)


def shaping(config: DataConfig) -> DataConfig:
    """Return only the fields that shape the program, so that all data sets share it."""
    return DataConfig(test_shift=config.test_shift)


def lower_evaluation(config: DataConfig, model: Model) -> Any:
    """Return the program of `evaluate`, traced and lowered, but not compiled.

    The model may hold only shapes.
    """
    model = abstract_arrays(model)
    return evaluate_chunk.lower(
        shaping(config), model, abstract_split(BATCHES * BATCH_SIZE), BATCH_SIZE
    )


def describe_evaluation(config: DataConfig, model: Model) -> dict[str, str]:
    """Return what decides a model's answers besides its weights."""
    program = digest_program(lower_evaluation(config, model))
    return {"program": program, **versions(), **settings()}


class Score(NamedTuple):
    """A number that summarizes an evaluation, and how it is shown."""

    title: str  # of its row or column
    unit: str  # "%", for a share, or "nats"
    meaning: str
    # from an Evaluation and labels, both of NumPy arrays
    compute: Callable[[Any, np.ndarray], Any]
    # whether tables of several networks show it, as those of a single one do
    is_compared: bool = False
    lower_is_better: bool = False

    @property
    def explanation(self) -> str:
        """The meaning, and which direction is better if that is not obvious."""
        return (
            f"{self.meaning}; lower is better" if self.lower_is_better else self.meaning
        )


def _right_sums(answers: Any, labels: np.ndarray) -> np.ndarray:
    return answers.sum == labels[:, None] + np.arange(10)


# To add a number to metrics, reports and tables, add an entry.
SCORES: dict[str, Score] = {
    "digit_accuracy": Score(
        "digit",
        "%",
        "of images whose digit is predicted correctly",
        lambda answers, labels: (answers.digit == labels).mean(),
        is_compared=True,
    ),
    "sum_accuracy": Score(
        "sum",
        "%",
        "of pairs of image and number whose sum is predicted correctly",
        lambda *both: _right_sums(*both).mean(),
        is_compared=True,
    ),
    "digit_loss": Score(
        "digit loss",
        "nats",
        "mean over images",
        lambda answers, _: answers.digit_loss.mean(dtype=np.float64),
        lower_is_better=True,
    ),
    "sum_loss": Score(
        "sum loss",
        "nats",
        "mean over pairs",
        lambda answers, _: answers.sum_loss.mean(dtype=np.float64),
        lower_is_better=True,
    ),
    "consistency": Score(
        "sum = digit + number",
        "%",
        "of pairs whose predicted sum is the predicted digit plus the number, right or "
        "wrong",
        lambda answers, _: (
            answers.sum == answers.digit[:, None] + np.arange(10)
        ).mean(),
        is_compared=True,
    ),
    "impossible": Score(
        "on impossible sums",
        "%",
        "mean probability of sums that the number excludes, such as 2 if the number is "
        "3",
        lambda answers, _: answers.impossible.mean(dtype=np.float64),
        is_compared=True,
        lower_is_better=True,
    ),
}


def score(
    evaluation: Evaluation, labels: Int[Array | np.ndarray, " n"]
) -> dict[str, Any]:
    """Return the SCORES of an evaluation, and accuracies by label and by cell.

    `images` and `pairs` say how many there are.

    A cell is a pair of label and number. The accuracy of a label that never occurs is
    nan.

    Raises:
        InputError: if the labels are not one whole number from 0 to 9 for each image.

    Examples:
        >>> import numpy as np
        >>> from mnistsum.evaluation import score
        >>> from mnistsum.types import Evaluation
        >>> labels = np.array([7, 2])
        >>> nothing = np.zeros((2, 10), np.float32)
        >>> digit = np.array([7, 3])  # the second is misread; sums follow the digit
        >>> sums = digit[:, None] + np.arange(10)
        >>> logits = nothing, np.zeros((2, 10, 19), np.float32)
        >>> losses = nothing[:, 0], nothing, nothing
        >>> evaluation = Evaluation(digit, sums, *losses, *logits)
        >>> scores = score(evaluation, labels)
        >>> scores["digit_accuracy"], scores["sum_accuracy"], scores["consistency"]
        (0.5, 0.5, 1.0)
    """
    evaluation = Evaluation(*(np.asarray(field) for field in evaluation))
    check_digits("labels", labels, len(evaluation.digit))
    labels = np.asarray(labels)
    count = np.bincount(labels, minlength=10).astype(float)
    count[count == 0] = np.nan
    right = _right_sums(evaluation, labels)
    by_cell = (
        np.stack([np.bincount(labels, each, 10) for each in right.T], 1)
        / count[:, None]
    )
    return {
        **{
            name: float(each.compute(evaluation, labels))
            for name, each in SCORES.items()
        },
        "images": len(labels),
        "pairs": right.size,
        "digit_accuracy_by_label": (
            np.bincount(labels, evaluation.digit == labels, 10) / count
        ).tolist(),
        "sum_accuracy_by_cell": by_cell.tolist(),
    }


def best_permutation(
    digit: Int[np.ndarray, " n"], labels: Int[np.ndarray, " n"]
) -> Int[np.ndarray, " 10"]:
    """Return the one-to-one map from digit to label that is right most often.

    Source: Kuhn 1955, "The Hungarian method for the assignment problem".
    """
    # takes a quarter of a second, only needed at the end of a run
    from scipy.optimize import linear_sum_assignment

    counts = np.zeros((10, 10), int)
    np.add.at(counts, (digit, labels), 1)
    return linear_sum_assignment(-counts)[1]
