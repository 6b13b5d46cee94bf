"""Adders between `concat` and `learned_shift`, to learn what an adder must share.

    python -m experiments.compare base base+model.adder_input=probabilities \
        base+model.adder=bilinear base+model.adder=learned_shift \
        experiments/studies/unseen_pairs/adders.py \
        base+model.adder=unnormalized_shift base+model.adder=scalar \
        base+model.adder=thermometer --seeds 10 objective.held_out=3

`learned_shift` has a distribution over the shifts 0-9 for each number. Each of the
first adders takes one thing from it, or gives one to `concat`.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from experiments.configs.base import config as base
from mnistsum import ModelConfig
from mnistsum.models.adders import FLOOR, RANK, Concat
from mnistsum.models.layers import Dense
from mnistsum.types import DigitLogits, Features, Number, SumLogits


class AnyShift(nnx.Module):
    """`learned_shift` with all shifts from a digit to a sum: the 28 from -9 to 18."""

    shifts = np.arange(-9, 19)
    normalized = True

    def __init__(self, config: ModelConfig, features: int, rngs: nnx.Rngs):
        shape = 10, len(self.shifts)
        self.scores = nnx.Param(
            0.1 * jax.random.normal(rngs.params(), shape, jnp.float32)
        )

    def __call__(
        self, features: Features, digit: DigitLogits, number: Number
    ) -> SumLogits:
        scores = self.scores[...]
        if self.normalized:
            scores = jax.nn.log_softmax(scores)
        # [shift, digit, sum]: 1 where digit + shift = sum.
        adds_up = np.float32(
            np.add.outer(self.shifts, np.arange(10))[..., None] == np.arange(19)
        )
        shift = FLOOR + jnp.einsum(
            "bn,nk,kds->bds", number, scores - FLOOR, adds_up, precision="highest"
        )
        return jax.nn.logsumexp(jax.nn.log_softmax(digit)[:, :, None] + shift, axis=1)


class UnnormalizedShift(AnyShift):
    """`learned_shift` with a score for each shift 0-9 instead of a probability."""

    shifts = np.arange(10)
    normalized = False


class Scalar(Concat):
    """`concat` with the number as one input from 0 to 1 in place of ten."""

    def __init__(self, config: ModelConfig, features: int, rngs: nnx.Rngs):
        super().__init__(config, features, rngs)
        self.hidden = Dense(config, 11, config.hidden, rngs)

    def __call__(
        self, features: Features, digit: DigitLogits, number: Number
    ) -> SumLogits:
        scalar = number @ jnp.linspace(0.0, 1.0, 10)[:, None]
        both = jnp.concatenate([digit, scalar], -1)
        return self.output(jax.nn.relu(self.hidden(both)))


class Thermometer(Concat):
    """`concat` whose first inputs are 1, as many as the number says."""

    def __call__(
        self, features: Features, digit: DigitLogits, number: Number
    ) -> SumLogits:
        below = np.tri(10, k=-1, dtype=np.float32)  # row n: n ones, then zeros
        return super().__call__(features, digit, number @ below)


class Product(nnx.Module):
    """The product of embeddings from two tables, so not commutative, and a layer."""

    def __init__(self, config: ModelConfig, features: int, rngs: nnx.Rngs):
        def normal(rows: int, columns: int, scale: float = 1.0) -> nnx.Param:
            values = jax.random.normal(rngs.params(), (rows, columns), jnp.float32)
            return nnx.Param(scale * values)

        self.digit = normal(10, RANK)
        self.number = normal(10, RANK)
        self.output = normal(RANK, 19, RANK**-0.5)

    def __call__(
        self, features: Features, digit: DigitLogits, number: Number
    ) -> SumLogits:
        digits = jax.nn.softmax(digit) @ self.digit[...]
        return (digits * (number @ self.number[...])) @ self.output[...]


ADDERS = {
    "any_shift": AnyShift,
    "unnormalized_shift": UnnormalizedShift,
    "scalar": Scalar,
    "thermometer": Thermometer,
    "product": Product,
}
config = dataclasses.replace(
    base, name="any_shift", model=dataclasses.replace(base.model, adder="any_shift")
)
