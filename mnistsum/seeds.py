"""Several seeds of one config in one program, vmapped and spread over devices."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from jaxtyping import Array, Int, Integer

from mnistsum.data import abstract_split
from mnistsum.train import Spec, advance, init_state, split_keys
from mnistsum.types import Keys, Split, TrainState


def devices_for(seeds: int) -> int:
    """Return how many devices can train equal shares of these seeds."""
    return max(
        devices for devices in range(1, jax.device_count() + 1) if seeds % devices == 0
    )


def init_seeds(
    spec: Spec, seeds: Sequence[int], data: Split
) -> tuple[Keys, TrainState, Split]:
    """Return keys and initial states, spread over the devices, and the data."""
    sharded, replicated = _shardings(len(seeds))
    keys, state = jax.jit(partial(_stacked, spec))(jnp.array(seeds, jnp.uint32))
    shardings = _per_field(step=replicated, rest=sharded)
    return jax.device_put((keys, state, data), (sharded, shardings, replicated))


def compile_advance_seeds(spec: Spec, n: int, seeds: int) -> Any:
    """Return `advance` compiled for the output of `init_seeds`.

    It takes (keys, state, data, until).

    The state is donated. Each device advances its share of the seeds without results
    from the others.
    """

    def on_one_device(
        keys: Keys, state: TrainState, data: Split, until: Int[Array, ""]
    ) -> TrainState:
        vmap_axes = _per_field(step=None, rest=0)
        return jax.vmap(partial(advance, spec), (0, vmap_axes, None, None), vmap_axes)(
            keys, state, data, until
        )

    sharded, replicated = _shardings(seeds)
    specs = _per_field(step=replicated.spec, rest=sharded.spec)
    program = jax.shard_map(
        on_one_device,
        mesh=sharded.mesh,
        in_specs=(sharded.spec, specs, replicated.spec, replicated.spec),
        out_specs=specs,
        # the check rejects a user's network whose loops or branches start from
        # constants
        check_vma=False,
    )
    shardings = _per_field(step=replicated, rest=sharded)
    placed = sharded, shardings, replicated, replicated
    keys, state = jax.eval_shape(
        partial(_stacked, spec), jax.ShapeDtypeStruct((seeds,), jnp.uint32)
    )
    shapes = keys, state, abstract_split(n), jax.ShapeDtypeStruct((), jnp.int32)
    return (
        jax.jit(program, in_shardings=placed, donate_argnums=1).lower(*shapes).compile()
    )


def unstack(state: TrainState, seeds: int) -> list[TrainState]:
    """Return the state of each seed, on the first device."""
    step, *parts = jax.device_get(state)
    return [
        TrainState(step, *jax.tree.map(lambda leaf, i=i: jnp.asarray(leaf[i]), parts))
        for i in range(seeds)
    ]


def _shardings(seeds: int) -> tuple[NamedSharding, NamedSharding]:
    """Return the sharding of the seeds, and that of replicated arrays."""
    count = devices_for(seeds)
    mesh = jax.make_mesh(
        (count,), ("seed",), (AxisType.Auto,), devices=jax.devices()[:count]
    )
    return NamedSharding(mesh, PartitionSpec("seed")), NamedSharding(
        mesh, PartitionSpec()
    )


def _stacked(spec: Spec, seeds: Integer[Array, " seeds"]) -> tuple[Keys, TrainState]:
    """Return the keys of several seeds and their initial states."""
    keys = jax.vmap(split_keys)(seeds)
    return keys, jax.vmap(
        partial(init_state, spec), out_axes=_per_field(step=None, rest=0)
    )(keys)


def _per_field(step: Any, rest: Any) -> Any:
    """Return a value for each field of stacked states.

    They share `step`, so that one loop ends for all of them.
    """
    return TrainState(step, *[rest] * (len(TrainState._fields) - 1))
