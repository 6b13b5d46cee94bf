"""Models: adders by hand, modes and keys, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from mnistsum.config import ModelConfig
from mnistsum.errors import InputError
from mnistsum.models import (
    abstract_model,
    build,
    in_evaluation,
    in_training,
    train_forward,
)
from mnistsum.models.adders import ADDERS, FLOOR
from mnistsum.registry import added_names
from mnistsum.types import Batch

KEY = jax.random.key(3)
DIGIT, NUMBER = jax.random.normal(KEY, (6, 10)), jax.nn.one_hot(jnp.arange(6), 10)
PROBABILITIES = jax.nn.softmax(DIGIT)
FEATURES = jax.random.normal(KEY, (6, 7))


def two_layers(adder, *joined):
    return adder.output(jax.nn.relu(adder.hidden(jnp.concatenate(joined, -1))))


def shifted(shifts):
    """Return log-probabilities of the sum of the digit and such a shift."""
    sums = [np.convolve(*pair) for pair in zip(PROBABILITIES, shifts[:6], strict=True)]
    return np.log(np.maximum(sums, np.exp(FLOOR)))


def tied_product(table, output):
    """Return logits that are linear in the products of the table's rows."""
    rows = np.einsum("ir,jr,rs->ijs", table, table, output)
    return np.einsum("bi,bj,ijs->bs", PROBABILITIES, NUMBER, rows)


@pytest.mark.parametrize(
    "name, adder_input, by_hand",
    [
        ("concat", "logits", lambda adder: two_layers(adder, DIGIT, NUMBER)),
        (
            "concat",
            "probabilities",
            lambda adder: two_layers(adder, PROBABILITIES, NUMBER),
        ),
        (
            "concat",
            "log_probabilities",
            lambda adder: two_layers(adder, jnp.log(PROBABILITIES), NUMBER),
        ),
        (
            "bilinear",
            "logits",
            lambda adder: adder.output(jax.vmap(jnp.kron)(PROBABILITIES, NUMBER)),
        ),
        ("direct", "logits", lambda adder: two_layers(adder, FEATURES, NUMBER)),
        (
            "tied_product",
            "logits",
            lambda adder: tied_product(adder.table[...], adder.output[...]),
        ),
        ("shift", "logits", lambda _: shifted(NUMBER)),
        (
            "learned_shift",
            "logits",
            lambda adder: shifted(jax.nn.softmax(adder.shifts[...])),
        ),
    ],
)
def test_adders_by_hand(name, adder_input, by_hand):
    adder = ADDERS[name](ModelConfig(adder_input=adder_input), 7, nnx.Rngs(0))
    found = jax.jit(lambda *inputs: adder(*inputs))(FEATURES, DIGIT, NUMBER)
    np.testing.assert_allclose(found, by_hand(adder), rtol=1e-4, atol=1e-5)


def test_learned_shift_begins_near_zero_and_is_finite():
    adder = ADDERS["learned_shift"](ModelConfig(), 1, nnx.Rngs(0))
    assert 0.07 < adder.shifts[...].std() < 0.13
    adder.shifts[...] = 1e4 * jnp.eye(10)  # each number shifts by itself, for certain

    def log_likelihood(adder, digit):
        sums = adder(digit, digit, NUMBER)
        return sums[:, 12].sum(), sums  # of a sum that is impossible

    sure = 1e4 * jax.nn.one_hot(jnp.full(6, 3), 10)
    gradient, sums = jax.jit(jax.grad(log_likelihood, (0, 1), has_aux=True))(
        adder, sure
    )
    assert sums.argmax(1).tolist() == [3, 4, 5, 6, 7, 8]
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((gradient, sums)))


@pytest.mark.parametrize(
    "classifier, widths",
    [("compact", (4, 8)), ("vit", (16, 32)), ("tiny", (4,) * 7)],
)
def test_widths_that_a_classifier_cannot_have_are_refused_by_name(classifier, widths):
    with pytest.raises(
        InputError, match=f"model.widths: expected .* for {classifier}, found"
    ):
        abstract_model(ModelConfig(classifier=classifier, widths=widths))


@pytest.mark.parametrize("classifier", ["mlp", "vit"])
def test_an_initialization_that_plain_flax_would_ignore_is_refused(classifier):
    with pytest.raises(InputError, match=f"model.initialization: .* {classifier}"):
        abstract_model(ModelConfig(classifier=classifier, initialization="torch"))


@pytest.mark.parametrize(
    "held, message",
    [
        (
            lambda _: nnx.Cache(jnp.zeros(3)),
            "classifier.held: a Cache, which training does not carry",
        ),
        (
            lambda _: jnp.ones(10),
            "classifier.held: a bare array, which training does not carry",
        ),
        (lambda _: nnx.Param(1.0), "classifier.held: expected float32, found float"),
        (
            lambda kernel: kernel,
            "classifier.kernel: the same variable as classifier.held",
        ),
    ],
)
def test_what_training_cannot_carry_is_refused_in_one_line(held, message):
    class Holding(nnx.Module):
        def __init__(self, config, rngs):
            self.features = 10
            self.kernel = nnx.Param(jnp.ones((784, 10)))
            self.held = held(self.kernel)

    with (
        added_names(CLASSIFIERS={"holding": Holding}),
        pytest.raises(InputError, match=message) as refusal,
    ):
        build(ModelConfig(classifier="holding"), KEY)
    assert "\n" not in str(refusal.value)


def test_a_classifier_that_is_no_module_is_refused_by_name():
    class Plain:
        def __init__(self, config, rngs):
            self.features = 10

    message = "Plain: expected a classifier that is an nnx.Module"
    with (
        added_names(CLASSIFIERS={"plain": Plain}),
        pytest.raises(InputError, match=message),
    ):
        build(ModelConfig(classifier="plain"), KEY)


def dropouts(seed):
    rngs = nnx.Rngs(seed)
    return nnx.Sequential(nnx.Dropout(0.5, rngs=rngs), nnx.Dropout(0.5, rngs=rngs))


def test_dropout_layers_draw_their_own_masks_in_training_alone():
    ones = jnp.ones(64)
    first, second = (layer(ones) for layer in in_training(dropouts(0), KEY).layers)
    assert (first != second).any()
    again = in_training(dropouts(1), KEY).layers[0](ones)
    assert (first == again).all()  # only the key matters
    evaluated = in_evaluation(dropouts(0))
    assert (evaluated(ones) == ones).all()
    assert not jax.tree.leaves(evaluated)  # nor does it contain a key
    evaluated.train()
    with pytest.raises(
        RuntimeError, match="a layer draws from a random key in evaluation"
    ):
        evaluated(ones)


class Stacked(nnx.Module):
    """Two blocks in one `nnx.scan`, each a batch norm and a doubling."""

    def __init__(self, config, rngs):
        def block(rngs):
            return nnx.BatchNorm(
                784, momentum=0.99, use_scale=False, use_bias=False, rngs=rngs
            )

        self.features = 784
        self.norms = nnx.split_rngs(splits=2)(nnx.vmap(block))(rngs)
        self.output = nnx.Linear(784, 10, rngs=rngs)

    def __call__(self, image):
        @nnx.scan(in_axes=(nnx.Carry, 0), out_axes=nnx.Carry)
        def features(x, norm):
            return 2 * norm(x)

        x = features(image.reshape(-1, 784), self.norms)
        return x, self.output(x)


def test_scanned_batch_norms_lower_their_momentum_in_early_steps():
    image = jax.random.normal(KEY, (6, 28, 28, 1))
    batch = Batch(image, NUMBER, jnp.arange(6), jnp.arange(6))
    with added_names(CLASSIFIERS={"stacked": Stacked}):
        model = build(ModelConfig("stacked"), KEY)
    _, statistics = jax.jit(train_forward, static_argnums=0)(0.0, KEY, 0, model, batch)
    var = statistics["classifier"]["norms"]["var"][...]
    pixels = image.reshape(6, 784).var(0)
    np.testing.assert_allclose(var[0], 0.1 + 0.9 * pixels, rtol=1e-4)
    np.testing.assert_allclose(
        var[1], 0.1 + 0.9 * 4 * pixels / (pixels + 1e-5), rtol=1e-4
    )
