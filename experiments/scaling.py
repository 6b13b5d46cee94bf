"""How the cost of training grows with images, epochs and seeds, for the benchmark."""

import dataclasses
import json
import subprocess
import sys
import time
from functools import partial
from statistics import median
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from experiments import cli
from mnistsum import train as training
from mnistsum.data import load
from mnistsum.statistics import interval
from mnistsum.train import advance, init_state, program, split_keys, total_steps
from mnistsum.types import Split

DOUBLINGS = (1, 2, 4, 8, 16)
REPEATS = 3
BASE = {"images": 3750, "epochs": 2.0, "seeds": 1}  # the smallest; 16 times 3,750 are all 60,000 images


def measure() -> dict[str, Any]:
    """Seconds of training `base`'s network over four doublings of each, compilation apart, and the log-log slopes."""
    results: dict[str, Any] = {}
    for axis, smallest in BASE.items():
        sizes = [smallest * factor for factor in DOUBLINGS]
        seconds = [median(train_seconds(**(BASE | {axis: size})) for _ in range(REPEATS)) for size in sizes]
        slope = float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])
        results[axis] = {"sizes": sizes, "seconds": seconds, "slope": slope}
    results["memory"] = {str(epochs): _peak_memory(epochs) for epochs in (BASE["epochs"], BASE["epochs"] * 16)}
    return results


def train_seconds(images: int, epochs: float, seeds: int) -> float:
    config = cli.load_config("base")
    config = dataclasses.replace(config, training=dataclasses.replace(config.training, epochs=float(epochs)))
    config = program(dataclasses.replace(config, data=dataclasses.replace(config.data, validation=0)))
    train = jax.device_put(Split(*(field[:images] for field in load(config.data).train)))
    states = [init_state(config, split_keys(seed), images) for seed in range(seeds)]
    total = jnp.int32(total_steps(config, images))
    jax.block_until_ready(advance(config, split_keys(0), states[0], train, jnp.int32(1)))  # compiles
    start = time.perf_counter()
    for seed, state in enumerate(states):  # one by one, as seeds run on a CPU
        jax.block_until_ready(advance(config, split_keys(seed), state, train, total))
    return time.perf_counter() - start


def seeds_together(seeds: int = 4, steps: int = 40, rounds: int = 5) -> dict[str, float]:
    """Seconds of training `base`'s network on some seeds as one vmapped program, over those of one after another.

    Medians over rounds, after one that warms up. Above 1, seeds are better run one by one, as comparisons do.
    """
    config = program(cli.load_config("base"))
    train = jax.device_put(load(config.data).train)
    keys = [split_keys(seed) for seed in range(seeds)]
    states = [init_state(config, key, len(train.labels)) for key in keys]
    stacked = [jax.tree.map(lambda *leaves: jnp.stack(leaves), *parts) for parts in (keys, states)]
    vmapped = jax.jit(jax.vmap(partial(advance, config), in_axes=(0, 0, None, None)))

    def timed(function) -> float:
        start = time.perf_counter()
        jax.block_until_ready(function())
        return time.perf_counter() - start

    together, alone = [], []
    for _ in range(rounds + 1):
        together.append(timed(lambda: vmapped(*stacked, train, jnp.int32(steps))))
        alone.append(
            timed(lambda: [advance(config, *run, train, jnp.int32(steps)) for run in zip(keys, states, strict=True)])
        )
    ratios = [a / b for a, b in zip(together, alone, strict=True)]
    return {
        "seeds": seeds,
        "ratio": median(ratios[1:]),
        "together": median(together[1:]),
        "one_by_one": median(alone[1:]),
    }


def finite_check(processes: int = 7, rounds: int = 150) -> dict[str, float]:
    """What looking for numbers that are not finite costs: the mean over processes of `finite_ratio`, and its interval.

    In fresh processes, as where XLA's buffers come to lie moves a process's ratio by up to two per cent; 95 %,
    Student's t.
    """
    code = f"environment.set_up_compiler(); print(scaling.finite_ratio({rounds}))"
    ratios = np.array([_in_a_process_of_its_own(code) for _ in range(processes)])
    mean, low, high = interval(ratios)
    return {"ratio": mean, "low": low, "high": high, "processes": processes, "rounds": rounds}


def finite_ratio(rounds: int, steps: int = 10) -> float:
    """The median ratio, over rounds, of `base`'s steps with and without the check; each goes first in turn."""
    config = program(cli.load_config("base"))
    train = jax.device_put(load(config.data).train)
    keys = split_keys(0)
    state = init_state(config, keys, len(train.labels))
    with_check = advance.lower(config, keys, state, train, jnp.int32(0)).compile()
    jax.clear_caches()
    with mock.patch.object(training, "_finite", lambda tree: jnp.bool_(True)):
        without = advance.lower(config, keys, state, train, jnp.int32(0)).compile()
    jax.clear_caches()

    def seconds(compiled):
        start = time.perf_counter()
        jax.block_until_ready(compiled(keys, state, train, jnp.int32(steps)))
        return time.perf_counter() - start

    ratios = []
    for turn in range(rounds + 1):
        pair = (with_check, without) if turn % 2 else (without, with_check)
        taken = {id(compiled): seconds(compiled) for compiled in pair}
        ratios.append(taken[id(with_check)] / taken[id(without)])
    return median(ratios[1:])  # the first round warms up


def _peak_memory(epochs: float) -> int:
    """Bytes."""
    return _in_a_process_of_its_own(f"scaling.train_seconds(3750, {epochs}, 1); print(environment.peak_memory())")


def _in_a_process_of_its_own(code: str) -> Any:
    """What the code prints."""
    command = [sys.executable, "-c", f"from experiments import environment, scaling; {code}"]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)


def plot(results: dict[str, Any]) -> Figure:
    """Seconds against images, epochs and seeds, both axes logarithmic."""
    figure = Figure((10, 3.4), dpi=120, layout="constrained")
    panels = figure.subplots(1, 3, sharey=True)
    for panel, axis in zip(panels, BASE, strict=True):
        sizes, seconds = np.array(results[axis]["sizes"]), np.array(results[axis]["seconds"])
        panel.loglog(sizes, seconds[0] * sizes / sizes[0], "--", color="#999999", label="proportional")
        panel.loglog(sizes, seconds, "o-", color="#0072b2", label="measured")
        panel.set_xticks(sizes, [f"{size:,g}" for size in sizes])
        panel.xaxis.set_minor_locator(NullLocator())
        panel.set(xlabel=axis, title=f"slope {results[axis]['slope']:.2f}")
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("training, s")
    panels[0].yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    panels[0].legend(frameon=False)
    return figure
