"""Evaluation: every image with every number; scores by hand."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mnistsum.config import DataConfig
from mnistsum.data import scale
from mnistsum.evaluation import best_permutation, evaluate, score
from mnistsum.models import build
from mnistsum.objective import negative_log_likelihood
from mnistsum.types import Evaluation, Split


@pytest.mark.filterwarnings("ignore:.*light border")
@pytest.mark.parametrize(
    "shift, batch_size, scaling",
    [(0, 8, "standard"), (0, 64, "unit"), (2, 8, "standard")],
)
def test_every_image_meets_every_number_in_the_mean_over_shifts(
    config, train, shift, batch_size, scaling
):
    """In the scaling that the model was built with; its sums depend on the features."""
    config = replace(config.model, adder="direct", scaling=scaling)
    model = jax.jit(build, static_argnums=0)(config, jax.random.key(1))
    # inverted: their borders are not black
    images = 255 - train.images[:20]
    labels = train.labels[:20]
    moved = jnp.pad(images, ((0, 0), (shift, shift), (shift, shift), (0, 0)))
    classify = jax.jit(type(model).classify)
    parts = []
    for y, x in np.ndindex(2 * shift + 1, 2 * shift + 1):
        pixels = moved[:, y : y + 28, x : x + 28]
        parts.append(classify(model, scale(scaling, pixels)))
    features, digit = (jnp.stack(part).mean(0) for part in zip(*parts, strict=True))
    split = Split(np.asarray(images), labels)
    found = evaluate(DataConfig(test_shift=shift), model, split, batch_size)
    np.testing.assert_array_equal(found.digit, digit.argmax(-1))
    loss = negative_log_likelihood(digit, labels)
    np.testing.assert_allclose(found.digit_loss, loss, rtol=1e-4)
    for i in range(10):
        sums = model.add(features, digit, jax.nn.one_hot(jnp.full(20, i), 10))
        np.testing.assert_array_equal(found.sum[:, i], sums.argmax(-1))
        loss = negative_log_likelihood(sums, labels + i)
        np.testing.assert_allclose(found.sum_loss[:, i], loss, rtol=1e-4)
        # the number and 0 to 9
        impossible = 1 - jax.nn.softmax(sums)[:, i : i + 10].sum(-1)
        np.testing.assert_allclose(found.impossible[:, i], impossible, 1e-3, 1e-5)


def test_scores_by_hand():
    labels = np.array([0, 3, 3, 9])
    digit = np.array([0, 3, 5, 9])  # the third is misread
    sums = digit[:, None] + np.arange(10)  # consistent with the digits as read
    sums[0, 4] = 7  # the adder errs once
    sums[2, 0] = 3  # and is once right by luck
    losses = np.array([1.0, 2.0, 3.0, 6.0])
    half = np.full((4, 10), 0.5)
    impossible = np.linspace(0, 0.5, 40).reshape(4, 10)
    logits = np.zeros((4, 10), np.float32), np.zeros((4, 10, 19), np.float32)
    scores = score(Evaluation(digit, sums, losses, half, impossible, *logits), labels)
    by_label = scores.pop("digit_accuracy_by_label")
    assert np.isnan(by_label[1])  # a label that never occurs
    assert by_label[3] == 0.5
    assert scores.pop("sum_accuracy_by_cell")[3][:2] == [1.0, 0.5]
    assert scores == {
        "digit_accuracy": 3 / 4,
        "sum_accuracy": (40 - 10 - 1 + 1) / 40,
        "consistency": 38 / 40,
        "digit_loss": 3.0,
        "sum_loss": 0.5,
        "impossible": pytest.approx(0.25),
        "images": 4,
        "pairs": 40,
    }


def test_the_best_permutation_undoes_a_renaming():
    random = np.random.default_rng(8)
    labels = random.integers(0, 10, 1000)
    renaming = random.permutation(10)
    digit = renaming[labels]
    digit[:50] = random.integers(0, 10, 50)
    assert (best_permutation(digit, labels)[renaming] == np.arange(10)).all()
