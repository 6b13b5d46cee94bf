"""Variants of `base`'s network that were tried; their results are in results/search-ideas.md."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import mnistsum
from experiments.configs.base import config as base
from mnistsum.data import DEVIATION, MEAN
from mnistsum.models.classifiers.compact import Compact
from mnistsum.models.layers import Dense, average_pool, convolve, flatten, max_pool, to_maps


def whitening(filters: int) -> np.ndarray:
    """Return a [5, 5, 1, filters] kernel: 5x5 patches' leading principal axes over their deviations, and negatives."""
    images = mnistsum.load(mnistsum.Config().data).train.images[:5000, :, :, 0].astype(np.float32)
    patches = np.lib.stride_tricks.sliding_window_view((images / 255 - MEAN) / DEVIATION, (5, 5), axis=(1, 2))
    values, vectors = np.linalg.eigh(np.cov(patches[:, ::2, ::2].reshape(-1, 25).T))
    top = (vectors / np.sqrt(values + 1e-2))[:, ::-1][:, : filters // 2]
    return np.concatenate([top, -top], 1).reshape(5, 5, 1, filters).astype(np.float32)


class Variant(Compact):
    """`base`'s network, with replaceable parts."""

    pool = staticmethod(max_pool)
    edge = 0  # pixels cropped from each side

    def first(self, maps):
        """Apply the first convolution to an image."""
        return self.convs[0](maps)

    def __call__(self, image):
        x = to_maps(image[:, self.edge : 28 - self.edge, self.edge : 28 - self.edge])
        for i, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            x = jax.nn.relu(norm(self.first(x) if i == 0 else conv(x)))
            if i == 1:
                x = self.pool(x)
        features = flatten(x)
        return features, self.output(features)


class AveragePool(Variant):
    """Means instead of maxima."""

    pool = staticmethod(average_pool)


class Whitened(Variant):
    """A first kernel that whitens patches and is not trained."""

    def first(self, maps):
        """Apply the fixed kernel; the trained one, times zero, is kept for the optimizer."""
        conv = self.convs[0]
        kernel = whitening(conv.kernel.shape[-1]) + 0 * conv.kernel[...]
        return convolve(maps, kernel, 2, "VALID", conv.dtype) + conv.bias[:, None, None, None]


class WhitenedStart(Variant):
    """A first kernel that whitens patches before training."""

    def __init__(self, config, rngs):
        super().__init__(config, rngs)
        self.convs[0].kernel[...] = jnp.asarray(whitening(self.widths(config)[0]))


class Cropped(Variant):
    """Images of 26x26, and maps of 11x11, 9x9, 4x4 and 2x2."""

    edge = 1

    def __init__(self, config, rngs):
        super().__init__(config, rngs)
        self.features = 4 * self.widths(config)[-1]
        self.output = Dense(config, self.features, 10, rngs)


class Branches(nnx.Module):
    """Three networks whose logits are averaged."""

    def __init__(self, config, rngs):
        self.branches = nnx.List([Compact(config, rngs) for _ in range(3)])
        self.features = 3 * self.branches[0].features

    def __call__(self, image):
        features, logits = zip(*(branch(image) for branch in self.branches), strict=True)
        return jnp.concatenate(features, -1), sum(logits) / 3


CLASSIFIERS = {
    "average": AveragePool,
    "whitened": Whitened,
    "whitened_start": WhitenedStart,
    "cropped": Cropped,
    "branches": Branches,
}
config = dataclasses.replace(base, name="ideas")
