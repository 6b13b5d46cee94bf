"""A trained model as a file of weights, together with its config."""

import json
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mnistsum.calibration import Temperatures
from mnistsum.config import CONFIG, Config, from_json, read_config, to_json
from mnistsum.errors import InputError
from mnistsum.files import first_difference, load_arrays, save_arrays
from mnistsum.json_files import parse_json
from mnistsum.models import Model, abstract_model
from mnistsum.registry import digest_of

WEIGHTS = "weights.safetensors"
MAX_TEMPERATURE = 1e30  # a float32 holds it


class Weights(NamedTuple):
    """What a file of weights holds."""

    config: Config
    model: Model
    temperatures: Temperatures | None  # fitted on validation images; None: no such images, or an older file


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
        file: a path in an existing folder.
        config: the model's config.
        model: the model, saved bit for bit unless rounded.
        made_by: a note in the file on where the weights come from.
        temperatures: the temperatures that calibrate the model's probabilities, if fitted.
        rounded: store kernels in bfloat16, at half the size. If the config computes in bfloat16, products round them
            anyway, so answers stay the same, except through matrices that are not kernels, such as `vit`'s positions,
            and through layers that ignore `model.dtype`, such as `nnx.Linear`.

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
        metadata["code"] = own
    save_arrays(file, arrays, metadata)


def load(path: Path) -> Weights:
    """Return the content of a file that `save` wrote, given its path or its folder.

    A warning is issued if the code that defines a user's own network has changed since the network was trained.

    Raises:
        InputError: if the file has another format or another architecture than its config, or if a different
            `config.json` lies beside it.
    """
    file = path / WEIGHTS if path.is_dir() else path
    arrays, metadata = load_arrays(file)
    if "made_by" not in metadata:
        raise InputError(f"{file}: expected weights, found a checkpoint")
    config = from_json(metadata.get("config", ""), str(file))
    beside = file.with_name(CONFIG)
    if beside.exists() and read_config(file.parent) != config:
        raise InputError(f"{beside}: not the config that the weights beside it were saved with; delete or restore it")
    if metadata.get("code") not in (None, _own_code(config)):
        warnings.warn(f"{file}: the code of its network has changed since it was trained", stacklevel=2)
    like = abstract_model(config.model)
    expected = named(like)
    found = {name: jnp.asarray(array, jnp.float32) for name, array in arrays.items()}  # kernels may be rounded
    if differs := first_difference(expected, found):
        raise InputError(
            f"{file}: of another architecture: {differs}; the code of the network has changed: use the version that "
            "wrote it"
        )
    leaves = [found[name] for name in expected]
    fitted = _temperatures(metadata["temperatures"], file) if "temperatures" in metadata else None
    return Weights(config, jax.tree.unflatten(jax.tree.structure(like), leaves), fitted)


def _own_code(config: Config) -> str:
    """Return the digests of the files that define a user's own classifier and adder; empty if both are ours."""
    return " ".join(digest_of(file) for file in config.model.own_files())


def _temperatures(text: str, file: Path) -> Temperatures:
    """Return the temperatures that a file stores; raise InputError if they are invalid."""
    values = parse_json(text, f"{file}, temperatures")
    fields = Temperatures._fields
    if not isinstance(values, dict) or values.keys() != set(fields):
        raise InputError(f"{file}, temperatures: expected the fields {', '.join(fields)}, found {text[:60]!r}")
    for name, value in values.items():
        if not isinstance(value, int | float) or not 0 < value < MAX_TEMPERATURE:
            raise InputError(f"{file}, temperatures: {name}: expected a number above 0, found {str(value)[:60]!r}")
    return Temperatures(**values)


def named(model: Any) -> dict[str, Any]:
    """Return a model's arrays by dotted name, such as `classifier.conv1.kernel`."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(model)
    # The last key of a path is Flax's own, for the value of the variable.
    return {jax.tree_util.keystr(path[:-1], simple=True, separator="."): leaf for path, leaf in leaves}
