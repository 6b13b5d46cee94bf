"""Summaries: a table whose rows add up, and multiply-adds of loops and branches by hand."""

import jax
import jax.numpy as jnp
import pytest
from flax import nnx
from jax import lax

from mnistsum.config import ModelConfig
from mnistsum.models import abstract_model
from mnistsum.models.adders import ADDERS
from mnistsum.models.classifiers import CLASSIFIERS
from mnistsum.models.summary import count_multiply_adds, count_parameters, multiply_adds, summarize
from mnistsum.registry import added_names


def work(function, *inputs) -> int:
    return multiply_adds(jax.make_jaxpr(function)(*inputs).eqns)


@pytest.mark.parametrize(
    "config", [*map(ModelConfig, CLASSIFIERS), *(ModelConfig("mlp", adder=name) for name in ADDERS)]
)
def test_the_parameters_of_the_table_add_up(config):
    model = abstract_model(config)
    rows = summarize(model)
    assert sum(row.parameters for row in rows) == count_parameters(model)
    assert all(row.parameters >= 0 for row in rows)


class Twice(nnx.Module):
    """A classifier with a layer that is called twice, with the batch in the middle, and a product of its own."""

    def __init__(self, config, rngs):
        self.features = 28
        self.layers = nnx.Dict(inner=nnx.Linear(28, 28, use_bias=False, rngs=rngs))
        self.kernel = nnx.Param(jnp.ones((28, 10)))

    def __call__(self, image):
        rows = image[..., 0].swapaxes(0, 1)
        features = self.layers.inner(self.layers.inner(rows)).mean(0)
        return features, features @ self.kernel


def test_a_layer_has_one_row_and_the_rest_is_in_that_of_the_module_around_it():
    with added_names(CLASSIFIERS={"twice": Twice}):
        model = abstract_model(ModelConfig("twice", adder="shift"))
        assert [tuple(row)[:5] for row in summarize(model)] == [
            ("classifier.layers.inner", "Linear", (28, 28), 28 * 28, 2 * 28 * 28 * 28),
            ("classifier", "Twice", (10,), 280, 280),
            ("adder", "Shift", (19,), 0, 2000),
        ]
        assert count_multiply_adds(model) == 2 * 28**3 + 2280


def test_loops_count_by_their_length_and_branches_by_the_costliest():
    x, kernel = jnp.ones((1, 8)), jnp.ones((8, 8))
    assert work(lambda x: lax.scan(lambda x, _: (x @ kernel, None), x, length=5), x) == 5 * 64
    assert work(lambda x: lax.fori_loop(0, 3, lambda _, x: x @ kernel, x), x) == 3 * 64
    assert work(lambda x: lax.cond(x.sum() > 0, lambda: (x @ kernel) @ kernel, lambda: x @ kernel), x) == 2 * 64
    with pytest.warns(UserWarning, match="at least"):
        assert work(lambda x: lax.while_loop(lambda x: x.sum() > 1, lambda x: x @ kernel, x), x) == 64
