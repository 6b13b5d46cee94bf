"""How programs have XLA compile: kept between runs, and soon rather than best."""

import hashlib
import os
import platform
from pathlib import Path

import jax
import platformdirs
from jax._src import compilation_cache  # no public module lets the cache be replaced

from mnistsum.files import write_whole


def set_up_compiler() -> None:
    """Keep compiled programs in the user's cache folder, so that the next run starts at once; safe to delete.

    One folder a machine: a program compiled for one CPU may not run on another that shares the home directory.
    LLVM is asked for its second level: programs run as fast as at the third, and compile in three quarters of the time.
    """
    folder = platformdirs.user_cache_path("mnistsum") / f"xla-{platform.node()}"
    # A JAX that asks for its cache elsewhere keeps nothing: its own cache would be trusted unchecked.
    if hasattr(compilation_cache, "get_file_cache"):
        compilation_cache.get_file_cache = lambda path: (Programs(Path(path)), path)
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    os.environ["XLA_FLAGS"] = f"--xla_backend_optimization_level=2 {os.environ.get('XLA_FLAGS', '')}"


class Programs:
    """Compiled programs by JAX's key, a file each: SHA-256, then what JAX keeps.

    It takes the place of JAX's own file cache, which hands a damaged file to XLA, which crashes the process, or fails
    on it again in every run. Each file is checked when it is asked for, as checking all of them at the start would slow
    the start as the cache grows. A damaged one counts as missing: it is compiled anew, and replaced. Files are replaced
    whole and never deleted or locked, so that processes that share the folder see the old or the new.
    """

    def __init__(self, folder: Path):
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder  # the name under which JAX logs it

    def get(self, key: str) -> bytes | None:
        try:
            content = (self._path / key).read_bytes()
        except FileNotFoundError:
            return None
        digest, program = content[:32], content[32:]
        return program if hashlib.sha256(program).digest() == digest else None

    def put(self, key: str, value: bytes) -> None:
        write_whole(self._path / key, hashlib.sha256(value).digest() + value)
