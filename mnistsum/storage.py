"""Arrays on disk: checkpoints and trained networks, as safetensors files.

Each file holds a digest of its content.

An array is named after its place, such as `model.classifier.convs.0.kernel`. A file
appears under its name only once it is completely on disk, and is read only if every
byte is as saved.

Orbax is not used because it is made for large sharded states, saved asynchronously.
Here one process holds a state of at most tens of megabytes.
"""

import hashlib
import json
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.flax

from mnistsum.config import Config, as_dict, from_json, read_config, to_json
from mnistsum.errors import InputError, first_line
from mnistsum.evaluation import describe_evaluation
from mnistsum.file_io import make_folder, write_whole
from mnistsum.models import Model, abstract_model
from mnistsum.objective import group_size
from mnistsum.registry import load_file
from mnistsum.train import init_state, make_spec, split_keys, trained_model
from mnistsum.types import TrainState

WEIGHTS, CHECKPOINTS = "weights.safetensors", "checkpoints"  # in a run's folder
PRETRAINED = Path(__file__).parent / "pretrained"  # networks that ship with the package
DIGEST = "sha256"  # metadata key for the digest of arrays and metadata
FORMAT = "4"  # format version, in each file's metadata; any other is refused
SAVED = 2  # checkpoints that stay: the newest, and the one before it


class Weights(NamedTuple):
    """A trained network and what is known about it."""

    config: Config
    model: Model
    made_by: str  # where the weights come from
    # digest of each split of the data set, by name; empty if not known
    data: dict[str, str]
    # `describe_evaluation` when it was trained; None: as it is now
    evaluation: dict[str, str] | None = None


class Restored(NamedTuple):
    """What a checkpoint holds."""

    state: TrainState
    extra: dict[str, Any]  # what was saved beside the state


def save_weights(file: Path, weights: Weights) -> None:
    """Write a trained network, bit for bit, whole or not at all.

    Args:
        file: a path in an existing folder.
        weights: the network, and what is known about it.

    Examples:
        >>> import tempfile
        >>> from pathlib import Path
        >>> import jax
        >>> from mnistsum.config import Config, ModelConfig
        >>> from mnistsum.models import build
        >>> from mnistsum.storage import Weights, load_weights, save_weights
        >>> config = Config(model=ModelConfig(classifier="mlp", widths=(8,)))
        >>> model = build(config.model, jax.random.key(0))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder) / "weights.safetensors"
        ...     save_weights(file, Weights(config, model, "an example", {}))
        ...     loaded = load_weights(file)
        >>> loaded.config == config, loaded.made_by
        (True, 'an example')
    """
    arrays = name_arrays(weights.model)
    about = {
        "made_by": weights.made_by,
        "data": weights.data,
        "evaluation": weights.evaluation
        or describe_evaluation(weights.config.data, weights.model),
    }
    save_arrays(file, weights.config, arrays, "weights", about)


def load_weights(path: Path) -> Weights:
    """Return the network in a file that `save_weights` wrote, or in its folder.

    A warning is issued if the network's program has changed since it was trained. Under
    other versions of JAX or on another kind of device, programs differ anyway, so there
    is no such check.

    Raises:
        InputError: if the file has another format, or another architecture than its
            config.
    """
    file = path / WEIGHTS if path.is_dir() else path
    config, arrays, about = load_arrays(file, "weights")
    # the kernels of the networks that ship are in bfloat16
    arrays = {name: jnp.asarray(array, jnp.float32) for name, array in arrays.items()}
    model = _fill(file, abstract_model(config.model), arrays)
    _warn_if_changed(file, about["evaluation"], describe_evaluation(config.data, model))
    return Weights(config, model, **about)


def save_checkpoint(
    folder: Path, config: Config, state: TrainState, extra: dict[str, Any]
) -> None:
    """Write a checkpoint named after its step, and delete all but one older.

    Newer ones are deleted, too: they are there only if they could not be used when the
    run was resumed.

    Args:
        folder: the run's folder of checkpoints; created if missing.
        config: the config of the state.
        state: the state of one seed.
        extra: JSON values that the state does not determine, such as seconds spent so
            far, and `evaluation`, what `describe_evaluation` returns for its model.

    Raises:
        OSError: if writing fails; it names path and cause, and the older checkpoints
            are left as they are.
    """
    make_folder(folder)
    path = folder / f"{int(state.step)}.safetensors"
    save_arrays(
        path, config, name_arrays(_without_keys(state)), "checkpoint", {"extra": extra}
    )
    newest_first = _checkpoints(folder)
    index = newest_first.index(path)
    for other in (*newest_first[:index], *newest_first[index + SAVED :]):
        other.unlink()


def restore(folder: Path, config: Config) -> Restored:
    """Return the newest sound checkpoint of this config.

    A warning names each newer checkpoint that could not be used.

    Raises:
        InputError: if there is none; it gives the reason for each checkpoint.
    """
    refused: list[str] = []
    for path in _checkpoints(folder):
        try:
            restored = _read_checkpoint(path, config)
        except InputError as error:
            refused.append(str(error))
            continue
        for line in refused:
            warnings.warn(f"{line}; an older one is used", stacklevel=2)
        return restored
    raise InputError(
        "; ".join(refused) or f"{folder}: holds no checkpoint; start the run again"
    )


def load_run(folder: str | Path, file: str | Path | None = None) -> Weights:
    """Return the network of a run, trained or at its newest checkpoint.

    Args:
        folder: the run's folder, or a file that `save_weights` wrote.
        file: the .py file that defines the architecture, if it is your own.

    Raises:
        InputError: if it is not a run's folder or holds nothing sound.

    Examples:
        >>> import mnistsum
        >>> from mnistsum.storage import PRETRAINED
        >>> run = mnistsum.load_run(PRETRAINED / "base")  # or a run's folder
        >>> run.config.name, run.config.model.classifier
        ('base', 'compact')
    """
    if file is not None:
        load_file(file)
    folder = Path(folder)
    if folder.is_file() or (folder / WEIGHTS).exists():
        return load_weights(folder)
    if not (folder / CHECKPOINTS).is_dir():
        raise InputError(
            f"{folder}: expected the folder of a run, found neither {WEIGHTS} nor "
            f"{CHECKPOINTS} in it"
        )
    config = read_config(folder)
    state, extra = restore(folder / CHECKPOINTS, config)
    model = trained_model(state)
    warnings.warn(
        f"{folder}: unfinished; this is the network at step {int(state.step):,}",
        stacklevel=2,
    )
    _warn_if_changed(
        folder, extra["evaluation"], describe_evaluation(config.data, model)
    )
    made_by = f"{folder}, unfinished, step {int(state.step)}"
    return Weights(config, model, made_by, {}, extra["evaluation"])


def locate(name_or_path: str | Path) -> Path:
    """Return the folder of a shipped network if given its name, else the path.

    Raise InputError if neither exists.
    """
    path, name = Path(name_or_path), str(name_or_path)
    shipped = sorted(folder.name for folder in PRETRAINED.iterdir() if folder.is_dir())
    if name in shipped:
        if path.exists():
            warnings.warn(
                f"{name}: the network that ships with mnistsum, not the folder "
                f"./{name}",
                stacklevel=3,
            )
        return PRETRAINED / name
    if not path.exists():
        raise InputError(
            f"{name}: no such model; expected {', '.join(shipped)}, a run's folder or "
            "a file of weights"
        )
    return path


def save_arrays(
    path: Path, config: Config, arrays: dict[str, Any], kind: str, about: dict[str, Any]
) -> None:
    """Write arrays, their config and JSON values as a file with a digest."""
    arrays = {name: jnp.asarray(array) for name, array in arrays.items()}
    metadata = {"config": to_json(config), "format": FORMAT, kind: json.dumps(about)}
    write_whole(
        path,
        safetensors.flax.save(arrays, metadata | {DIGEST: _digest(arrays, metadata)}),
    )


def load_arrays(
    path: Path, kind: str
) -> tuple[Config, dict[str, jax.Array], dict[str, Any]]:
    """Return config, arrays by name, and values that `save_arrays` wrote to a file.

    Raises:
        InputError: if it is missing, of another kind, or not byte for byte what was
            saved.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        with safetensors.safe_open(path, "flax") as file:
            metadata = dict(file.metadata() or {})
            names = file.keys()  # it is no mapping
            arrays = {name: file.get_tensor(name) for name in names}
    except (
        OSError,
        ValueError,
        TypeError,
        KeyError,
        safetensors.SafetensorError,
    ) as error:
        raise InputError(
            f"{path}: cannot be read as safetensors: {first_line(error)}"
        ) from None
    if metadata.get("format") != FORMAT:
        found = metadata.get("format", "none")
        raise InputError(
            f"{path}: expected format {FORMAT} of mnistsum, found {found}; use the "
            "version that wrote it"
        )
    if metadata.pop(DIGEST, None) != _digest(arrays, metadata):
        raise InputError(f"{path}: altered: not the bytes that were saved")
    if kind not in metadata:
        raise InputError(
            f"{path}: expected {kind}, found another kind of file of mnistsum"
        )
    return from_json(metadata["config"], str(path)), arrays, json.loads(metadata[kind])


def name_arrays(tree: Any) -> dict[str, Any]:
    """Map the names of a tree's arrays, or of their shapes, to them."""
    # The last part of a variable's path is Flax's own, for its value.
    arrays = {}
    for path, leaf in jax.tree.leaves_with_path(tree):
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        arrays[name.removesuffix(".value")] = leaf
    return arrays


def first_difference(expected: dict[str, Any], found: dict[str, Any]) -> str | None:
    """Describe the first array whose type or shape differs, if one does."""
    for name in sorted(expected.keys() | found.keys()):
        ours, theirs = (_describe(side.get(name)) for side in (expected, found))
        if ours != theirs:
            return f"expected {name} to be {ours}, found {theirs}"
    return None


def _describe(array: Any) -> str:
    return "absent" if array is None else f"{array.dtype}{list(array.shape)}"


def _checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints in a folder, newest first."""
    paths = [path for path in folder.glob("*.safetensors") if path.stem.isdecimal()]
    return sorted(paths, key=lambda path: int(path.stem), reverse=True)


def _read_checkpoint(path: Path, config: Config) -> Restored:
    found, arrays, about = load_arrays(path, "checkpoint")
    saved = as_dict(found)
    for name, value in as_dict(config).items():
        if saved[name] != value:
            raise InputError(
                f"{path}: from another config: expected {name} to be {value!r}, found "
                f"{saved[name]!r}"
            )
    # No array's shape depends on the number of images, if they suffice for a step.
    images = config.data.train_images or max(
        config.training.batch_size, group_size(config.objective)
    )
    like = jax.eval_shape(lambda: init_state(make_spec(config, images), split_keys(0)))
    data = _fill(path, jax.eval_shape(_without_keys, like), arrays)
    state = jax.tree.map(
        lambda leaf, array: jax.random.wrap_key_data(array) if _is_key(leaf) else array,
        like,
        data,
    )
    return Restored(state, about["extra"])


def _warn_if_changed(source: Path, then: dict[str, str], now: dict[str, str]) -> None:
    """Warn if a program has changed since training, under the same versions."""
    if then != now and then | {"program": now["program"]} == now:
        warnings.warn(
            f"{source}: its network has changed since it was trained: its answers may "
            "differ",
            stacklevel=3,
        )


def _fill(path: Path, like: Any, arrays: dict[str, Any]) -> Any:
    """Return a tree with these arrays; raise InputError if they do not fit."""
    if differs := first_difference(name_arrays(like), arrays):
        raise InputError(
            f"{path}: of another architecture: {differs}; use the code that wrote it"
        )
    return jax.tree.unflatten(
        jax.tree.structure(like), [arrays[name] for name in name_arrays(like)]
    )


def _without_keys(state: TrainState) -> TrainState:
    """Return the state with random keys replaced by their data."""
    return jax.tree.map(
        lambda leaf: jax.random.key_data(leaf) if _is_key(leaf) else leaf, state
    )


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _digest(arrays: dict[str, Any], metadata: dict[str, str]) -> str:
    """Return the SHA-256 of metadata and arrays."""
    digest = hashlib.sha256()
    for name, text in sorted(metadata.items()):
        digest.update(f"{name}={text}\n".encode())
    for name, array in sorted(arrays.items()):
        digest.update(
            f"{name} {array.dtype} {array.shape}\n".encode()
            + np.asarray(array).tobytes()
        )
    return digest.hexdigest()
