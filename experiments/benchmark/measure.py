"""The measurements of the benchmark, and their table."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import jax
import numpy as np
import torch

from experiments import environment
from experiments.benchmark import scaling
from experiments.benchmark.cases import OURS, PYTORCH, STEPS, Implementation, config_of
from experiments.benchmark.ours import ours
from experiments.benchmark.pytorch import pytorch
from experiments.report import markdown
from mnistsum.config import Config


def measure(rounds: int, output: Path, command: str) -> None:
    """Measure everything, and write it as JSON, Markdown and a figure.

    Args:
        rounds: of the interleaved steps and evaluations.
        output: path of the files, to which their endings are added.
        command: that asked for it, to be written down.
    """
    results: dict[str, Any] = environment.describe(command)
    results |= {"torch": torch.__version__, "threads": torch.get_num_threads()}
    gpu = "none on this machine; the same command times it where there is one"
    results["gpu"] = gpu if jax.default_backend() == "cpu" else results["device"]
    for name, steps in STEPS.items():
        results[name] = {"alone": _alone(name), **_together(config_of(name), steps, rounds)}
    results["scaling"] = scaling.measure()
    results["finite_check"] = scaling.finite_check()
    results["over_devices"] = scaling.over_devices()
    table = _tabulate(results)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.with_suffix(".json").write_text(json.dumps(results, indent=1) + "\n")
    output.with_suffix(".md").write_text(table)
    scaling.plot(results["scaling"]).savefig(output.with_suffix(".png"))
    print(table)


def _alone(name: str) -> dict[str, dict[str, float]]:
    """By implementation, seconds from the command to the end of its first step and peak memory, each in a process.

    The compilations of JAX and of PyTorch are kept in a new folder: the first process is cold, the second warm.
    """
    results = {}
    for implementation in (*OURS, *PYTORCH):
        with tempfile.TemporaryDirectory() as cache:
            kept = os.environ | {"XDG_CACHE_HOME": cache, "TORCHINDUCTOR_CACHE_DIR": cache}
            cold, warm = (_in_process(name, implementation, kept) for _ in range(2))
        results[implementation] = {
            "cold": cold["first_step"],
            "warm": warm["first_step"],
            "memory": warm["peak_memory"],
        }
    return results


def _in_process(name: str, implementation: str, environ: dict[str, str]) -> dict[str, float]:
    command = [sys.executable, "-m", "experiments.benchmark.alone", name, implementation, str(time.time())]
    return json.loads(subprocess.run(command, env=environ, stdout=subprocess.PIPE, text=True, check=True).stdout)


def _together(config: Config, steps: int, rounds: int) -> dict[str, Any]:
    """By how much the outputs of both sides differ; by implementation, the seconds of a step and of an evaluation."""
    implementations: dict[str, Implementation] = {name: ours(config, dtype, steps) for name, dtype in OURS.items()}
    first = implementations["mnistsum float32"]
    implementations |= {name: pytorch(config, *how, steps, first.model) for name, how in PYTORCH.items()}
    answers = zip(first.answer(), implementations["PyTorch float32"].answer(), strict=True)
    difference = max(float(np.abs(np.asarray(a) - b.numpy()).max()) for a, b in answers)
    assert difference < 1e-4, f"the two networks are not the same: their outputs differ by {difference}"
    step: dict[str, list[float]] = {name: [] for name in implementations}
    evaluation: dict[str, list[float]] = {name: [] for name in implementations}
    for turn in range(rounds + 1):  # the first warms up and is not counted
        for name, implementation in implementations.items():
            for action, collected, parts in (
                (implementation.train, step[name], steps),
                (implementation.evaluate, evaluation[name], 1),
            ):
                seconds = _seconds(action) / parts
                if turn:
                    collected.append(seconds)
    return {"largest_difference_of_outputs": difference, "step": step, "evaluation": evaluation}


def _seconds(action: Callable[[], Any]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def _tabulate(results: dict[str, Any]) -> str:
    lines = [
        f"{results['cores']} cores of {results['device']}, {results['threads']} threads; "
        f"{', '.join(f'{k} {v}' for k, v in results['versions'].items())}, torch {results['torch']}; "
        f"commit {results['commit']}. GPU: {results['gpu']}.",
        "",
        "Medians; a ratio is to the time of the quicker mnistsum, so where it is above 1, mnistsum is ahead.",
        "",
    ]
    rows = []
    for name in STEPS:
        result = results[name]
        for implementation, alone in result["alone"].items():
            step, evaluation = result["step"], result["evaluation"]
            cells = [name, implementation, f"{1e3 * median(step[implementation]):.2f}", _ratio(step, implementation)]
            cells += [f"{config_of(name).training.batch_size / median(step[implementation]):,.0f}"]
            cells += [f"{median(evaluation[implementation]):.2f}", _ratio(evaluation, implementation)]
            cells += [f"{alone['cold']:.1f}", f"{alone['warm']:.1f}", f"{alone['memory'] / 1e6:,.0f}"]
            rows.append(cells)
    header = ["network", "implementation", "step, ms", "ratio", "images/s", "10,000 images evaluated, s", "ratio"]
    lines.append(markdown.table([*header, "first step cold, s", "warm, s", "peak memory, MB"], rows, texts=2))
    scaling = results["scaling"]
    slopes = ", ".join(f"{name} {scaling[name]['slope']:.2f}" for name in ("images", "epochs", "seeds"))
    memory = {epochs: f"{size / 1e6:,.0f}" for epochs, size in scaling["memory"].items()}
    note = f"Log-log slope of training seconds over four doublings: {slopes}. Peak memory, MB, by epochs: {memory}."
    check = results["finite_check"]
    note += (
        f" A step of `base` that looks for numbers that are not finite takes {check['ratio']:.4f} "
        f"[{check['low']:.4f}, {check['high']:.4f}] of one that does not."
    )
    lines += ["", note, "", "Milliseconds of a step of `base`, on virtual devices that share the cores:", ""]
    rows = []
    for devices, step in results["over_devices"].items():
        together = f"{step['seeds_together']:.1f} ({step['seeds']} seeds)"
        rows.append([devices, f"{step['alone']:.1f}", f"{step['shared']:.1f}", together])
    header = ["devices", "alone, on one", "its batch shared by all", "a seed's, of as many in one program"]
    lines.append(markdown.table(header, rows))
    return "\n".join(lines) + "\n"


def _ratio(seconds: dict[str, list[float]], implementation: str) -> str:
    """Return the median over rounds of its time to the quicker of ours."""
    best = min(OURS, key=lambda name: median(seconds[name]))
    return f"{median(a / b for a, b in zip(seconds[implementation], seconds[best], strict=True)):.2f}"
