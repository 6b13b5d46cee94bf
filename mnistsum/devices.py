"""Where arrays lie when several devices compute one program: shared along an axis, or whole on each."""

from typing import Any

import jax
from jax import lax
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array

from mnistsum.config import Config
from mnistsum.errors import InputError


def count(config: Config) -> int:
    """Return how many devices share each batch.

    Raises:
        InputError: where they do not exist, or the batch does not divide by them.
    """
    there, size = jax.device_count(), config.training.batch_size
    devices = there if config.devices == "all" else config.devices
    if devices > there or (jax.process_count() > 1 and devices < there):
        most = f"{'all' if jax.process_count() > 1 else 'at most'} {there}"
        raise InputError(f"devices: expected {most} that JAX finds, found {devices}")
    if size % devices:
        below = size // devices * devices
        nearest = " or ".join(str(near) for near in (below, below + devices) if near)
        raise InputError(f"training.batch_size: expected {nearest}, for {devices} devices, found {size}")
    return devices


def mesh(devices: int, axis: str) -> Mesh:
    """Return the first `devices` devices in a row; arrays are shared along `axis`."""
    return jax.make_mesh((devices,), (axis,), (AxisType.Auto,), devices=jax.devices()[:devices])


def share(devices: int, array: Array) -> Array:
    """Return an array of a jitted function, its first axis, the batch's, shared over `devices` devices.

    Whatever is computed from it is shared too, and sums over the batch become sums over devices: the compiler does it.
    """
    if devices == 1:
        return array
    return lax.with_sharding_constraint(array, NamedSharding(mesh(devices, "batch"), PartitionSpec("batch")))


def on_each(devices: int) -> NamedSharding:
    """Return the sharding of arrays that lie whole on each of `devices` devices: keys, state and data."""
    return NamedSharding(mesh(devices, "batch"), PartitionSpec())


def put_on_each(devices: int, tree: Any) -> Any:
    """Return arrays that are the same in each process, copied to each of `devices` devices."""
    return multihost_utils.host_local_array_to_global_array(tree, mesh(devices, "batch"), PartitionSpec())


def local(tree: Any) -> Any:
    """Return this process's own copy of arrays that lie whole on each device."""
    return jax.tree.map(lambda leaf: leaf.addressable_data(0), tree)
