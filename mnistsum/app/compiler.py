"""XLA compilation for every program: cached between runs, and quick rather than optimal."""

import hashlib
import os
import platform
from pathlib import Path

import jax
import platformdirs

from mnistsum.files import write_whole

try:
    from jax._src import compilation_cache  # no public API lets the cache be replaced
except ImportError:
    compilation_cache = None


def set_up_compiler() -> None:
    """Keep compiled programs in the user's cache folder, so that the next run starts at once; safe to delete.

    One folder per machine: a program compiled for one CPU may not run on another that shares the home directory.
    LLVM optimizes at level 2: programs run as fast as at level 3, and compile in three quarters of the time.
    """
    folder = platformdirs.user_cache_path("mnistsum") / f"xla-{platform.node()}"
    # If JAX lacks this function, nothing is cached: JAX's own cache does not detect damaged files.
    if compilation_cache and hasattr(compilation_cache, "get_file_cache"):
        compilation_cache.get_file_cache = lambda path: (Programs(Path(path)), path)
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    os.environ["XLA_FLAGS"] = f"--xla_backend_optimization_level=2 {os.environ.get('XLA_FLAGS', '')}"


class Programs:
    """A cache of compiled programs, one file per JAX key: a SHA-256 digest, then JAX's content.

    This replaces JAX's own file cache, which passes damaged files to XLA: the process crashes, or every later run
    fails, too. Each file is checked when it is read; checking all of them at startup would take longer as the cache
    grows. A damaged file counts as missing: the program is recompiled, and the file replaced. Files are replaced
    atomically and never deleted or locked, so processes that share the folder see the old or the new one.
    """

    def __init__(self, folder: Path):
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder  # JAX reads it by this name, for its log

    def get(self, key: str) -> bytes | None:
        try:
            content = (self._path / key).read_bytes()
        except FileNotFoundError:
            return None
        digest, program = content[:32], content[32:]
        return program if hashlib.sha256(program).digest() == digest else None

    def put(self, key: str, value: bytes) -> None:
        write_whole(self._path / key, hashlib.sha256(value).digest() + value)
