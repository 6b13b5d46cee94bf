"""Times this project beside PyTorch: `python -m experiments.studies.speed`."""

import dataclasses
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

# PyTorch's side is on the processor; JAX reads this when it is imported.
os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import numpy as np
import platformdirs

from experiments import cli
from experiments.comparison.tables import markdown
from experiments.configs.base import config as base
from experiments.studies.speed.networks import CLASSIFIERS
from experiments.training.record import commit, hardware
from mnistsum.app.program import Parser
from mnistsum.config import AugmentConfig, Config, OptimizerConfig, override
from mnistsum.data import load
from mnistsum.errors import InputError
from mnistsum.evaluation import evaluate
from mnistsum.file_io import make_folder, write_json, write_whole
from mnistsum.models import build
from mnistsum.programs import set_up_compiler, versions
from mnistsum.registry import register
from mnistsum.train import lower_training, make_spec, split_keys
from mnistsum.types import Data

TYPES = ("float32", "bfloat16")  # of the operands of products
STEPS = dataclasses.replace(
    override(base, ["training.epochs=1e6"]),  # no turn reaches the end of the run
    augment=AugmentConfig(),
    optimizer=OptimizerConfig(name="adamw", learning_rate=1e-3, schedule="constant"),
)
METHOD = """\
Medians over rounds. In a round, both sides run once in each type, every second round in
reverse order. PyTorch runs the fastest of its variants, with channels_last maps and a
fused optimizer; "frozen" is compiled with constant weights, and "cast" also computes
everything in bfloat16. The ratio is PyTorch's best time divided by our best in the same
round, with its range; above 1, mnistsum is faster. A step has 128 undistorted images.
An evaluation covers 10,000 images with all ten numbers. The whole command trains `base`
with no program compiled before; PyTorch's side is `python -m
experiments.studies.speed.pytorch`, which prints accuracies but draws no report."""

Turn = Callable[[], Any]


class Work(NamedTuple):
    """A row: what both sides do, and how often."""

    name: str
    # (config, data) to our turn, and PyTorch's by variant
    sides: Callable[[Config, Data], tuple[Turn, dict[str, Turn]]]
    config: Config
    parts: int = 1  # into which the time of a turn is divided
    rounds: int = 7


def steps(config: Config, data: Data, count: int) -> tuple[Turn, dict[str, Turn]]:
    """Return both sides' turns of `count` training steps."""
    from experiments.studies.speed import pytorch  # needs the extra `pytorch`

    n, step = len(data.train.labels), 0
    begin, program = (
        lowered.compile() for lowered in lower_training(make_spec(config, n), n)
    )
    keys, split = split_keys(0), jax.device_put(data.train)
    state = begin(keys)

    def turn() -> None:
        nonlocal state, step
        step += count
        state = jax.block_until_ready(program(keys, state, split, np.int32(step)))

    variants = {}
    for how in ("eager", "compiled"):
        twin = pytorch.Twin(config.model)
        variants[how] = partial(pytorch.training(config, twin, data.train, how), count)
    return turn, variants


def evaluations(config: Config, data: Data) -> tuple[Turn, dict[str, Turn]]:
    """Return both sides' evaluations of the test images."""
    from experiments.studies.speed import pytorch  # needs the extra `pytorch`

    model = jax.jit(build, static_argnums=0)(config.model, jax.random.key(0))
    variants = {}
    for how in ("eager", "frozen", "cast"):
        if how == "cast" and config.model.dtype == "float32":
            continue
        twin = pytorch.Twin(config.model)
        variants[how] = pytorch.evaluation(config, twin, data.test.images, how)
    return partial(evaluate, config.data, model, data.test), variants


def commands(config: Config, data: Data) -> tuple[Turn, dict[str, Turn]]:
    """Return whole commands that train `base`, each with an empty cache of programs."""

    def run(words: str) -> None:
        with tempfile.TemporaryDirectory() as folder:
            line = f"-m experiments.{words} model.dtype={config.model.dtype}"
            caches = {
                "XDG_CACHE_HOME": folder,
                "TORCHINDUCTOR_CACHE_DIR": folder,
                # only compiled programs are missing
                "MPLCONFIGDIR": str(platformdirs.user_cache_path("matplotlib")),
            }
            subprocess.run(
                [sys.executable, *line.format(folder).split()],
                env=os.environ | caches,
                stdout=subprocess.DEVNULL,
                check=True,
            )

    variants = {}
    for how in ("eager", "compiled"):
        variants[how] = partial(run, f"studies.speed.pytorch {how}")
    return partial(run, "run base --output {}/run"), variants


WORKS = (
    Work("step of `base`'s network", partial(steps, count=100), STEPS, parts=100),
    Work("evaluation of `base`'s network", evaluations, STEPS),
    Work(
        "step of a ResNet, plain Flax",
        partial(steps, count=20),
        override(STEPS, ["model.classifier=plain_resnet"]),
        parts=20,
    ),
    Work("whole command `base`", commands, base, rounds=3),
)


def interleave(turns: dict[str, Turn], rounds: int) -> dict[str, list[float]]:
    """Return the seconds of each turn by round; every second round is reversed."""
    for turn in turns.values():  # compile and warm up
        turn()
    seconds: dict[str, list[float]] = {name: [] for name in turns}
    for i in range(rounds):
        for name in list(turns)[:: -1 if i % 2 else 1]:
            start = time.perf_counter()
            turns[name]()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def time_row(work: Work, data: Data) -> dict[str, Any]:
    """Return a row's seconds by side and round, and PyTorch's fastest variants."""
    turns, variants = {}, {}
    for dtype in TYPES:
        ours, theirs = work.sides(override(work.config, [f"model.dtype={dtype}"]), data)
        screened = interleave(theirs, 2)
        fastest = min(screened, key=lambda how: min(screened[how]))
        variants[dtype] = fastest
        turns[f"mnistsum {dtype}"], turns[f"PyTorch {dtype}"] = ours, theirs[fastest]
    seconds = {}
    for side, taken in interleave(turns, work.rounds).items():
        seconds[side] = [each / work.parts for each in taken]
    return {"variants": variants, "seconds": seconds}


def table(rows: dict[str, Any]) -> str:
    """Return the rows in Markdown."""
    cells = []
    for name, row in rows.items():
        seconds = row["seconds"]
        medians = {side: median(taken) for side, taken in seconds.items()}
        ours = min((f"mnistsum {dtype}" for dtype in TYPES), key=medians.__getitem__)
        theirs = min((f"PyTorch {dtype}" for dtype in TYPES), key=medians.__getitem__)
        dtype = theirs.split()[1]
        ratios = np.divide(seconds[theirs], seconds[ours])
        cells.append(
            [
                name,
                *(f"{1e3 * medians[f'mnistsum {dtype}']:#.3g}" for dtype in TYPES),
                f"{1e3 * medians[theirs]:#.3g}, {dtype}, {row['variants'][dtype]}",
                f"{median(ratios):.2f} ({ratios.min():.2f}-{ratios.max():.2f})",
            ]
        )
    ours = [f"ours {dtype}, ms" for dtype in TYPES]
    return markdown(["work", *ours, "PyTorch's best, ms", "ratio"], cells)


def parser() -> Parser:
    """Return the parser of the program's options."""
    parser = Parser(
        prog="python -m experiments.studies.speed",
        description="Time mnistsum beside PyTorch, in 15 to 30 minutes.",
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="PATH",
        default="runs/speed",
        help="write the table into PATH.md, and all seconds into PATH.json",
    )
    return parser


def command(arguments: list[str]) -> int:
    """Time all rows, and write the table and the seconds."""
    output = parser().parse_args(arguments).output
    if find_spec("torchvision") is None:
        raise InputError("PyTorch is not installed: pip install -e '.[pytorch]'")
    set_up_compiler()
    register(CLASSIFIERS=CLASSIFIERS)
    data, rows = load(base.data), {}
    load_before = os.getloadavg()[0]
    for work in WORKS:
        print(f"timing: {work.name}", flush=True)
        rows[work.name] = time_row(work, data)
    machine = (
        f"{cli.cores()} cores of {hardware()}; {versions()}; commit {commit()}; "
        f"load average before {load_before:.2f} (other work slows PyTorch most)."
    )
    page = f"{machine}\n\n{METHOD}\n\n{table(rows)}\n"
    print(page)
    make_folder(output.parent)
    seconds = {"machine": machine, "rows": rows}
    write_json(output.with_name(f"{output.name}.json"), seconds)
    write_whole(output.with_name(f"{output.name}.md"), page)
    return 0


if __name__ == "__main__":
    cli.main(command)
