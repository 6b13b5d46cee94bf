"""The contract of `mnistsum.testing`: every pair of classifier and adder holds it, and it catches faults."""

import itertools
from dataclasses import replace

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from mnistsum import testing
from mnistsum.config import Config, ModelConfig, ObjectiveConfig
from mnistsum.models.adders import ADDERS
from mnistsum.models.classifiers import CLASSIFIERS, mlp
from mnistsum.objective import weighted
from mnistsum.registry import added_names

WIDTHS = {
    "reference": (2, 2, 4, 4, 4, 8),
    "compact": (4, 4, 8),
    "lenet5": (2, 4, 16, 16),
    "lenet5_bn": (2, 4, 16, 16),
    "mlp": (32,),
    "resnet": (4, 8, 8),
    "tiny": (4, 8, 8, 8, 8),
    "vgg": (2, 2, 4, 4, 4, 8),
    "vit": (16,),
}
PAIRS = [
    ModelConfig(classifier=classifier, adder=adder, widths=WIDTHS.get(classifier, ()))
    for classifier, adder in itertools.product(CLASSIFIERS, ADDERS)
]
MLP = ModelConfig(classifier="mlp", widths=WIDTHS["mlp"])
CUT = replace(MLP, adder_input="probabilities", adder_gradient=False)
NORMED = ModelConfig(classifier="lenet5_bn", widths=WIDTHS["lenet5_bn"])


def named(config: ModelConfig) -> str:
    return f"{config.classifier}+{config.adder}-{config.adder_input}"


@pytest.mark.parametrize("check", testing.CHECKS, ids=lambda check: check.__name__)
def test_the_contract_holds(check):
    check(CUT)


@pytest.mark.parametrize("check", [testing.check_shapes, testing.check_independence])
def test_the_contract_holds_with_batch_norms_and_dropout(check):
    check(NORMED)


@pytest.mark.parametrize("config", [config for config in PAIRS if config.classifier == "mlp"], ids=named)
def test_the_quick_part_of_the_contract_holds_for_every_adder(config):
    testing.check_gradients(config)
    testing.check_digit_ignores_number(config)


@pytest.mark.parametrize("config", [config for config in PAIRS if config.adder == "shift"], ids=named)
def test_the_shapes_of_the_contract_hold_for_every_classifier(config):
    testing.check_shapes(config)


def test_a_penalty_is_cut_from_the_classifier_as_the_sum_is():
    class Fined(ADDERS["concat"]):
        def penalty(self, features, digit, number):
            return (digit**2).mean()

    with added_names(ADDERS={"fined": Fined}):
        testing.check_gradients(replace(CUT, adder="fined"))


@pytest.mark.slow
@pytest.mark.parametrize("config", [*PAIRS, CUT, replace(MLP, adder_input="log_probabilities")], ids=named)
def test_the_contract_holds_for_every_pair(config):
    testing.check(config)


@pytest.mark.parametrize(
    ("check", "fault"),
    [
        (testing.check_independence, lambda f, d: (f, d + jnp.arange(len(d))[:, None])),
        (testing.check_shapes, lambda f, d: (f[:, 1:], d)),
        (testing.check_gradients, lambda f, d: (f, jax.lax.stop_gradient(d))),
        pytest.param(testing.check_learns, lambda f, d: (f, 0 * d), marks=pytest.mark.slow),
    ],
)
def test_the_contract_catches_a_fault(check, fault):
    class Broken(mlp.MLP):
        def __call__(self, image):
            return fault(*super().__call__(image))

    with added_names(CLASSIFIERS={"broken": Broken}), pytest.raises((AssertionError, TypeError)):
        check(replace(MLP, classifier="broken"))


def test_the_contract_catches_batch_norms_that_evaluate_with_the_batchs_own_statistics():
    class Forgetful(CLASSIFIERS["lenet5_bn"]):
        def __call__(self, image):
            self.train()
            self.dropout1.deterministic = self.dropout2.deterministic = True
            return super().__call__(image)

    with added_names(CLASSIFIERS={"forgetful": Forgetful}), pytest.raises(AssertionError, match="other examples"):
        testing.check_independence(replace(NORMED, classifier="forgetful"))


class Named:
    """A part of a module that is equal only to itself."""


@pytest.mark.parametrize(
    ("check", "message"),
    [
        (testing.check_jit_equals_eager, "jit and eager differ"),
        (testing.check_traced_once, "traced"),
        pytest.param(testing.check_vmapped_step_equals_single_steps, "vmapped", marks=pytest.mark.slow),
        (testing.check_keys, "two calls differ"),
    ],
)
def test_the_contract_catches_a_network_that_counts_its_calls(check, message):
    calls = itertools.count()

    class Counting(mlp.MLP):
        def __init__(self, config, rngs):
            super().__init__(config, rngs)
            if check is not testing.check_keys:
                self.named = Named()  # unlike any other model's, so that each is compiled

        def __call__(self, image):
            features, digit = super().__call__(image)
            return features, digit * (1 + 0.1 * next(calls))

    with added_names(CLASSIFIERS={"counting": Counting}), pytest.raises(AssertionError, match=message):
        check(replace(MLP, classifier="counting"))


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


def test_the_contract_knows_whether_the_sum_depends_on_the_number_and_gradients_reach_all_parameters():
    embedded, deaf = (replace(MLP, adder=name) for name in ("embedded", "deaf"))
    with added_names(ADDERS={"embedded": Embedded, "deaf": Deaf}):
        testing.check_digit_ignores_number(embedded)
        with pytest.raises(AssertionError, match="the sum does not depend on the number"):
            testing.check_digit_ignores_number(deaf)
        assert testing.unreached(Config(model=embedded)) == []
        assert testing.unreached(Config(model=deaf)) == ["adder.embedding.embedding"]
    by_features = Config(model=replace(MLP, adder="direct"), objective=ObjectiveConfig(digit_weight=0.0))
    assert sorted(testing.unreached(by_features)) == ["classifier.output.bias", "classifier.output.kernel"]


def test_an_objective_that_ignores_held_out_or_digit_weight_is_refused():
    def ignoring(**fields):
        return lambda config, logits, batch: weighted(replace(config, **fields), logits, batch)

    settings = ObjectiveConfig(held_out=3), ObjectiveConfig(digit_weight=0.0), ObjectiveConfig(digit_weight=0.9)
    for setting, function in zip(settings, (ignoring(held_out=0), *[ignoring(digit_weight=0.5)] * 2), strict=True):
        with added_names(OBJECTIVES={"own": function, "right": lambda *inputs: 2 * weighted(*inputs)}):
            testing.check_objective(Config(model=MLP, objective=replace(setting, name="right")))
            testing.check_objective(Config(model=MLP, objective=ObjectiveConfig(name="own")))
            with pytest.raises(AssertionError, match="objective own ignores"):
                testing.check_objective(Config(model=MLP, objective=replace(setting, name="own")))
