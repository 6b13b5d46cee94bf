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
from pathlib import Path
from statistics import median

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
EXPLAINED = """\
Medians over five rounds, in seconds: from the command until JAX is imported, tracing begins and the work ends; the sums
over its threads, which overlap, of tracing, lowering and compilation; and its CPU time. A first step is that of
`base`'s network, with ten more; `sprint` is its whole command. Cold: with an empty compilation cache; warm: after a
cold one."""


def main() -> None:
    """Measure each command in turn, and write the table."""
    step = ("experiments.benchmark.first_step", "compact", "mnistsum bfloat16", "0")
    measurements: dict[str, list[dict[str, float]]] = {}
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory() as cache:
            for name in ("first step, cold", "first step, warm"):
                measurements.setdefault(name, []).append(measure(cache, *step))
        with tempfile.TemporaryDirectory() as cache:
            run = ("experiments.run", "--config", "sprint", "--output", f"{cache}/run")
            measurements.setdefault("`sprint`, cold", []).append(measure(cache, *run))
    header = ["", *next(iter(measurements.values()))[0]]
    rows = [
        [name, *(f"{median(run[key] for run in runs):.1f}" for key in header[1:])]
        for name, runs in measurements.items()
    ]
    provenance = environment.describe("python -m experiments.studies.startup")
    versions = ", ".join(f"{name} {version}" for name, version in provenance["versions"].items())
    machine = environment.machine(provenance["cores"], provenance["hardware"])
    head = f"`{provenance['command']}`, commit {provenance['commit']}, on {machine}; "
    write_whole(PAGE, f"# The first seconds\n\n{head}{versions}.\n\n{EXPLAINED}\n\n{table(header, rows)}\n")


def measure(cache: str, *command: str) -> dict[str, float]:
    """Return the seconds of each phase of a command, run in a process of its own."""
    environ = os.environ | {"XDG_CACHE_HOME": cache, "STARTED": str(time.time())}
    run = [sys.executable, "-m", "experiments.studies.startup", *command]
    done = subprocess.run(run, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stderr.splitlines()[-1])


def observe(*command: str) -> None:
    """Run a module as a command, and print the seconds of its phases as a last line of standard error."""
    started, phases = float(os.environ["STARTED"]), {}
    phases["JAX imported"] = time.time() - started
    phases |= dict.fromkeys(["tracing begins", *PHASES], 0.0)

    def add(event: str, duration_secs: float, **_: str | int) -> None:
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
