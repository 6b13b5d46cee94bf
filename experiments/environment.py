"""What a result depends on besides its config: code, versions, device."""

import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import platformdirs

PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy")


def describe() -> dict[str, Any]:
    """Command, commit, versions and device, for `run.json` and for results."""
    return {
        "command": shlex.join(["python", "-m", f"experiments.{Path(sys.argv[0]).stem}", *sys.argv[1:]]),
        "commit": _git("rev-parse", "HEAD"),
        "clean": _git("status", "--porcelain", "--untracked-files=no") == "",
        "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
        "device": device(),
        "devices": jax.device_count(),
        "processes": jax.process_count(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "matmul_precision": jax.config.values["jax_default_matmul_precision"] or "default",
    }


def set_up_compiler() -> None:
    """Keeps compiled programs in the user's cache folder, so that the next run starts at once; safe to delete.

    One folder a machine: a program compiled for one CPU may not run on another that shares the home directory.
    LLVM is asked for its second level: programs run as fast as at the third, and compile in three quarters of the time.
    """
    folder = platformdirs.user_cache_path("mnistsum") / f"xla-{platform.node()}"
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    os.environ["XLA_FLAGS"] = f"--xla_backend_optimization_level=2 {os.environ.get('XLA_FLAGS', '')}"


def in_background(function: Callable[..., Any], *arguments: Any) -> Future:
    """A call that goes on beside this thread: XLA compiles while Python prints and reads files."""
    pool = ThreadPoolExecutor(1)
    future = pool.submit(function, *arguments)
    pool.shutdown(wait=False)  # takes no more calls
    return future


def peak_memory() -> int:
    """The most bytes that this process has had in memory; Linux only.

    Not getrusage's ru_maxrss, which a child begins with its parent's.
    """
    status = Path("/proc/self/status").read_text()
    return 1024 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))


def device() -> str:
    """The kind of device that computes, such as `cpu` or `NVIDIA H100`."""
    return jax.devices()[0].device_kind


def _git(*arguments: str) -> str | None:
    """What git says of this checkout; None outside one, or without git."""
    try:
        run = subprocess.run(["git", *arguments], cwd=Path(__file__).parent, capture_output=True, text=True)
    except FileNotFoundError:
        return None
    return run.stdout.strip() if run.returncode == 0 else None
