"""The type in which the device multiplies quickly, and abstract arrays."""

import dataclasses
import functools
from pathlib import Path
from typing import Any, TypeVar

import jax

from mnistsum.config import ModelConfig, OptimizerConfig

Section = TypeVar("Section", ModelConfig, OptimizerConfig)


@functools.cache
def quick_dtype() -> str:
    """Return the type in which the device multiplies quickly: bfloat16 or float32.

    A step of `base` in bfloat16 takes 0.7 of its time in float32 on an AMD EPYC with
    avx512_bf16 and on an Intel Xeon with AMX, but 1.3 times as long on an Intel Xeon
    that has avx512_bf16 and no AMX (docs/speed.md). Other CPUs emulate bfloat16.
    """
    if jax.default_backend() != "cpu":
        return "bfloat16"
    processor = Path("/proc/cpuinfo")  # Linux only
    text = processor.read_text() if processor.exists() else ""
    is_quick = "amx_bf16" in text or ("AuthenticAMD" in text and "avx512_bf16" in text)
    return "bfloat16" if is_quick else "float32"


def resolve_dtype(config: Section) -> Section:
    """Return a section of a config with `auto` replaced by the quick type."""
    if config.dtype == "auto":
        return dataclasses.replace(config, dtype=quick_dtype())
    return config


def abstract_arrays(tree: Any) -> Any:
    """Return the shapes and types of arrays."""
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), tree)
