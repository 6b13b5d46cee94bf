"""Every network keeps the contract of `mnistsum.testing`, which catches faults."""

import itertools
from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from mnistsum import testing
from mnistsum.config import Config, ModelConfig, ObjectiveConfig
from mnistsum.data import scale
from mnistsum.errors import InputError
from mnistsum.models import abstract_model, build
from mnistsum.models.adders import ADDERS
from mnistsum.models.classifiers import CLASSIFIERS, mlp
from mnistsum.models.classifiers.lenet5_bn import LeNet5BN
from mnistsum.models.summary import count_multiply_adds, count_parameters
from mnistsum.objective import weighted
from mnistsum.registry import added_names


class Expected(NamedTuple):
    widths: tuple[int, ...]  # small ones, for the contract
    parameters: int  # of the default widths, with the adder `shift`, which has none
    multiply_adds: int  # likewise, with the 2,000 of `shift`
    logits: list[float]  # of the small widths: the first four for the first test image


EXPECTED = {
    "reference": Expected(
        (2, 2, 4, 4, 4, 8), 6_379_786, 158_982_608, [-0.0599, 0.5294, -0.6559, -0.9583]
    ),
    "compact": Expected(
        (4, 4, 8), 103_026, 2_322_704, [1.2012, -1.0521, -0.2784, -1.7146]
    ),
    "tiny": Expected(
        (4, 8, 8, 8, 8), 8_450, 961_776, [0.8815, -0.8625, 0.6265, -1.3221]
    ),
    "lenet5": Expected(
        (2, 4, 16, 16), 61_706, 418_520, [0.6102, 1.208, 1.0711, -0.2765]
    ),
    "lenet5_bn": Expected(
        (2, 4, 16, 16), 62_158, 418_520, [1.3514, -0.8008, -0.7807, 1.1027]
    ),
    "mlp": Expected((32,), 235_146, 236_752, [-0.4807, 0.5729, 0.6544, -0.2464]),
    "resnet": Expected(
        (4, 8, 8), 77_914, 1_755_984, [0.1602, -0.9146, -0.1262, 0.6028]
    ),
    "vgg": Expected(
        (2, 2, 4, 4, 4, 8), 293_626, 12_275_984, [0.584, 0.6388, 0.1829, 0.3167]
    ),
    "vit": Expected((16,), 71_626, 3_878_736, [0.1491, 1.163, -1.1183, -1.2744]),
}
PAIRS = [
    ModelConfig(classifier=classifier, adder=adder, widths=EXPECTED[classifier].widths)
    for classifier, adder in itertools.product(EXPECTED, ADDERS)
]
MLP = ModelConfig(classifier="mlp", widths=(32,))
CUT = replace(MLP, adder_input="probabilities", adder_gradient=False)
NORMED = ModelConfig(classifier="lenet5_bn", widths=EXPECTED["lenet5_bn"].widths)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_classifier_has_its_shapes_parameters_and_multiply_adds(name):
    expected = EXPECTED[name]
    config = ModelConfig(classifier=name, adder="shift")
    model = abstract_model(config)
    assert count_parameters(model) == expected.parameters
    # a lost pool or stride would change them
    assert count_multiply_adds(model) == expected.multiply_adds
    testing.check_shapes(replace(config, widths=expected.widths))


@pytest.mark.slow
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_classifier_has_its_logits(mnist, name):
    """Nothing else would notice a ReLU left out."""
    config = ModelConfig(classifier=name, widths=EXPECTED[name].widths)
    model = jax.jit(build, static_argnums=0)(config, jax.random.key(3))
    images = scale(ModelConfig().scaling, jnp.asarray(mnist.test.images[:2]))
    _, digit = jax.jit(lambda model, images: model.classify(images))(model, images)
    np.testing.assert_allclose(digit[0, :4], EXPECTED[name].logits, atol=2e-3)


@pytest.mark.slow
@pytest.mark.parametrize(
    "config",
    [*PAIRS, CUT, replace(MLP, adder_input="log_probabilities")],
    ids=lambda config: f"{config.classifier}+{config.adder}",
)
def test_the_contract_holds(config):
    testing.check(config)


def test_a_penalty_is_cut_from_the_classifier_as_the_sum_is():
    class Fined(ADDERS["concat"]):
        def penalty(self, features, digit, number):
            return (digit**2).mean(1)

    with added_names(ADDERS={"fined": Fined}):
        testing.check_gradients(replace(CUT, adder="fined"))


@pytest.mark.parametrize(
    "penalty, found", [(None, "nothing"), (np.float32(0), r"\[\]")]
)
def test_a_penalty_without_a_value_for_each_example_is_refused(penalty, found):
    class Fined(ADDERS["concat"]):
        def penalty(self, features, digit, number):
            return penalty

    refused = pytest.raises(InputError, match=rf"^Fined.penalty: .*, found {found}")
    with added_names(ADDERS={"fined": Fined}), refused:
        testing.check_shapes(replace(MLP, adder="fined"))


def broken(fault):
    """Return a classifier whose features and digit logits `fault` changes."""

    class Broken(mlp.MLP):
        def __call__(self, image):
            return fault(*super().__call__(image))

    return Broken


class Forgetful(LeNet5BN):
    """A classifier whose batch norms use the batch's statistics in evaluation, too."""

    def __call__(self, image):
        self.train()
        self.dropout1.deterministic = self.dropout2.deterministic = True
        return super().__call__(image)


class Named:
    """A part that is equal only to itself, so that each model is compiled."""


class Counting(mlp.MLP):
    """A classifier whose logits depend on how often one was called."""

    calls = itertools.count()

    def __init__(self, config, rngs):
        super().__init__(config, rngs)
        self.named = Named()

    def __call__(self, image):
        features, digit = super().__call__(image)
        return features, digit * (1 + 0.1 * next(self.calls))


FAULTS = [
    (
        testing.check_independence,
        broken(lambda f, d: (f, d + jnp.arange(len(d))[:, None])),
        "place",
    ),
    (testing.check_independence, Forgetful, "other examples"),
    (
        testing.check_independence,
        broken(lambda f, d: (f, d / 0)),
        "^digit_loss: not finite",
    ),
    (testing.check_shapes, broken(lambda f, d: (f[:, 1:], d)), "expected features"),
    (
        testing.check_shapes,
        broken(lambda f, d: (f, d, d)),
        r"`return f.*logits`.* \[\(",
    ),
    (
        testing.check_gradients,
        broken(lambda f, d: (f, jax.lax.stop_gradient(d))),
        "no gradient reaches",
    ),
    (testing.check_jit_equals_eager, Counting, "jit and eager differ"),
    (testing.check_traced_once, Counting, "traced"),
    (testing.check_keys, Counting, "^digit: two calls differ: a random number or"),
]
SLOW_FAULTS = [
    (testing.check_vmapped_step_equals_single_steps, Counting, "vmapped"),
    (testing.check_learns, broken(lambda f, d: (f, 0 * d)), "300 steps"),
]


@pytest.mark.parametrize(
    "check, classifier, message",
    [*FAULTS, *(pytest.param(*each, marks=pytest.mark.slow) for each in SLOW_FAULTS)],
)
def test_the_contract_catches_a_fault(check, classifier, message):
    config = replace(NORMED if classifier is Forgetful else MLP, classifier="faulty")
    refused = pytest.raises((AssertionError, InputError), match=message)
    with added_names(CLASSIFIERS={"faulty": classifier}), refused:
        check(config)


@pytest.mark.slow
def test_an_output_layer_of_zeros_hides_no_fault():
    zeros = replace(NORMED, classifier="faulty", zero_output=True)
    refused = pytest.raises(AssertionError, match="other examples")
    with added_names(CLASSIFIERS={"faulty": Forgetful}), refused:
        testing.check(zeros)


class Embedded(nnx.Module):
    """An adder that looks its number up: derivatives with respect to it are zero."""

    def __init__(self, config, features, rngs):
        self.embedding = nnx.Embed(10, 19, rngs=rngs)
        self.output = nnx.Linear(10, 19, rngs=rngs)

    def __call__(self, features, digit, number):
        return self.output(digit) + self.embedding(number.argmax(-1))


class Deaf(Embedded):
    def __call__(self, features, digit, number):
        return self.output(digit)


def test_the_contract_knows_whether_the_sum_depends_on_the_number():
    embedded, deaf = (replace(MLP, adder=name) for name in ("embedded", "deaf"))
    with added_names(ADDERS={"embedded": Embedded, "deaf": Deaf}):
        testing.check_digit_ignores_number(embedded)
        assert testing.unreached(Config(model=embedded)) == []
        with pytest.raises(AssertionError, match="the sum does not depend on the numb"):
            testing.check_digit_ignores_number(deaf)
        assert testing.unreached(Config(model=deaf)) == ["adder.embedding.embedding"]


def test_the_contract_names_parameters_that_no_gradient_reaches():
    objective = ObjectiveConfig(digit_weight=0.0)
    by_features = Config(model=replace(MLP, adder="direct"), objective=objective)
    names = ["classifier.output.bias", "classifier.output.kernel"]
    assert sorted(testing.unreached(by_features)) == names


@pytest.mark.parametrize(
    "setting, ignored",
    [
        ({"held_out": 3}, {"held_out": 0}),
        ({"digit_weight": 0.0}, {"digit_weight": 0.5}),
        ({"digit_weight": 0.9}, {"digit_weight": 0.5}),
    ],
)
def test_an_objective_that_ignores_its_settings_is_refused(setting, ignored):
    def ignoring(config, *inputs):
        return weighted(replace(config, **ignored), *inputs)

    def check(name, **fields):
        objective = ObjectiveConfig(name=name, **fields)
        testing.check_objective(Config(model=MLP, objective=objective))

    right = {"right": lambda *inputs: 2 * weighted(*inputs)}
    with added_names(OBJECTIVES=right | {"own": ignoring}):
        check("right", **setting)
        check("own")
        with pytest.raises(AssertionError, match="objective own ignores"):
            check("own", **setting)
