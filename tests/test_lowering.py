"""Training and evaluation of every config are exported for accelerators, none of which needs to be present."""

import jax
import jax.export
import jax.numpy as jnp
import pytest

from experiments import cli
from mnistsum.data import abstract_split
from mnistsum.evaluation import evaluate_batch
from mnistsum.models import build
from mnistsum.train import advance, init_state, make_recipe, split_keys

PLATFORMS = ("cuda", "rocm", "tpu")
N = 55_000
WITHOUT_CONVOLUTIONS = ("mlp", "smoke", "vit")


@pytest.mark.parametrize("name", cli.config_names())
def test_training_and_evaluation_lower_for_accelerators(name, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")  # layers choose their convolution by it
    config = cli.load_config(name)
    recipe = make_recipe(config, N)
    keys = jax.eval_shape(lambda: split_keys(0))
    state = jax.eval_shape(lambda keys: init_state(recipe, keys), keys)
    model = jax.eval_shape(lambda: build(config.model, jax.random.key(0)))
    until = jax.ShapeDtypeStruct((), jnp.int32)
    # New functions, as JAX caches what it has traced for the CPU.
    training = jax.jit(lambda *arguments: advance(recipe, *arguments))
    evaluation = jax.jit(lambda *arguments: evaluate_batch(config.data, *arguments))
    for exported in (
        jax.export.export(training, platforms=PLATFORMS)(keys, state, abstract_split(N), until),
        jax.export.export(evaluation, platforms=PLATFORMS)(model, abstract_split(200)),
    ):
        assert ("stablehlo.convolution" in exported.mlir_module()) == (name not in WITHOUT_CONVOLUTIONS)
