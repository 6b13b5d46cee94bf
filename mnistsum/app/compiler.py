"""XLA compilation for every program: cached between runs, and quick rather than optimal."""

import os
import platform

import jax
import platformdirs


def set_up_compiler() -> None:
    """Keep compiled programs in the user's cache folder, so that the next run starts at once; safe to delete.

    One folder per machine: a program compiled for one CPU may not run on another that shares the home directory.
    LLVM optimizes at level 2: programs run as fast as at level 3, and compile in three quarters of the time.
    """
    folder = platformdirs.user_cache_path("mnistsum") / f"xla-{platform.node()}"
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    os.environ["XLA_FLAGS"] = f"--xla_backend_optimization_level=2 {os.environ.get('XLA_FLAGS', '')}"
