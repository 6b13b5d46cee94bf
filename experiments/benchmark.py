"""Time this project against PyTorch on the same work, on the processor, and how the cost of training grows.

Four rows: a training step and the evaluation of the networks of `base` and `reference`, in float32 and in bfloat16 on
both sides. PyTorch's side is the quickest of its variants. The extra `pytorch` installs it. A fifth row is a product of
matrices, whose rate both can at best reach.
"""

import argparse
import dataclasses
import json
import os
import platform
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np

from experiments.configs.base import config as base
from experiments.configs.reference import config as reference
from mnistsum.config import AugmentConfig, Config, DataConfig, ModelConfig, OptimizerConfig, TrainingConfig

# JAX and PyTorch are loaded once the command line is parsed.

RESULTS = Path(__file__).parent / "results" / "benchmark"
TYPES = ("float32", "bfloat16")  # of the operands of products
PLAIN = {"devices": 1, "training": TrainingConfig(epochs=1e6)}  # no turn reaches the end of such a run
ADAM = OptimizerConfig(name="adamw", learning_rate=1e-3, schedule="constant")  # PyTorch has no Muon like ours
BASE = dataclasses.replace(base, **PLAIN, data=DataConfig(), augment=AugmentConfig(), optimizer=ADAM)
REFERENCE = dataclasses.replace(reference, **PLAIN, data=DataConfig())
PRODUCT = 2_048  # rows and columns of both matrices
IMAGES = (640, 2_048, 6_400, 20_480, 54_912)  # trained on, one epoch each: whole batches
SEEDS = (1, 2, 4, 8)
SEED_STEPS = 40  # of each seed

Turn = Callable[[int], Any]  # takes some steps or evaluates some images


class Work(NamedTuple):
    """What a row times."""

    name: str
    config: Config | None  # None: a product of two matrices
    trains: bool  # or else evaluates
    amount: int  # steps, images or products of a turn
    screened: int  # those with which PyTorch's variants are compared


class Size(NamedTuple):
    """How much is measured."""

    works: Sequence[Work]
    rounds: int
    batches: tuple[int, ...]  # images at a time of PyTorch's evaluations
    grows: bool  # whether to measure how the cost grows


WORKS = (
    Work(f"product of {PRODUCT:,} x {PRODUCT:,} matrices", None, True, 10, 1),
    Work("step of `base`'s network", BASE, True, 100, 20),
    Work("evaluation of `base`'s network", BASE, False, 10_000, 2_000),
    Work("step of `reference`", REFERENCE, True, 4, 2),
    Work("evaluation of `reference`", REFERENCE, False, 10_000, 1_000),
)
FULL = Size(WORKS, rounds=7, batches=(100, 500, 1_000), grows=True)
QUICK = Size(WORKS[:3], rounds=3, batches=(500,), grows=False)


def our_training(config: Config, data: Any, seeds: int = 0) -> Turn:
    """Return steps of training: of one run, or of each of `seeds` seeds in one vmapped program."""
    import jax  # slow to load

    from experiments.training.record import prepare  # loads JAX
    from mnistsum.seeds import compile_advance_seeds, init_seeds  # loads JAX
    from mnistsum.train import init_state, split_keys  # loads JAX

    split, n = data.train, len(data.train.labels)
    experiment = prepare(config, "python -m experiments.benchmark", data)
    spec = experiment.spec
    if seeds:
        program = compile_advance_seeds(spec, n, seeds)
        keys, state, split = init_seeds(spec, range(seeds), split)
    else:
        program = experiment.programs["training"].compile()
        keys, split = split_keys(0), jax.device_put(split)
        state = jax.jit(init_state, static_argnums=0)(spec, keys)
    step = 0

    def turn(steps: int) -> None:
        nonlocal state, step
        step += steps
        state = jax.block_until_ready(program(keys, state, split, np.int32(step)))

    return turn


def our_model(config: ModelConfig) -> Any:
    """Return the model that both sides evaluate."""
    import jax  # slow to load

    from mnistsum.models import build  # loads JAX

    return jax.jit(build, static_argnums=0)(config, jax.random.key(0))


def our_evaluation(config: Config, model: Any, split: Any) -> Turn:
    """Return the evaluation of a model."""
    from mnistsum.evaluation import evaluate  # loads JAX

    return lambda images: evaluate(config.data, model, split._make(field[:images] for field in split))


def contestants(config: Config, trains: bool, data: Any, batches: Sequence[int]) -> dict[str, dict[str, Turn]]:
    """Return each side in each type, as the turns of its variants by name; they train, or else evaluate."""
    from experiments import twins  # needs the extra `pytorch`

    sides: dict[str, dict[str, Turn]] = {}
    for dtype in TYPES:
        config = dataclasses.replace(config, model=dataclasses.replace(config.model, dtype=dtype))
        if trains:
            ours = our_training(config, data)
            variants = {
                name: twins.training(config, data.train, compiled)
                for name, compiled in (("eager", False), ("compiled", True))
            }
        else:
            model = our_model(config.model)
            ours = our_evaluation(config, model, data.test)
            variants = {
                f"{name}, {batch} at a time": twins.evaluation(config, model, data.test, frozen, batch)
                for name, frozen in (("eager", False), ("frozen", True))
                for batch in batches
            }
        sides |= {f"mnistsum {dtype}": {"": ours}, f"PyTorch {dtype}": variants}
    return sides


def products() -> dict[str, dict[str, Turn]]:
    """Return a product of two matrices on each side in each type, as `contestants` returns a row's work."""
    import jax  # slow to load
    import jax.numpy as jnp  # slow to load
    import torch  # needs the extra `pytorch`

    def repeat(product: Callable[..., Any], left: Any, right: Any) -> Turn:
        def turn(times: int) -> None:
            for _ in range(times):
                jax.block_until_ready(product(left, right))

        return turn

    pair = np.random.RandomState(0).standard_normal((2, PRODUCT, PRODUCT))
    product = jax.jit(partial(jnp.dot, preferred_element_type=jnp.float32))
    sides: dict[str, dict[str, Turn]] = {}
    for dtype in TYPES:
        theirs = torch.tensor(pair, dtype=getattr(torch, dtype))
        sides[f"mnistsum {dtype}"] = {"": repeat(product, *jnp.asarray(pair, dtype))}
        sides[f"PyTorch {dtype}"] = {"eager": repeat(torch.mm, *theirs)}
    return sides


def interleave(turns: dict[Any, Callable[[], Any]], rounds: int) -> dict[Any, list[float]]:
    """Return the seconds of each turn in each round; every second round is in reverse order."""
    for turn in turns.values():  # compile and warm up
        turn()
    seconds: dict[Any, list[float]] = {name: [] for name in turns}
    for i in range(rounds):
        for name, turn in list(turns.items())[:: -1 if i % 2 else 1]:
            start = time.perf_counter()
            turn()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def operations(work: Work) -> int:
    """Return the additions and multiplications of a step, of an evaluation, or of a product."""
    from mnistsum.models import abstract_model  # loads JAX
    from mnistsum.models.summary import count_multiply_adds  # loads JAX

    if work.config is None:
        return 2 * PRODUCT**3
    images = 3 * work.config.training.batch_size if work.trains else work.amount
    return 2 * count_multiply_adds(abstract_model(work.config.model)) * images


def time_row(work: Work, data: Any, size: Size) -> dict[str, Any]:
    """Return the seconds of a row, by side and type and round, the variant of each, and the operations."""
    config = work.config
    sides = products() if config is None else contestants(config, work.trains, data, size.batches)
    variants = {}
    for side, turns in sides.items():
        screened = interleave({name: partial(turn, work.screened) for name, turn in turns.items()}, 2)
        variants[side] = min(screened, key=lambda name: min(screened[name]))
    seconds = interleave(
        {side: partial(sides[side][name], work.amount) for side, name in variants.items()}, size.rounds
    )
    unit = work.amount if work.trains else 1  # a step, or the whole evaluation
    return {
        "variants": variants,
        "seconds": {side: [s / unit for s in taken] for side, taken in seconds.items()},
        "operations": operations(work),
    }


def time_growth(data: Any, rounds: int) -> dict[str, Any]:
    """Return the seconds of training `base` by number of images, and by number of seeds in both ways."""
    config = dataclasses.replace(base, **PLAIN)
    turns: dict[tuple[str, int], Callable[[], Any]] = {}
    for n in IMAGES:
        few = data._replace(train=data.train._make(field[:n] for field in data.train))
        turn = our_training(config, few)
        turns["one epoch", n] = partial(turn, n // config.training.batch_size)
    single = our_training(config, data)
    for n in SEEDS:
        turns["seeds one by one", n] = lambda n=n: [single(SEED_STEPS) for _ in range(n)]
        turns["seeds in one program", n] = partial(our_training(config, data, n), SEED_STEPS)
    seconds = interleave(turns, rounds)
    growth: dict[str, dict[str, list[float]]] = {}
    for (name, n), taken in seconds.items():
        series = growth.setdefault(name, {"sizes": [], "seconds": []})
        series["sizes"].append(n)
        series["seconds"].append(median(taken))
    return growth


def describe_machine() -> dict[str, Any]:
    """Return processor, cores, flags that decide how quick a type is, versions and commit."""
    from experiments.training.record import commit, cores  # loads JAX

    file = Path("/proc/cpuinfo")
    lines = file.read_text().split("\n\n")[0].splitlines() if file.exists() else []
    cpu = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    return {
        "processor": cpu.get("model name", platform.machine()),
        "family": cpu.get("cpu family", "unknown"),
        "model": cpu.get("model", "unknown"),
        "cores": cores(),
        "flags": [flag for flag in ("avx512_bf16", "amx_bf16") if flag in cpu.get("flags", "").split()],
        "versions": {"Python": platform.python_version()}
        | {name: version(name) for name in ("jax", "jaxlib", "flax", "optax", "torch")},
        "commit": commit(),
        "load": os.getloadavg()[0],
    }


def measure(size: Size) -> dict[str, Any]:
    """Return all results, as JSON holds them."""
    import torch._dynamo  # needs the extra `pytorch`

    from mnistsum.data import load  # loads JAX

    torch._dynamo.config.recompile_limit = 64  # all variants share the functions that are compiled
    torch._dynamo.config.fail_on_recompile_limit_hit = True
    data = load(DataConfig())
    results: dict[str, Any] = {"machine": describe_machine(), "rounds": size.rounds, "rows": {}}
    for work in size.works:
        print(f"timing: {work.name}", flush=True)
        results["rows"][work.name] = time_row(work, data, size)
    if size.grows:
        print("timing: growth", flush=True)
        results["growth"] = time_growth(data, size.rounds)
    return results


def main() -> None:
    """Measure, print the tables, and write them."""
    parser = argparse.ArgumentParser(prog="python -m experiments.benchmark", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="only the network of `base`: at most three minutes")
    parser.add_argument(
        "--output",
        type=Path,
        help="path to which .md and .json are appended; default: the published results, or nothing with --quick",
    )
    options = parser.parse_args()
    if find_spec("torch") is None:
        parser.error("PyTorch is not installed: pip install -e '.[pytorch]'")
    os.environ["JAX_PLATFORMS"] = "cpu"  # as PyTorch's side

    from experiments.report.speed import benchmark_markdown  # loads JAX

    text = json.dumps(measure(QUICK if options.quick else FULL), indent=1) + "\n"
    results = json.loads(text)
    page = benchmark_markdown(results)
    print(page)
    output = options.output or (None if options.quick else RESULTS)
    if output:
        output.with_name(f"{output.name}.json").write_text(text)
        output.with_name(f"{output.name}.md").write_text(page)


if __name__ == "__main__":
    main()
