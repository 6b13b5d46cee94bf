"""The task's examples. Images are read once. Pure functions of random keys order, pair and distort them."""

import hashlib
from collections.abc import Iterable
from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.scipy.ndimage import map_coordinates
from jaxtyping import Array, Float, Int, Key, UInt8

from mnistsum import idx
from mnistsum.checks import check_digits, check_pixels
from mnistsum.config import AugmentConfig, DataConfig, Scaling
from mnistsum.errors import InputError
from mnistsum.types import Batch, Data, Epoch, Split

NO_EPOCH = 2**32 - 1  # folded into the order key to draw a subset of the images: no epoch reaches it
MEAN, DEVIATION = 0.1307, 0.3081  # of the pixels / 255 of MNIST's 60,000 training images


def load(config: DataConfig) -> Data:
    """Return the verified data set as NumPy arrays.

    The validation images are the same for every seed. They are drawn at random because MNIST's training file alternates
    between easier and harder writers, so every second or twelfth image would not be representative.

    Raises:
        InputError: if a file is unusable; the message names it.

    Examples:
        >>> import mnistsum
        >>> data = mnistsum.load(mnistsum.Config().data)
        >>> [split.images.shape for split in data]
        [(55000, 28, 28, 1), (5000, 28, 28, 1), (10000, 28, 28, 1)]
        >>> data.test.images.dtype, data.test.labels[:5].tolist()
        (dtype('uint8'), [7, 2, 1, 0, 4])
    """
    images, labels, test_images, test_labels = idx.read_idx(config.name, config.dir)
    n = len(images)
    if config.validation >= n:
        raise InputError(f"data.validation: expected fewer than the {n} training images, found {config.validation}")
    # RandomState's stream is frozen by NumPy's policy, unlike default_rng's: the split never changes.
    is_validation = np.isin(np.arange(n), np.random.RandomState(0).permutation(n)[: config.validation])
    return Data(
        train=Split(images[~is_validation], labels[~is_validation]),
        validation=Split(images[is_validation], labels[is_validation]),
        test=Split(test_images, test_labels),
    )


def digest(arrays: Iterable[Any]) -> str:
    """Return a digest of the content of arrays, such as a split's images and labels."""
    content = b"".join(np.asarray(array).tobytes() for array in arrays)
    return hashlib.sha256(content).hexdigest()[:16]


def abstract_split(images: int) -> Split:
    """Return the shapes and types of a split of this many images."""
    return jax.eval_shape(lambda: Split(jnp.zeros((images, 28, 28, 1), jnp.uint8), jnp.zeros(images, jnp.int32)))


def draw_epoch(
    order_key: Key[Array, ""],
    number_key: Key[Array, ""],
    epoch: Int[Array, ""] | int,
    n: int,
    images: int | None = None,
    group: int = 1,
) -> Epoch:
    """Return the order and the numbers of an epoch. Each image gets one number, uniform on 0-9.

    They do not depend on batch size or model. So for one seed, an image meets the same number in every architecture.

    Args:
        order_key: key for the order, and for the choice of training images if not all are used.
        number_key: key for the numbers.
        epoch: counted from 0.
        n: how many images the data set has.
        images: how many to train on, the same ones in every epoch; by default all.
        group: size of the groups of images that stay together in every epoch. The order key draws the groups.

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
    order = jax.random.permutation(jax.random.fold_in(order_key, epoch), images // group)
    if images < n or group > 1:
        chosen = jax.random.permutation(jax.random.fold_in(order_key, NO_EPOCH), n)[:images]
        order = chosen.reshape(-1, group)[order].ravel()
    return Epoch(
        order=order,
        numbers=jax.random.randint(jax.random.fold_in(number_key, epoch), (n,), 0, 10),
    )


def augment(
    config: AugmentConfig, key: Key[Array, ""], images: UInt8[Array, "batch 28 28 1"]
) -> Float[Array, "batch 28 28 1"]:
    """Return raw images (0-255, black outside), each distorted by its own random map.

    Rotation, scale and shear act about the image's center and are drawn uniformly. The shift is in whole pixels, so a
    shift alone copies pixels exactly. The elastic distortion (Simard et al. 2003, "Best practices for convolutional
    neural networks") displaces every pixel by a smooth field, which is interpolated bicubically from a 5x5 grid of
    normal draws. Images are resampled once, bilinearly.

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
    if config == AugmentConfig(shift=config.shift):  # gives the same pixels as below, but compiles a second faster
        edge = (config.shift, config.shift)
        padded = jnp.pad(pixels[..., 0], ((0, 0), edge, edge))
        crop = jax.vmap(lambda image, start: lax.dynamic_slice(image, start, (28, 28)))
        return crop(padded, shift + config.shift)[..., None]
    angle, scale_y, scale_x, shear = jax.random.uniform(affine_key, (4, len(images)), minval=-1.0, maxval=1.0)
    angle = jnp.deg2rad(config.rotation * angle)
    scale_y, scale_x, shear = 1 + config.scale * scale_y, 1 + config.scale * scale_x, config.shear * shear
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    # Source of each output pixel: matrix [batch, 2, 2] times its position relative to the center, plus the shift.
    matrix = jnp.stack(
        [jnp.stack([cos * scale_y, -sin * scale_x], -1), jnp.stack([sin * scale_y, cos * scale_x], -1)], 1
    )
    matrix = matrix.at[:, :, 0].add(matrix[:, :, 1] * shear[:, None])
    grid = jnp.stack(jnp.meshgrid(jnp.arange(28.0), jnp.arange(28.0), indexing="ij")) - 13.5
    source = jnp.einsum("bij,jyx->biyx", matrix, grid) + shift[:, :, None, None] + 13.5
    if config.elastic:
        coarse = config.elastic * jax.random.normal(elastic_key, (len(images), 2, 5, 5))
        source += jax.image.resize(coarse, (len(images), 2, 28, 28), "cubic")

    def resample(image, source):
        return map_coordinates(image, list(source), order=1, mode="constant")

    return jax.vmap(resample)(pixels[..., 0], source)[..., None]


def scale(scaling: str, pixels: Float[Array, "*n 28 28 1"] | UInt8[Array, "*n 28 28 1"]) -> Float[Array, "*n 28 28 1"]:
    """Scale pixels 0-255 to the model's float32 input: `unit` gives 0 to 1, `standard` centers them near zero.

    Raises:
        InputError: if there is no such scaling, or if pixels whose values are known seem to be scaled already.

    Examples:
        >>> import jax.numpy as jnp
        >>> from mnistsum.data import scale
        >>> white = jnp.full((1, 28, 28, 1), 255, jnp.uint8)
        >>> scale("unit", white).max().item()
        1.0
    """
    if scaling not in get_args(Scaling):
        known = " or ".join(get_args(Scaling))
        raise InputError(f"scaling: expected {known}, found {scaling!r}")
    check_pixels(pixels)
    pixels = pixels.astype(jnp.float32) / 255
    return (pixels - MEAN) / DEVIATION if scaling == "standard" else pixels


def pair(images: Float[Array, "batch 28 28 1"], labels: Int[Array, " batch"], numbers: Int[Array, " batch"]) -> Batch:
    """Return a batch of scaled images, their labels and one number each; the sum is label + number.

    Raises:
        InputError: if labels or numbers are not one whole number from 0 to 9 for each image. Under `jax.jit`, only
            their type and shape can be checked.

    Examples:
        >>> import jax.numpy as jnp
        >>> from mnistsum.data import pair
        >>> batch = pair(jnp.zeros((2, 28, 28, 1)), jnp.array([3, 9]), jnp.array([4, 9]))
        >>> batch.sum.tolist(), batch.number.shape
        ([7, 18], (2, 10))
    """
    for name, values in (("labels", labels), ("numbers", numbers)):
        check_digits(name, values, len(images))
    return Batch(image=images, number=jax.nn.one_hot(numbers, 10), label=labels, sum=labels + numbers)


class Pairs:
    """A split in the form of the write-up's data set: `pairs[i]` is (image, label, one-hot number, sum).

    `numbers` holds one number 0-9 per image, such as those that `draw_epoch` returns.

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
        index = np.array([range(len(self))[i]])  # raises IndexError past the end; negative indices count from the end
        image = scale(self.config.scaling, jnp.asarray(self.split.images[index]))
        batch = pair(image, jnp.asarray(self.split.labels[index]), self.numbers[index])
        return batch.image[0], batch.label[0], batch.number[0], batch.sum[0]
