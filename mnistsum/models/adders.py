"""Adders: features, digit logits and number to 19 sum logits. A class takes (config, features, rngs)."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from mnistsum.config import ModelConfig
from mnistsum.models.layers import Dense


class Join(nnx.Module):
    """Concatenates vectors along the last axis; a module so that its width is a row of the table."""

    def __call__(self, *vectors: Float[Array, "batch _"]) -> Float[Array, "batch joined"]:
        return jnp.concatenate(vectors, -1)


class Concat(nnx.Module):
    """The write-up's: raw digit logits and number, 20 wide, through one hidden layer. The features are not used."""

    def __init__(self, config: ModelConfig, features: int, rngs: nnx.Rngs):
        self.join = Join()
        self.hidden = Dense(config, 20, config.hidden, rngs)
        self.output = Dense(config, config.hidden, 19, rngs)

    def __call__(
        self, features: Float[Array, "batch f"], digit: Float[Array, "batch 10"], number: Float[Array, "batch 10"]
    ) -> Float[Array, "batch 19"]:
        return self.output(jax.nn.relu(self.hidden(self.join(digit, number))))
