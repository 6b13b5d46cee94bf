"""Checks, before any run is trained, that the machine has what runs need: memory, and a writable folder."""

import shutil
import tempfile
import traceback
from collections.abc import Iterable
from pathlib import Path

import jax
import jax.numpy as jnp

from experiments import environment
from mnistsum.config import Config
from mnistsum.data import pair
from mnistsum.errors import InputError, first_line
from mnistsum.files import writing
from mnistsum.models import check_repeatable
from mnistsum.models.summary import count_parameters
from mnistsum.train import Recipe, init_state, make_recipe, split_keys, train_step
from mnistsum.types import Keys, TrainState

MAX_STEPS = 2**31 - 1  # the most that a state can count
TRAINING_BYTES = 4 * 4  # bytes per parameter, at least: a float32 each for its value, gradient, momentum and update
CHECKPOINT_BYTES = 3 * 4 * 4  # bytes per parameter on disk: two checkpoints, and a third while it is written
TEXT_BYTES = 50_000  # of a run's config, record, metrics and summary, about


def check(configs: Iterable[Config], n: int) -> None:
    """Check that each config can be trained on this machine, on `n` images.

    Raises:
        InputError: if a config needs too many steps or too much memory, or a user-defined part does not fit.
    """
    memory = _memory()
    for config in configs:
        steps = make_recipe(config, n).steps
        if steps > MAX_STEPS:
            raise InputError(f"training.epochs: expected {MAX_STEPS:,} steps at most, found {steps:,}")
        if own := {file.resolve() for file in config.own_files()}:  # built-in parts are tested
            _check_own_parts(config, n, own)
        needed = TRAINING_BYTES * count_parameters(config.model)
        if needed > memory:
            raise InputError(
                f"model: training {config.name} takes {needed / 1e9:,.1f} GB at least, but this machine has "
                f"{memory / 1e9:,.1f} GB; use smaller model.widths or model.hidden"
            )


def storage(config: Config, images: int) -> int:
    """Return the maximum bytes of a run's folder without checkpoints and report.

    They are float32 weights, a digit and ten sums for each image that the run predicts, and text.
    """
    return 4 * count_parameters(config.model) + 11 * images + TEXT_BYTES


def check_folder(folder: Path, needed: int) -> None:
    """Check that a folder, created if missing, is writable and that its disk has room for a run of `needed` bytes.

    Raises:
        OSError: if it is not writable or its disk has too little room; the message names the folder.
    """
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    with writing(folder):
        free = shutil.disk_usage(existing).free
    if needed > free:
        raise OSError(f"{folder}: its disk has {free / 1e9:,.2f} GB left, and a run takes {needed / 1e9:,.2f}")
    check_writable(folder)


def check_writable(folder: Path) -> None:
    """Check that a folder, created if missing, is writable; raise OSError, which names it, if not."""
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass


def _check_own_parts(config: Config, n: int, own: set[Path]) -> None:
    """Build the network and trace a training step, before anything is written or compiled.

    Raises:
        InputError: if a part that the user's files define does not fit; the message names the place.
    """
    try:
        check_repeatable(config.model)
        _trace(make_recipe(config, n))
    except Exception as error:  # user code may raise anything
        frames = traceback.extract_tb(error.__traceback__)
        locations = [f"{frame.filename}, line {frame.lineno}" for frame in frames if Path(frame.filename) in own]
        if isinstance(error, InputError) and not locations:
            raise
        raise InputError(f"{(locations or [config.name])[-1]}: {first_line(error)}") from None


def _trace(recipe: Recipe) -> None:
    keys = jax.eval_shape(lambda: split_keys(0))
    n = recipe.batch_size
    batch = pair(jnp.zeros((n, 28, 28, 1)), jnp.zeros(n, jnp.int32), jnp.zeros(n, jnp.int32))

    def step(keys: Keys) -> TrainState:
        return train_step(recipe, keys.dropout, init_state(recipe, keys), batch)

    jax.eval_shape(step, keys)


def _memory() -> int:
    """Return the memory of the training device, in bytes."""
    stats = jax.local_devices()[0].memory_stats() or {}
    return stats.get("bytes_limit") or environment.memory()
