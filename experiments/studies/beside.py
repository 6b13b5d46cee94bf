"""An older commit beside today's, in turn on one machine: whole commands, first steps, steps and evaluations.

`python -m experiments.studies.beside CHECKOUT` writes results/beside.json and .md. CHECKOUT is a clone at commit
202fbd7, whose benchmark had other names. Both sides run on the same interpreter and packages.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np

from experiments import environment
from experiments.benchmark.cases import STEPS
from experiments.report.markdown import table
from mnistsum import load, statistics
from mnistsum.config import Config
from mnistsum.files import write_whole

HERE = Path(__file__).parent.parent.parent
RESULTS = Path("experiments/results")
COMMANDS = {"sprint": 10, "base": 5}  # configs whose whole command is timed, to the pairs of runs
FIRST_STEPS = 5  # pairs of processes, cold and then warm
ROUNDS = {"compact": 7, "reference": 5}  # of a step and an evaluation, in bfloat16, after one that warms up
EXPLAINED = """\
Medians over pairs that ran in turn, in alternating order, and the range of the pairs' ratios. Whole commands, which
train seeds 0, 1, 2, ... of the config, and cold first steps start with an empty cache; a warm first step follows a cold
one. Steps and evaluations are in bfloat16."""


class Side(NamedTuple):
    """A checkout, and what its benchmark is called."""

    folder: Path
    first_step: str  # a module: NETWORK IMPLEMENTATION STARTED
    build: str  # Python, from a network's name and steps to `train` and `evaluate`


def sides(checkout: Path) -> dict[str, Side]:
    """Return both sides, the older first."""
    old = (
        "from experiments.environment import set_up_compiler; set_up_compiler(); "
        "from experiments.contenders import network, ours; side = ours(network(name), 'bfloat16'); "
        "train, evaluate = lambda: side.train(steps), side.evaluate"
    )
    new = (
        "from mnistsum.app.compiler import set_up_compiler; set_up_compiler(); "
        "from experiments.benchmark.cases import config_of; from experiments.benchmark.ours import ours; "
        "side = ours(config_of(name), 'bfloat16', steps, 10_000); train, evaluate = side.train, side.evaluate"
    )
    return {
        "old": Side(checkout.resolve(), "experiments.contenders", old),
        "new": Side(HERE, "experiments.benchmark.first_step", new),
    }


def in_turn(pair: dict[str, Side], i: int) -> list[tuple[str, Side]]:
    """Return both sides by name, in the order of the i-th pair."""
    both = list(pair.items())
    return both[::-1] if i % 2 else both


def python(side: Side, cache: str, *arguments: str) -> tuple[str, float]:
    """Run Python in a side's checkout; return its output and seconds."""
    environ = os.environ | {"PYTHONPATH": str(side.folder), "XDG_CACHE_HOME": cache}
    start = time.perf_counter()
    run = subprocess.run(
        [sys.executable, *arguments], cwd=side.folder, env=environ, stdout=subprocess.PIPE, text=True, check=True
    )
    return run.stdout, time.perf_counter() - start


def whole_commands(pair: dict[str, Side], config: str, pairs: int) -> dict[str, Any]:
    """Return the seconds of whole commands by side, and the differences of their accuracies."""
    seconds: dict[str, list[float]] = {name: [] for name in pair}
    right: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {name: [] for name in pair}
    labels = load(Config().data).test.labels
    for i in range(pairs):
        for name, side in in_turn(pair, i):
            with tempfile.TemporaryDirectory() as cache:
                run = Path(cache) / "run"
                command = ("-m", "experiments.run", "--config", config, f"seed={i}", "--output", str(run))
                seconds[name].append(python(side, cache, *command)[1])
                with np.load(run / "predictions.npz") as predictions:
                    sums = predictions["sum"] == labels[:, None] + np.arange(10)
                    right[name].append((predictions["digit"] == labels, sums.mean(1)))
    accuracies = {}
    for index, output in enumerate(("digit", "sum")):
        old, new = (np.stack([run[index] for run in right[name]]).astype(float) for name in pair)
        accuracies[output] = {"old": old.mean(), "new": new.mean()} | statistics.difference(old, new, 2)._asdict()
    return {"seconds": seconds, "accuracies": accuracies}


def first_steps(pair: dict[str, Side]) -> dict[str, dict[str, list[float]]]:
    """Return the seconds from the command to the end of the first step of `compact` by cold or warm, and by side."""
    timings: dict[str, dict[str, list[float]]] = {kind: {name: [] for name in pair} for kind in ("cold", "warm")}
    for i in range(FIRST_STEPS):
        for name, side in in_turn(pair, i):
            with tempfile.TemporaryDirectory() as cache:
                for taken in timings.values():
                    arguments = ("-m", side.first_step, "compact", "mnistsum bfloat16", str(time.time()))
                    taken[name].append(json.loads(python(side, cache, *arguments)[0])["first_step"])
    return timings


@contextmanager
def served(side: Side, network: str, steps: int) -> Iterator[subprocess.Popen]:
    """Start a process that answers each line with the seconds of a step and of an evaluation, as JSON."""
    code = (
        f"import json, sys, time; name, steps = {network!r}, {steps}; {side.build}\n"
        "def timed(action):\n    start = time.perf_counter(); action(); return time.perf_counter() - start\n"
        "for _ in sys.stdin: print(json.dumps([timed(train) / steps, timed(evaluate)]), flush=True)"
    )
    command, pipe = [sys.executable, "-c", code], subprocess.PIPE
    with tempfile.TemporaryDirectory() as cache:
        environ = os.environ | {"PYTHONPATH": str(side.folder), "XDG_CACHE_HOME": cache}
        with subprocess.Popen(command, cwd=side.folder, env=environ, stdin=pipe, stdout=pipe, text=True) as process:
            yield process
            assert process.stdin is not None
            process.stdin.close()


def steps_and_evaluations(pair: dict[str, Side], network: str, steps: int, rounds: int) -> dict[str, Any]:
    """Return the seconds of a step and of an evaluation of 10,000 images, by side."""
    timings: dict[str, dict[str, list[float]]] = {what: {name: [] for name in pair} for what in ("step", "evaluation")}
    with ExitStack() as stack:
        processes = {name: stack.enter_context(served(side, network, steps)) for name, side in pair.items()}
        for i in range(rounds + 1):
            for name, _ in in_turn(pair, i):
                process = processes[name]
                assert process.stdin is not None
                assert process.stdout is not None
                print(file=process.stdin, flush=True)
                answer = json.loads(process.stdout.readline())
                for what, seconds in zip(timings, answer, strict=True):
                    timings[what][name] += [seconds] if i else []
    return timings


def tabulate(results: dict[str, Any]) -> str:
    """Return the tables."""
    rows = []
    for name, taken in results["seconds"].items():
        ratios = [new / old for old, new in zip(taken["old"], taken["new"], strict=True)]
        medians = [f"{median(taken[side]):.3g}" for side in ("old", "new")]
        rows.append([name, *medians, f"{median(ratios):.2f}", f"{min(ratios):.2f}-{max(ratios):.2f}", str(len(ratios))])
    accuracies = []
    for config, outputs in results["accuracies"].items():
        for output, scores in outputs.items():
            means = [f"{100 * scores[side]:.2f}" for side in ("old", "new")]
            low, mean, high = (f"{100 * scores[name]:+.2f}" for name in ("low", "mean", "high"))
            accuracies.append([config, output, *means, f"{mean} [{low}, {high}]", scores["verdict"]])
    old = results["old"]
    machine = environment.machine(results["cores"], results["hardware"])
    lines = [
        f"# Commit {old[:7]} beside {results['commit'][:7]}",
        f"`{results['command']}`, commit {results['commit']}, on {machine}; "
        + ", ".join(f"{name} {version}" for name, version in results["versions"].items())
        + ".",
        EXPLAINED,
        table(["seconds of", old[:7], "now", "ratio", "range", "pairs"], rows),
        "Accuracies on the test set, %, of the same runs, and today's minus the older, in points, with its 95 % "
        "interval (paired by seed and image, both outputs of a config together):",
        table(["config", "output", old[:7], "now", "difference", "verdict"], accuracies),
    ]
    return "\n\n".join(lines) + "\n"


def main(checkout: str) -> None:
    """Measure, and write the results."""
    pair = sides(Path(checkout))
    results: dict[str, Any] = environment.describe("python -m experiments.studies.beside CHECKOUT")
    head = ("git", "-C", checkout, "rev-parse", "HEAD")
    results["old"] = subprocess.run(head, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    seconds = {f"first step of `compact`, {kind}": taken for kind, taken in first_steps(pair).items()}
    for network, rounds in ROUNDS.items():
        for what, taken in steps_and_evaluations(pair, network, STEPS[network], rounds).items():
            seconds[f"{what} of `{network}`"] = taken
    results |= {"seconds": seconds, "accuracies": {}}
    for config, pairs in COMMANDS.items():
        measured = whole_commands(pair, config, pairs)
        seconds[f"whole command of `{config}`, cold"] = measured["seconds"]
        results["accuracies"][config] = measured["accuracies"]
        write_whole(RESULTS / "beside.json", json.dumps(results, indent=1) + "\n")
        write_whole(RESULTS / "beside.md", tabulate(results))


if __name__ == "__main__":
    main(*sys.argv[1:])
