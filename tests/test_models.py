"""Models: adders by hand, networks that keep their meaning, modes and keys, and what is refused."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from mnistsum.config import DataConfig, ModelConfig
from mnistsum.data import scale
from mnistsum.errors import InputError
from mnistsum.models import abstract_model, build, in_evaluation, in_training
from mnistsum.models.adders import ADDERS
from mnistsum.registry import added_names

KEY = jax.random.key(3)
BUILD = jax.jit(build, static_argnums=0)
DIGIT, NUMBER = jax.random.normal(KEY, (6, 10)), jax.nn.one_hot(jnp.arange(6), 10)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "widths", "logits"),
    [
        ("tiny", (), [-0.0903, 0.0458, -1.403, -0.1294]),
        ("lenet5", (2, 4, 16, 16), [0.6102, 1.208, 1.0711, -0.2765]),
        ("lenet5_bn", (2, 4, 16, 16), [1.3514, -0.8008, -0.7807, 1.1027]),
        ("resnet", (), [-0.1918, -0.4793, -0.318, -0.4401]),
        ("vit", (16,), [0.1491, 1.163, -1.1183, -1.2744]),
    ],
)
def test_a_name_stays_that_of_one_network(mnist, name, widths, logits):
    """Its first logits: no other test would notice a ReLU left out."""
    model = BUILD(ModelConfig(classifier=name, widths=widths), KEY)
    images = scale(DataConfig(), jnp.asarray(mnist.test.images[:2]))
    _, digit = jax.jit(lambda model, images: model.classify(images))(model, images)
    np.testing.assert_allclose(digit[0, :4], logits, atol=2e-3)


def test_bfloat16_computes_near_float32_and_keeps_float32_logits():
    config = ModelConfig(widths=(4, 4, 8))
    forward = jax.jit(lambda model: model(jax.random.normal(KEY, (6, 28, 28, 1)), NUMBER))
    exact, rough = (forward(BUILD(replace(config, dtype=dtype), KEY)) for dtype in ("float32", "bfloat16"))
    for a, b in zip(exact[:2], rough[:2], strict=True):
        assert b.dtype == jnp.float32
        assert (a != b).any()
        np.testing.assert_allclose(a, b, atol=0.1 * float(jnp.abs(a).max()))


def answer(adder, features=DIGIT, digit=DIGIT, number=NUMBER) -> np.ndarray:
    return np.asarray(jax.jit(lambda *inputs: adder(*inputs))(features, digit, number))


def layer(dense, x) -> np.ndarray:
    """Compute a fully connected layer in NumPy."""
    return np.asarray(x) @ np.asarray(dense.kernel[...]) + np.asarray(dense.bias[...])


def two_layers(adder, *joined) -> np.ndarray:
    return layer(adder.output, np.maximum(layer(adder.hidden, np.concatenate(joined, -1)), 0))


@pytest.mark.parametrize("adder_input", ["logits", "probabilities", "log_probabilities"])
def test_concat_by_hand(adder_input):
    adder = ADDERS["concat"](ModelConfig(adder_input=adder_input), 1, nnx.Rngs(0))
    exponentials = np.exp(np.asarray(DIGIT))
    probabilities = exponentials / exponentials.sum(-1, keepdims=True)
    given = {"logits": DIGIT, "probabilities": probabilities, "log_probabilities": np.log(probabilities)}[adder_input]
    np.testing.assert_allclose(answer(adder), two_layers(adder, given, NUMBER), rtol=1e-4, atol=1e-5)


def test_bilinear_and_direct_by_hand():
    adder = ADDERS["bilinear"](ModelConfig(), 1, nnx.Rngs(0))
    product = np.asarray(jax.nn.softmax(DIGIT))[:, :, None] * np.asarray(NUMBER)[:, None]
    np.testing.assert_allclose(answer(adder), layer(adder.output, product.reshape(6, 100)), rtol=1e-4, atol=1e-5)
    adder, features = ADDERS["direct"](ModelConfig(), 7, nnx.Rngs(0)), jax.random.normal(KEY, (6, 7))
    np.testing.assert_allclose(answer(adder, features), two_layers(adder, features, NUMBER), rtol=1e-4, atol=1e-5)


def test_shift_moves_the_digits_probabilities_by_the_number():
    probabilities = jax.nn.softmax(answer(ADDERS["shift"](ModelConfig(), 1, nnx.Rngs(0))))
    for i in range(6):
        np.testing.assert_allclose(probabilities[i, i : i + 10], jax.nn.softmax(DIGIT[i]), rtol=1e-4)
        np.testing.assert_allclose(probabilities[i].sum() - probabilities[i, i : i + 10].sum(), 0, atol=1e-6)


def test_learned_shift_convolves_the_digits_probabilities_with_those_of_the_numbers_row():
    adder = ADDERS["learned_shift"](ModelConfig(), 1, nnx.Rngs(0))
    shifts = np.asarray(adder.shifts[...])
    assert 0.07 < shifts.std() < 0.13
    for i, logits in enumerate(answer(adder)):
        expected = np.convolve(jax.nn.softmax(DIGIT[i]), jax.nn.softmax(shifts[i]))
        np.testing.assert_allclose(np.exp(logits), expected, rtol=1e-4)


def test_learned_shift_has_finite_logits_and_gradients_where_probabilities_are_zero():
    adder = ADDERS["learned_shift"](ModelConfig(), 1, nnx.Rngs(0))
    adder.shifts[...] = 1e4 * jnp.eye(10)  # each number shifts by itself, for certain
    sure = 1e4 * jax.nn.one_hot(jnp.full(6, 3), 10)

    def log_likelihood(adder, digit):
        return adder(digit, digit, NUMBER)[:, 12].sum()  # of a sum that is impossible

    assert np.isfinite(answer(adder, digit=sure)).all()
    assert answer(adder, digit=sure).argmax(1).tolist() == [3, 4, 5, 6, 7, 8]
    for leaf in jax.tree.leaves(jax.jit(jax.grad(log_likelihood, (0, 1)))(adder, sure)):
        assert np.isfinite(leaf).all()


@pytest.mark.parametrize(
    ("classifier", "widths"),
    [
        ("compact", (4, 8)),
        ("vit", (16, 32)),
        ("tiny", (4,) * 7),
    ],
)
def test_widths_that_a_classifier_cannot_have_are_refused_by_name(classifier, widths):
    with pytest.raises(InputError, match=f"model.widths: expected .* for {classifier}, found"):
        abstract_model(ModelConfig(classifier=classifier, widths=widths))


def holding(add):
    """Return a classifier in which `add` puts something."""

    class Holding(nnx.Module):
        def __init__(self, config, rngs):
            self.features = 10
            self.output = nnx.Linear(784, 10, rngs=rngs)
            add(self, rngs)

        def __call__(self, image):
            digit = self.output(image.reshape(image.shape[0], 784))
            return digit, digit

    return Holding


def share(network, rngs):
    network.again = nnx.Linear(784, 10, rngs=rngs)
    network.again.kernel = network.output.kernel


@pytest.mark.parametrize(
    ("what", "message"),
    [
        (nnx.Cache(jnp.zeros(3)), r"classifier.what: a Cache, which training does not carry"),
        (jnp.ones(10), r"classifier.what: a bare array, which training does not carry"),
        (nnx.Param(1.0), r"classifier.what: expected float32, found float"),
        (None, r"classifier.output.kernel: the same variable as classifier.again.kernel"),
    ],
)
def test_what_training_cannot_carry_is_refused_in_one_line(what, message):
    add = share if what is None else lambda network, rngs: setattr(network, "what", what)
    with added_names(CLASSIFIERS={"holding": holding(add)}), pytest.raises(InputError, match=message) as refusal:
        build(ModelConfig(classifier="holding"), KEY)
    assert "\n" not in str(refusal.value)


class Masks(nnx.Module):
    """Two dropout layers of one shape."""

    def __init__(self, rngs):
        self.first, self.second = nnx.Dropout(0.5, rngs=rngs), nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, x):
        return self.first(x), self.second(x)


def test_dropout_layers_draw_masks_of_their_own_in_training_and_none_in_evaluation():
    ones = jnp.ones(64)
    first, second = in_training(Masks(nnx.Rngs(0)), KEY)(ones)
    assert (first != second).any()
    again, _ = in_training(Masks(nnx.Rngs(1)), KEY)(ones)
    assert (first == again).all()  # only the key matters
    evaluated = in_evaluation(Masks(nnx.Rngs(0)))
    assert all((out == ones).all() for out in evaluated(ones))
    assert not jax.tree.leaves(evaluated)  # nor does it contain a key
