"""How the cost of training grows with images, epochs and seeds, and how a whole step compares to its network's."""

import dataclasses
import json
import os
import subprocess
import sys
import time
from statistics import median
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from experiments import cli
from experiments.benchmark.cases import ablations, bare
from experiments.training import loop
from mnistsum import train as training
from mnistsum.data import load
from mnistsum.statistics import interval
from mnistsum.train import init_state, make_recipe, split_keys
from mnistsum.types import Split

DOUBLINGS = (1, 2, 4, 8, 16)
DEVICES = (1, 2, 4, 8)
REPEATS = 3
WHOLE = {"base": 50, "reference_fast": 4}  # configs whose whole step is timed, to the steps timed together
BASE = {"images": 3750, "epochs": 2.0, "seeds": 1}  # the smallest sizes; 16 times 3,750 is all 60,000 images


def measure() -> dict[str, Any]:
    """Return training seconds of `base` over four doublings of each size, without compilation, and log-log slopes."""
    results: dict[str, Any] = {}
    for axis, smallest in BASE.items():
        sizes = [smallest * factor for factor in DOUBLINGS]
        seconds = [median(train_seconds(**(BASE | {axis: size})) for _ in range(REPEATS)) for size in sizes]
        slope = float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])
        results[axis] = {"sizes": sizes, "seconds": seconds, "slope": slope}
    results["memory"] = {str(epochs): _peak_memory(epochs) for epochs in (BASE["epochs"], BASE["epochs"] * 16)}
    return results


def train_seconds(images: int, epochs: float, seeds: int) -> float:
    """Return the seconds of training `seeds` seeds one by one, as on a CPU."""
    config = cli.load_config("base")
    training = dataclasses.replace(config.training, epochs=float(epochs))
    data = dataclasses.replace(config.data, validation=0)
    config = dataclasses.replace(config, devices=1, training=training, data=data)
    train = Split(*(field[:images] for field in load(config.data).train))
    at_the_end = loop.every(make_recipe(config, images).steps)
    return sum(chunk.seconds for seed in range(seeds) for chunk in loop.train(config, [seed], train, at_the_end))


def whole_step(name: str, steps: int, rounds: int = 7) -> dict[str, list[float]]:
    """Return the ratios, by round, of the step times of a config and of its variants to that of its bare config."""
    config = dataclasses.replace(cli.load_config(name), devices=1)
    data = load(config.data).train
    variants = {"whole": config} | ablations(config)
    runs = {each: loop.train(variant, [0], data, loop.every(steps)) for each, variant in variants.items()}
    bare_run = loop.train(bare(config), [0], data, loop.every(steps))
    ratios: dict[str, list[float]] = {each: [] for each in runs}
    for _ in range(rounds + 1):
        alone = next(bare_run).seconds
        for each, run in runs.items():
            ratios[each].append(next(run).seconds / alone)
    return {each: taken[1:] for each, taken in ratios.items()}  # the first round warms up


def over_devices() -> dict[str, dict[str, float]]:
    """Return the results of `device_steps` by number of devices: virtual ones of a CPU, or all real ones."""
    code = "set_up_compiler(); print(json.dumps(scaling.device_steps()))"
    counts = DEVICES if jax.default_backend() == "cpu" else (jax.device_count(),)
    return {str(devices): _run_in_subprocess(code, devices) for devices in counts}


def device_steps(steps: int = 40, rounds: int = 5) -> dict[str, float]:
    """Return the milliseconds of a step of `base`'s network, by how it is trained.

    Alone on one device; with its batch shared by all devices; and per seed, with as many seeds as devices, or four on
    one, in one vmapped program. Medians over interleaved rounds, after one that warms up.
    """
    config = cli.load_config("base")
    data = load(config.data).train
    alone = dataclasses.replace(config, devices=1)
    seeds = jax.device_count() if jax.device_count() > 1 else 4
    runs = {
        "alone": loop.train(alone, [0], data, loop.every(steps)),
        "shared": loop.train(config, [0], data, loop.every(steps)),
        "seeds_together": loop.train(alone, range(seeds), data, loop.every(steps)),
    }
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds + 1):
        for name, run in runs.items():
            chunk = next(run)
            taken[name].append(chunk.seconds / chunk.steps / chunk.seeds * 1e3)
    return {name: median(milliseconds[1:]) for name, milliseconds in taken.items()} | {"seeds": seeds}


def finite_check(processes: int = 7, rounds: int = 150) -> dict[str, float]:
    """Return the cost of the check for numbers that are not finite: the mean of `finite_ratio`, and its interval.

    Each ratio is from a new process, as the placement of XLA's buffers changes it by up to two percent. The interval
    is Student's t at 95 %.
    """
    code = f"set_up_compiler(); print(scaling.finite_ratio({rounds}))"
    ratios = np.array([_run_in_subprocess(code) for _ in range(processes)])
    mean, low, high = interval(ratios)
    return {"ratio": mean, "low": low, "high": high, "processes": processes, "rounds": rounds}


def finite_ratio(rounds: int, steps: int = 10) -> float:
    """Return the median ratio, over rounds, of `base`'s steps with and without the check, in alternating order."""
    config = dataclasses.replace(cli.load_config("base"), devices=1)
    train = jax.device_put(load(config.data).train)
    recipe, keys = make_recipe(config, len(train.labels)), split_keys(0)
    state = jax.jit(init_state, static_argnums=0)(recipe, keys)

    def compiled() -> Any:  # a new function, as JAX caches what it has traced of an old one
        program = jax.jit(lambda *arrays: training.advance(recipe, *arrays))
        return program.lower(keys, state, train, jnp.int32(0)).compile()

    with_check = compiled()
    with mock.patch.object(training, "_all_finite", lambda tree: jnp.bool_(True)):
        without = compiled()

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
    """Return the peak memory in bytes."""
    return _run_in_subprocess(f"scaling.train_seconds(3750, {epochs}, 1); print(environment.peak_memory())")


def _run_in_subprocess(code: str, devices: int = 1) -> Any:
    """Return the JSON value that the code prints on `devices` virtual CPU devices."""
    command = [
        sys.executable,
        "-c",
        "import json; from experiments import environment; from experiments.benchmark import scaling; "
        f"from mnistsum.app.compiler import set_up_compiler; {code}",
    ]
    virtual = os.environ | {"XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}"}
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True, env=virtual).stdout)


def plot(results: dict[str, Any]) -> Figure:
    """Plot seconds against images, epochs and seeds, on logarithmic axes."""
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
