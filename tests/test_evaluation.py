"""Evaluation: every image with every number, whatever the batch size; scores by hand."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mnistsum.config import DataConfig, ModelConfig
from mnistsum.data import scale
from mnistsum.evaluation import best_permutation, evaluate, score
from mnistsum.models import build
from mnistsum.objective import negative_log_likelihood
from mnistsum.types import Evaluation, Split


@pytest.fixture(scope="module")
def model(config):
    """A model whose sums also depend on the features."""
    return jax.jit(build, static_argnums=0)(
        replace(config.model, adder="direct"), jax.random.key(1)
    )


@pytest.mark.filterwarnings("ignore:.*light border")
@pytest.mark.parametrize(("shift", "batch_size"), [(0, 8), (0, 64), (2, 8)])
def test_every_image_meets_every_number_and_its_answer_is_the_mean_over_shifts(
    model, train, shift, batch_size
):
    # inverted: their borders are not black
    images, labels = 255 - np.asarray(train.images[:20]), train.labels[:20]
    moved = np.pad(images, ((0, 0), (shift, shift), (shift, shift), (0, 0)))
    classify, add = jax.jit(type(model).classify), jax.jit(type(model).add)
    parts = [
        classify(
            model,
            scale(ModelConfig().scaling, jnp.asarray(moved[:, y : y + 28, x : x + 28])),
        )
        for y, x in np.ndindex(2 * shift + 1, 2 * shift + 1)
    ]
    features, digit = (jnp.stack(part).mean(0) for part in zip(*parts, strict=True))
    evaluation = evaluate(
        DataConfig(test_shift=shift), model, Split(images, labels), batch_size
    )
    assert len(evaluation.digit) == 20
    np.testing.assert_array_equal(evaluation.digit, digit.argmax(-1))
    np.testing.assert_allclose(
        evaluation.digit_loss, negative_log_likelihood(digit, labels), rtol=1e-4
    )
    for number in range(10):
        sums = add(model, features, digit, jax.nn.one_hot(np.full(20, number), 10))
        np.testing.assert_array_equal(evaluation.sum[:, number], sums.argmax(-1))
        loss = negative_log_likelihood(sums, labels + number)
        np.testing.assert_allclose(evaluation.sum_loss[:, number], loss, rtol=1e-4)
        # the number and 0 to 9
        possible = jax.nn.softmax(sums)[:, number : number + 10].sum(-1)
        np.testing.assert_allclose(
            evaluation.impossible[:, number], 1 - possible, rtol=1e-3, atol=1e-5
        )


def test_scores_by_hand():
    labels = np.array([0, 3, 3, 9])
    digit = np.array([0, 3, 5, 9])  # the third is misread
    sums = digit[:, None] + np.arange(10)  # consistent with the digits as read
    sums[0, 4] = 7  # the adder errs once
    sums[2, 0] = 3  # and is once right by luck
    losses, impossible = (
        np.array([1.0, 2.0, 3.0, 6.0]),
        np.linspace(0, 0.5, 40).reshape(4, 10),
    )
    rest = np.zeros((4, 10), np.float32), np.zeros((4, 10, 19), np.float32)
    scores = score(
        Evaluation(digit, sums, losses, np.full((4, 10), 0.5), impossible, *rest),
        labels,
    )
    assert scores["digit_accuracy"] == 3 / 4
    assert scores["sum_accuracy"] == (40 - 10 - 1 + 1) / 40
    assert scores["consistency"] == 38 / 40
    assert (scores["digit_loss"], scores["sum_loss"]) == (3.0, 0.5)
    assert scores["impossible"] == pytest.approx(0.25)
    assert (scores["images"], scores["pairs"]) == (4, 40)
    assert scores["digit_accuracy_by_label"][3] == 0.5
    assert scores["sum_accuracy_by_cell"][3][:2] == [1.0, 0.5]
    assert np.isnan(scores["digit_accuracy_by_label"][1])  # a label that never occurs


def test_the_best_permutation_undoes_a_renaming():
    random = np.random.default_rng(8)
    labels, renaming = random.integers(0, 10, 1000), random.permutation(10)
    digit = renaming[labels]
    digit[:50] = random.integers(0, 10, 50)
    assert (best_permutation(digit, labels)[renaming] == np.arange(10)).all()


def test_a_model_evaluates_images_in_the_scaling_that_it_was_built_with(config, train):
    images, labels = np.asarray(train.images[:4]), train.labels[:4]
    unit = replace(config.model, scaling="unit")
    model = jax.jit(build, static_argnums=0)(unit, jax.random.key(1))
    expected = jax.jit(type(model).classify)(model, scale("unit", jnp.asarray(images)))[
        1
    ]
    evaluation = evaluate(DataConfig(), model, Split(images, labels))
    np.testing.assert_allclose(evaluation.digit_logits, expected, rtol=1e-4, atol=1e-5)
