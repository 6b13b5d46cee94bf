"""Examples: order, numbers, pairs and distortion as pure functions of keys."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import chisquare

from mnistsum.config import AugmentConfig, ModelConfig
from mnistsum.data import Pairs, augment, digest, draw_epoch, pair, scale

KEYS = jax.random.split(jax.random.key(7), 3)
AUGMENT = jax.jit(augment, static_argnums=0)
DRAW = jax.jit(draw_epoch, static_argnums=(3, 4))
# as in experiments/results/runs
DIGESTS = ["cf6f6546bd516784", "0d6b6bbeaaa671f3", "45a60edfded3b2bb"]


def test_an_epoch_has_every_image_once_and_differs_from_the_next():
    first, second = (DRAW(*KEYS[:2], epoch, 1000) for epoch in (0, 1))
    assert sorted(first.order.tolist()) == list(range(1000))
    assert (first.order != second.order).mean() > 0.9
    assert (first.numbers != second.numbers).mean() > 0.8


def test_a_few_images_are_the_same_in_every_epoch_of_a_key():
    draws = ((KEYS[0], 0), (KEYS[0], 1), (KEYS[2], 0))
    first, second, other = (
        DRAW(key, KEYS[1], epoch, 1000, 50).order.tolist() for key, epoch in draws
    )
    assert len({*first}) == 50
    assert {*first} == {*second} != {*other}
    assert first != second


def test_numbers_are_uniform_for_each_label(mnist):
    labels = np.resize(mnist.train.labels, 1_000_000)
    # without the order
    numbers = jax.jit(lambda: draw_epoch(*KEYS[:2], 0, len(labels)).numbers)()
    table = np.bincount(labels * 10 + np.asarray(numbers), minlength=100)
    expected = np.repeat(np.bincount(labels) / 10, 10)
    assert chisquare(table, expected, ddof=9).pvalue > 1e-6


def test_the_splits_are_those_of_all_published_runs(mnist):
    assert [digest(split) for split in mnist] == DIGESTS


def test_pairs_equal_pair(train):
    config = ModelConfig()
    numbers = draw_epoch(*KEYS[:2], 0, 256).numbers
    pairs = Pairs(config, train, numbers)
    batch = pair(scale(config.scaling, train.images), train.labels, numbers)
    in_order = batch.image, batch.label, batch.number, batch.sum
    assert len(pairs) == 256
    for i in (0, 100, -1):
        expected = tuple(field[i] for field in in_order)
        chex.assert_trees_all_equal(tuple(pairs[i]), expected)


def test_scale_by_hand():
    images = jnp.zeros((2, 28, 28, 1), jnp.uint8).at[1].set(255)
    for scaling, expected in (
        ("unit", [0, 1]),
        ("standard", [-0.1307 / 0.3081, 0.8693 / 0.3081]),
    ):
        for pixels in (images, images.astype(jnp.float32)):  # distorted ones are floats
            np.testing.assert_allclose(
                scale(scaling, pixels)[:, 0, 0, 0], expected, rtol=1e-6
            )


def test_a_shift_copies_pixels_exactly_by_every_whole_distance(train):
    inverted = 1 - train.images  # so that borders are not black
    pixels = AUGMENT(AugmentConfig(shift=1), KEYS[2], inverted)
    padded = np.pad(inverted, ((0, 0), (1, 1), (1, 1), (0, 0)))
    moved = np.stack([padded[:, y : y + 28, x : x + 28] for y, x in np.ndindex(3, 3)])
    found = (moved == np.asarray(pixels)).all((2, 3, 4))  # [distance, image]
    assert found.any(0).all()
    assert found.any(1).all()
    # Resampling, with a rotation that rounds away, gives the same pixels.
    np.testing.assert_array_equal(
        pixels, AUGMENT(AugmentConfig(shift=1, rotation=1e-30), KEYS[2], inverted)
    )


def test_a_quarter_turn_turns(train):
    # Rotations are drawn within +-180 degrees; repeats of one image include draws close
    # to 90 degrees either way.
    image = jnp.repeat(train.images[:1], 4000, 0)
    turned = np.asarray(AUGMENT(AugmentConfig(rotation=180.0), KEYS[2], image))
    for k in range(4):
        wanted = np.rot90(np.asarray(image[0], np.float32), k)
        assert np.abs(turned - wanted).mean((1, 2, 3)).min() < 0.02 * wanted.mean()


def moments(config):
    """Return the variances along y and x, and covariance, of 1,000 distorted discs."""
    y, x = np.mgrid[:28, :28] - 13.5
    disc = np.repeat((np.hypot(y, x) < 8)[None, :, :, None] * np.uint8(255), 1000, 0)
    pixels = np.asarray(AUGMENT(config, KEYS[2], jnp.asarray(disc)))[..., 0]
    mass = pixels / pixels.sum((1, 2))[:, None, None]
    return ((mass * moment).sum((1, 2)) for moment in (y * y, x * x, x * y))


def test_scale_stretches_each_axis_by_a_draw_of_its_own():
    plain, stretched = (
        np.array([*moments(AugmentConfig(scale=by))][:2]) for by in (1e-30, 0.3)
    )
    stretches = np.sqrt(stretched / plain)
    for by in stretches:  # read from 0.7 to 1.3 times as far out
        np.testing.assert_allclose([by.min(), by.max()], [1 / 1.3, 1 / 0.7], rtol=0.02)
    # 1 in 10,000 for independent draws
    assert abs(np.corrcoef(*stretches)[0, 1]) < 0.12


def test_shear_slants_along_x_by_the_distance_along_y():
    y, x, slanted = moments(AugmentConfig(shear=0.3))
    np.testing.assert_allclose(y, y.mean(), rtol=0.01)
    shear = -slanted / y
    np.testing.assert_allclose([shear.min(), shear.max()], [-0.3, 0.3], atol=0.01)
    np.testing.assert_allclose(x, x.min() + shear**2 * y, rtol=0.02)


def test_an_elastic_distortion_displaces_smoothly_along_each_axis():
    # On a ramp of 9 levels per pixel, a pixel's change of level shows how far it was
    # displaced along the ramp.
    along_x = np.tile(np.arange(28, dtype=np.uint8)[:, None] * 9, (500, 28, 1, 1))
    displaced = []
    for ramp in (along_x, along_x.swapaxes(1, 2)):
        pixels = AUGMENT(AugmentConfig(elastic=0.8), KEYS[2], jnp.asarray(ramp))
        moved = np.asarray(pixels - ramp)[:, 4:24, 4:24] / 9
        displaced.append(moved.ravel())
        # 0.8 at the grid's points, less between them
        assert 0.58 < moved.std() < 0.65
        assert np.abs(moved.mean((0, 1, 2))).max() < 0.05
        assert np.abs(np.diff(moved, axis=1)).mean() < 0.4 * np.abs(moved).mean()
    assert abs(np.corrcoef(*displaced)[0, 1]) < 0.1
