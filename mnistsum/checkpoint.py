"""Checkpoints: a run's state on disk, one file each, and the model of a run.

A checkpoint is a safetensors file named after its step. It appears under that name only once it is completely on disk,
and is read only if every byte is as saved.

Orbax is not used because it is made for large sharded states, saved asynchronously. Here each process holds the whole
state of at most tens of megabytes, and one file, synced and hashed at once, is enough.
"""

import json
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import jax

from mnistsum import weights
from mnistsum.config import Config, as_dict, from_json, read_config, to_json
from mnistsum.errors import InputError
from mnistsum.files import PARTIAL, first_difference, load_arrays, save_arrays, writing
from mnistsum.json_files import parse_json
from mnistsum.models import Model
from mnistsum.registry import load_file
from mnistsum.train import init_state, make_recipe, split_keys, trained_model
from mnistsum.types import TrainState

KEPT = 2  # the newest, and the one before it
SUFFIX = ".safetensors"


class Restored(NamedTuple):
    """What a folder of checkpoints holds."""

    state: TrainState
    kept: dict[str, Any]  # what was saved beside the state
    refused: tuple[str, ...]  # a line for each newer checkpoint that could not be used


def save(folder: Path, config: Config, state: TrainState, kept: dict[str, Any]) -> None:
    """Write a checkpoint named after the state's step, whole or not at all, and delete all others but the one before.

    Newer ones are deleted, too: they are there only if they could not be used when the run was resumed.

    Args:
        folder: the run's folder of checkpoints; created if missing.
        config: the config of the state.
        state: this process's state.
        kept: JSON values that the state does not determine, such as seconds spent so far.

    Raises:
        OSError: if writing fails; it names path and cause, and the older checkpoints are left as they are.

    Examples:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from mnistsum.checkpoint import restore, save, steps
        >>> from mnistsum.config import Config, ModelConfig, OptimizerConfig
        >>> from mnistsum.train import init_state, make_recipe, split_keys
        >>> config = Config(
        ...     devices=1, model=ModelConfig(classifier="mlp", widths=(8,)), optimizer=OptimizerConfig(name="sgd")
        ... )
        >>> state = init_state(make_recipe(config, 55_000), split_keys(config.seed))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save(Path(folder), config, state, {"seconds": 0})
        ...     restored = restore(Path(folder), config)
        ...     print(steps(Path(folder)), restored.kept)
        [0] {'seconds': 0}
    """
    path = path_of(folder, int(state.step))
    with writing(path):
        folder.mkdir(parents=True, exist_ok=True)
        for partial_file in folder.glob(f"*{PARTIAL}"):  # left by a killed process
            partial_file.unlink()
    save_arrays(path, _named_arrays(state), {"config": to_json(config), "kept": json.dumps(kept)})
    with writing(path):
        existing = steps(folder)
        index = existing.index(int(state.step))
        for step in (*existing[:index], *existing[index + KEPT :]):
            path_of(folder, step).unlink()


def path_of(folder: Path, step: int) -> Path:
    """Return the path of a step's checkpoint."""
    return folder / f"{step}{SUFFIX}"


def steps(folder: Path) -> list[int]:
    """Return the steps of the checkpoints in a folder, newest first; empty if there is no such folder."""
    names = (path.name.removesuffix(SUFFIX) for path in folder.glob(f"*{SUFFIX}"))
    return sorted((int(name) for name in names if name.isdecimal()), reverse=True)


def restore(folder: Path, config: Config) -> Restored:
    """Return the newest sound checkpoint of this config; `devices` may differ.

    Raises:
        InputError: if there is none; it gives the reason for each checkpoint.
    """
    refused: list[str] = []
    for step in steps(folder):
        try:
            state, kept = _read(path_of(folder, step), config)
        except InputError as error:
            refused.append(str(error))
        else:
            return Restored(state, kept, tuple(refused))
    raise InputError("; ".join(refused) or f"{folder}: holds no complete checkpoint; start the run again")


def load_run(folder: str | Path, own: str | Path | None = None) -> tuple[Config, Model]:
    """Return the config and model of a run's folder: its final model, else that of its newest checkpoint.

    A warning names each checkpoint that could not be used.

    Args:
        folder: the run's folder.
        own: the .py file that defines the architecture, if it is your own.

    Raises:
        InputError: if it is not a run's folder or holds nothing sound.

    Examples:
        >>> import mnistsum
        >>> from mnistsum.predict import PRETRAINED
        >>> config, model = mnistsum.load_run(PRETRAINED / "base")  # or runs/base-0-20260101-120000
        >>> config.name, config.model.classifier
        ('base', 'compact')
    """
    if own is not None:
        load_file(own)
    folder = Path(folder)
    if (folder / weights.WEIGHTS).exists():
        config, model, _ = weights.load(folder)
        return config, model
    if not (folder / "checkpoints").is_dir():
        raise InputError(
            f"{folder}: expected the folder of a run, found neither {weights.WEIGHTS} nor checkpoints in it"
        )
    config = read_config(folder)
    restored = restore(folder / "checkpoints", config)
    for line in restored.refused:
        warnings.warn(f"{line}; an older one was loaded", stacklevel=2)
    return config, trained_model(restored.state)


def _read(path: Path, config: Config) -> tuple[TrainState, dict[str, Any]]:
    arrays, metadata = load_arrays(path)
    if "kept" not in metadata:
        raise InputError(f"{path}: expected a checkpoint, found weights")
    saved = as_dict(from_json(metadata.get("config", ""), str(path)))
    for name, value in as_dict(config).items():
        if name != "devices" and saved[name] != value:
            raise InputError(f"{path}: from another config: expected {name} to be {value!r}, found {saved[name]!r}")
    images = config.data.train_images or config.training.batch_size
    # No array's shape depends on the number of images or devices, and the run's devices may not exist here.
    like = jax.eval_shape(lambda: init_state(make_recipe(config, images, devices=1), split_keys(0)))
    expected = _named_arrays(like)
    if differs := first_difference(expected, arrays):
        raise InputError(f"{path}: of another architecture: {differs}")
    leaves = [
        jax.random.wrap_key_data(arrays[name]) if _is_key(leaf) else arrays[name]
        for name, leaf in zip(expected, jax.tree.leaves(like), strict=True)
    ]
    state = jax.tree.unflatten(jax.tree.structure(like), leaves)
    return state, parse_json(metadata["kept"], str(path))


def _named_arrays(tree: Any) -> dict[str, Any]:
    """Map key paths to arrays; a random key, which an optimizer may hold, is replaced by its data."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="."): _data(leaf) for path, leaf in leaves}


def _data(leaf: Any) -> Any:
    """Return an array, or its shape, as stored in a file."""
    if not _is_key(leaf):
        return leaf
    is_shape = isinstance(leaf, jax.ShapeDtypeStruct)
    return jax.eval_shape(jax.random.key_data, leaf) if is_shape else jax.random.key_data(leaf)


def _is_key(leaf: Any) -> bool:
    """Return whether an array holds random keys."""
    return jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key)
