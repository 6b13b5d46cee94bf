"""Checks that compiling changes a full-size network by rounding alone.

It is a process of test_full_size, as tests compile without most of the optimizations
examined here.
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax

from mnistsum.config import DataConfig, ModelConfig, ObjectiveConfig
from mnistsum.data import load, pair, scale
from mnistsum.evaluation import evaluate_batch
from mnistsum.models import Model, build, parameters, with_values
from mnistsum.objective import objective
from mnistsum.programs import set_up_compiler
from mnistsum.storage import name_arrays
from mnistsum.types import Batch, Split

BATCH = 128
# on norms; in bfloat16, sums in another order round differently
BOUNDS = {"float32": 1e-4, "bfloat16": 0.02}


def main() -> None:
    """Check the network named on the command line."""
    set_up_compiler()  # as every program does
    split = Split(*(jnp.asarray(part[:BATCH]) for part in load(DataConfig()).train))
    batch = pair(
        scale(ModelConfig().scaling, split.images), split.labels, jnp.arange(BATCH) % 10
    )
    for dtype, bound in BOUNDS.items():
        config = ModelConfig(classifier=sys.argv[1], dtype=dtype)
        model = jax.jit(build, static_argnums=0)(config, jax.random.key(0))
        check_gradient(model, batch, bound)
        check_evaluation(model, split, bound)


def check_gradient(model: Model, batch: Batch, bound: float) -> None:
    """Check the compiled loss, and the gradients in norms, against eager ones."""

    def loss(params):
        return objective(
            ObjectiveConfig(),
            with_values(model, params)(batch.image, batch.number),
            batch,
        )

    loss_and_gradient = jax.value_and_grad(loss)
    params = parameters(model)
    (compiled, slopes), (eager, expected) = (
        jax.jit(loss_and_gradient)(params),
        loss_and_gradient(params),
    )
    assert abs(compiled - eager) <= bound * eager, (compiled, eager)
    # the gradient of a bias before a batch norm is only rounding
    least = 1e-4 * optax.tree.norm(expected)
    for (name, a), b in zip(
        name_arrays(slopes).items(), jax.tree.leaves(expected), strict=True
    ):
        assert jnp.linalg.norm(a - b) <= bound * (jnp.linalg.norm(b) + least), name


def check_evaluation(model: Model, split: Split, bound: float) -> None:
    """Check the largest difference from an eager evaluation, or share of answers."""
    compiled = jax.jit(evaluate_batch, static_argnums=0)(DataConfig(), model, split)
    eager = evaluate_batch(DataConfig(), model, split)
    for name, *both in zip(compiled._fields, compiled, eager, strict=True):
        a, b = map(np.asarray, both)
        if name in ("digit", "sum"):
            assert (a != b).mean() <= 0.02, name
        else:
            assert np.abs(a - b).max() <= bound, name


if __name__ == "__main__":
    main()
