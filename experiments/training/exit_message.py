"""Forwards the standard error of a process in a distributed run, and reports a lost process in a single line.

This is a separate program because JAX's runtime, when it loses the coordinator, prints and ends the process itself, out
of Python's reach.
"""

import re
import signal
import sys

PROCESS_LOST = "error: lost another process of this run ({}); restart all processes with --resume"
JAX_FATAL_ERROR = re.compile("Polled an error from coordination service|JAX distributed service detected fatal errors")


def main() -> None:
    """Copy standard input to standard error up to the line that reports a lost process; discard the rest."""
    for number in (signal.SIGINT, signal.SIGTERM):  # which may be sent to the whole process group
        signal.signal(number, signal.SIG_IGN)
    process_lost = False
    for line in sys.stdin:
        if process_lost:
            continue
        if JAX_FATAL_ERROR.search(line):
            line = PROCESS_LOST.format("JAX's runtime reports it") + "\n"
        process_lost = line.startswith(PROCESS_LOST.partition("(")[0])
        print(line, end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
