"""Adders: from features, digit logits and number to 19 sum logits.

Each class takes (config, features, rngs).

An adder may have a method `penalty(features, digit, number)`, which returns one value
for each example, [batch]. Its mean over the pairs that are not held out is added to the
loss.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from mnistsum.config import ModelConfig
from mnistsum.models.layers import Dense
from mnistsum.types import DigitLogits, Features, Number, SumLogits

# [number or shift, digit, sum], of shape [10, 10, 19]: 1 where number + digit = sum.
ADDS_UP = (
    np.add.outer(np.arange(10), np.arange(10))[..., None] == np.arange(19)
).astype(np.float32)
RANK = 64  # width of the embeddings of `tied_product`
# the log-probability of an impossible sum: finite, because -inf gives nan in a loss
FLOOR = -100.0


class Concat(nnx.Module):
    """The write-up's adder: a hidden layer on digit and number, 20 wide.

    It does not use the features.

    The config sets how the digit enters: as raw logits (as in the write-up),
    log-probabilities or probabilities.
    """

    def __init__(self, config: ModelConfig, features: int, rngs: nnx.Rngs):
        self.digit_as = config.adder_input
        self.hidden = Dense(config, 20, config.hidden, rngs)
        self.output = Dense(config, config.hidden, 19, rngs)

    def __call__(
        self, features: Features, digit: DigitLogits, number: Number
    ) -> SumLogits:
        if self.digit_as == "probabilities":
            digit = jax.nn.softmax(digit)
        elif self.digit_as == "log_probabilities":
            digit = jax.nn.log_softmax(digit)
        both = jnp.concatenate([digit, number], -1)
        return self.output(jax.nn.relu(self.hidden(both)))


class Bilinear(nnx.Module):
    """A linear layer on the outer product of the digit's probabilities and number."""

    def __init__(self, config: ModelConfig, features: int, rngs: nnx.Rngs):
        self.output = Dense(config, 100, 19, rngs)

    def __call__(
        self, features: Features, digit: DigitLogits, number: Number
    ) -> SumLogits:
        product = jax.nn.softmax(digit)[:, :, None] * number[:, None]
        return self.output(product.reshape(digit.shape[0], 100))


class Direct(nnx.Module):
    """A hidden layer on the classifier's features and the number.

    It does not use the digit.
    """

    def __init__(self, config: ModelConfig, features: int, rngs: nnx.Rngs):
        self.hidden = Dense(config, features + 10, config.hidden, rngs)
        self.output = Dense(config, config.hidden, 19, rngs)

    def __call__(
        self, features: Features, digit: DigitLogits, number: Number
    ) -> SumLogits:
        both = jnp.concatenate([features, number], -1)
        return self.output(jax.nn.relu(self.hidden(both)))


class Shift(nnx.Module):
    """Shifts the digit's log-probabilities by the number.

    It has no parameters and is exact, given the digit.
    """

    def __init__(self, config: ModelConfig, features: int, rngs: nnx.Rngs):
        pass

    def __call__(
        self, features: Features, digit: DigitLogits, number: Number
    ) -> SumLogits:
        above_floor = jax.nn.log_softmax(digit) - FLOOR
        # Accelerators would round the operands by default, and the sum would no longer
        # be exact.
        return FLOOR + jnp.einsum(
            "bn,bd,nds->bs", number, above_floor, ADDS_UP, precision="highest"
        )


class LearnedShift(nnx.Module):
    """Shifts the digit's probabilities by a learned distribution for each number.

    p(sum | image, number) = sum over d of p(d | image) p(shift = sum - d | number). The
    adder has to learn that the shift is the number, but what it learns about a number
    with one digit holds for all digits.
    """

    def __init__(self, config: ModelConfig, features: int, rngs: nnx.Rngs):
        # logits, by number
        self.shifts = nnx.Param(
            0.1 * jax.random.normal(rngs.params(), (10, 10), jnp.float32)
        )

    def __call__(
        self, features: Features, digit: DigitLogits, number: Number
    ) -> SumLogits:
        above_floor = jax.nn.log_softmax(self.shifts[...]) - FLOOR
        # For each digit and sum, the log-probability of the shift between them: [batch,
        # 10, 19].
        shift = FLOOR + jnp.einsum(
            "bn,nk,kds->bds", number, above_floor, ADDS_UP, precision="highest"
        )
        return jax.nn.logsumexp(jax.nn.log_softmax(digit)[:, :, None] + shift, axis=1)


class TiedProduct(nnx.Module):
    """The product of two embeddings from one table, and a linear layer on it.

    The table embeds both the digit's probabilities and the number, so the adder is
    commutative. It knows nothing else of addition. With a strong weight decay
    (`optimizer.adder_decay`), it adds many pairs that it was never trained on.
    """

    def __init__(self, config: ModelConfig, features: int, rngs: nnx.Rngs):
        table = jax.random.normal(rngs.params(), (10, RANK), jnp.float32)
        output = jax.random.normal(rngs.params(), (RANK, 19), jnp.float32)
        self.table = nnx.Param(table)
        self.output = nnx.Param(RANK**-0.5 * output)

    def __call__(
        self, features: Features, digit: DigitLogits, number: Number
    ) -> SumLogits:
        table = self.table[...]
        product = (jax.nn.softmax(digit) @ table) * (number @ table)
        return product @ self.output[...]


ADDERS: dict[str, Any] = {
    "concat": Concat,
    "bilinear": Bilinear,
    "direct": Direct,
    "shift": Shift,
    "learned_shift": LearnedShift,
    "tied_product": TiedProduct,
}
