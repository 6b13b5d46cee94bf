"""What a result depends on besides its config: code, versions, device, memory."""

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax

PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy")


def describe(command: str) -> dict[str, Any]:
    """Return command, commit, versions and hardware, for `run.json` and for results."""
    changes = _git("status", "--porcelain", "--untracked-files=no")
    return {
        "command": command,
        "commit": _git("rev-parse", "HEAD"),
        "clean": None if changes is None else not changes,
        "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
        "device": device(),
        "hardware": hardware(),
        "devices": jax.device_count(),
        "processes": jax.process_count(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory": memory(),
        "matmul_precision": matmul_precision(),
    }


def trained_with(runs: list[dict[str, Any]]) -> dict[str, str]:
    """Return commit, versions, hardware and cores by name, from the `run.json` of runs; different values are joined."""
    values_by_name: dict[str, dict[str, None]] = {}
    for run in runs:
        commit = (run["commit"] or "unknown") + (" with changes" if run["clean"] is False else "")
        run_values = {"commit": commit, **run["versions"], "hardware": run["hardware"], "cores": run["cores"]}
        for name, value in run_values.items():
            values_by_name.setdefault(name, {})[str(value)] = None
    return {name: ", ".join(values) for name, values in values_by_name.items()}


def machine(cores: int | str, hardware: str) -> str:
    """Describe, for a table, the machine of a run, such as "2 cores of AMD EPYC"."""
    return f"{cores} {'core' if str(cores) == '1' else 'cores'} of {hardware}"


def memory() -> int:
    """Return the bytes of this machine's memory."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def matmul_precision() -> str:
    """Return JAX's precision setting for float32 matrix products."""
    return jax.config.values["jax_default_matmul_precision"] or "default"


def xla_flags() -> str:
    """Return the XLA flags that are set, without the number of virtual devices, as no record holds `devices`."""
    flags = set(os.environ.get("XLA_FLAGS", "").split())
    return " ".join(sorted(flag for flag in flags if "force_host_platform_device_count" not in flag)) or "none"


def hardware() -> str:
    """Return the model name of the accelerator in use, or else of the CPU."""
    if jax.default_backend() != "cpu":
        return device()
    names = Path("/proc/cpuinfo")  # Linux only
    lines = names.read_text().splitlines() if names.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def peak_memory() -> int:
    """Return this process's peak memory in bytes; Linux only.

    getrusage's ru_maxrss would not do: a child process inherits its parent's value.
    """
    status = Path("/proc/self/status").read_text()
    return 1024 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))


def device() -> str:
    """Return the kind of device in use, such as `cpu` or `NVIDIA H100`."""
    return jax.devices()[0].device_kind


def _git(*arguments: str) -> str | None:
    """Return git's output for this checkout; None outside a checkout or without git."""
    try:
        run = subprocess.run(["git", *arguments], cwd=Path(__file__).parent, capture_output=True, text=True)
    except FileNotFoundError:
        return None
    return run.stdout.strip() if run.returncode == 0 else None
