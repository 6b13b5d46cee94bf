"""The measurements of the benchmark, and their tables."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import jax
import numpy as np
import torch

from experiments import environment
from experiments.benchmark import convolutions, scaling
from experiments.benchmark.cases import OURS, PYTORCH, STEPS, Implementation, config_of
from experiments.benchmark.ours import ours
from experiments.benchmark.pytorch import DEVICE, pytorch, wait
from experiments.report import figures, markdown
from experiments.training import resources
from mnistsum.files import write_whole
from mnistsum.models.summary import summarize


class Size(NamedTuple):
    """How much is measured."""

    rounds: int  # each implementation takes one turn per round
    images: int  # of an evaluation
    implementations: tuple[str, ...]


Seconds = dict[str, list[float]]  # by what was timed, one per round

QUICK = Size(rounds=3, images=1_000, implementations=("mnistsum bfloat16", *PYTORCH))
PEAK = 2048  # rows and columns of the products that measure the machine's peak
EXPLAINED = """\
Medians over rounds in which each implementation takes its turn, and their range. A ratio is to the time of the quicker
mnistsum in the same round: where it is above 1, mnistsum is ahead. Seconds vary by a factor of two between hours on
shared machines; ratios, and shares of the peak, far less. The peak is that of PyTorch's product of two matrices of
2,048 rows and columns of the same type in the same round. A training step is counted as three forward passes."""


def quick() -> None:
    """Print the times of a step and an evaluation of both networks; write nothing."""
    for name in STEPS:
        print(_tabulate_together(name, _together(name, QUICK), QUICK), flush=True, end="\n\n")


def measure(rounds: int, output: Path, command: str) -> None:
    """Measure everything; write the results so far after each measurement, as JSON and Markdown, and finally a figure.

    Args:
        rounds: rounds of interleaved steps and evaluations, and of processes timed from their start.
        output: path of the files, to which their suffixes are appended.
        command: the command line, for the results.
    """
    size = Size(rounds, 10_000, (*OURS, *PYTORCH))
    results: dict[str, Any] = environment.describe(command)
    results |= {"torch": torch.__version__, "threads": torch.get_num_threads(), "size": size._asdict()}
    results["gpu"] = "none on this machine" if jax.default_backend() == "cpu" else results["device"]
    resources.check_writable(output.parent)
    for name, measurement in MEASUREMENTS.items():
        start = time.perf_counter()
        results[name] = measurement.measure(size)
        lines = measurement.describe(results[name], results)
        print("\n".join(lines), f"({name}: {time.perf_counter() - start:,.0f} s)", sep="\n", flush=True)
        write_whole(_with_ending(output, ".json"), json.dumps(results, indent=1) + "\n")
        write_whole(_with_ending(output, ".md"), _tabulate(results))
    figures.save([scaling.plot(results["scaling"])], _with_ending(output, ".png"))


def _with_ending(output: Path, ending: str) -> Path:
    """Return the path of one of the files, whose name may contain dots."""
    return output.with_name(output.name + ending)


def _first_step(name: str, size: Size) -> dict[str, dict[str, list[float]]]:
    """Return, by implementation, the seconds from the command to the end of the first step, and the peak memory.

    Two processes run in turn with a new folder for what JAX and PyTorch compile: the first is cold, the second warm.
    """
    results = {implementation: {"cold": [], "warm": [], "memory": []} for implementation in size.implementations}
    for _ in range(size.rounds):
        for implementation, collected in results.items():
            with tempfile.TemporaryDirectory() as cache:
                environ = os.environ | {"XDG_CACHE_HOME": cache, "TORCHINDUCTOR_CACHE_DIR": cache}
                cold, warm = (_run_first_step(name, implementation, environ) for _ in range(2))
            collected["cold"].append(cold["first_step"])
            collected["warm"].append(warm["first_step"])
            collected["memory"].append(warm["peak_memory"])
    return results


def _run_first_step(name: str, implementation: str, environ: dict[str, str]) -> dict[str, float]:
    command = [sys.executable, "-m", "experiments.benchmark.first_step", name, implementation, str(time.time())]
    return json.loads(subprocess.run(command, env=environ, stdout=subprocess.PIPE, text=True, check=True).stdout)


def _together(name: str, size: Size) -> dict[str, Seconds]:
    """Return the seconds of a step and an evaluation by implementation, and of the peak's product by type."""
    implementations = _implementations(name, size)
    operands = {dtype: torch.ones(PEAK, PEAK, dtype=getattr(torch, dtype), device=DEVICE) for dtype in OURS.values()}
    step: Seconds = {each: [] for each in implementations}
    evaluation: Seconds = {each: [] for each in implementations}
    peak: Seconds = {dtype: [] for dtype in operands}
    for _ in range(size.rounds + 1):
        for dtype, operand in operands.items():
            peak[dtype].append(_seconds(lambda operand=operand: operand @ operand))
        for each, implementation in implementations.items():
            step[each].append(_seconds(implementation.train) / STEPS[name])
            evaluation[each].append(_seconds(implementation.evaluate))
    together = {"step": step, "evaluation": evaluation, "peak": peak}
    # The first round warms up.
    return {what: {each: seconds[1:] for each, seconds in taken.items()} for what, taken in together.items()}


def _implementations(name: str, size: Size) -> dict[str, Implementation]:
    """Return a network's implementations by name; check that PyTorch's gives the same answers with our weights."""
    config, steps = config_of(name), STEPS[name]
    exact = ours(config, "float32", steps, size.images)
    implementations = {}
    for each in size.implementations:
        if each in OURS:
            implementations[each] = ours(config, OURS[each], steps, size.images)
        else:
            implementations[each] = pytorch(config, *PYTORCH[each], steps, size.images, exact.model)
    # Accelerators round the operands of float32 products unless they are told not to.
    with jax.default_matmul_precision("float32"), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        answers = zip(exact.answer(), implementations["PyTorch float32"].answer(), strict=True)
    difference = max(float(np.abs(np.asarray(a) - b.numpy()).max()) for a, b in answers)
    assert difference < 1e-4, f"the two networks are not the same: their outputs differ by {difference}"
    return implementations


def _seconds(action: Callable[[], Any]) -> float:
    start = time.perf_counter()
    action()
    wait()
    return time.perf_counter() - start


def _tabulate(results: dict[str, Any]) -> str:
    """Return the tables of what has been measured."""
    lines = [
        f"{environment.machine(results['cores'], results['hardware'])}, {results['threads']} threads; "
        f"{', '.join(f'{k} {v}' for k, v in results['versions'].items())}, torch {results['torch']}; "
        f"commit {results['commit']}. GPU: {results['gpu']}.",
        "",
        EXPLAINED,
    ]
    for name, measurement in MEASUREMENTS.items():
        if name in results:
            lines += ["", *measurement.describe(results[name], results)]
    return "\n".join(lines) + "\n"


class Measurement(NamedTuple):
    """A measurement of the benchmark, and its report."""

    measure: Callable[[Size], Any]  # returns what JSON can hold
    describe: Callable[[Any, dict[str, Any]], list[str]]  # from its result and all results to lines of Markdown


def _network(name: str) -> Measurement:
    """Return the measurement that times a network against PyTorch's."""

    def describe(measured: dict[str, Any], results: dict[str, Any]) -> list[str]:
        rows = []
        for implementation, taken in measured["first_step"].items():
            memory = f"{median(taken['memory']) / 1e6:,.0f}"
            rows.append([implementation, _range(taken["cold"], 1), _range(taken["warm"], 1), memory])
        header = ["", "command to first step, s, cold", "warm", "peak memory, MB"]
        together = _tabulate_together(name, measured["together"], Size(**results["size"]))
        return [f"## {name}", "", together, "", markdown.table(header, rows)]

    return Measurement(
        lambda size: {"together": _together(name, size), "first_step": _first_step(name, size)}, describe
    )


def _describe_whole_step(measured: dict[str, dict[str, list[float]]], results: dict[str, Any]) -> list[str]:
    rows = [
        [f"{name}, {variant}", _range(ratios, 2)]
        for name, variants in measured.items()
        for variant, ratios in variants.items()
    ]
    table = markdown.table(["step", "time to that of a step without any of these parts"], rows)
    draws = "Draws by rank: the record of the losses; the draw itself, once an epoch, is not among the timed steps."
    return [f"## What a step of mnistsum costs, of {results['cores']} cores", "", table, "", draws]


def _describe_convolutions(measured: list[dict[str, Any]], results: dict[str, Any]) -> list[str]:
    return ["## Where the convolutions' time goes", "", convolutions.tabulate(measured), "", convolutions.EXPLAINED]


def _describe_scaling(measured: dict[str, Any], results: dict[str, Any]) -> list[str]:
    slopes = ", ".join(f"{name} {measured[name]['slope']:.2f}" for name in ("images", "epochs", "seeds"))
    memory = ", ".join(f"{size / 1e6:,.0f} after {float(epochs):g}" for epochs, size in measured["memory"].items())
    lines = ["## How the cost grows", "", f"Log-log slope of training seconds over four doublings: {slopes}."]
    return [*lines, f"Peak memory, MB: {memory} epochs."]


def _describe_finite_check(measured: dict[str, float], results: dict[str, Any]) -> list[str]:
    return [
        f"A step of `base` that looks for numbers that are not finite takes {measured['ratio']:.4f} "
        f"[{measured['low']:.4f}, {measured['high']:.4f}] of one that does not."
    ]


def _describe_devices(measured: dict[str, dict[str, float]], results: dict[str, Any]) -> list[str]:
    rows = []
    for devices, step in measured.items():
        together = f"{step['seeds_together']:.1f} ({step['seeds']} seeds)"
        rows.append([devices, f"{step['alone']:.1f}", f"{step['shared']:.1f}", together])
    header = ["devices", "alone, on one", "its batch shared by all", "per seed, with as many seeds in one program"]
    caption = "Milliseconds of a step of `base`, on virtual devices that share the cores:"
    return [caption, "", markdown.table(header, rows)]


MEASUREMENTS = {
    **{name: _network(name) for name in STEPS},
    "whole_step": Measurement(
        lambda size: {name: scaling.whole_step(name, steps) for name, steps in scaling.WHOLE.items()},
        _describe_whole_step,
    ),
    "convolutions": Measurement(lambda size: convolutions.measure(size.rounds), _describe_convolutions),
    "scaling": Measurement(lambda size: scaling.measure(), _describe_scaling),
    "finite_check": Measurement(lambda size: scaling.finite_check(), _describe_finite_check),
    "over_devices": Measurement(lambda size: scaling.over_devices(), _describe_devices),
}


def _tabulate_together(name: str, together: dict[str, Seconds], size: Size) -> str:
    """Return a table of a network's steps, and one of its evaluations."""
    config = config_of(name)
    layers = summarize(config.model)
    once = 2 * sum(layer.multiply_adds for layer in layers)  # floating-point operations of a forward pass
    adder = 2 * sum(layer.multiply_adds for layer in layers if layer.name.startswith("adder"))
    batch = config.training.batch_size
    tables = []
    for what, unit, scale, images, operations in (
        ("step", "ms", 1e3, batch, 3 * once * batch),
        ("evaluation", "s", 1, size.images, (once + 9 * adder) * size.images),
    ):
        taken = together[what]
        best = min((each for each in taken if each in OURS), key=lambda each: median(taken[each]))
        rows = []
        for each, seconds in taken.items():
            peak = together["peak"]["bfloat16" if "bfloat16" in each else "float32"]
            rates = [operations / second for second in seconds]
            shares = [rate * second / (2 * PEAK**3) for rate, second in zip(rates, peak, strict=True)]
            ratios = [second / ours for second, ours in zip(seconds, taken[best], strict=True)]
            row = [each, _range([scale * second for second in seconds], 2), _range(ratios, 2)]
            row += [f"{images / median(seconds):,.0f}", f"{median(rates) / 1e9:,.0f}", f"{median(shares):.0%}"]
            rows.append(row)
        counted = f"{what} of {images:,} images"
        header = [f"{name}, {counted}", unit, "ratio", "images/s", "GFLOP/s", "of the peak"]
        tables.append(markdown.table(header, rows))
    return "\n\n".join(tables)


def _range(values: list[float], digits: int) -> str:
    """Return the median of the values, and their range."""
    return f"{median(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"
