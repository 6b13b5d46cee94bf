"""Times the networks beside PyTorch on the same work, in one run: `python -m experiments.benchmark` (extra `peers`)."""

import dataclasses
import importlib.util
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import tyro

from experiments import cli
from mnistsum.config import AugmentConfig, Config, InputError, OptimizerConfig

IMAGES = 10_000  # evaluated
ADAM = OptimizerConfig(name="adamw", learning_rate=1e-3, schedule="constant")


@dataclass(frozen=True)
class Benchmark:
    """Training step and evaluation of 10,000 images, beside PyTorch; warmed up, interleaved, medians of rounds."""

    rounds: int = 5  # each contender runs once a round
    output: Path = Path("experiments/results/benchmark")  # .json and .md are added


def command(arguments: list[str]) -> int:
    """The exit status of the program."""
    options = tyro.cli(Benchmark, prog="python -m experiments.benchmark", args=arguments)
    if importlib.util.find_spec("torch") is None:
        raise InputError("benchmark: PyTorch is not installed; pip install -e '.[peers]'")
    import torch  # only once the command line is right

    from experiments import environment

    networks = {"compact": (_plain(cli.load_config("base"), ADAM), 60)}
    reference = cli.load_config("reference")
    networks["reference"] = (_plain(reference, reference.optimizer), 2)
    results: dict[str, Any] = environment.describe() | {"torch": torch.__version__, "threads": torch.get_num_threads()}
    lines = [
        "| network | contender | step, ms | images/s | step, ratio | evaluation, s | evaluation, ratio |",
        "|---|---|--:|--:|--:|--:|--:|",
    ]
    for name, (config, steps) in networks.items():
        difference, seconds = _measure(config, steps, options.rounds)
        results[name] = {"largest_difference_of_outputs": difference, "seconds": seconds}
        for contender, (step, evaluation) in seconds.items():
            row = [name, contender, f"{1e3 * median(step):.1f}", f"{config.training.batch_size / median(step):,.0f}"]
            row += [_ratio(step, seconds["mnistsum"][0]), f"{median(evaluation):.2f}"]
            row += [_ratio(evaluation, seconds["mnistsum"][1])]
            lines.append("| " + " | ".join(row) + " |")
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.with_suffix(".json").write_text(json.dumps(results, indent=1) + "\n")
    options.output.with_suffix(".md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))
    print(f"{results['device']}, {results['cores']} cores; {results['versions']}, torch {results['torch']}")
    return 0


def _plain(config: Config, optimizer: OptimizerConfig) -> Config:
    """What both sides can do alike: no distortion, no average, one rule."""
    data = dataclasses.replace(config.data, scaling="standard")
    return dataclasses.replace(config, data=data, augment=AugmentConfig(), optimizer=optimizer)


def _ratio(theirs: list[float], ours: list[float]) -> str:
    """The median over rounds of their time to ours; above 1, mnistsum is the faster."""
    return f"{median(a / b for a, b in zip(theirs, ours, strict=True)):.2f}"


def _measure(config: Config, steps: int, rounds: int) -> tuple[float, dict[str, tuple[list[float], list[float]]]]:
    """By how much the outputs of both sides differ, and by contender the seconds of a step and of an evaluation."""
    import jax
    import jax.numpy as jnp
    import numpy as np
    import torch

    from experiments import peers
    from mnistsum.data import load, pair, scale
    from mnistsum.evaluate import evaluate
    from mnistsum.train import advance, init_state, program, split_keys

    config, keys = program(config), split_keys(0)
    data = load(config.data)
    train = jax.device_put(data.train)
    state = init_state(config, keys, len(data.train.labels))
    if config.model.classifier == "reference":
        twin = peers.reference(config.model.hidden)
    else:
        twin = peers.compact(config.model.channels, config.model.hidden)
    peers.copy_weights(state.model, twin)
    torch_side = peers.TorchTraining(twin, data.train, config.optimizer)

    batch = pair(scale(config.data, train.images[:64]), train.labels[:64], jnp.arange(64) % 10)
    ours = state.model(batch.image, batch.number)
    with torch.no_grad():
        theirs = twin(torch_side.batch(torch.arange(64)), torch.tensor(np.array(batch.number)))
    difference = max(float(np.abs(np.asarray(a) - b.numpy()).max()) for a, b in zip(ours, theirs, strict=True))
    assert difference < 1e-4, f"the two networks are not the same: their outputs differ by {difference}"

    compiled = advance.lower(config, keys, state, train, jnp.int32(0)).compile()
    evaluated = data.train._replace(images=data.train.images[:IMAGES], labels=data.train.labels[:IMAGES])
    contenders: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
        "mnistsum": (
            lambda: jax.block_until_ready(compiled(keys, state, train, jnp.int32(steps))),
            lambda: evaluate(config.data, state.model, evaluated),
        )
    }
    whole, part = torch.compile(twin), torch.compile(twin.classifier)
    for name, forward, classify, autocast in (
        ("PyTorch float32", twin, twin.classifier, False),
        ("PyTorch bfloat16", twin, twin.classifier, True),
        ("PyTorch compiled float32", whole, part, False),
        ("PyTorch compiled bfloat16", whole, part, True),
    ):
        contenders[name] = (
            lambda f=forward, a=autocast: torch_side.train(f, steps, config.training.batch_size, a),
            lambda c=classify, a=autocast: torch_side.evaluate(c, IMAGES, a),
        )
    seconds: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in contenders}
    for turn in range(rounds + 1):  # the first warms up and is not counted
        for name, actions in contenders.items():
            for action, collected, parts in zip(actions, seconds[name], (steps, 1), strict=True):
                start = time.perf_counter()
                action()
                if turn:
                    collected.append((time.perf_counter() - start) / parts)
    return difference, seconds


if __name__ == "__main__":
    cli.main(command)
