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

from mnistsum import checkpoint
from mnistsum.config import AugmentConfig, Config, ModelConfig, OptimizerConfig, TrainingConfig
from mnistsum.data import load
from mnistsum.devices import local_copy, replicate
from mnistsum.errors import InputError
from mnistsum.seeds import compile_advance_seeds, init_seeds, unstack
from mnistsum.train import Recipe, advance, compile_advance, init_state, make_recipe, split_keys
from mnistsum.types import Split, TrainState

jax.config.update("jax_disable_most_optimizations", True)  # most of this is compilation
CONFIG = Config(
    augment=AugmentConfig(shift=2, rotation=10.0),
    model=ModelConfig(widths=(4, 8, 8), hidden=16),
    optimizer=OptimizerConfig(name="sgd", average=0.9),
    training=TrainingConfig(epochs=6.0, batch_size=64),
)
NORMED = dataclasses.replace(CONFIG, model=ModelConfig(classifier="lenet5_bn", widths=(2, 4, 16, 8), hidden=16))
BY_RANK = dataclasses.replace(CONFIG, training=dataclasses.replace(CONFIG.training, pressure=20.0))
MUON = dataclasses.replace(CONFIG, optimizer=OptimizerConfig())
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


def start_of(recipe: Recipe, seed: int) -> TrainState:
    return jax.jit(init_state, static_argnums=0)(recipe, split_keys(seed))


def refusal(config: Config) -> str:
    try:
        make_recipe(config, 640)
    except InputError as error:
        return str(error)
    return ""


def main(folder: Path) -> dict:
    mnist = load(CONFIG.data).train
    data = Split(mnist.images[:640], mnist.labels[:640])  # ten steps per epoch
    n, keys = len(data.labels), split_keys(0)

    def train(config: Config, state: TrainState, *until: int) -> list[TrainState]:
        """Return the states at these steps."""
        recipe = make_recipe(config, n)
        states, compiled = [], compile_advance(recipe, n)
        placed, state, images = replicate(recipe.devices, (keys, state, data))
        for step in until:
            state = compiled(placed, state, images, np.int32(step))
            states.append(jax.tree.map(np.array, local_copy(state)))
        return states

    def start(config: Config) -> TrainState:
        return jax.jit(init_state, static_argnums=0)(make_recipe(config, n), keys)

    one, eight = on(1, CONFIG), on(8, CONFIG)
    one_at_25, one_at_50 = train(one, start(one), 25, 50)
    eight_at_25, eight_at_50 = train(eight, start(eight), 25, 50)
    resumed = {}
    for name, before, state, after in (("on one", eight, eight_at_25, one), ("on eight", one, one_at_25, eight)):
        checkpoint.save(folder / name, before, state, {})
        resumed[name] = difference(train(after, checkpoint.restore(folder / name, after).state, 50)[0], one_at_50)

    recipe = make_recipe(one, n)
    together = compile_advance_seeds(recipe, n, 8)
    text = together.as_text()
    keys_8, state_8, data_8 = init_seeds(recipe, range(8), data)
    after_one = unstack(together(keys_8, state_8, data_8, np.int32(1)), 8)
    alone = [
        jax.jit(advance, static_argnums=0)(recipe, split_keys(seed), start_of(recipe, seed), data, np.int32(1))
        for seed in range(8)
    ]

    def of_seeds(config: Config, until: int) -> float:
        """Return the difference of a seed trained beside seven others from the same seed alone."""
        recipe = make_recipe(on(1, config), n)
        seeds = init_seeds(recipe, range(8), data)
        beside = unstack(compile_advance_seeds(recipe, n, 8)(*seeds, np.int32(until)), 8)[3]
        run = jax.jit(advance, static_argnums=0)
        return difference(beside, run(recipe, split_keys(3), start_of(recipe, 3), data, np.int32(until)))

    metrics = [[float(value) for value in state.metrics] for state in (one_at_50, eight_at_50)]
    return {
        "devices": jax.device_count(),
        "difference": difference(one_at_50, eight_at_50),
        "moved": difference(one_at_50, start(one)),
        "other_seed": difference(one_at_50, alone[1]),
        "muon": difference(*(train(on(count, MUON), start(MUON), 50)[0] for count in (1, 8))),
        "normed": difference(*(train(on(count, NORMED), start(on(count, NORMED)), 20)[0] for count in (1, 8))),
        "normed_seed": of_seeds(NORMED, 1),
        "by_rank": difference(*(train(on(count, BY_RANK), start(BY_RANK), 12)[0] for count in (1, 8))),
        "by_rank_seed": of_seeds(BY_RANK, 12),
        "metrics": metrics,
        "resumed": resumed,
        "communication": communication(compile_advance(make_recipe(eight, n), n).as_text()),
        "communication_by_rank": communication(compile_advance(make_recipe(on(8, BY_RANK), n), n).as_text()),
        "communication_of_seeds": communication(text),
        "seeds": [difference(a, b) for a, b in zip(after_one, alone, strict=True)],
        "refusals": [refusal(on(devices, CONFIG)) for devices in (8, 3, 9)],
    }


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]))))
