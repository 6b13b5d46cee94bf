"""Models: a classifier and an adder, chosen by name from the config."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from mnistsum.config import InputError, ModelConfig
from mnistsum.models.adders import Bilinear, Concat, Direct, Shift
from mnistsum.models.classifiers import CLASSIFIERS
from mnistsum.types import Logits

ADDERS = {"concat": Concat, "bilinear": Bilinear, "direct": Direct, "shift": Shift}


class Model(nnx.Module):
    """A classifier and an adder. A pytree whose leaves are all float32 parameters."""

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs):
        self.classifier = _choose(CLASSIFIERS, "classifier", config.classifier)(config, rngs)
        self.adder = _choose(ADDERS, "adder", config.adder)(config, self.classifier.features, rngs)
        self.adder_gradient = config.adder_gradient

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
        if not self.adder_gradient:
            features, digit = jax.lax.stop_gradient((features, digit))
        return self.adder(features, digit, number).astype(jnp.float32)

    def __call__(self, image: Float[Array, "batch 28 28 1"], number: Float[Array, "batch 10"]) -> Logits:
        features, digit = self.classify(image)
        return Logits(digit, self.add(features, digit, number))


def _choose(choices: dict[str, Any], part: str, name: str) -> Any:
    if name not in choices:
        raise InputError(
            f"model.{part}: expected one of {', '.join(choices)}, found {name}; if it is your own, give the file that "
            "defines it as --config FILE.py (code is never loaded because a run's folder names it)"
        )
    return choices[name]


def build(config: ModelConfig, key: jax.Array) -> Model:
    """A freshly initialised model; `jax.vmap` over keys gives one a seed, stacked."""
    return Model(config, nnx.Rngs(params=key))
