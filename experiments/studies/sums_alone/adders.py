"""Commutative adders that learn to read from sums alone, or fail to.

    python -m experiments.compare experiments/studies/sums_alone/adders.py \
        base+model.adder=read_first_two_tables base+model.adder=read_first_ungated \
        base+model.adder=read_first_unfrozen base+model.adder=tied_product \
        base+model.adder=small+optimizer.adder_decay=0.1 \
        base+model.adder=entropy+optimizer.adder_decay=0.1 \
        base+model.adder=one_hot --seeds 10 --output runs/commutative \
        objective.digit_weight=0 objective.penalty_weight=0.1 training.epochs=4

If digits and numbers are uniform and independent, and addition is commutative, then the
sums of an image of d, whatever its number, are distributed as those of the number d,
whatever its image. So an image can be read by comparing its sums with those of each
number, before anything is known about pairs.
"""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx
from jax.lax import stop_gradient

from experiments.configs.base import config as base
from mnistsum import ModelConfig
from mnistsum.models.adders import TiedProduct
from mnistsum.types import Array, DigitLogits, Features, Number, SumLogits

# What an example shows in training, and how often.
BOTH, IMAGE, NUMBER = range(3)
SHARES = 0.2, 0.64, 0.16


def scores(
    digit: Array, number: Array, digits: Array, numbers: Array, output: Array
) -> SumLogits:
    """Score the sums of digits and numbers, given as probabilities [batch, 10].

    Args:
        digit: probabilities of the digit.
        number: probabilities of the number.
        digits: their embeddings, [10, width].
        numbers: theirs, [10, width].
        output: weights, [width, 19].
    """
    return ((digit @ digits) * (number @ numbers)) @ output


class ReadFirst(TiedProduct):
    """`tied_product`, trained with one of its inputs hidden at random.

    A hidden input is uniform. Examples that show only the image train the classifier;
    the others train table and output, and the classifier if it is confident.
    Evaluation hides nothing.
    """

    confident = 0.8  # Readings learn from pairs if a probability is above this.
    frozen = True  # whether images alone leave table and output as they are

    def __init__(self, config: ModelConfig, features: int, rngs: nnx.Rngs):
        super().__init__(config, features, rngs)
        self.random = rngs.dropout.fork()
        self.deterministic = False  # Flax sets this, as it does for dropout.

    def parameters(self) -> tuple[Array, Array, Array]:
        """Return the tables of the digit and of the number, and the output layer."""
        return self.table[...], self.table[...], self.output[...]

    def __call__(
        self, features: Features, digit: DigitLogits, number: Number
    ) -> SumLogits:
        reading = jax.nn.softmax(digit)
        parameters = self.parameters()
        if self.deterministic:
            return scores(reading, number, *parameters)

        uniform = jnp.full_like(reading, 0.1)
        confident = reading.max(-1, keepdims=True) > self.confident
        checked = jnp.where(confident, reading, stop_gradient(reading))
        frozen = stop_gradient(parameters) if self.frozen else parameters
        given_both = scores(checked, number, *parameters)
        given_image = scores(reading, uniform, *frozen)
        given_number = scores(uniform, number, *parameters)
        shown = jax.random.choice(
            self.random(), 3, (len(number), 1), p=jnp.array(SHARES)
        )
        return jnp.select(
            [shown == BOTH, shown == IMAGE], [given_both, given_image], given_number
        )


class Ungated(ReadFirst):
    """`read_first` whose readings learn from pairs from the start."""

    confident = 0.0


class Unfrozen(ReadFirst):
    """`read_first` whose table is trained with images alone, too."""

    frozen = False


class TwoTables(ReadFirst):
    """`read_first` with a table for the digit and one for the number."""

    def __init__(self, config: ModelConfig, features: int, rngs: nnx.Rngs):
        super().__init__(config, features, rngs)
        table = jax.random.normal(rngs.params(), self.table.shape, jnp.float32)
        self.number_table = nnx.Param(table)

    def parameters(self) -> tuple[Array, Array, Array]:
        return self.table[...], self.number_table[...], self.output[...]


class Small(TiedProduct):
    """`tied_product` with a table that starts small."""

    def __init__(self, config: ModelConfig, features: int, rngs: nnx.Rngs):
        super().__init__(config, features, rngs)
        self.table[...] *= 0.1


class Entropy(TiedProduct):
    """`tied_product` that is penalized by the entropy of its readings."""

    def penalty(self, features: Features, digit: DigitLogits, number: Number) -> Array:
        return -(jax.nn.softmax(digit) * jax.nn.log_softmax(digit)).sum(-1)


class OneHot(TiedProduct):
    """`tied_product` of the likeliest digit, with the gradient of all probabilities.

    Straight-through estimator: Bengio et al. 2013, arXiv:1308.3432.
    """

    def __call__(
        self, features: Features, digit: DigitLogits, number: Number
    ) -> SumLogits:
        reading = jax.nn.softmax(digit)
        likeliest = jax.nn.one_hot(digit.argmax(-1), 10)
        reading += stop_gradient(likeliest - reading)
        table = self.table[...]
        return scores(reading, number, table, table, self.output[...])


ADDERS = {
    "read_first": ReadFirst,
    "read_first_two_tables": TwoTables,
    "read_first_ungated": Ungated,
    "read_first_unfrozen": Unfrozen,
    "small": Small,
    "entropy": Entropy,
    "one_hot": OneHot,
}
config = dataclasses.replace(
    base, name="read_first", model=dataclasses.replace(base.model, adder="read_first")
)
