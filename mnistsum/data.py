"""The task's examples: images read once, and pure functions of keys that order, pair and distort them."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.scipy.ndimage import map_coordinates
from jaxtyping import Array, Float, Int, Key, UInt8

from mnistsum import idx
from mnistsum.config import AugmentConfig, DataConfig
from mnistsum.errors import InputError
from mnistsum.types import Batch, Data, Epoch, Split

NO_EPOCH = 2**32 - 1  # folded into the key of the orders for the draw of a few images: no epoch comes to it
MEAN, DEVIATION = 0.1307, 0.3081  # of the pixels / 255 of MNIST's 60,000 training images


def load(config: DataConfig) -> Data:
    """Return the data set as numpy arrays, verified; InputError names the file that cannot be used.

    The validation images are drawn once for all: the same ones whatever the seed. They are drawn at random because
    MNIST's training file alternates between easier and harder writers, so that every second or twelfth image does not
    stand for the whole.

    Examples:
        >>> import mnistsum
        >>> data = mnistsum.load(mnistsum.Config().data)
        >>> [split.images.shape for split in data]
        [(55000, 28, 28, 1), (5000, 28, 28, 1), (10000, 28, 28, 1)]
        >>> data.test.images.dtype, data.test.labels[:5].tolist()
        (dtype('uint8'), [7, 2, 1, 0, 4])
    """
    images, labels, test_images, test_labels = idx.read(config.name, config.dir)
    n = len(images)
    if config.validation >= n:
        raise InputError(f"data.validation: expected fewer than the {n} training images, found {config.validation}")
    held_out = np.zeros(n, bool)
    # RandomState's stream is frozen by NumPy's policy, unlike default_rng's: the split never changes.
    held_out[np.random.RandomState(0).permutation(n)[: config.validation]] = True
    return Data(
        train=Split(images[~held_out], labels[~held_out]),
        validation=Split(images[held_out], labels[held_out]),
        test=Split(test_images, test_labels),
    )


def draw_epoch(
    order_key: Key[Array, ""],
    number_key: Key[Array, ""],
    epoch: Int[Array, ""] | int,
    n: int,
    images: int | None = None,
    places: Int[Array, " images"] | None = None,
) -> Epoch:
    """Return the order and the numbers of an epoch; numbers are drawn by image, uniform on 0-9.

    They do not depend on batch size or model, so an image meets the same number in every architecture under the same
    seed.

    Args:
        order_key: of the order, and of the images that are trained on where these are not all.
        number_key: of the numbers.
        epoch: counted from 0.
        n: images of the data set.
        images: that are trained on, the same in every epoch; by default all.
        places: among these, in the order in which the epoch sees them; by default each of them once.

    Examples:
        >>> import jax
        >>> from mnistsum.data import draw_epoch
        >>> epoch = draw_epoch(jax.random.key(0), jax.random.key(1), 0, n=6)
        >>> sorted(epoch.order.tolist())
        [0, 1, 2, 3, 4, 5]
        >>> epoch.numbers.shape
        (6,)
    """
    images = images or n
    if places is None:
        places = permute(order_key, epoch, images)
    if images < n:
        places = jax.random.permutation(jax.random.fold_in(order_key, NO_EPOCH), n)[:images][places]
    return Epoch(
        order=places,
        numbers=jax.random.randint(jax.random.fold_in(number_key, epoch), (n,), 0, 10),
    )


def permute(order_key: Key[Array, ""], epoch: Int[Array, ""] | int, n: int) -> Int[Array, " n"]:
    """Return the order in which an epoch sees `n` images once each."""
    return jax.random.permutation(jax.random.fold_in(order_key, epoch), n)


def draw_by_rank(losses: Float[Array, " n"], log_pressure: Float[Array, ""]) -> Int[Array, " n"]:
    """Return `n` places, those of large losses several times and first.

    Rank r of n comes up in proportion to exp(-log_pressure * r / n), as in Loshchilov & Hutter 2016, "Online batch
    selection for faster training of neural networks" (arXiv:1511.06343); but spread evenly instead of at random, so
    that each comes as often as expected to within one, and once each as the logarithm, above 0, comes near it.

    Examples:
        >>> import jax.numpy as jnp
        >>> from mnistsum.data import draw_by_rank
        >>> losses = jnp.array([0.1, 3.0, 0.2, 1.0])
        >>> [draw_by_rank(losses, jnp.log(pressure)).tolist() for pressure in (1.001, 100.0)]
        [[1, 3, 2, 0], [1, 1, 1, 3]]
    """
    n = len(losses)
    share = (jnp.arange(n) + 0.5) / n
    ranks = -n * jnp.log1p(share * jnp.expm1(-log_pressure)) / log_pressure
    return jnp.argsort(-losses)[jnp.clip(ranks.astype(jnp.int32), 0, n - 1)]


def augment(
    config: AugmentConfig, key: Key[Array, ""], images: UInt8[Array, "batch 28 28 1"]
) -> Float[Array, "batch 28 28 1"]:
    """Return raw images, each distorted by a random map of its own; 0-255, black outside.

    An affine map about the image's center: rotation, scale and shear are drawn uniformly, the shift is a whole number
    of pixels, so a shift alone copies pixels exactly. An elastic one (Simard et al. 2003, "Best practices for
    convolutional neural networks"): every pixel is displaced by a smooth field, bicubic between 5x5 normal draws.
    Resampled bilinearly, once.

    Examples:
        >>> import jax, jax.numpy as jnp
        >>> from mnistsum.config import AugmentConfig
        >>> from mnistsum.data import augment
        >>> images = jnp.zeros((2, 28, 28, 1), jnp.uint8).at[:, 14, 14].set(255)
        >>> moved = augment(AugmentConfig(shift=2), jax.random.key(0), images)
        >>> moved.shape, moved.sum(axis=(1, 2, 3)).tolist()
        ((2, 28, 28, 1), [255.0, 255.0])
    """
    pixels = images.astype(jnp.float32)
    if config == AugmentConfig():
        return pixels
    shift_key, affine_key, elastic_key = jax.random.split(key, 3)
    shift = jax.random.randint(shift_key, (len(images), 2), -config.shift, config.shift + 1)
    if config == AugmentConfig(shift=config.shift):  # the same pixels as below, compiled a second sooner
        edge = (config.shift, config.shift)
        padded = jnp.pad(pixels[..., 0], ((0, 0), edge, edge))
        return jax.vmap(lambda image, start: lax.dynamic_slice(image, start, (28, 28)))(padded, shift + config.shift)[
            ..., None
        ]
    angle, scale_y, scale_x, shear = jax.random.uniform(affine_key, (4, len(images)), minval=-1.0, maxval=1.0)
    angle = jnp.deg2rad(config.rotation * angle)
    scale_y, scale_x, shear = 1 + config.scale * scale_y, 1 + config.scale * scale_x, config.shear * shear
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    # Where each output pixel is read from: matrix [batch, 2, 2] times its place relative to the center, and the shift.
    matrix = jnp.stack(
        [jnp.stack([cos * scale_y, -sin * scale_x], -1), jnp.stack([sin * scale_y, cos * scale_x], -1)], 1
    )
    matrix = matrix.at[:, :, 0].add(matrix[:, :, 1] * shear[:, None])
    place = jnp.stack(jnp.meshgrid(jnp.arange(28.0), jnp.arange(28.0), indexing="ij")) - 13.5
    source = jnp.einsum("bij,jyx->biyx", matrix, place) + shift[:, :, None, None] + 13.5
    if config.elastic:
        coarse = config.elastic * jax.random.normal(elastic_key, (len(images), 2, 5, 5))
        source += jax.image.resize(coarse, (len(images), 2, 28, 28), "cubic")

    def resample(image, source):
        return map_coordinates(image, list(source), order=1, mode="constant")

    return jax.vmap(resample)(pixels[..., 0], source)[..., None]


def scale(
    config: DataConfig, pixels: Float[Array, "*n 28 28 1"] | UInt8[Array, "*n 28 28 1"]
) -> Float[Array, "*n 28 28 1"]:
    """Return pixels 0-255 as the model takes them: float32, `unit` 0 to 1, `standard` about zero.

    Examples:
        >>> import jax.numpy as jnp
        >>> from mnistsum.config import DataConfig
        >>> from mnistsum.data import scale
        >>> white = jnp.full((1, 28, 28, 1), 255, jnp.uint8)
        >>> scale(DataConfig(scaling="unit"), white).max().item()
        1.0
    """
    pixels = pixels.astype(jnp.float32) / 255
    return (pixels - MEAN) / DEVIATION if config.scaling == "standard" else pixels


def pair(images: Float[Array, "batch 28 28 1"], labels: Int[Array, " batch"], numbers: Int[Array, " batch"]) -> Batch:
    """Scaled images, their labels and a number each, as a batch; the sum is label + number.

    Examples:
        >>> import jax.numpy as jnp
        >>> from mnistsum.data import pair
        >>> batch = pair(jnp.zeros((2, 28, 28, 1)), jnp.array([3, 9]), jnp.array([4, 9]))
        >>> batch.sum.tolist(), batch.number.shape
        ([7, 18], (2, 10))
    """
    return Batch(image=images, number=jax.nn.one_hot(numbers, 10), label=labels, sum=labels + numbers)


class Pairs:
    """A split as the write-up's data set: `len(pairs)` and `pairs[i]` -> (image, label, one-hot number, sum).

    `numbers` is one number 0-9 an image, such as `draw_epoch` gives.

    Examples:
        >>> import jax.numpy as jnp
        >>> from mnistsum.config import DataConfig
        >>> from mnistsum.data import Pairs, load
        >>> test = load(DataConfig()).test
        >>> pairs = Pairs(DataConfig(), test, jnp.full(len(test.labels), 5))
        >>> image, label, number, total = pairs[0]
        >>> len(pairs), image.shape, int(label), int(number.argmax()), int(total)
        (10000, (28, 28, 1), 7, 5, 12)
    """

    def __init__(self, config: DataConfig, split: Split, numbers: Int[Array, " n"]):
        self.config, self.split, self.numbers = config, split, numbers

    def __len__(self) -> int:
        return len(self.split.labels)

    def __getitem__(self, i: int) -> tuple[Array, Array, Array, Array]:
        place = np.array([range(len(self))[i]])  # raises IndexError past the end, counts from the end below zero
        image = scale(self.config, jnp.asarray(self.split.images[place]))
        batch = pair(image, jnp.asarray(self.split.labels[place]), self.numbers[place])
        return batch.image[0], batch.label[0], batch.number[0], batch.sum[0]
