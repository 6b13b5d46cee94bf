"""A trained model as a file of weights that holds the config that they belong to."""

import ast
import json
import math
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mnistsum.calibration import Temperatures
from mnistsum.config import Config, from_json, read_config, to_json
from mnistsum.errors import InputError
from mnistsum.files import load_arrays, save_arrays
from mnistsum.json_files import parse_json
from mnistsum.models import Model, build
from mnistsum.registry import ADDERS, CLASSIFIERS, digest_code

WEIGHTS, CONFIG = "weights.safetensors", "config.json"


class Weights(NamedTuple):
    """What a file of weights holds."""

    config: Config
    model: Model
    temperatures: Temperatures | None  # fitted on validation images; none: there were none, or it is an older file


def save(
    file: Path,
    config: Config,
    model: Model,
    made_by: str,
    temperatures: Temperatures | None = None,
    rounded: bool = False,
) -> None:
    """Write a file of weights, whole or not at all.

    Args:
        file: in a folder that is there.
        config: of the model.
        model: whose every bit is kept, unless rounded.
        made_by: what the file says of where the weights come from.
        temperatures: that calibrate the model's probabilities, where they were fitted.
        rounded: keep kernels in bfloat16, half as large. Where a config computes in bfloat16, products round them so
            in any case, and the model answers the same; but for matrices that are no kernels, as `vit`'s positions.

    Examples:
        >>> import tempfile
        >>> from pathlib import Path
        >>> import jax
        >>> from mnistsum import weights
        >>> from mnistsum.config import Config, ModelConfig
        >>> from mnistsum.models import build
        >>> config = Config(model=ModelConfig(classifier="mlp", widths=(8,)))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder) / "weights.safetensors"
        ...     weights.save(file, config, build(config.model, jax.random.key(0)), "an example")
        ...     loaded = weights.load(file)
        >>> loaded.config == config
        True
    """
    arrays = {
        name: leaf.astype(jnp.bfloat16) if rounded and leaf.ndim > 1 else leaf for name, leaf in named(model).items()
    }
    metadata = {"config": to_json(config), "made_by": made_by}
    if temperatures:
        metadata["temperatures"] = json.dumps(temperatures._asdict())
    if own := _own_code(config):
        metadata["code"] = json.dumps(own)
    save_arrays(file, arrays, metadata)


def load(path: Path) -> Weights:
    """Return the content of a file that `save` wrote, or of such a file in a folder.

    A warning tells where the code of a network of the user's own is not what it was trained with.

    Raises:
        InputError: on anything else: another format, another architecture than the config says, another `config.json`.
    """
    file = path / WEIGHTS if path.is_dir() else path
    arrays, metadata = load_arrays(file)
    if "made_by" not in metadata:
        raise InputError(f"{file}: expected weights, found a checkpoint")
    config = from_json(metadata["config"], str(file))
    beside = file.with_name(CONFIG)
    if beside.exists() and read_config(file.parent) != config:
        raise InputError(f"{beside}: not the config that the weights beside it were saved with; delete or restore it")
    now = _own_code(config)
    for part, digest in parse_json(metadata.get("code", "{}"), f"{file}, code").items():
        if now.get(part) != digest:
            warnings.warn(f"{file}: the code of its {part} has changed since it was trained", stacklevel=2)
    like = jax.eval_shape(lambda: build(config.model, jax.random.key(0)))
    expected = named(like)
    for name in sorted(expected.keys() | arrays.keys()):
        want, have = (tuple(side[name].shape) if name in side else "absent" for side in (expected, arrays))
        if want != have:
            raise InputError(
                f"{file}: of another architecture: expected {name} to be {want}, found {have}; the code of the network "
                "has changed: use the version that wrote it"
            )
    leaves = [jnp.asarray(arrays[name], jnp.float32) for name in expected]
    fitted = _temperatures(metadata["temperatures"], file) if "temperatures" in metadata else None
    return Weights(config, jax.tree.unflatten(jax.tree.structure(like), leaves), fitted)


def _own_code(config: Config) -> dict[str, str]:
    """Return the digest of the code of each part of a network that a user's file defines."""
    parts = {"classifier": (CLASSIFIERS, config.model.classifier), "adder": (ADDERS, config.model.adder)}
    return {
        part: digest_code(ast.parse(known.file_of(name).read_bytes()))
        for part, (known, name) in parts.items()
        if known.is_added(name)
    }


def _temperatures(text: str, file: Path) -> Temperatures:
    """Return what a file says that probabilities are calibrated by; InputError where that is none."""
    said = parse_json(text, f"{file}, temperatures")
    fields = Temperatures._fields
    if not isinstance(said, dict) or said.keys() != set(fields):
        raise InputError(f"{file}, temperatures: expected the fields {', '.join(fields)}, found {text[:60]!r}")
    for name, value in said.items():
        if not isinstance(value, int | float) or not 0 < value < math.inf:
            raise InputError(f"{file}, temperatures: {name}: expected a number above 0, found {str(value)[:60]!r}")
    return Temperatures(**said)


def named(model: Any) -> dict[str, Any]:
    """Return a model's arrays by dotted name, such as `classifier.conv1.kernel`."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(model)
    # A path's last key is Flax's, of the value in it.
    return {jax.tree_util.keystr(path[:-1], simple=True, separator="."): leaf for path, leaf in leaves}
