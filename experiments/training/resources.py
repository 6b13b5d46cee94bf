"""What runs need of the machine, looked at before any is trained: memory, and a folder that can be written."""

import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

import jax

from experiments import environment
from mnistsum.config import Config
from mnistsum.errors import InputError
from mnistsum.files import writing
from mnistsum.models import check_repeatable
from mnistsum.models.summary import count_parameters
from mnistsum.registry import ADDERS, CLASSIFIERS
from mnistsum.train import make_recipe

MAX_STEPS = 2**31 - 1  # that a state can count
IN_MEMORY = 4 * 4  # bytes a parameter at least: a float32 each for it, its gradient, its momentum and its update
ON_DISK = 3 * 4 * 4  # bytes a parameter: of two checkpoints, and a third while it is written


def check(configs: Iterable[Config], n: int) -> None:
    """Check that each config can be trained on this machine, on `n` images.

    Raises:
        InputError: where one asks for too much, or its network is another each time.
    """
    memory = _memory()
    for config in configs:
        steps = make_recipe(config, n).steps
        if steps > MAX_STEPS:
            raise InputError(f"training.epochs: expected {MAX_STEPS:,} steps at most, found {steps:,}")
        if CLASSIFIERS.is_added(config.model.classifier) or ADDERS.is_added(config.model.adder):  # ours are tested
            check_repeatable(config.model)
        needed = IN_MEMORY * count_parameters(config.model)
        if needed > memory:
            raise InputError(
                f"model: training {config.name} takes {needed / 1e9:,.1f} GB at least, and there are "
                f"{memory / 1e9:,.1f}; give smaller model.widths or model.hidden"
            )


def check_folder(folder: Path, configs: Iterable[Config]) -> None:
    """Check that a folder can be written, and that its disk takes a run of each config; it is made where it is missing.

    Raises:
        OSError: where that is not so; it names the folder.
    """
    needed = ON_DISK * max(count_parameters(config.model) for config in configs)
    there = next(place for place in (folder, *folder.parents) if place.exists())
    with writing(folder):
        free = shutil.disk_usage(there).free
    if needed > free:
        raise OSError(f"{folder}: its disk has {free / 1e9:,.2f} GB left, and a run takes {needed / 1e9:,.2f}")
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass


def _memory() -> int:
    """Return the bytes of memory of the device that trains."""
    of_device = jax.local_devices()[0].memory_stats() or {}
    return of_device.get("bytes_limit") or environment.memory()
