"""Summaries: parameters and multiply-adds by hand, and a table whose rows add up."""

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from mnistsum.config import ModelConfig
from mnistsum.models import abstract_model
from mnistsum.models.adders import ADDERS
from mnistsum.models.classifiers import CLASSIFIERS
from mnistsum.models.summary import count_multiply_adds, count_parameters, multiply_adds, summarize

REFERENCE = ModelConfig(classifier="reference")


def work(function, *inputs) -> int:
    return multiply_adds(jax.make_jaxpr(function)(*inputs).eqns)


def test_the_reference_has_the_parameters_of_the_write_up_and_its_multiply_adds():
    assert count_parameters(REFERENCE) == 6_384_925
    assert count_multiply_adds(REFERENCE) == 158_985_600


@pytest.mark.parametrize(
    ("classifier", "parameters", "work"),
    [
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
def test_size_and_work_of_each_classifier_with_the_2_000_multiply_adds_of_shift(classifier, parameters, work):
    config = ModelConfig(classifier=classifier, adder="shift")
    assert count_parameters(config) == parameters
    assert count_multiply_adds(config) == work  # a lost pool or stride would change them


@pytest.mark.parametrize(
    "config",
    [
        *(pytest.param(ModelConfig(classifier=name), marks=pytest.mark.slow) for name in CLASSIFIERS),
        *(ModelConfig("mlp", adder=name) for name in ADDERS),
    ],
)
def test_the_rows_of_the_table_add_up(config):
    rows, inputs = summarize(config), (jnp.zeros((1, 28, 28, 1)), jnp.zeros((1, 10)))
    assert sum(row.parameters for row in rows) == count_parameters(config)
    whole = work(
        lambda model, image, number: model.add(*model.classify(image), number), abstract_model(config), *inputs
    )
    assert sum(row.multiply_adds for row in rows) == count_multiply_adds(config) == whole
    assert all(row.parameters >= 0 and row.multiply_adds >= 0 for row in rows)


def test_loops_count_by_their_length_and_branches_by_the_costliest():
    x, kernel = jnp.ones((1, 8)), jnp.ones((8, 8))
    assert work(lambda x: lax.scan(lambda x, _: (x @ kernel, None), x, length=5), x) == 5 * 64
    assert work(lambda x: lax.fori_loop(0, 3, lambda _, x: x @ kernel, x), x) == 3 * 64
    assert work(lambda x: lax.cond(x.sum() > 0, lambda: (x @ kernel) @ kernel, lambda: x @ kernel), x) == 2 * 64
    with pytest.warns(UserWarning, match="at least"):
        assert work(lambda x: lax.while_loop(lambda x: x.sum() > 1, lambda x: x @ kernel, x), x) == 64
