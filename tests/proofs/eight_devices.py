"""Seeds on eight virtual devices, set up before JAX is loaded, for test_devices."""

import dataclasses
import os
import re

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"

import jax
import numpy as np

from mnistsum.config import (
    AugmentConfig,
    Config,
    ModelConfig,
    OptimizerConfig,
    TrainingConfig,
)
from mnistsum.data import load
from mnistsum.seeds import compile_advance_seeds, init_seeds, unstack
from mnistsum.train import advance, init_state, make_spec, split_keys
from mnistsum.types import Split, TrainState

jax.config.update("jax_disable_most_optimizations", True)  # most of this is compilation
CONFIG = Config(
    augment=AugmentConfig(shift=2, rotation=10.0),
    model=ModelConfig(widths=(4, 8, 8), hidden=16),
    optimizer=OptimizerConfig(name="sgd", average=0.9),
    training=TrainingConfig(epochs=6.0, batch_size=64),
)
NORMED = dataclasses.replace(
    CONFIG, model=ModelConfig(classifier="lenet5_bn", widths=(2, 4, 16, 8), hidden=16)
)
MNIST = load(CONFIG.data).train
DATA = Split(MNIST.images[:640], MNIST.labels[:640])  # ten steps per epoch
COMMUNICATION = (
    "all-reduce",
    "all-gather",
    "all-to-all",
    "collective-permute",
    "reduce-scatter",
)


def difference(a: TrainState, b: TrainState) -> float:
    """Return the largest difference of two states' parameters."""
    leaves = zip(
        *(map(np.asarray, jax.tree.leaves(state.model)) for state in (a, b)),
        strict=True,
    )
    return max(float(np.abs(x - y).max()) for x, y in leaves)


def communication(compiled) -> set[str]:
    """Return the operations by which the devices of a program communicate."""
    return {
        kind
        for kind in COMMUNICATION
        if re.search(rf"{kind}(-start)?\(", compiled.as_text())
    }


def start(config: Config, seed: int = 0) -> TrainState:
    return jax.jit(init_state, static_argnums=0)(
        make_spec(config, 640), split_keys(seed)
    )


def check_seeds() -> None:
    """Check that seeds, two on each device, never communicate, and step as if alone."""
    alone = jax.jit(advance, static_argnums=0)
    for config, until in ((CONFIG, 11), (NORMED, 1)):  # 11: in the second epoch
        spec = make_spec(config, 640)
        compiled = compile_advance_seeds(spec, 640, 16)
        assert not communication(compiled)
        together = unstack(
            compiled(*init_seeds(spec, range(16), DATA), np.int32(until)), 16
        )
        assert difference(*together[:2]) > 0.01
        for seed, state in enumerate(together):
            assert (
                difference(
                    state,
                    alone(
                        spec,
                        split_keys(seed),
                        start(config, seed),
                        DATA,
                        np.int32(until),
                    ),
                )
                < 1e-5
            )


if __name__ == "__main__":
    assert jax.device_count() == 8
    check_seeds()
