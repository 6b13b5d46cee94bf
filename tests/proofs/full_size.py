"""Checks that the compiler changes a gradient and an evaluation at full size by rounding alone, for test_full_size.

It has a process of its own, as tests compile without most of the optimizations examined here.
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax

from mnistsum.config import DataConfig, ModelConfig, ObjectiveConfig
from mnistsum.data import load, pair, scale
from mnistsum.evaluation import evaluate_batch
from mnistsum.models import Model, build, parameters, with_parameters
from mnistsum.objective import objective
from mnistsum.programs import set_up_compiler
from mnistsum.types import Batch, Split

BATCH = 128
BOUNDS = {"float32": 1e-4, "bfloat16": 0.02}  # on norms; in bfloat16, sums in another order round differently


def main() -> None:
    """Check the network named on the command line."""
    set_up_compiler()  # as every program does
    train = load(DataConfig()).train
    split = Split(jnp.asarray(train.images[:BATCH]), jnp.asarray(train.labels[:BATCH]))
    batch = pair(scale(DataConfig().scaling, split.images), split.labels, jnp.arange(BATCH) % 10)
    for dtype, bound in BOUNDS.items():
        config = ModelConfig(classifier=sys.argv[1], dtype=dtype)
        model = jax.jit(build, static_argnums=0)(config, jax.random.key(0))
        for name, difference in gradient(model, batch).items():
            assert difference <= bound, (dtype, name, difference)
        for name, difference in evaluation(model, split).items():
            assert difference <= (0.02 if name in ("digit", "sum") else bound), (dtype, name, difference)


def gradient(model: Model, batch: Batch) -> dict[str, float]:
    """Return, by parameter, the relative distance of its compiled gradient from its eager one, in norms."""

    def loss(params):
        return objective(ObjectiveConfig(), with_parameters(model, params)(batch.image, batch.number), batch)

    loss_and_gradient, params = jax.value_and_grad(loss), parameters(model)
    (compiled, slopes), (eager, expected) = jax.jit(loss_and_gradient)(params), loss_and_gradient(params)
    found = {"loss": abs(float(compiled) - float(eager)) / float(eager)}
    total = float(optax.tree.norm(expected))
    for (path, a), b in zip(jax.tree.leaves_with_path(slopes), jax.tree.leaves(expected), strict=True):
        # Relative to the whole gradient as well, as that of a bias before a batch norm is only rounding.
        found[jax.tree_util.keystr(path)] = float(jnp.linalg.norm(a - b)) / (float(jnp.linalg.norm(b)) + 1e-4 * total)
    return found


def evaluation(model: Model, split: Split) -> dict[str, float]:
    """Return, by field, the largest difference of compiled and eager; for answers, the share that differs."""
    compiled = jax.jit(evaluate_batch, static_argnums=0)(DataConfig(), model, split)
    eager = evaluate_batch(DataConfig(), model, split)
    found = {}
    for name, a, b in zip(compiled._fields, compiled, eager, strict=True):
        a, b = np.asarray(a), np.asarray(b)
        found[name] = float((a != b).mean() if a.dtype.kind == "i" else np.abs(a - b).max())
    return found


if __name__ == "__main__":
    main()
