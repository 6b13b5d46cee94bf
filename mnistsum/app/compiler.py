"""The compiler settings of every program: a cache between runs, and quick rather than optimal compilation."""

import os
import platform

import jax
import platformdirs


def set_up_compiler() -> None:
    """Keep compiled programs in the user's cache folder, so that the next run starts at once; it is safe to delete.

    Each machine has its own folder, because a program compiled for one CPU may not run on another that shares the home
    directory. At LLVM's level 2, programs run as fast as at level 3, but compile in three quarters of the time.
    """
    folder = platformdirs.user_cache_path("mnistsum") / f"xla-{platform.node()}"
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    os.environ["XLA_FLAGS"] = f"--xla_backend_optimization_level=2 {os.environ.get('XLA_FLAGS', '')}"
