"""The arrays that flow through the library, and the names of their axes.

Axes: `n` images of a set, `batch` images of a step, `10` digits or numbers, `19` sums.
"""

from typing import Any, NamedTuple

from jaxtyping import Array, Float, Int, Key, PyTree, UInt8
from numpy import ndarray

OUTPUTS = ("digit", "sum")  # what a network predicts

Images = Float[Array, "batch 28 28 1"]  # scaled as the config says
Features = Float[Array, "batch f"]  # of the classifier, for the adder
DigitLogits = Float[Array, "batch 10"]
Number = Float[Array, "batch 10"]  # one-hot
SumLogits = Float[Array, "batch 19"]


class Split(NamedTuple):
    """Images and labels as stored: NumPy arrays from `load`, JAX's on a device."""

    images: UInt8[Array | ndarray, "n 28 28 1"]  # 0-255
    labels: Int[Array | ndarray, " n"]  # 0-9


class Data(NamedTuple):
    """A data set's three disjoint splits; validation may be empty."""

    train: Split
    validation: Split
    test: Split


class Batch(NamedTuple):
    """Examples as the model and the objective see them."""

    image: Images
    number: Number
    label: Int[Array, " batch"]  # 0-9
    sum: Int[Array, " batch"]  # 0-18, label + number


class Logits(NamedTuple):
    """A model's outputs."""

    digit: DigitLogits
    sum: SumLogits
    penalty: Float[Array, " batch"] | None = None  # an adder's own loss term


class Epoch(NamedTuple):
    """The draws of one epoch."""

    order: Int[Array, " images"]  # of the images trained on, all or a subset: each once
    numbers: Int[Array, " n"]  # 0-9, the number paired with each image


class Metrics(NamedTuple):
    """Totals over the examples seen since the epoch began; divide by `examples`."""

    examples: Int[Array, ""]
    loss: Float[Array, ""]  # nats
    digit_correct: Int[Array, ""]
    sum_correct: Int[Array, ""]


class Keys(NamedTuple):
    """A run's root key, split once by purpose."""

    init: Key[Array, ""]
    order: Key[Array, ""]
    number: Key[Array, ""]
    augment: Key[Array, ""]
    dropout: Key[Array, ""]


class TrainState(NamedTuple):
    """Everything that a run carries.

    With its config and seed, it determines every later step.
    """

    step: Int[Array, ""]
    model: Any  # a mnistsum.models.Model: parameters and the statistics of batch norms
    opt_state: PyTree
    average: Any  # `model` with the moving average of its parameters, or None
    metrics: Metrics
    # the first step whose loss, gradient or new parameters are not finite; -1: none so
    # far
    fault: Int[Array, ""]


class Evaluation(NamedTuple):
    """A model's answers and losses for every image with every number."""

    digit: Int[Array | ndarray, " n"]  # most likely digit
    sum: Int[Array | ndarray, "n 10"]  # most likely sum, by number
    digit_loss: Float[Array | ndarray, " n"]  # nats
    sum_loss: Float[Array | ndarray, "n 10"]  # nats
    # probability on sums that the number excludes
    impossible: Float[Array | ndarray, "n 10"]
    digit_logits: Float[Array | ndarray, "n 10"]
    sum_logits: Float[Array | ndarray, "n 10 19"]  # by number
