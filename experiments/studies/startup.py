"""Where the time before and after training goes: imports, tracing, compilation, and the rest.

`python -m experiments.studies.startup` writes results/startup.md.
"""

import json
import os
import resource
import runpy
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from statistics import median
from typing import Any

import jax.monitoring

from experiments import environment
from experiments.report.markdown import table
from mnistsum.files import write_whole

ROUNDS = 5
PAGE = Path("experiments/results/startup.md")
COMPILER = "/jax/core/compile/"
PHASES = {  # what JAX reports the seconds of, by thread
    "tracing": COMPILER + "jaxpr_trace_duration",
    "lowering": COMPILER + "jaxpr_to_mlir_module_duration",
    "compilation or reading the cache": COMPILER + "backend_compile_duration",
}
XLA_FLAGS = {  # set by the user, they take precedence over ours
    "level 0": "--xla_backend_optimization_level=0",
    "level 1": "--xla_backend_optimization_level=1",
    "level 2, as in all programs here": "",
    "level 3, the default of XLA": "--xla_backend_optimization_level=3",
    "level 2, without fusion emitters": "--xla_cpu_use_fusion_emitters=false",
}
EXPLAINED = """\
Medians over five rounds, in seconds: from the command until JAX is imported, tracing begins and the work ends; the sums
over its threads, which overlap, of tracing, lowering and compilation; and its CPU time. A first step is that of
`base`'s network, with ten more; `sprint` is its whole command. Cold: with an empty compilation cache; warm: after a
cold one."""
BY_PROGRAM = """\
Seconds of compilation of `sprint`, cold, by program (medians; programs below 0.1 s are summed). `advance` trains; two
threads compile at a time, so that each takes longer than alone."""
BY_FLAG = """\
`sprint` under options of XLA, cold, each in turn, medians and ranges over five rounds: seconds of compilation, summed
over threads, of the whole command and of training alone."""


def main() -> None:
    """Measure each command in turn, and write the tables."""
    step = ("experiments.benchmark.first_step", "compact", "mnistsum bfloat16", "0")
    sprint = ("experiments.run", "--config", "sprint", "--output")
    measurements: dict[str, list[dict[str, Any]]] = {}
    flagged: dict[str, list[dict[str, Any]]] = {}
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory() as cache:
            for name in ("first step, cold", "first step, warm"):
                measurements.setdefault(name, []).append(measure(cache, *step))
        for name, flags in XLA_FLAGS.items():
            with tempfile.TemporaryDirectory() as cache:
                measured = measure(cache, *sprint, f"{cache}/run", flags=flags)
                summary = json.loads(Path(cache, "run", "summary.json").read_text())
            flagged.setdefault(name, []).append(measured | {"training": summary["train_seconds"]})
            if not flags:
                measurements.setdefault("`sprint`, cold", []).append(measured)
    header = ["", "JAX imported", "tracing begins", *PHASES, "the end", "CPU time"]
    rows = [
        [name, *(f"{median(run[key] for run in runs):.1f}" for key in header[1:])]
        for name, runs in measurements.items()
    ]
    by_flag = ["options", "compilation, s", "whole command, s", "training, s"]
    flag_rows = [
        [
            name,
            *(_spread(run[key] for run in runs) for key in ("compilation or reading the cache", "the end", "training")),
        ]
        for name, runs in flagged.items()
    ]
    provenance = environment.describe("python -m experiments.studies.startup")
    versions = ", ".join(f"{name} {version}" for name, version in provenance["versions"].items())
    machine = environment.machine(provenance["cores"], provenance["hardware"])
    head = f"`{provenance['command']}`, commit {provenance['commit']}, on {machine}; "
    tables = [EXPLAINED, table(header, rows), BY_PROGRAM, _programs(measurements["`sprint`, cold"])]
    tables += [BY_FLAG, table(by_flag, flag_rows)]
    write_whole(PAGE, "\n\n".join(["# The first seconds", f"{head}{versions}.", *tables]) + "\n")


def _spread(values: Iterable[float]) -> str:
    """Return the median of some seconds and their range."""
    known = sorted(values)
    return f"{median(known):.1f} ({known[0]:.1f}-{known[-1]:.1f})"


def _programs(runs: list[dict[str, Any]]) -> str:
    """Return a table of the seconds that each program took to compile."""
    seconds = {name: median(run["programs"].get(name, 0.0) for run in runs) for name in runs[0]["programs"]}
    large = {name: value for name, value in seconds.items() if value >= 0.1}
    rows = [[f"`{name}`", f"{value:.1f}"] for name, value in sorted(large.items(), key=lambda item: -item[1])]
    rows.append([f"{len(seconds) - len(large)} others", f"{sum(seconds.values()) - sum(large.values()):.1f}"])
    return table(["program", "compilation, s"], rows)


def measure(cache: str, *command: str, flags: str = "") -> dict[str, Any]:
    """Return the seconds of each phase of a command, run in a process of its own under these flags of XLA."""
    environ = os.environ | {"XDG_CACHE_HOME": cache, "XLA_FLAGS": flags, "STARTED": str(time.time())}
    run = [sys.executable, "-m", "experiments.studies.startup", *command]
    done = subprocess.run(run, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stderr.splitlines()[-1])


def observe(*command: str) -> None:
    """Run a module as a command, and print the seconds of its phases as a last line of standard error."""
    started = float(os.environ["STARTED"])
    phases: dict[str, Any] = {"JAX imported": time.time() - started, "programs": {}}
    phases |= dict.fromkeys(["tracing begins", *PHASES], 0.0)

    def add(event: str, duration_secs: float, **what: str | int) -> None:
        if event == PHASES["compilation or reading the cache"]:
            name = str(what.get("fun_name", "unnamed"))
            phases["programs"][name] = phases["programs"].get(name, 0.0) + duration_secs
        if event == PHASES["tracing"] and not phases["tracing begins"]:
            phases["tracing begins"] = time.time() - duration_secs - started
        for name in (name for name, counted in PHASES.items() if counted == event):
            phases[name] += duration_secs

    jax.monitoring.register_event_duration_secs_listener(add)
    sys.argv = list(command)
    try:
        runpy.run_module(command[0], run_name="__main__", alter_sys=True)
    finally:
        phases["the end"] = time.time() - started
        used = resource.getrusage(resource.RUSAGE_SELF)
        phases["CPU time"] = used.ru_utime + used.ru_stime
        print(json.dumps(phases), file=sys.stderr)


if __name__ == "__main__":
    observe(*sys.argv[1:]) if sys.argv[1:] else main()
