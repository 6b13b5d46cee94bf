"""Checkpoints: a run's state on disk in Orbax's format, and what Orbax leaves open: whole, synced, every byte checked.

A checkpoint is a folder named by its step. It appears under that name only when all of it is on the disk, among it
`manifest.json` with the SHA-256 of every other file.
"""

import contextlib
import dataclasses
import errno
import glob
import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from mnistsum.config import Config, InputError, from_json, read_config, to_json
from mnistsum.models import Model
from mnistsum.train import init_state, split_keys, trained_model
from mnistsum.types import TrainState

KEPT = 2  # the newest, and the one before it
MANIFEST = "manifest.json"


class Restored(NamedTuple):
    """What a folder of checkpoints holds."""

    state: TrainState
    clock: dict[str, float]
    refused: tuple[str, ...]  # a line for each newer checkpoint that could not be used


def check_path(folder: Path) -> None:
    """InputError where checkpoints cannot be saved: under a name with a wildcard in it.

    Orbax's library of paths (etils 1.15) looks for what was just written under all names that fit: with a `[` under
    none, and then it saves no arrays, without a word.
    """
    path = str(folder.absolute())
    if glob.escape(path) != path:
        raise InputError(f"{path}: expected a path without '[', '*', '?', which Orbax takes for wildcards; use another")


def save(folder: Path, config: Config, state: TrainState, clock: dict[str, float]) -> None:
    """Writes a checkpoint named by the state's step, whole or not at all; older ones but one are deleted.

    `clock` is what the state does not determine: seconds spent so far. An OSError names path and cause, and leaves
    the older checkpoints as they are; an InputError, of `check_path`.
    """
    check_path(folder)
    final = folder / str(int(state.step))
    partial = folder / f"{final.name}.partial"
    with writing(final):
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob("*.partial"):  # by a process that was killed
            shutil.rmtree(left)
        try:
            partial.mkdir()
            with _orbax() as orbax:
                arrays = {name: np.asarray(leaf) for name, leaf in _flat(state).items()}
                orbax.save(partial.absolute() / "state", args=ocp.args.StandardSave(arrays))
            (partial / "config.json").write_text(to_json(config))
            (partial / "clock.json").write_text(json.dumps(clock))
            (partial / MANIFEST).write_text(_manifest(partial))
            for path in (*partial.rglob("*"), partial):
                _sync(path)
            shutil.rmtree(final, ignore_errors=True)  # only a damaged one can have this name
            partial.replace(final)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        _sync(folder)
        for step in steps(folder)[KEPT:]:
            shutil.rmtree(folder / str(step))


def steps(folder: Path) -> list[int]:
    """The steps of the checkpoints in a folder, newest first; none where there is no such folder."""
    return sorted((int(path.name) for path in folder.glob("*") if path.name.isdecimal()), reverse=True)


def restore(folder: Path, config: Config) -> Restored:
    """The newest checkpoint that is sound and of this config, but its devices; InputError where there is none."""
    # The number of images shapes no array of the state, so any will do.
    like = jax.eval_shape(lambda: init_state(config, split_keys(0), config.training.batch_size))
    refused: list[str] = []
    for step in steps(folder):
        try:
            verify(folder / str(step))
            return Restored(*_read(folder / str(step), config, like), tuple(refused))
        except InputError as error:
            refused.append(str(error))
    raise InputError("; ".join(refused) or f"{folder}: holds no complete checkpoint")


def verify(checkpoint: Path) -> None:
    """InputError, naming the file, where a checkpoint is not byte for byte what its manifest says."""
    with _reading(checkpoint):
        path = checkpoint / MANIFEST
        if path.is_symlink() or not path.is_file():
            raise InputError(f"{path}: no such file, so that the checkpoint cannot be checked")
        said, found = path.read_bytes(), _manifest(checkpoint).encode()
        if said == found:
            return
        expected, files = json.loads(said), json.loads(found)
        for name in sorted(expected | files):
            if name not in files:
                raise InputError(f"{checkpoint / name}: missing from the checkpoint")
            if expected.get(name) != files[name]:
                raise InputError(f"{checkpoint / name}: altered: not the bytes that were saved")
        raise InputError(f"{path}: altered: not the bytes that were saved")


def load_run(folder: str | Path) -> tuple[Config, Model]:
    """The config of a run's folder and the model that it ended with; warns of checkpoints that could not be used."""
    folder = Path(folder)
    config = read_config(folder)
    state, _, refused = restore(folder / "checkpoints", config)
    for line in refused:
        warnings.warn(f"{line}; the checkpoint before it was loaded", stacklevel=2)
    return config, trained_model(state)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns whatever writing raises, also in Orbax, into an OSError that names the path and the cause."""
    try:
        yield
    except (OSError, ValueError) as error:  # ValueError: Orbax's storage layer
        said = str(error)
        known = (os.strerror(code) for code in errno.errorcode)
        cause = next((cause for cause in known if cause in said), said.splitlines()[0])
        raise OSError(f"{path}: could not be written: {cause}") from error


@contextlib.contextmanager
def _reading(checkpoint: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{checkpoint}: cannot be read: {str(error).splitlines()[0]}") from None


def _manifest(checkpoint: Path) -> str:
    """The SHA-256 of every file but the manifest itself, by path, as JSON; links are refused."""
    hashes = {}
    for path in sorted((checkpoint, *checkpoint.rglob("*"))):
        if path.is_symlink():
            raise InputError(f"{path}: a link, where a checkpoint holds files alone")
        if path.is_file() and path != checkpoint / MANIFEST:
            hashes[path.relative_to(checkpoint).as_posix()] = hashlib.sha256(path.read_bytes()).hexdigest()
    return json.dumps(hashes, indent=1) + "\n"


def _read(checkpoint: Path, config: Config, like: TrainState) -> tuple[TrainState, dict[str, float]]:
    saved = from_json((checkpoint / "config.json").read_text(), str(checkpoint / "config.json"))
    expected, found = (_fields(dataclasses.asdict(dataclasses.replace(one, devices="all"))) for one in (config, saved))
    for name, value in expected.items():
        if found[name] != value:
            raise InputError(f"{checkpoint}: of another config: expected {name} to be {value!r}, found {found[name]!r}")
    wanted = _flat(like)
    with _reading(checkpoint), _orbax() as orbax:
        path = checkpoint.absolute() / "state"
        have = orbax.metadata(path).item_metadata.tree
        for name in sorted(wanted.keys() | have.keys()):
            want, got = (_describe(arrays.get(name)) for arrays in (wanted, have))
            if want != got:
                raise InputError(f"{checkpoint}: of another architecture: expected {name} to be {want}, found {got}")
        like_numpy = {name: np.empty(leaf.shape, leaf.dtype) for name, leaf in wanted.items()}  # lies on no device
        arrays = orbax.restore(path, args=ocp.args.StandardRestore(like_numpy))
        clock = json.loads((checkpoint / "clock.json").read_text())
    return jax.tree.unflatten(jax.tree.structure(like), [jnp.asarray(arrays[name]) for name in wanted]), clock


def _orbax() -> ocp.Checkpointer:
    """Orbax, as of this process alone, however many train together."""
    me = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(primary_host=me, active_processes={me})
    return ocp.Checkpointer(ocp.StandardCheckpointHandler(multiprocessing_options=alone), multiprocessing_options=alone)


def _flat(state: TrainState) -> dict[str, Any]:
    """Key path to array: Orbax then sees a plain dict, whatever containers the model is made of."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(state)
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}


def _fields(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted name to value."""
    fields = {}
    for name, value in tree.items():
        fields |= _fields(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return fields


def _describe(array: Any) -> str:
    return "absent" if array is None else f"{np.dtype(array.dtype).name}{list(array.shape)}"


def _sync(path: Path) -> None:
    """Waits until a file, or a folder's list of names, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
