"""Checkpoints: a run's state on disk, in Orbax's format, and the way back."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from mnistsum.config import Config, InputError, from_json
from mnistsum.models import Model
from mnistsum.train import init_state, split_keys, trained_model
from mnistsum.types import TrainState

KEPT = 2  # the newest, and the one before it


def save(folder: Path, state: TrainState, clock: dict[str, float]) -> None:
    """Writes a checkpoint named by the state's step, whole or not at all; older ones but one are deleted.

    `clock` is what the state does not determine: seconds spent so far.
    """
    with _manager(folder) as manager:
        manager.save(
            int(state.step),
            args=ocp.args.Composite(state=ocp.args.StandardSave(_flat(state)), clock=ocp.args.JsonSave(clock)),
        )


def restore(folder: Path, config: Config) -> tuple[TrainState, dict[str, float]]:
    """The newest checkpoint's state and clock; InputError where there is none, or one of another config."""
    # The number of images shapes no array of the state, so any will do.
    like = jax.eval_shape(lambda: init_state(config, split_keys(0), config.training.batch_size))
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; expected a run's checkpoints")
    with _manager(folder) as manager:
        step = manager.latest_step()
        if step is None:
            raise InputError(f"{folder}: holds no complete checkpoint")
        wanted = _flat(like)
        found = manager.item_metadata(step).state.tree
        for name in sorted(wanted.keys() | found.keys()):
            want, have = (_describe(arrays.get(name)) for arrays in (wanted, found))
            if want != have:
                raise InputError(f"{folder / str(step)}: of another config: expected {name} to be {want}, found {have}")
        restored = manager.restore(
            step, args=ocp.args.Composite(state=ocp.args.StandardRestore(wanted), clock=ocp.args.JsonRestore())
        )
    leaves = [restored.state[name] for name in wanted]
    return jax.tree.unflatten(jax.tree.structure(like), leaves), restored.clock


def load_run(folder: str | Path) -> tuple[Config, Model]:
    """The config of a run's folder and the model that it ended with."""
    folder = Path(folder)
    config = read_config(folder)
    state, _ = restore(folder / "checkpoints", config)
    return config, trained_model(state)


def read_config(folder: Path) -> Config:
    """The config of a run's folder; InputError where it holds none."""
    path = folder / "config.json"
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected the folder of a run")
    return from_json(path.read_text(), str(path))


def _manager(folder: Path) -> ocp.CheckpointManager:
    options = ocp.CheckpointManagerOptions(max_to_keep=KEPT, enable_async_checkpointing=False)
    handlers = {"state": ocp.StandardCheckpointHandler(), "clock": ocp.JsonCheckpointHandler()}
    return ocp.CheckpointManager(folder.absolute(), options=options, item_handlers=handlers)


def _flat(state: TrainState) -> dict[str, Any]:
    """Key path to array: Orbax then sees a plain dict, whatever containers the model is made of."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(state)
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}


def _describe(array: Any) -> str:
    return "absent" if array is None else f"{np.dtype(array.dtype).name}{list(array.shape)}"
