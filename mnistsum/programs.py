"""Compiled programs: what identifies one, and the settings of the compiler."""

import hashlib
import os
import platform
import re
from importlib.metadata import version
from typing import Any

import jax
import platformdirs

from mnistsum.errors import InputError

PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy")
# Function names in StableHLO, normalized so that renaming does not change the digest.
DEFINITION = re.compile(
    r"^ *(?:module|func\.func (?:public|private)) @([\w.$-]+)", re.MULTILINE
)
CALLBACK = re.compile(r"custom_call @\w*callback")


def digest_program(lowered: Any) -> str:
    """Return a digest of a lowered program's StableHLO.

    It leaves out source locations and the names of functions.

    Every constant is printed in full. So the digest changes if a network, a mask or a
    table changes, whichever file it comes from. Comments, docstrings, local names and
    refactorings do not change it.

    Args:
        lowered: what `jax.jit(function).lower(...)` returns.

    Raises:
        InputError: if the program calls back into Python, since its text does not say
            what the call does.

    Examples:
        >>> import jax, jax.numpy as jnp
        >>> from mnistsum.programs import digest_program
        >>> functions = (lambda x: 2 * x, lambda y: 2 * y, lambda x: 3 * x)
        >>> lowered = [jax.jit(each).lower(jnp.ones(3)) for each in functions]
        >>> digests = [digest_program(each) for each in lowered]
        >>> digests[0] == digests[1], digests[0] == digests[2]
        (True, False)
    """
    text = lowered.as_text()
    if CALLBACK.search(text):
        raise InputError(
            "a jitted function calls back into Python (jax.pure_callback, "
            "jax.experimental.io_callback or jax.debug.print), so its results cannot "
            "be traced to its program; remove the call"
        )
    names = {name: f"@{i}" for i, name in enumerate(DEFINITION.findall(text))}
    text = re.sub(r"@([\w.$-]+)", lambda match: names.get(match[1], match[0]), text)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def versions() -> dict[str, str]:
    """Return the versions of the packages that turn a program into numbers."""
    return {name: version(name) for name in PACKAGES}


def settings() -> dict[str, str]:
    """Return JAX's settings that affect results, and the kind of device."""
    return {
        "device": jax.devices()[0].device_kind,
        "prng": str(jax.config.values["jax_default_prng_impl"]),
        "enable_x64": str(jax.config.values["jax_enable_x64"]),
        "matmul_precision": str(jax.config.values["jax_default_matmul_precision"]),
    }


def set_up_compiler() -> None:
    """Keep compiled programs in the user's cache folder for later runs.

    It is safe to delete.

    Each machine has its own folder, because a program compiled for one CPU may not run
    on another that shares the home directory. At LLVM's level 2, programs run as fast
    as at level 3, but compile in three quarters of the time.
    """
    folder = platformdirs.user_cache_path("mnistsum") / f"xla-{platform.node()}"
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    os.environ["XLA_FLAGS"] = (
        f"--xla_backend_optimization_level=2 {os.environ.get('XLA_FLAGS', '')}"
    )
