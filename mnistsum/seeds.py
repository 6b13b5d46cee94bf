"""Several seeds of one config as one program: vmapped, and spread over devices that need not talk to each other."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, Int

from mnistsum.config import Config
from mnistsum.devices import mesh
from mnistsum.train import advance, init_state, split_keys
from mnistsum.types import Keys, Split, TrainState


def _by_part(step: Any, rest: Any) -> Any:
    """A value for each part of stacked states: all are at the same step, so that one loop ends for all of them."""
    return TrainState(step, *[rest] * (len(TrainState._fields) - 1))


def spread(seeds: int) -> int:
    """How many devices take an equal share of so many seeds: as many as can."""
    return max(devices for devices in range(1, jax.device_count() + 1) if seeds % devices == 0)


def init_seeds(config: Config, seeds: Sequence[int], data: Split) -> tuple[Keys, TrainState, Split]:
    """Keys and states before the first step, stacked and spread over the devices, and the data whole on each."""
    each, whole = _placements(len(seeds))
    keys = jax.vmap(split_keys)(jnp.array(seeds, jnp.uint32))
    initialise = jax.jit(jax.vmap(partial(init_state, config, n=len(data.labels)), out_axes=_by_part(None, 0)))
    return (
        jax.device_put(keys, each),
        jax.device_put(initialise(keys), _by_part(whole, each)),
        jax.device_put(data, whole),
    )


def compile_advance_seeds(config: Config, keys: Keys, state: TrainState, data: Split) -> Any:
    """`advance` for what `init_seeds` gives, compiled, to be called with (keys, state, data, until); it uses state up.

    Each device advances its share of the seeds; no result of one is needed by another.
    """

    def on_one_device(keys: Keys, state: TrainState, data: Split, until: Int[Array, ""]) -> TrainState:
        axes = _by_part(None, 0)
        return jax.vmap(partial(advance, config), (0, axes, None, None), axes)(keys, state, data, until)

    each, whole = _placements(len(keys.init))
    specs = _by_part(whole.spec, each.spec)
    program = jax.shard_map(
        on_one_device,
        mesh=each.mesh,
        in_specs=(each.spec, specs, whole.spec, whole.spec),
        out_specs=specs,
    )
    return jax.jit(program, donate_argnums=1).lower(keys, state, data, jax.ShapeDtypeStruct((), jnp.int32)).compile()


def unstack(state: TrainState, seeds: int) -> list[TrainState]:
    """The state of each seed, on the first device."""
    step, *parts = jax.device_get(state)
    return [TrainState(step, *jax.tree.map(lambda leaf, i=i: jnp.asarray(leaf[i]), parts)) for i in range(seeds)]


def _placements(seeds: int) -> tuple[NamedSharding, NamedSharding]:
    """Where stacked seeds lie, and what they share."""
    devices = mesh(spread(seeds), "seed")
    return NamedSharding(devices, PartitionSpec("seed")), NamedSharding(devices, PartitionSpec())
