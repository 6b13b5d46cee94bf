"""Models: their parts, their initialization, and properties that all of them share."""

import dataclasses
import itertools
import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax

from mnistsum import testing
from mnistsum.config import Config, DataConfig, ModelConfig
from mnistsum.data import scale
from mnistsum.errors import InputError
from mnistsum.export import to_stablehlo
from mnistsum.models import Model, build, check_repeatable, in_evaluation, in_training, parameters
from mnistsum.models.classifiers.resnet import Block
from mnistsum.models.layers import Conv, average_pool, convolve, max_pool
from mnistsum.models.summary import count_multiply_adds, count_parameters, multiply_adds, summarize
from mnistsum.registry import ADDERS, CLASSIFIERS
from mnistsum.types import Logits

KEY = jax.random.key(3)
REFERENCE = ModelConfig(classifier="reference", initialization="torch")
NARROW = (16, 16, 32, 64, 64, 128)
IMAGE = jax.random.normal(KEY, (6, 28, 28, 1))
TYPES = ("float32", "bfloat16")
BUILD = jax.jit(build, static_argnums=0)
NUMBER = jax.nn.one_hot(jnp.arange(6), 10)


def test_the_reference_has_the_parameters_of_the_write_up_and_its_multiply_adds():
    assert count_parameters(REFERENCE) == 6_384_925
    assert count_multiply_adds(REFERENCE) == 158_985_600


def test_the_table_adds_up_and_shows_the_vectors_of_10_10_20_and_19():
    for config in (REFERENCE, *(ModelConfig(classifier=name) for name in CLASSIFIERS)):
        rows = summarize(config)
        assert sum(row.parameters for row in rows) == count_parameters(config)
        assert sum(row.multiply_adds for row in rows) == count_multiply_adds(config)
        shapes = {row.name: row.shape for row in rows}
        assert [shapes[name] for name in ("digit", "number", "adder.join", "sum")] == [(10,), (10,), (20,), (19,)]


class Tower(nnx.Module):
    """A layer with two outputs and a keyword argument."""

    def __init__(self, width, rngs):
        self.hidden, self.output = nnx.Linear(784, width, rngs=rngs), nnx.Linear(width, 10, rngs=rngs)

    def __call__(self, image, slope):
        features = jax.nn.leaky_relu(self.hidden(image), slope)
        return features, self.output(features)


class Towers(nnx.Module):
    """Uses layers as a user's network may: keeps them in a dict, reads their weights, calls one twice."""

    def __init__(self, config, rngs):
        self.features = 5
        self.towers = nnx.Dict(left=Tower(2, rngs), right=Tower(3, rngs))
        self.mix = nnx.Linear(10, 10, rngs=rngs)

    def __call__(self, image):
        image = image.reshape(len(image), 784)
        left, right = (self.towers[name](image, slope=0.1) for name in ("left", "right"))
        logits = self.mix(self.mix(left[1] + right[1])) / jnp.linalg.norm(self.mix.kernel[...])
        return jnp.concatenate([left[0], right[0]], 1), logits


def test_the_table_shows_networks_that_do_more_with_their_layers_than_call_them(monkeypatch):
    monkeypatch.setattr(CLASSIFIERS, "_added", {"towers": Towers})
    rows = summarize(ModelConfig(classifier="towers", adder="shift"))
    assert [row[:4] for row in rows[1:5]] == [
        ("classifier.towers.left", "Tower", (10,), 785 * 2 + 30),
        ("classifier.towers.right", "Tower", (10,), 785 * 3 + 40),
        ("classifier.mix", "Linear", (10,), 110),
        ("classifier.mix", "Linear", (10,), 0),
    ]
    assert [row.multiply_adds for row in rows[1:5]] == [784 * 2 + 20, 784 * 3 + 30, 100, 100]


class Recurrent(nnx.Module):
    """A network that reads an image row by row; its layer requests random keys that it does not use."""

    named = True

    def __init__(self, config, rngs):
        self.features = 4
        self.rows, self.output = nnx.RNN(nnx.GRUCell(28, 4, rngs=rngs)), nnx.Linear(4, 10, rngs=rngs)

    def __call__(self, image):
        features = jnp.asarray(self.rows(image[..., 0], rngs=nnx.Rngs(0) if self.named else None))[:, -1]
        return features, self.output(features)


class Rematerialized(nnx.Module):
    """An adder whose layer is recomputed for its gradient."""

    def __init__(self, config, features, rngs):
        self.output = nnx.Linear(20, 19, rngs=rngs)

    def __call__(self, features, digit, number):
        return nnx.remat(lambda layer, x: layer(x))(self.output, jnp.concatenate([digit, number], 1))


@pytest.mark.slow
def test_layers_that_transform_themselves_hold_the_contract_and_draw_no_key_in_evaluation(monkeypatch):
    monkeypatch.setattr(CLASSIFIERS, "_added", {"recurrent": Recurrent})
    monkeypatch.setattr(ADDERS, "_added", {"rematerialized": Rematerialized})
    config = ModelConfig(classifier="recurrent", adder="rematerialized")
    work = {row.name: row.multiply_adds for row in summarize(config)}
    assert work["classifier.rows"] == 28 * (28 * 12 + 4 * 12)  # three gates, from the row and from the carry
    assert count_multiply_adds(config) == work["classifier.rows"] + 4 * 10 + 20 * 19  # the initialization has more
    for check in testing.QUICK:
        check(config)
    assert to_stablehlo(Config(data=testing.LOOKS_AGAIN, model=config), build(config, KEY))
    monkeypatch.setattr(Recurrent, "named", False)
    with pytest.raises(InputError, match=r"draws from a random key in evaluation.*rngs=nnx\.Rngs\(0\)"):
        build(config, KEY)(IMAGE, NUMBER)


def test_multiply_adds_by_hand():
    # 12*12*25*2 + 10*10*9*2*3 + 3*3*9*3*4 + 36*10, then 20*128 + 128*19
    assert (
        count_multiply_adds(ModelConfig(classifier="compact", widths=(2, 3, 4)))
        == 7200 + 5400 + 972 + 360 + 2560 + 2432
    )


@pytest.mark.slow
def test_torch_initialization_fills_the_bounds_of_torch():
    model = BUILD(dataclasses.replace(REFERENCE, widths=NARROW), KEY)
    for layer, fan_in in ((model.classifier.conv1, 9), (model.classifier.conv5, 9 * 64), (model.adder.hidden, 20)):
        bound = 1 / math.sqrt(fan_in)  # torch.nn.Conv2d and Linear: kernel and bias uniform within
        for leaf in jax.tree.leaves(layer):
            assert float(jnp.abs(leaf).max()) <= bound
        kernel = np.asarray(layer.kernel[...])
        assert np.abs(kernel).max() > 0.95 * bound
        np.testing.assert_allclose(kernel.std(), bound / math.sqrt(3), rtol=0.1)
        assert float(jnp.abs(layer.bias[...]).max()) > 0


def test_he_initialization_has_variance_two_over_fan_in():
    model = BUILD(dataclasses.replace(REFERENCE, initialization="he", widths=NARROW), KEY)
    for layer, fan_in in ((model.classifier.conv5, 9 * 64), (model.classifier.conv6, 9 * 64)):
        np.testing.assert_allclose(np.asarray(layer.kernel[...]).var(), 2 / fan_in, rtol=0.02)
        assert not layer.bias[...].any()


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize(
    ("size", "stride"),
    [
        pytest.param(*case, marks=[] if case in ((1, 2), (3, 1), (4, 1), (5, 2)) else pytest.mark.slow)
        for case in itertools.product((1, 3, 4, 5), (1, 2, 3))
    ],
)
def test_convolution_and_its_gradients_equal_lax(padding, stride, size, monkeypatch):
    maps, kernel = jax.random.normal(KEY, (3, 9, 10, 2)), jax.random.normal(KEY, (size, size, 3, 4))

    def expected(maps, kernel):
        layout = ("CHWN", "HWIO", "CHWN")
        return lax.conv_general_dilated(maps, kernel, (stride, stride), padding, dimension_numbers=layout)

    def value(function):
        def total(maps, kernel):
            out = function(maps, kernel)
            return jnp.sin(out).sum(), out

        return jax.jit(jax.value_and_grad(total, argnums=(0, 1), has_aux=True))(maps, kernel)

    for backend in ("cpu", "gpu"):  # convolve chooses its way by it
        monkeypatch.setattr(jax, "default_backend", lambda backend=backend: backend)
        ours = value(lambda maps, kernel: convolve(maps, kernel, stride, padding, "float32"))
        for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(value(expected)), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_a_bfloat16_convolution_rounds_its_operands_and_sums_in_float32():
    maps, kernel = jax.random.normal(KEY, (3, 9, 10, 2)), jax.random.normal(KEY, (3, 3, 3, 4))
    rounded = (array.astype(jnp.bfloat16).astype(jnp.float32) for array in (maps, kernel))
    convolution = jax.jit(convolve, static_argnums=(2, 3, 4))
    rough = convolution(maps, kernel, 1, "SAME", "bfloat16")
    assert rough.dtype == jnp.float32
    np.testing.assert_allclose(rough, convolution(*rounded, 1, "SAME", "float32"), rtol=1e-5, atol=1e-5)
    assert not np.allclose(rough, convolution(maps, kernel, 1, "SAME", "float32"), rtol=1e-5, atol=1e-5)


def test_average_pool_by_hand():
    maps = jnp.array([[1.0, 2, 3, 4, 9], [5, 6, 7, 8, 9]])[None, :, :, None]
    assert average_pool(maps)[0, :, :, 0].tolist() == [[3.5, 5.5]]


def test_max_pool_by_hand():
    maps = jnp.arange(15.0).reshape(1, 3, 5, 1)
    assert max_pool(maps)[0, :, :, 0].tolist() == [[6.0, 8.0]]


class Named:
    """A part of a module that is equal only to itself."""


SIZES = {
    "reference": (2, 2, 4, 4, 4, 8),
    "compact": (4, 4, 8),
    "lenet5": (2, 4, 16, 16),
    "lenet5_bn": (2, 4, 16, 16),
    "mlp": (32,),
    "vgg": (2, 2, 4, 4, 4, 8),
    "vit": (16,),
}
PAIRS = [
    ModelConfig(classifier=classifier, adder=adder, widths=SIZES.get(classifier, ()))
    for classifier, adder in itertools.product(CLASSIFIERS, ADDERS)
]
MLP = ModelConfig(classifier="mlp", widths=SIZES["mlp"])
CUT = dataclasses.replace(MLP, adder_input="probabilities", adder_gradient=False)
INPUTS = [CUT, dataclasses.replace(MLP, adder_input="log_probabilities")]


def named(config: ModelConfig) -> str:
    return f"{config.classifier}+{config.adder}-{config.adder_input}"


@pytest.mark.parametrize(
    ("name", "logits"),
    [
        ("tiny", [-0.0903, 0.0458, -1.403, -0.1294]),
        ("lenet5", [0.6102, 1.208, 1.0711, -0.2765]),
        ("lenet5_bn", [1.3514, -0.8008, -0.7807, 1.1027]),
        ("resnet", [-0.1918, -0.4793, -0.318, -0.4401]),
        ("vit", [0.1491, 1.163, -1.1183, -1.2744]),
    ],
)
def test_a_name_stays_that_of_one_network(mnist, name, logits):
    """Its first logits: no other test would notice a ReLU left out of these five."""
    model = BUILD(ModelConfig(classifier=name, widths=SIZES.get(name, ())), KEY)
    model.eval()
    images = scale(DataConfig(), jnp.asarray(mnist.test.images[:2]))
    _, digit = jax.jit(lambda model, images: model.classify(images))(model, images)
    np.testing.assert_allclose(digit[0, :4], logits, atol=2e-3)


@pytest.mark.parametrize("check", testing.CHECKS, ids=lambda check: check.__name__)
def test_the_contract_holds(check):
    check(CUT)


@pytest.mark.parametrize("check", [testing.check_shapes, testing.check_padding])
def test_the_contract_holds_with_batch_norms_and_dropout(check):
    check(ModelConfig(classifier="lenet5_bn", widths=SIZES["lenet5_bn"]))


@pytest.mark.parametrize("config", PAIRS, ids=named)
def test_the_shapes_of_the_contract_hold_for_every_pair(config):
    testing.check_shapes(config)


@pytest.mark.parametrize("config", [config for config in PAIRS if config.classifier == "mlp"] + INPUTS, ids=named)
def test_the_quick_part_of_the_contract_holds_for_every_adder(config):
    testing.check_gradients(config)
    testing.check_digit_ignores_number(config)


@pytest.mark.slow
@pytest.mark.parametrize("config", PAIRS + INPUTS, ids=named)
def test_the_contract_holds_for_every_pair(config):
    testing.check(config)


def test_bfloat16_computes_near_float32_and_keeps_float32_logits():
    config = ModelConfig(widths=SIZES["compact"])
    forward = jax.jit(lambda model: model(IMAGE, NUMBER))
    exact = forward(BUILD(config, KEY))
    rough = forward(BUILD(dataclasses.replace(config, dtype="bfloat16"), KEY))
    for a, b in zip(exact, rough, strict=True):
        assert b.dtype == jnp.float32
        assert (a != b).any()
        np.testing.assert_allclose(a, b, atol=0.1 * float(jnp.abs(a).max()))


@pytest.mark.parametrize(
    ("classifier", "parameters", "multiply_adds"),
    [
        ("reference", 6_379_786, 158_982_608),
        ("compact", 103_026, 2_322_704),
        ("tiny", 8_450, 961_776),
        ("lenet5", 61_706, 418_520),
        ("lenet5_bn", 61_706 + 2 * (6 + 16 + 120 + 84), 418_520),
        ("mlp", 235_146, 236_752),
        ("resnet", 77_914, 1_755_984),
        ("vgg", 293_626, 12_275_984),
        ("vit", 71_626, 3_878_736),
    ],
)
def test_size_and_work_of_each_classifier_with_an_adder_of_no_parameters(classifier, parameters, multiply_adds):
    config = ModelConfig(classifier=classifier, adder="shift")
    assert count_parameters(config) == parameters
    assert count_multiply_adds(config) == multiply_adds  # a lost pool or stride would change them


@pytest.mark.parametrize(
    ("check", "fault"),
    [
        (testing.check_padding, lambda image, f, d: (f, d - d.mean(0, keepdims=True))),
        (testing.check_permutation, lambda image, f, d: (f, d + jnp.arange(len(d))[:, None])),
        (testing.check_shapes, lambda image, f, d: (f[:, 1:], d)),
        (testing.check_gradients, lambda image, f, d: (f, jax.lax.stop_gradient(d))),
        pytest.param(testing.check_learns, lambda image, f, d: (f, 0 * d), marks=pytest.mark.slow),
    ],
)
def test_the_contract_catches_a_fault(monkeypatch, check, fault):
    mlp = CLASSIFIERS["mlp"]

    class Broken(mlp):
        def __call__(self, image):
            return fault(image, *mlp.__call__(self, image))

    monkeypatch.setattr(CLASSIFIERS, "_added", {"broken": Broken})
    with pytest.raises(AssertionError):
        check(dataclasses.replace(MLP, classifier="broken"))


def test_the_contract_catches_a_network_that_is_no_function_of_its_inputs(monkeypatch):
    mlp, calls = CLASSIFIERS["mlp"], itertools.count()

    class Impure(mlp):
        def __init__(self, config, rngs):
            super().__init__(config, rngs)
            self.named = Named()  # unlike any other model's, so that each is compiled

        def __call__(self, image):
            features, digit = super().__call__(image)
            return features, digit * (1 + 0.1 * next(calls))

    monkeypatch.setattr(CLASSIFIERS, "_added", {"impure": Impure})
    config = dataclasses.replace(MLP, classifier="impure")
    for check, answer in (
        (testing.check_jit_equals_eager, "jit and eager differ"),
        (testing.check_traced_once, "traced"),
        (testing.check_vmapped_step_equals_single_steps, "vmapped and single differ"),
    ):
        with pytest.raises(AssertionError, match=answer):
            check(config)


def test_the_contract_catches_a_digit_that_sees_the_number(monkeypatch):
    def cheat(model, image, number):
        features, digit = model.classify(image)
        return Logits(digit + number, model.add(features, digit, number))

    monkeypatch.setattr(Model, "__call__", cheat)
    with pytest.raises(AssertionError, match="the digit depends on the number"):
        testing.check_digit_ignores_number(MLP)


class Embedded(nnx.Module):
    """An adder that looks its number up, so that no derivative with respect to it is other than zero."""

    def __init__(self, config, features, rngs):
        self.embedding = nnx.Embed(10, 19, rngs=rngs)
        self.output = nnx.Linear(10, 19, rngs=rngs)

    def __call__(self, features, digit, number):
        return self.output(digit) + self.embedding(number.argmax(-1))


class Deaf(Embedded):
    def __call__(self, features, digit, number):
        return self.output(digit)


def test_the_contract_knows_whether_the_sum_depends_on_the_number(monkeypatch):
    monkeypatch.setattr(ADDERS, "_added", {"embedded": Embedded, "deaf": Deaf})
    testing.check_digit_ignores_number(dataclasses.replace(MLP, adder="embedded"))
    with pytest.raises(AssertionError, match="the sum does not depend on the number"):
        testing.check_digit_ignores_number(dataclasses.replace(MLP, adder="deaf"))


def test_images_that_are_not_scaled_or_not_maps_are_refused_in_one_line(no_typechecker):
    image = jnp.zeros((1, 28, 28, 1), jnp.uint8)
    with pytest.raises(InputError, match=r"image: expected scaled pixels, found uint8; mnistsum.data.scale"):
        build(MLP, KEY).classify(image)
    with pytest.raises(InputError, match=r"Conv: expected \[1, height, .* found \[2, 28, 28, 1\]; to_maps"):
        Conv(MLP, 1, 4, 3, nnx.Rngs(0))(jnp.zeros((2, 28, 28, 1)))
    with pytest.raises(InputError, match=r"Conv: expected \[3, height, .* found \[2, 28, 28, 1\]$"):
        Conv(MLP, 3, 4, 3, nnx.Rngs(0))(jnp.zeros((2, 28, 28, 1)))


def test_shift_moves_the_digits_probabilities_by_the_number():
    digit = jax.random.normal(KEY, (6, 10))
    adder = ADDERS["shift"](ModelConfig(), 1, nnx.Rngs(0))
    probabilities = jax.nn.softmax(jax.jit(lambda d, n: adder(d, d, n))(digit, NUMBER))
    for i in range(6):
        np.testing.assert_allclose(probabilities[i, i : i + 10], jax.nn.softmax(digit[i]), rtol=1e-4)
        np.testing.assert_allclose(probabilities[i].sum() - probabilities[i, i : i + 10].sum(), 0, atol=1e-6)


def layer(dense, x):
    """Compute a fully connected layer in NumPy."""
    return np.asarray(x) @ np.asarray(dense.kernel[...]) + np.asarray(dense.bias[...])


@pytest.mark.parametrize("adder_input", ["logits", "probabilities", "log_probabilities"])
def test_concat_by_hand(adder_input):
    digit = jax.random.normal(KEY, (6, 10))
    adder = ADDERS["concat"](ModelConfig(adder_input=adder_input), 1, nnx.Rngs(0))
    exponentials = np.exp(np.asarray(digit))
    probabilities = exponentials / exponentials.sum(-1, keepdims=True)
    given = {"logits": digit, "probabilities": probabilities, "log_probabilities": np.log(probabilities)}[adder_input]
    hidden = np.maximum(layer(adder.hidden, np.concatenate([given, NUMBER], -1)), 0)
    found = jax.jit(lambda digit, number: adder(digit, digit, number))(digit, NUMBER)
    np.testing.assert_allclose(found, layer(adder.output, hidden), rtol=1e-4, atol=1e-5)


def test_bilinear_by_hand():
    digit = jax.random.normal(KEY, (6, 10))
    adder = ADDERS["bilinear"](ModelConfig(), 1, nnx.Rngs(0))
    product = np.asarray(jax.nn.softmax(digit))[:, :, None] * np.asarray(NUMBER)[:, None]
    found = jax.jit(lambda digit, number: adder(digit, digit, number))(digit, NUMBER)
    np.testing.assert_allclose(found, layer(adder.output, product.reshape(6, 100)), rtol=1e-4, atol=1e-5)


def test_direct_by_hand():
    features = jax.random.normal(KEY, (6, 7))
    adder = ADDERS["direct"](ModelConfig(), 7, nnx.Rngs(0))
    hidden = np.maximum(layer(adder.hidden, np.concatenate([features, NUMBER], -1)), 0)
    found = jax.jit(lambda features, number: adder(features, number, number))(features, NUMBER)
    np.testing.assert_allclose(found, layer(adder.output, hidden), rtol=1e-4, atol=1e-5)


def test_a_residual_block_adds_to_its_input():
    block = Block(ModelConfig(), 4, 4, nnx.Rngs(0), stride=1)
    block.conv2.kernel[...] = jnp.zeros_like(block.conv2.kernel[...])
    maps = jax.random.normal(KEY, (4, 5, 5, 2))
    np.testing.assert_array_equal(jax.jit(lambda maps: block(maps))(maps), maps)


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(InputError, match=r"model.classifier: expected one of reference.*; did you mean lenet5\?"):
        ModelConfig(classifier="lenet")
    with pytest.raises(InputError, match=r"model.classifier: expected one of reference.* found conv; if it is"):
        ModelConfig(classifier="conv")


@pytest.mark.parametrize(
    ("classifier", "widths"),
    [
        ("compact", (4, 8)),
        ("vit", (16, 32)),
        *((name, (4,) * 7) for name in ("reference", "tiny", "lenet5", "lenet5_bn", "vgg")),
    ],
)
def test_widths_that_a_classifier_cannot_have_are_refused_by_name(classifier, widths):
    with pytest.raises(InputError, match=f"model.widths: expected .* for {classifier}, found"):
        build(ModelConfig(classifier=classifier, widths=widths), KEY)


class Unsupported(nnx.Module):
    """A classifier that contains what `kind` says."""

    kind = ""

    def __init__(self, config, rngs):
        self.features = 10
        self.output = nnx.Linear(784, 10, rngs=rngs)
        if self.kind == "cache":
            self.seen = nnx.Cache(jnp.zeros(3))
        elif self.kind == "array":
            self.offset = jnp.ones(10)
        elif self.kind == "shared":
            self.again = nnx.Linear(784, 10, rngs=rngs)
            self.again.kernel = self.output.kernel
        elif self.kind == "rounded":
            self.offset = nnx.Param(jnp.ones(10, jnp.bfloat16))
        elif self.kind == "several":
            self.offset = nnx.Param({"a": jnp.ones(10), "b": jnp.ones(10)})
        elif self.kind == "number":
            self.offset = nnx.Param(1.0)
        elif self.kind == "lambda":
            self.activation = lambda x: x

    def __call__(self, image):
        digit = self.output(image.reshape(image.shape[0], 784))
        return digit, digit


@pytest.mark.parametrize(
    ("kind", "answer"),
    [
        ("cache", r"classifier.seen: a Cache, which training does not carry"),
        ("array", r"classifier.offset: a bare array, which training does not carry"),
        ("shared", r"classifier.output.kernel: the same variable as classifier.again.kernel"),
        ("rounded", r"classifier.offset: expected float32, found bfloat16"),
        ("several", r"classifier.offset: expected an array, found a dict"),
        ("number", r"classifier.offset: expected an array, found a float"),
    ],
)
def test_what_training_cannot_carry_is_refused_in_one_line(monkeypatch, kind, answer):
    monkeypatch.setattr(CLASSIFIERS, "_added", {"unsupported": Unsupported})
    monkeypatch.setattr(Unsupported, "kind", kind)
    with pytest.raises(InputError, match=answer) as refusal:
        build(ModelConfig(classifier="unsupported"), KEY)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (lambda f, d: (f[:, 1:], d), r"Wrong, features: expected \[n, 32\] of n images, found \[n, 31\]"),
        (lambda f, d: (f[:, :2], d), r"Wrong, features: expected \[n, 32\] of n images, found \[n, 2\]"),
        (lambda f, d: (f, d[:, 1:]), r"Wrong, digit logits: expected \[n, 10\] of n images, found \[n, 9\]"),
        (lambda f, d: (f, d[1:]), r"Wrong, digit logits: expected \[n, 10\] of n images, found \[1, 10\]"),
        (lambda f, d: (f, d[0]), r"Wrong, digit logits: expected \[n, 10\] of n images, found \[10\]"),
        (lambda f, d: (f, None), r"Wrong, digit logits: expected \[n, 10\] of n images, found NoneType"),
        (lambda f, d: f, r"Wrong: expected to return features and digit logits"),
    ],
)
def test_a_classifier_of_other_shapes_is_refused_in_one_line(monkeypatch, answer, expected):
    mlp = CLASSIFIERS["mlp"]

    class Wrong(mlp):
        def __call__(self, image):
            return answer(*mlp.__call__(self, image))

    monkeypatch.setattr(CLASSIFIERS, "_added", {"wrong": Wrong})
    model = build(dataclasses.replace(MLP, classifier="wrong"), KEY)
    with pytest.raises(InputError, match=expected):
        model(jnp.zeros((2, 28, 28, 1)), jnp.eye(10)[:2])


def test_an_adder_of_another_shape_is_refused_in_one_line(monkeypatch):
    class Short(ADDERS["concat"]):
        def __call__(self, features, digit, number):
            return super().__call__(features, digit, number)[:, 1:]

    monkeypatch.setattr(ADDERS, "_added", {"short": Short})
    model = build(dataclasses.replace(MLP, adder="short"), KEY)
    with pytest.raises(InputError, match=r"Short, sum logits: expected \[n, 19\] of n images, found \[n, 18\]"):
        model(jnp.zeros((2, 28, 28, 1)), jnp.eye(10)[:2])


def test_features_that_are_no_width_are_refused_in_one_line(monkeypatch):
    class Deep(nnx.Module):
        def __init__(self, config, rngs):
            self.features = nnx.Sequential(nnx.Linear(2, 3, rngs=rngs))

    monkeypatch.setattr(CLASSIFIERS, "_added", {"deep": Deep})
    answer = r"classifier deep: expected an attribute `features`, the width of its features, found Sequential$"
    with pytest.raises(InputError, match=answer):
        build(dataclasses.replace(MLP, classifier="deep"), KEY)


def test_a_class_that_is_built_from_other_arguments_is_refused_in_one_line(monkeypatch):
    class Alone(CLASSIFIERS["mlp"]):
        def __init__(self, config):
            raise AssertionError("never called")

    monkeypatch.setattr(CLASSIFIERS, "_added", {"alone": Alone})
    answer = r"model.classifier alone: expected a class that is built from \(config, rngs\), found \(self, config\)"
    with pytest.raises(InputError, match=answer):
        build(dataclasses.replace(MLP, classifier="alone"), KEY)


def test_a_function_made_anew_for_each_network_is_refused_in_one_line(monkeypatch):
    monkeypatch.setattr(CLASSIFIERS, "_added", {"unsupported": Unsupported})
    config = ModelConfig(classifier="unsupported")
    check_repeatable(config)
    monkeypatch.setattr(Unsupported, "kind", "lambda")
    with pytest.raises(InputError, match=r"model: two networks of unsupported and concat differ .* outside the class"):
        check_repeatable(config)


def test_only_the_costliest_branch_counts():
    def either(x, kernel):
        return lax.cond(x.sum() > 0, lambda: (x @ kernel) @ kernel, lambda: x @ kernel)

    jaxpr = jax.make_jaxpr(either)(jnp.ones((1, 8)), jnp.ones((8, 8)))
    assert multiply_adds(jaxpr.jaxpr) == 128


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


def test_statistics_of_batch_norms_are_no_parameters():
    model = jax.eval_shape(partial(build, ModelConfig(classifier="lenet5_bn")), KEY)
    names = {jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(parameters(model))}
    assert not any("mean" in name or "var" in name for name in names)
    assert len(jax.tree.leaves(model)) == len(names) + 2 * 4


class Forgetful(CLASSIFIERS["lenet5_bn"]):
    """A network that evaluates with the statistics of each batch."""

    def __call__(self, image):
        self.train()
        self.dropout1.deterministic = self.dropout2.deterministic = True
        return super().__call__(image)


def test_the_contract_catches_batch_norms_that_evaluate_with_the_batchs_own_statistics(monkeypatch):
    monkeypatch.setattr(CLASSIFIERS, "_added", {"forgetful": Forgetful})
    with pytest.raises(AssertionError, match="depends on the other examples"):
        testing.check_padding(ModelConfig(classifier="forgetful", widths=SIZES["lenet5_bn"]))
