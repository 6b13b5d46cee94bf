"""Devices: the type in which they multiply quickly, and where arrays are placed if several run one program."""

import dataclasses
import functools
from pathlib import Path
from typing import Any, TypeVar

import jax
from jax import lax
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from jaxtyping import Array

from mnistsum.config import Config, ModelConfig, OptimizerConfig
from mnistsum.errors import InputError

Section = TypeVar("Section", ModelConfig, OptimizerConfig)


@functools.cache
def quick_dtype() -> str:
    """Return the type in which the device multiplies quickly: bfloat16 or float32.

    A step of `base` in bfloat16 takes 0.7 of its time in float32 on an AMD EPYC with avx512_bf16 and on an Intel Xeon
    with AMX, but 1.3 times as long on an Intel Xeon that has avx512_bf16 and no AMX (docs/speed.md). Other CPUs emulate
    bfloat16.
    """
    if jax.default_backend() != "cpu":
        return "bfloat16"
    processor = Path("/proc/cpuinfo")  # Linux only
    text = processor.read_text() if processor.exists() else ""
    is_quick = "amx_bf16" in text or ("AuthenticAMD" in text and "avx512_bf16" in text)
    return "bfloat16" if is_quick else "float32"


def resolve_dtype(config: Section) -> Section:
    """Return a section of a config with `auto` replaced by the quick type of this device."""
    return dataclasses.replace(config, dtype=quick_dtype()) if config.dtype == "auto" else config


def count_devices(config: Config) -> int:
    """Return how many devices share each batch.

    Raises:
        InputError: if JAX finds fewer, or if they cannot share a batch evenly.
    """
    available, size = jax.device_count(), config.training.batch_size
    devices = available if config.devices == "all" else config.devices
    if devices > available:
        raise InputError(f"devices: expected at most the {available} that JAX finds, found {devices}")
    if size % devices:
        below = size // devices * devices
        nearest = " or ".join(str(near) for near in (below, below + devices) if near)
        raise InputError(f"training.batch_size: expected {nearest}, for {devices} devices, found {size}")
    return devices


def shardings(devices: int, axis: str) -> tuple[NamedSharding, NamedSharding]:
    """Return the sharding of the first axis over the first `devices` devices, and that of replicated arrays."""
    mesh = jax.make_mesh((devices,), (axis,), (AxisType.Auto,), devices=jax.devices()[:devices])
    return NamedSharding(mesh, PartitionSpec(axis)), NamedSharding(mesh, PartitionSpec())


def shard_batch(devices: int, array: Array) -> Array:
    """Shard the first axis of an array, the batch, over `devices` devices, inside a jitted function.

    The compiler also shards whatever is computed from it, and turns sums over the batch into sums over devices.
    """
    return array if devices == 1 else lax.with_sharding_constraint(array, shardings(devices, "batch")[0])


def replicated_sharding(devices: int) -> NamedSharding:
    """Return the sharding that replicates arrays (keys, state and data) on each of `devices` devices."""
    return shardings(devices, "batch")[1]


def abstract_arrays(tree: Any, devices: int) -> Any:
    """Return the shapes and types of arrays. Several devices hold a copy each."""
    sharding = replicated_sharding(devices) if devices > 1 else None
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), tree)
