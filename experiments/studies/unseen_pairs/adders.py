"""Adders between `concat` and `learned_shift`: what must an adder share, to add pairs that it has never seen?

    python -m experiments.compare base base+model.adder_input=probabilities base+model.adder=bilinear \
        base+model.adder=learned_shift experiments/studies/unseen_pairs/adders.py base+model.adder=unnormalized_shift \
        base+model.adder=scalar base+model.adder=thermometer --seeds 10 objective.held_out=3

`learned_shift` has a distribution over the shifts 0-9 for each number. Each adder here takes one thing from it, or
gives one to `concat`.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from experiments.configs.base import config as base
from mnistsum import ModelConfig
from mnistsum.models.adders import FLOOR, Concat
from mnistsum.models.layers import Dense
from mnistsum.types import DigitLogits, Features, Number, SumLogits


class AnyShift(nnx.Module):
    """`learned_shift` with all shifts that lead from a digit to a sum, -9 to 18: 28 for each number."""

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
        scores = (
            jax.nn.log_softmax(self.scores[...])
            if self.normalized
            else self.scores[...]
        )
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
    """`concat` with as many inputs of 1 as the number says, and the others 0, in place of a one-hot."""

    def __call__(
        self, features: Features, digit: DigitLogits, number: Number
    ) -> SumLogits:
        below = np.tri(10, k=-1, dtype=np.float32)  # row n: n ones, then zeros
        return super().__call__(features, digit, number @ below)


ADDERS = {
    "any_shift": AnyShift,
    "unnormalized_shift": UnnormalizedShift,
    "scalar": Scalar,
    "thermometer": Thermometer,
}
config = dataclasses.replace(
    base, name="any_shift", model=dataclasses.replace(base.model, adder="any_shift")
)
