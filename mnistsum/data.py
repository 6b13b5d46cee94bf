"""The task's examples.

Images are read once. Pure functions of random keys order, pair and distort them.
"""

import hashlib
import warnings
from collections.abc import Iterable
from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.scipy.ndimage import map_coordinates
from jaxtyping import Array, Float, Int, Key, UInt8

from mnistsum.checks import check_digits, check_images, check_pixels, warn_of_pixels
from mnistsum.config import (
    AugmentConfig,
    DataConfig,
    ModelConfig,
    Scaling,
    check_config,
)
from mnistsum.datasets import Arrays, read_arrays
from mnistsum.errors import InputError
from mnistsum.types import Batch, Data, Epoch, Split

# folded into the order key to draw a subset of the images: no epoch reaches it
NO_EPOCH = 2**32 - 1
# of the pixels / 255 of MNIST's 60,000 training images
MEAN, DEVIATION = 0.1307, 0.3081


def load(config: DataConfig) -> Data:
    """Return a data set as NumPy arrays.

    A warning says if its pixels cannot be right, or if test images are also trained on.

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
    check_config(DataConfig, config)
    arrays = read_arrays(config)
    try:
        data = _divide(arrays, config.validation)
    except InputError as error:
        raise InputError(f"{config.source}: {error}") from None
    if config.name != "mnist" or config.dir:  # packaged MNIST is right
        _warn_of(data)
    return data


def make_data(
    x_train: np.ndarray,
    y_train: np.ndarray,
    x_test: np.ndarray,
    y_test: np.ndarray,
    validation: int = 5000,
) -> Data:
    """Return the data set of these arrays, after checking them.

    The validation images are the same for every seed. They are drawn at random because
    MNIST's training file alternates between easier and harder writers, so every second
    or twelfth image would not be representative.

    Args:
        x_train: training images, uint8 [n, 28, 28] or [n, 28, 28, 1], 0-255, with light
            strokes on a dark background.
        y_train: their labels, whole numbers 0-9, [n].
        x_test: test images.
        y_test: their labels.
        validation: how many of the training images are validation images.

    Raises:
        InputError: if an array is of another type or shape; the message names it.

    Examples:
        >>> import numpy as np
        >>> import mnistsum
        >>> images = np.random.default_rng(0).integers(0, 256, (700, 28, 28), np.uint8)
        >>> labels = np.arange(700) % 10
        >>> parts = images[:600], labels[:600], images[600:], labels[600:]
        >>> data = mnistsum.make_data(*parts, validation=100)
        >>> [split.images.shape for split in data]
        [(500, 28, 28, 1), (100, 28, 28, 1), (100, 28, 28, 1)]
    """
    data = _divide(Arrays(x_train, y_train, x_test, y_test), validation)
    _warn_of(data)
    return data


def _divide(arrays: Arrays, validation: int) -> Data:
    """Check arrays, and draw the validation images from the training images."""
    train = _make_split(arrays.x_train, arrays.y_train, "train")
    test = _make_split(arrays.x_test, arrays.y_test, "test")
    n = len(train.labels)
    if not 0 <= validation < n:
        raise InputError(
            f"data.validation: expected fewer than the {n} training images, found "
            f"{validation}"
        )
    # RandomState's stream is frozen by NumPy's policy, so the split never changes.
    drawn = np.random.RandomState(0).permutation(n)[:validation]
    is_validation = np.isin(np.arange(n), drawn)
    return Data(
        train=Split(train.images[~is_validation], train.labels[~is_validation]),
        validation=Split(train.images[is_validation], train.labels[is_validation]),
        test=test,
    )


def _make_split(images: np.ndarray, labels: np.ndarray, name: str) -> Split:
    images = np.asarray(images)
    if images.ndim == 3:
        images = images[..., None]
    check_images(images, f"x_{name}")
    if not len(images):
        raise InputError(f"x_{name}: expected images, found none")
    check_digits(f"y_{name}", labels, len(images))
    return Split(images, np.asarray(labels, np.int32))


def _warn_of(data: Data) -> None:
    """Warn of pixels that cannot be right, and of test images that are trained on."""
    known = set()
    for split in (data.train, data.validation):
        warn_of_pixels(split.images)
        known.update(image.tobytes() for image in split.images)
    warn_of_pixels(data.test.images)
    copies = sum(image.tobytes() in known for image in data.test.images)
    if copies:
        warnings.warn(
            f"{copies:,} of {len(data.test.images):,} test images are also in the "
            "training file, so they do not test generalization",
            stacklevel=2,
        )


def digest(arrays: Iterable[Any]) -> str:
    """Return a digest of the content of arrays, such as a split's images and labels."""
    content = b"".join(np.asarray(array).tobytes() for array in arrays)
    return hashlib.sha256(content).hexdigest()[:16]


def abstract_split(images: int) -> Split:
    """Return the shapes and types of a split of this many images."""
    return jax.eval_shape(
        lambda: Split(
            jnp.zeros((images, 28, 28, 1), jnp.uint8), jnp.zeros(images, jnp.int32)
        )
    )


def draw_epoch(
    order_key: Key[Array, ""],
    number_key: Key[Array, ""],
    epoch: Int[Array, ""] | int,
    n: int,
    images: int | None = None,
    group: int = 1,
) -> Epoch:
    """Return the order and the numbers of an epoch.

    Each image gets one number, uniform on 0-9. Order and numbers do not depend on batch
    size or model. So for one seed, an image meets the same number in every
    architecture.

    Args:
        order_key: key for the order, and for the choice of training images if not all
            are used.
        number_key: key for the numbers.
        epoch: counted from 0.
        n: how many images the data set has.
        images: how many to train on, the same ones in every epoch; by default all.
        group: size of the groups of images that stay together in every epoch. The order
            key draws the groups.

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
    groups = jax.random.permutation(
        jax.random.fold_in(order_key, epoch), images // group
    )
    if images == n and group == 1:
        order = groups
    else:
        chosen = jax.random.permutation(jax.random.fold_in(order_key, NO_EPOCH), n)
        order = chosen[:images].reshape(-1, group)[groups].ravel()
    return Epoch(
        order=order,
        numbers=jax.random.randint(jax.random.fold_in(number_key, epoch), (n,), 0, 10),
    )


def augment(
    config: AugmentConfig, key: Key[Array, ""], images: UInt8[Array, "batch 28 28 1"]
) -> Float[Array, "batch 28 28 1"]:
    """Return raw images (0-255, black outside), each distorted by its own random map.

    Rotation, scale and shear act about the image's center and are drawn uniformly. The
    shift is in whole pixels, so a shift alone copies pixels exactly. The elastic
    distortion (Simard et al. 2003, "Best practices for convolutional neural networks")
    displaces every pixel by a smooth field, which is interpolated bicubically from a
    5x5 grid of normal draws. Images are resampled once, bilinearly.

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
    shift = jax.random.randint(
        shift_key, (len(images), 2), -config.shift, config.shift + 1
    )
    # gives the same pixels as below, but compiles a second faster
    if config == AugmentConfig(shift=config.shift):
        edge = (config.shift, config.shift)
        padded = jnp.pad(pixels[..., 0], ((0, 0), edge, edge))
        crop = jax.vmap(lambda image, start: lax.dynamic_slice(image, start, (28, 28)))
        return crop(padded, shift + config.shift)[..., None]
    # Source of each output pixel: matrix times its position relative to the center,
    # plus the shift.
    matrix = _draw_affine(config, affine_key, len(images))
    sides = jnp.arange(28.0), jnp.arange(28.0)
    grid = jnp.stack(jnp.meshgrid(*sides, indexing="ij")) - 13.5
    source = jnp.einsum("bij,jyx->biyx", matrix, grid) + shift[:, :, None, None] + 13.5
    if config.elastic:
        coarse = config.elastic * jax.random.normal(elastic_key, (len(images), 2, 5, 5))
        source += jax.image.resize(coarse, (len(images), 2, 28, 28), "cubic")

    def resample(image, source):
        return map_coordinates(image, list(source), order=1, mode="constant")

    return jax.vmap(resample)(pixels[..., 0], source)[..., None]


def _draw_affine(
    config: AugmentConfig, key: Key[Array, ""], n: int
) -> Float[Array, "n 2 2"]:
    """Return random matrices that rotate, scale and shear."""
    angle, scale_y, scale_x, shear = jax.random.uniform(
        key, (4, n), minval=-1.0, maxval=1.0
    )
    angle = jnp.deg2rad(config.rotation * angle)
    scale_y, scale_x = 1 + config.scale * scale_y, 1 + config.scale * scale_x
    shear = config.shear * shear
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    of_y = jnp.stack([cos * scale_y, -sin * scale_x], -1)
    of_x = jnp.stack([sin * scale_y, cos * scale_x], -1)
    matrix = jnp.stack([of_y, of_x], 1)
    return matrix.at[:, :, 0].add(matrix[:, :, 1] * shear[:, None])


def scale(
    scaling: str, pixels: Float[Array, "*n 28 28 1"] | UInt8[Array, "*n 28 28 1"]
) -> Float[Array, "*n 28 28 1"]:
    """Scale pixels 0-255: `unit` to 0 to 1, `standard` to mean 0 and deviation 1.

    Raises:
        InputError: if there is no such scaling, or if pixels whose values are known
            seem to be scaled already.

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


def pair(
    images: Float[Array, "batch 28 28 1"],
    labels: Int[Array, " batch"],
    numbers: Int[Array, " batch"],
) -> Batch:
    """Return a batch of scaled images, their labels and one number for each.

    Raises:
        InputError: if labels or numbers are not one whole number from 0 to 9 for each
            image. Under `jax.jit`, only their type and shape can be checked.

    Examples:
        >>> import jax.numpy as jnp
        >>> from mnistsum.data import pair
        >>> labels, numbers = jnp.array([3, 9]), jnp.array([4, 9])
        >>> batch = pair(jnp.zeros((2, 28, 28, 1)), labels, numbers)
        >>> batch.sum.tolist(), batch.number.shape
        ([7, 18], (2, 10))
    """
    for name, values in (("labels", labels), ("numbers", numbers)):
        check_digits(name, values, len(images))
    return Batch(
        image=images,
        number=jax.nn.one_hot(numbers, 10),
        label=labels,
        sum=labels + numbers,
    )


class Pairs:
    """A split whose items are (image, label, one-hot number, sum), as the write-up's.

    `numbers` holds one number 0-9 per image, such as those that `draw_epoch` returns.

    Examples:
        >>> import jax.numpy as jnp
        >>> from mnistsum.config import DataConfig, ModelConfig
        >>> from mnistsum.data import Pairs, load
        >>> test = load(DataConfig()).test
        >>> pairs = Pairs(ModelConfig(), test, jnp.full(len(test.labels), 5))
        >>> image, label, number, total = pairs[0]
        >>> len(pairs), image.shape, int(label), int(number.argmax()), int(total)
        (10000, (28, 28, 1), 7, 5, 12)
    """

    def __init__(self, config: ModelConfig, split: Split, numbers: Int[Array, " n"]):
        self.config, self.split, self.numbers = config, split, numbers

    def __len__(self) -> int:
        return len(self.split.labels)

    def __getitem__(self, i: int) -> tuple[Array, Array, Array, Array]:
        # raises IndexError past the end; negative indices count from the end
        index = np.array([range(len(self))[i]])
        image = scale(self.config.scaling, jnp.asarray(self.split.images[index]))
        batch = pair(image, jnp.asarray(self.split.labels[index]), self.numbers[index])
        return batch.image[0], batch.label[0], batch.number[0], batch.sum[0]
