"""Models: a classifier and an adder, chosen by name from the config."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from mnistsum.config import ModelConfig
from mnistsum.models.adders import Concat
from mnistsum.models.classifiers import Compact, Reference
from mnistsum.types import Logits

CLASSIFIERS = {"reference": Reference, "compact": Compact}
ADDERS = {"concat": Concat}


class Model(nnx.Module):
    """A classifier and an adder. A pytree whose leaves are all float32 parameters."""

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs):
        self.classifier = CLASSIFIERS[config.classifier](config, rngs)
        self.adder = ADDERS[config.adder](config, self.classifier.features, rngs)

    def classify(
        self, image: Float[Array, "batch 28 28 1"]
    ) -> tuple[Float[Array, "batch f"], Float[Array, "batch 10"]]:
        """Features and digit logits; they never see the number."""
        features, digit = self.classifier(image)
        return features, digit.astype(jnp.float32)

    def add(
        self, features: Float[Array, "batch f"], digit: Float[Array, "batch 10"], number: Float[Array, "batch 10"]
    ) -> Float[Array, "batch 19"]:
        """Sum logits, from what `classify` gives and the one-hot number."""
        return self.adder(features, digit, number).astype(jnp.float32)

    def __call__(self, image: Float[Array, "batch 28 28 1"], number: Float[Array, "batch 10"]) -> Logits:
        features, digit = self.classify(image)
        return Logits(digit, self.add(features, digit, number))


def build(config: ModelConfig, key: jax.Array) -> Model:
    """A freshly initialised model; `jax.vmap` over keys gives one a seed, stacked."""
    return Model(config, nnx.Rngs(params=key))
