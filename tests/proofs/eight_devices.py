"""The results of eight virtual devices, as JSON, for test_devices: they must be set up before JAX is loaded."""

import dataclasses
import json
import os
import re
import sys
from pathlib import Path

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"

import jax
import numpy as np

from mnistsum.config import AugmentConfig, Config, ModelConfig, OptimizerConfig, TrainingConfig
from mnistsum.data import load
from mnistsum.devices import replicated_sharding
from mnistsum.errors import InputError
from mnistsum.seeds import compile_advance_seeds, init_seeds, unstack
from mnistsum.storage import restore, save_checkpoint
from mnistsum.train import advance, init_state, lower_training, make_spec, split_keys
from mnistsum.types import Split, TrainState

jax.config.update("jax_disable_most_optimizations", True)  # most of this is compilation
CONFIG = Config(
    augment=AugmentConfig(shift=2, rotation=10.0),
    model=ModelConfig(widths=(4, 8, 8), hidden=16),
    optimizer=OptimizerConfig(name="sgd", average=0.9),
    training=TrainingConfig(epochs=6.0, batch_size=64),
)
NORMED = dataclasses.replace(CONFIG, model=ModelConfig(classifier="lenet5_bn", widths=(2, 4, 16, 8), hidden=16))
MUON = dataclasses.replace(CONFIG, optimizer=OptimizerConfig())
MNIST = load(CONFIG.data).train
DATA = Split(MNIST.images[:640], MNIST.labels[:640])  # ten steps per epoch
COMMUNICATION = ("all-reduce", "all-gather", "all-to-all", "collective-permute", "reduce-scatter")


def on(devices: int, config: Config) -> Config:
    return dataclasses.replace(config, devices=devices)


def difference(a: TrainState, b: TrainState) -> float:
    """Return the largest difference of two states' parameters."""
    pairs = zip(jax.tree.leaves(a.model), jax.tree.leaves(b.model), strict=True)
    return max(float(np.abs(np.asarray(x) - np.asarray(y)).max()) for x, y in pairs)


def communication(text: str) -> dict[str, int]:
    """Count a compiled program's operations of each kind by which devices communicate."""
    return {kind: len(re.findall(rf"{kind}(-start)?\(", text)) for kind in COMMUNICATION}


def start(config: Config, seed: int = 0) -> TrainState:
    return jax.jit(init_state, static_argnums=0)(make_spec(on(1, config), 640), split_keys(seed))


def train(config: Config, state: TrainState, *until: int) -> list[TrainState]:
    """Return the states of one run at these steps, trained on the config's devices."""
    spec = make_spec(config, 640)
    states, compiled = [], lower_training(spec, 640)[1].compile()
    keys, state, data = jax.device_put((split_keys(0), state, DATA), replicated_sharding(spec.devices))
    for step in until:
        state = compiled(keys, state, data, np.int32(step))
        states.append(jax.tree.map(np.array, state))
    return states


def one_and_eight(config: Config, until: int) -> float:
    """Return the difference between a run on one device and on eight."""
    return difference(*(train(on(devices, config), start(config), until)[0] for devices in (1, 8)))


def seeds(config: Config) -> list[float]:
    """Return the difference of each of eight seeds after one step from the same seed alone."""
    spec = make_spec(on(1, config), 640)
    together = compile_advance_seeds(spec, 640, 8)(*init_seeds(spec, range(8), DATA), np.int32(1))
    alone = jax.jit(advance, static_argnums=0)
    return [
        difference(state, alone(spec, split_keys(seed), start(config, seed), DATA, np.int32(1)))
        for seed, state in enumerate(unstack(together, 8))
    ]


def refusal(config: Config) -> str:
    try:
        make_spec(config, 640)
    except InputError as error:
        return str(error)
    return ""


def main(folder: Path) -> dict:
    one, eight = on(1, CONFIG), on(8, CONFIG)
    one_at_25, one_at_50 = train(one, start(one), 25, 50)
    eight_at_25, eight_at_50 = train(eight, start(one), 25, 50)
    resumed = {}
    for name, before, state, after in (("on one", eight, eight_at_25, one), ("on eight", one, one_at_25, eight)):
        save_checkpoint(folder / name, before, state, {})
        resumed[name] = difference(train(after, restore(folder / name, after).state, 50)[0], one_at_50)
    return {
        "devices": jax.device_count(),
        "difference": difference(one_at_50, eight_at_50),
        "moved": difference(one_at_50, start(one)),
        "other_seed": difference(start(one), start(one, 1)),
        "muon": one_and_eight(MUON, 50),
        "normed": one_and_eight(NORMED, 20),
        "metrics": [[float(value) for value in state.metrics] for state in (one_at_50, eight_at_50)],
        "resumed": resumed,
        "communication": communication(lower_training(make_spec(eight, 640), 640)[1].compile().as_text()),
        "communication_of_seeds": communication(compile_advance_seeds(make_spec(one, 640), 640, 8).as_text()),
        "seeds": seeds(CONFIG) + seeds(NORMED),
        "refusals": [refusal(on(devices, CONFIG)) for devices in (8, 3, 9)],
    }


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]))))
