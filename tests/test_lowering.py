"""Training and evaluation of every config lower for accelerators, none of which needs to be present."""

import jax
import jax.numpy as jnp
import pytest

from experiments import cli
from mnistsum.evaluation import evaluate_batch
from mnistsum.models import build
from mnistsum.train import advance, init_state, make_recipe, split_keys
from mnistsum.types import Split

PLATFORMS = ("cuda", "rocm", "tpu")
N = 55_000
SIZES_ALONE = ("best", "nano", "reference_fast", "smoke", "sprint")
WITHOUT_CONVOLUTIONS = ("mlp", "smoke", "vit")


def images(n: int) -> Split:
    return Split(jax.ShapeDtypeStruct((n, 28, 28, 1), jnp.uint8), jax.ShapeDtypeStruct((n,), jnp.int32))


@pytest.mark.parametrize(
    "name",
    # Networks that differ from another one only in size are left to the slow tests.
    [pytest.param(name, marks=[pytest.mark.slow] * (name in SIZES_ALONE)) for name in cli.config_names()],
)
def test_training_and_evaluation_lower_for_accelerators(name, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")  # layers choose their convolution by it
    config = cli.load_config(name)
    recipe = make_recipe(config, N)
    keys = jax.eval_shape(lambda: split_keys(0))
    state = jax.eval_shape(lambda keys: init_state(recipe, keys), keys)
    model = jax.eval_shape(lambda: build(config.model, jax.random.key(0)))
    # New functions, as JAX caches what it has traced for the CPU.
    training = jax.jit(lambda *arguments: advance(recipe, *arguments))
    evaluation = jax.jit(lambda *arguments: evaluate_batch(config.data, *arguments))
    for traced in (
        training.trace(keys, state, images(N), jax.ShapeDtypeStruct((), jnp.int32)),
        evaluation.trace(model, images(200)),
    ):
        text = traced.lower(lowering_platforms=PLATFORMS).as_text()
        assert ("stablehlo.convolution" in text) == (name not in WITHOUT_CONVOLUTIONS)
