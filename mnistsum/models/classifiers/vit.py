"""Attention between patches."""

from functools import partial

import jax
from flax import nnx
from jaxtyping import Array, Float

from mnistsum.config import ModelConfig
from mnistsum.errors import InputError
from mnistsum.models.classifiers import require_he
from mnistsum.types import DigitLogits, Features, Images

PATCH, HEADS = 4, 4
Linear = partial(nnx.Linear, kernel_init=nnx.initializers.he_normal())


class Position(nnx.Module):
    """Adds a learned vector for each position."""

    def __init__(self, count: int, width: int, rngs: nnx.Rngs):
        self.vectors = nnx.Param(
            0.02 * jax.random.normal(rngs.params(), (count, width))
        )

    def __call__(
        self, tokens: Float[Array, "batch n width"]
    ) -> Float[Array, "batch n width"]:
        return tokens + self.vectors[None]


class TransformerBlock(nnx.Module):
    """Attention and a perceptron, each added to its input, each after an RMS norm."""

    def __init__(self, width: int, rngs: nnx.Rngs):
        self.norm1 = nnx.RMSNorm(width, rngs=rngs)
        self.query_key_value = Linear(width, 3 * width, rngs=rngs)
        self.joined = Linear(width, width, rngs=rngs)
        self.norm2 = nnx.RMSNorm(width, rngs=rngs)
        self.hidden = Linear(width, 2 * width, rngs=rngs)
        self.output = Linear(2 * width, width, rngs=rngs)

    def __call__(
        self, tokens: Float[Array, "batch n width"]
    ) -> Float[Array, "batch n width"]:
        heads = self.query_key_value(self.norm1(tokens)).reshape(
            *tokens.shape[:2], 3, HEADS, -1
        )
        query, key, value = heads[:, :, 0], heads[:, :, 1], heads[:, :, 2]
        tokens = tokens + self.joined(
            jax.nn.dot_product_attention(query, key, value).reshape(tokens.shape)
        )
        return tokens + self.output(nnx.gelu(self.hidden(self.norm2(tokens))))


class ViT(nnx.Module):
    """A small vision transformer on the 49 patches of 4x4 pixels.

    It has four heads and one block per width; the output sees the mean of the tokens.

    All widths are equal, and divisible by four. Source: Dosovitskiy et al. 2020, "An
    image is worth 16x16 words", arXiv:2010.11929; the mean instead of a class token:
    Beyer et al. 2022, "Better plain ViT baselines for ImageNet-1k", arXiv:2205.01580.
    """

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs):
        require_he(config)
        widths = config.widths or (64, 64)
        if len(set(widths)) > 1 or widths[0] % HEADS:
            raise InputError(
                f"model.widths: expected equal widths divisible by {HEADS} for vit, "
                f"found {widths}"
            )
        self.features = widths[0]
        self.embed = Linear(PATCH * PATCH, self.features, rngs=rngs)
        self.position = Position((28 // PATCH) ** 2, self.features, rngs)
        self.blocks = nnx.List([TransformerBlock(self.features, rngs) for _ in widths])
        self.norm = nnx.RMSNorm(self.features, rngs=rngs)
        self.output = Linear(self.features, 10, rngs=rngs)

    def __call__(self, image: Images) -> tuple[Features, DigitLogits]:
        side = 28 // PATCH
        patches = image.reshape(image.shape[0], side, PATCH, side, PATCH).swapaxes(2, 3)
        tokens = self.position(
            self.embed(patches.reshape(image.shape[0], side * side, PATCH * PATCH))
        )
        for block in self.blocks:
            tokens = block(tokens)
        features = self.norm(tokens).mean(1)
        return features, self.output(features)
