"""Runs and seeds on eight virtual devices, which must be set up before JAX is loaded: test_devices runs this file."""

import dataclasses
import os
import re
import tempfile
from pathlib import Path

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"

import jax
import numpy as np
import pytest

from mnistsum.config import AugmentConfig, Config, ModelConfig, OptimizerConfig, TrainingConfig
from mnistsum.data import load
from mnistsum.devices import replicated_sharding
from mnistsum.errors import InputError
from mnistsum.seeds import compile_advance_seeds, init_seeds, unstack
from mnistsum.storage import restore, save_checkpoint
from mnistsum.train import Spec, advance, init_state, lower_training, make_spec, split_keys
from mnistsum.types import Split, TrainState

jax.config.update("jax_disable_most_optimizations", True)  # most of this is compilation
CONFIG = Config(
    augment=AugmentConfig(shift=2, rotation=10.0),
    model=ModelConfig(widths=(4, 8, 8), hidden=16),
    optimizer=OptimizerConfig(name="sgd", average=0.9),
    training=TrainingConfig(epochs=6.0, batch_size=64),
)
NORMED = dataclasses.replace(CONFIG, model=ModelConfig(classifier="lenet5_bn", widths=(2, 4, 16, 8), hidden=16))
MNIST = load(CONFIG.data).train
DATA = Split(MNIST.images[:640], MNIST.labels[:640])  # ten steps per epoch
COMMUNICATION = ("all-reduce", "all-gather", "all-to-all", "collective-permute", "reduce-scatter")


def difference(a: TrainState, b: TrainState) -> float:
    """Return the largest difference of two states' parameters."""
    leaves = zip(*(map(np.asarray, jax.tree.leaves(state.model)) for state in (a, b)), strict=True)
    return max(float(np.abs(x - y).max()) for x, y in leaves)


def communication(compiled) -> set[str]:
    """Return by which kinds of operations the devices of a compiled program communicate."""
    return {kind for kind in COMMUNICATION if re.search(rf"{kind}(-start)?\(", compiled.as_text())}


def spec_of(config: Config, devices: int) -> Spec:
    return make_spec(dataclasses.replace(config, devices=devices), 640)


def start(config: Config, seed: int = 0) -> TrainState:
    return jax.jit(init_state, static_argnums=0)(spec_of(config, 1), split_keys(seed))


def train(spec: Spec, state: TrainState, *until: int) -> list[TrainState]:
    """Return the states of one run at these steps."""
    states, compiled = [], lower_training(spec, 640)[1].compile()
    keys, state, data = jax.device_put((split_keys(0), state, DATA), replicated_sharding(spec.devices))
    for step in until:
        state = compiled(keys, state, data, np.int32(step))
        states.append(jax.tree.map(np.array, state))
    return states


def check_one_run(folder: Path) -> None:
    """Check that a run on eight devices agrees with one on one, as do its checkpoints and the sums in its metrics."""
    one, eight = spec_of(CONFIG, 1), spec_of(CONFIG, 8)
    runs = {spec: train(spec, start(CONFIG), 25, 50) for spec in (one, eight)}
    expected, found = (states[1] for states in runs.values())
    assert difference(expected, start(CONFIG)) > 0.1  # so that the tolerances mean something
    assert difference(expected, found) < 1e-5  # SGD; the devices sum over the batch in another order
    assert [*map(float, found.metrics)] == pytest.approx([*map(float, expected.metrics)], rel=1e-5)
    assert found.metrics[0] == 640
    for before, after in ((one, eight), (eight, one)):
        save_checkpoint(folder / str(before.devices), CONFIG, runs[before][0], {})
        resumed = train(after, restore(folder / str(before.devices), CONFIG).state, 50)[0]
        assert difference(resumed, expected) < 1e-5
    assert communication(lower_training(eight, 640)[1].compile()) == {"all-reduce"}


def check_other_networks() -> None:
    """Check that Muon, and batch norms and dropout, compute with the whole batch."""
    muon = dataclasses.replace(CONFIG, optimizer=OptimizerConfig())
    # Training amplifies rounding, Muon most of all; the other compares statistics and masks as well.
    for config, steps, bound in ((muon, 50, 0.02), (NORMED, 10, 1e-5)):
        assert difference(*(train(spec_of(config, n), start(config), steps)[0] for n in (1, 8))) < bound


def check_seeds() -> None:
    """Check that seeds spread over devices, two on each, never communicate, and take steps as each does alone."""
    alone = jax.jit(advance, static_argnums=0)
    for config, until in ((CONFIG, 11), (NORMED, 1)):  # 11: in the second epoch
        spec = spec_of(config, 1)
        compiled = compile_advance_seeds(spec, 640, 16)
        assert not communication(compiled)
        together = unstack(compiled(*init_seeds(spec, range(16), DATA), np.int32(until)), 16)
        assert difference(*together[:2]) > 0.01
        for seed, state in enumerate(together):
            assert difference(state, alone(spec, split_keys(seed), start(config, seed), DATA, np.int32(until))) < 1e-5


def check_refusals() -> None:
    """Check that devices that cannot share a batch are refused, with the nearest batch sizes."""
    for devices, reason in (
        (3, "training.batch_size: expected 63 or 66, for 3 devices, found 64"),
        (9, "devices: expected at most the 8 that JAX finds, found 9"),
    ):
        with pytest.raises(InputError, match=f"^{reason}$"):
            spec_of(CONFIG, devices)


if __name__ == "__main__":
    assert jax.device_count() == 8
    with tempfile.TemporaryDirectory() as folder:
        check_one_run(Path(folder))
    check_other_networks()
    check_seeds()
    check_refusals()
