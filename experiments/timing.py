"""How long this project's programs and PyTorch's take, for `experiments.benchmark`."""

import dataclasses
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import platformdirs

from experiments.cli import cores
from experiments.configs.base import config as base
from experiments.configs.reference import config as reference
from experiments.report.console import RunsProgress
from experiments.studies import plain_flax
from experiments.training.plan import COMPARED
from experiments.training.pool import fit_missing
from experiments.training.record import commit, hardware, prepare
from experiments.training.reuse import locate_runs
from mnistsum.config import (
    AugmentConfig,
    Config,
    DataConfig,
    ModelConfig,
    OptimizerConfig,
    TrainingConfig,
)
from mnistsum.data import load
from mnistsum.evaluation import evaluate
from mnistsum.models import abstract_model, build
from mnistsum.models.summary import count_multiply_adds
from mnistsum.programs import set_up_compiler, versions
from mnistsum.registry import added_names
from mnistsum.seeds import compile_advance_seeds, init_seeds
from mnistsum.train import lower_training, make_spec, split_keys
from mnistsum.types import Data

TYPES = ("float32", "bfloat16")  # of the operands of products
LONG = {"training": TrainingConfig(epochs=1e6)}  # no turn reaches the end of such a run
ADAM = OptimizerConfig(name="adamw", learning_rate=1e-3, schedule="constant")
BASE = dataclasses.replace(
    base, **LONG, data=DataConfig(), augment=AugmentConfig(), optimizer=ADAM
)
REFERENCE = dataclasses.replace(reference, **LONG, data=DataConfig())
PRODUCT = 2_048  # rows and columns of both matrices
# trained on, one epoch each: whole batches
IMAGES = (640, 2_048, 6_400, 20_480, 54_912)
SEEDS = (1, 2, 4, 8)
SEED_STEPS = 40  # of each seed

# takes some steps, evaluates some images, or trains for some epochs
Turn = Callable[[int], Any]
Sides = tuple[Turn, dict[str, Turn]]  # ours, and PyTorch's by variant


class Work(NamedTuple):
    """What a row times."""

    name: str
    sides: Callable[[Config, Data], Sides]
    config: Config
    amount: int  # steps, images or epochs of a turn
    screened: int  # those with which PyTorch's variants are compared
    parts: int = 1  # into which the time of a turn is divided
    images: int = 0  # whose operations are counted; 0: those of a product of matrices
    rounds: int = 7


def products(config: Config, data: Data) -> Sides:
    """Return both sides' product of two matrices."""
    import torch  # only the extra `pytorch` installs it

    pair, dtype = (
        np.random.RandomState(0).standard_normal((2, PRODUCT, PRODUCT)),
        config.model.dtype,
    )
    ours, theirs = (
        jnp.asarray(pair, dtype),
        torch.tensor(pair, dtype=getattr(torch, dtype)),
    )
    product = jax.jit(partial(jnp.dot, preferred_element_type=jnp.float32))
    return lambda _: jax.block_until_ready(product(*ours)), {
        "eager": lambda _: torch.mm(*theirs)
    }


def steps(config: Config, data: Data) -> Sides:
    """Return both sides' steps of training."""
    from experiments.twins import Twin, training  # needs the extra `pytorch`

    variants = {
        how: training(config, Twin(config.model), data.train, how)
        for how in ("eager", "compiled")
    }
    return our_steps(config, data), variants


def our_steps(config: Config, data: Data, seeds: int = 0) -> Turn:
    """Return steps of training: of one run, or of each of `seeds` seeds in one program."""
    n = len(data.train.labels)
    spec = make_spec(config, n)
    if seeds:
        program = compile_advance_seeds(spec, n, seeds)
        keys, state, split = init_seeds(spec, range(seeds), data.train)
    else:
        begin, program = (lowered.compile() for lowered in lower_training(spec, n))
        keys, split = split_keys(0), jax.device_put(data.train)
        state = begin(keys)
    step = 0

    def turn(steps: int) -> None:
        nonlocal state, step
        step += steps
        state = jax.block_until_ready(program(keys, state, split, np.int32(step)))

    return turn


def evaluations(
    config: Config, data: Data, batches: Sequence[int] = (100, 500, 1_000)
) -> Sides:
    """Return both sides' evaluations; PyTorch's variants differ also in the images at a time."""
    from experiments.twins import Twin, evaluation  # needs the extra `pytorch`

    model, test = (
        jax.jit(build, static_argnums=0)(config.model, jax.random.key(0)),
        data.test,
    )
    hows = (
        ("eager", "frozen", "cast")
        if config.model.dtype == "bfloat16"
        else ("eager", "frozen")
    )
    variants = {
        f"{how}, {batch} at a time": evaluation(
            config, Twin(config.model), test.images, how, batch
        )
        for how in hows
        for batch in batches
    }
    return lambda images: evaluate(
        config.data, model, test._make(field[:images] for field in test)
    ), variants


def commands(config: Config, data: Data) -> Sides:
    """Return whole commands that train `base`, each with an empty cache of compiled programs."""

    def run(words: str, epochs: int) -> None:
        with tempfile.TemporaryDirectory() as folder:
            line = f"-m experiments.{words} training.epochs={epochs} model.dtype={config.model.dtype}"
            # only compiled programs are missing
            fonts = str(platformdirs.user_cache_path("matplotlib"))
            caches = {
                "XDG_CACHE_HOME": folder,
                "TORCHINDUCTOR_CACHE_DIR": folder,
                "MPLCONFIGDIR": fonts,
            }
            arguments = [sys.executable, *line.format(folder).split()]
            subprocess.run(
                arguments,
                env=os.environ | caches,
                stdout=subprocess.DEVNULL,
                check=True,
            )

    return partial(run, "run base --output {}/run"), {
        how: partial(run, f"twins {how}") for how in ("eager", "compiled")
    }


def training_work(name: str, config: Config, amount: int, screened: int) -> Work:
    """Return the row of a training step, whose gradient costs as much as two forward passes."""
    return Work(
        f"step of {name}",
        steps,
        config,
        amount,
        screened,
        amount,
        3 * config.training.batch_size,
    )


def plain_work(name: str, classifier: str) -> Work:
    """Return the row of a training step of a network of `plain_flax`."""
    return training_work(
        name, dataclasses.replace(BASE, model=ModelConfig(classifier=classifier)), 20, 5
    )


WORKS = (
    Work(
        f"product of {PRODUCT:,} x {PRODUCT:,} matrices",
        products,
        BASE,
        1,
        1,
        rounds=70,
    ),
    training_work("`base`'s network", BASE, 100, 20),
    Work(
        "evaluation of `base`'s network",
        evaluations,
        BASE,
        10_000,
        2_000,
        images=10_000,
    ),
    training_work("`reference`", REFERENCE, 4, 2),
    Work(
        "evaluation of `reference`",
        evaluations,
        REFERENCE,
        10_000,
        1_000,
        images=10_000,
    ),
    plain_work("two convolutions, plain Flax", "plain_two_convolutions"),
    plain_work("two convolutions, our layers", "two_convolutions"),
    plain_work("a ResNet, plain Flax", "plain_resnet"),
    plain_work("a ConvNeXt block, plain Flax", "plain_convnext"),
    Work(
        "whole command `base`",
        commands,
        base,
        8,
        8,
        images=8 * 3 * IMAGES[-1],
        rounds=3,
    ),
)
EVALUATION = WORKS[2]._replace(sides=partial(evaluations, batches=(500,)))
QUICK = tuple(work._replace(rounds=3) for work in (*WORKS[:2], EVALUATION))


def interleave(
    turns: dict[Any, Callable[[], Any]], rounds: int
) -> dict[Any, list[float]]:
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


def time_row(work: Work, data: Data) -> dict[str, Any]:
    """Return the seconds of a row, by side and type and round, the variant of each, and the operations."""
    turns, variants = {}, {}
    for dtype in TYPES:
        config = dataclasses.replace(
            work.config, model=dataclasses.replace(work.config.model, dtype=dtype)
        )
        ours, theirs = work.sides(config, data)
        screened = interleave(
            {how: partial(turn, work.screened) for how, turn in theirs.items()}, 2
        )
        variants[f"PyTorch {dtype}"] = fastest = min(
            screened, key=lambda how: min(screened[how])
        )
        turns[f"mnistsum {dtype}"] = partial(ours, work.amount)
        turns[f"PyTorch {dtype}"] = partial(theirs[fastest], work.amount)
    per_image = count_multiply_adds(abstract_model(work.config.model))
    return {
        "variants": variants,
        "seconds": {
            side: [s / work.parts for s in taken]
            for side, taken in interleave(turns, work.rounds).items()
        },
        "operations": 2 * (work.images * per_image or PRODUCT**3),
    }


def time_growth(data: Data) -> dict[str, Any]:
    """Return the seconds of training `base` by number of images, and on accelerators by number of seeds."""
    config = dataclasses.replace(base, **LONG)

    def epoch(n: int) -> Callable[[], Any]:
        few = data._replace(train=data.train._make(field[:n] for field in data.train))
        return partial(our_steps(config, few), n // config.training.batch_size)

    kinds: dict[str, dict[int, Callable[[], Any]]] = {
        "one epoch": {n: epoch(n) for n in IMAGES}
    }
    if jax.default_backend() != "cpu":
        single = our_steps(config, data)
        kinds["seeds one by one"] = {n: partial(single, n * SEED_STEPS) for n in SEEDS}
        kinds["seeds in one program"] = {
            n: partial(our_steps(config, data, n), SEED_STEPS) for n in SEEDS
        }
    return {
        kind: {
            "sizes": [*turns],
            "seconds": [median(taken) for taken in interleave(turns, 7).values()],
        }
        for kind, turns in kinds.items()
    }


def count_runs(data: Data) -> dict[str, list[float]]:
    """Return how many runs of `base` are trained in an hour, by number of workers, one and all, in each round."""
    experiment = prepare(base, "python -m experiments.benchmark", data)

    def train(workers: int) -> None:
        with tempfile.TemporaryDirectory() as folder:
            run_sets = [locate_runs(Path(folder), experiment, range(workers))]
            list(fit_missing(run_sets, COMPARED, workers, RunsProgress))

    seconds = interleave({n: partial(train, n) for n in (1, cores())}, 3)
    return {str(n): [3600 * n / each for each in taken] for n, taken in seconds.items()}


def describe_machine() -> dict[str, Any]:
    """Return processor, cores, flags that decide which type is fast, versions and commit."""
    file = Path("/proc/cpuinfo")  # Linux only
    cpu = defaultdict(
        str,
        re.findall(
            r"^(.+?)\s*: (.*)$", file.read_text() if file.exists() else "", re.MULTILINE
        ),
    )
    return {
        "processor": hardware(),
        "family": cpu["cpu family"],
        "model": cpu["model"],
        "cores": cores(),
        "flags": [
            flag for flag in ("avx512_bf16", "amx_bf16") if flag in cpu["flags"].split()
        ],
        "versions": {"Python": platform.python_version()} | versions(),
        "commit": commit(),
        "load": os.getloadavg()[0],
    }


def measure(works: Sequence[Work], grows: bool) -> dict[str, Any]:
    """Return all results, as JSON holds them."""
    set_up_compiler()
    data = load(DataConfig())
    results: dict[str, Any] = {"machine": describe_machine(), "rounds": 7, "rows": {}}
    if works:
        results["machine"]["versions"]["torch"] = version("torch")
    for work in works:
        print(f"timing: {work.name}", flush=True)
        with added_names(CLASSIFIERS=plain_flax.CLASSIFIERS):
            results["rows"][work.name] = time_row(work, data)
    if grows:
        print("timing: growth", flush=True)
        results["growth"] = time_growth(data)
        if jax.default_backend() == "cpu":
            results["runs_per_hour"] = count_runs(data)
    return results
