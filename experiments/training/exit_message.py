"""Passes on what a process of a shared run says on standard error; how it lost another one becomes a single line.

A program of its own, as JAX's runtime writes and ends the process on its own where the coordinator is lost, beyond the
reach of Python.
"""

import re
import signal
import sys

PARTED = "error: parted from another process of this run ({}); start all again with --resume"
OF_JAX = re.compile("Polled an error from coordination service|JAX distributed service detected fatal errors")


def main() -> None:
    """Copy standard input to standard error until the run is parted, then read it to its end."""
    for number in (signal.SIGINT, signal.SIGTERM):  # which may reach a whole group of processes
        signal.signal(number, signal.SIG_IGN)
    parted = False
    for line in sys.stdin:
        if parted:
            continue
        if OF_JAX.search(line):
            line = PARTED.format("JAX's runtime reports it") + "\n"
        parted = line.startswith(PARTED.partition("(")[0])
        print(line, end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
