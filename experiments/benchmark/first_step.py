"""The seconds from the start of a process to the first step of one implementation.

`python -m experiments.benchmark.first_step NETWORK IMPLEMENTATION STARTED` trains it and prints, as JSON, the seconds
from STARTED (seconds since 1970) to the end of its first step, and its peak memory. PyTorch's side reads the data
through mnistsum, so its seconds include about one second for JAX's import.
"""

import json
import sys
import time

from experiments import environment
from experiments.benchmark.cases import OURS, PYTORCH, Implementation, config_of


def main(network: str, name: str, started: str) -> None:
    """Train one implementation: one step, then a few more."""
    side = _build(network, name)
    side.train()
    first = time.time() - float(started)
    for _ in range(10):
        side.train()
    print(json.dumps({"first_step": first, "peak_memory": environment.peak_memory()}))


def _build(network: str, name: str) -> Implementation:
    """Return the implementation."""
    config = config_of(network)
    if name in OURS:
        from experiments.benchmark.ours import ours  # imports are timed, so each side imports only its own
        from mnistsum.app.compiler import set_up_compiler  # imports JAX

        set_up_compiler()
        return ours(config, OURS[name], 1, 1)
    from experiments.benchmark.pytorch import pytorch  # as above

    return pytorch(config, *PYTORCH[name], 1, 1)


if __name__ == "__main__":
    main(*sys.argv[1:])
