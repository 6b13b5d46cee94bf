"""A trained model as a folder of two files: weights in safetensors, and the config that they belong to."""

import hashlib
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import safetensors
from safetensors.flax import load_file, save_file

from mnistsum.config import Config, InputError, from_json, to_json
from mnistsum.models import Model, build

FORMAT = "1"  # of a folder of weights; another one is refused
WEIGHTS, CONFIG = "weights.safetensors", "config.json"


def save(folder: Path, config: Config, model: Model, made_by: str, rounded: bool = False) -> None:
    """Writes `weights.safetensors`, which says what it was `made_by`, and `config.json` into a folder.

    Bit for bit, but where `rounded`: then kernels are bfloat16, half as large. A model whose config computes in
    bfloat16 rounds them so in any case, and answers the same.
    """
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {
        name: leaf.astype(jnp.bfloat16) if rounded and leaf.ndim > 1 else leaf for name, leaf in _named(model).items()
    }
    save_file(arrays, folder / WEIGHTS, {"format": FORMAT, "made_by": made_by, "sha256": _digest(arrays)})
    (folder / CONFIG).write_text(to_json(config))


def load(path: Path) -> tuple[Config, Model]:
    """The config and the model of a folder that `save` wrote, or of the file in it.

    InputError, of one line, on anything else: another format, another architecture than its config says.
    """
    file = path / WEIGHTS if path.is_dir() else path
    for needed in (file, file.with_name(CONFIG)):
        if not needed.is_file():
            raise InputError(f"{needed}: no such file; expected {WEIGHTS} and {CONFIG}")
    config = from_json(file.with_name(CONFIG).read_text(), str(file.with_name(CONFIG)))
    try:
        with safetensors.safe_open(file, "flax") as opened:
            metadata = opened.metadata() or {}
        found = metadata.get("format")
        arrays = load_file(file) if found == FORMAT else {}
    except (OSError, safetensors.SafetensorError) as error:
        raise InputError(f"{file}: cannot be read as safetensors: {str(error).splitlines()[0]}") from None
    if found != FORMAT:
        raise InputError(f"{file}: expected format {FORMAT} of mnistsum, found {found}; use the version that wrote it")
    if metadata.get("sha256") != _digest(arrays):
        raise InputError(f"{file}: altered: not the weights that were saved; export them again")
    like = jax.eval_shape(lambda: build(config.model, jax.random.key(0)))
    expected = _named(like)
    for name in sorted(expected.keys() | arrays.keys()):
        want, have = (tuple(side[name].shape) if name in side else "absent" for side in (expected, arrays))
        if want != have:
            raise InputError(f"{file}: of another architecture: expected {name} to be {want}, found {have}")
    leaves = [jnp.asarray(arrays[name], jnp.float32) for name in expected]
    return config, jax.tree.unflatten(jax.tree.structure(like), leaves)


def _digest(arrays: dict[str, Any]) -> str:
    """The SHA-256 of the arrays' names, types, shapes and bytes."""
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype} {array.shape}".encode() + np.asarray(array).tobytes())
    return digest.hexdigest()


def _named(model: Any) -> dict[str, Any]:
    """Dotted name to array, such as `classifier.conv1.kernel`; a path's last key is Flax's, of the value in it."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(model)
    return {jax.tree_util.keystr(path[:-1], simple=True, separator="."): leaf for path, leaf in leaves}
