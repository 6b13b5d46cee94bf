"""One run in several processes, connected by JAX's distributed runtime: how they start and how they end."""

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator

import jax

from experiments.training import exit_message
from mnistsum.app import errors
from mnistsum.errors import InputError, first_line

HEARTBEAT = 30  # seconds without a heartbeat after which a process counts as lost, if no connection breaks


@contextlib.contextmanager
def join_processes(coordinator: str | None, processes: int | None, process: int | None) -> Iterator[None]:
    """Connect to the run's other processes; only the first process prints to standard output.

    Arguments that are None are taken from SLURM, Open MPI or the TPU pod; without any of these, InputError is raised.
    An error ends the process at once: if it waited for the others, they would wait for its share of a sum. A process
    that loses another reports it in one line.
    """
    forwarder = subprocess.Popen([sys.executable, "-I", exit_message.__file__], stdin=subprocess.PIPE)
    assert forwarder.stdin is not None
    os.dup2(forwarder.stdin.fileno(), 2)
    forwarder.stdin.close()
    # JAX would catch SIGTERM itself, and let the run go on.
    jax.config.update("jax_enable_preemption_service", False)
    if process == 0 and coordinator is not None:
        _check_is_free(coordinator)
        print(f"waiting for {processes} processes at {coordinator}", flush=True)
    try:
        jax.distributed.initialize(coordinator, processes, process, heartbeat_timeout_seconds=HEARTBEAT)
    except (ValueError, TypeError, IndexError) as error:
        raise InputError(
            "--distributed: expected a SLURM, Open MPI or TPU job, or all of --coordinator HOST:PORT, --processes N, "
            f"--process 0 to N-1; found {coordinator}, {processes}, {process} ({error})"
        ) from None
    if jax.process_index() > 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        print(exit_message.PROCESS_LOST.format(first_line(error)), file=sys.stderr)
        _flush_and_exit(forwarder, 1)
    except Exception as error:
        _flush_and_exit(forwarder, errors.report_error(error))


def _check_is_free(coordinator: str) -> None:
    """Check that this process can listen at HOST:PORT: if it cannot, JAX's service may crash the process."""
    port = coordinator.rpartition(":")[2]
    if not port.isdecimal() or not 0 < int(port) < 2**16:
        raise InputError(f"--coordinator {coordinator}: expected HOST:PORT, with a port of 1 to 65,535")
    try:
        socket.create_server(("", int(port))).close()
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise InputError(f"--coordinator {coordinator}: {reason}; name a free port of this machine") from None


def _flush_and_exit(forwarder: subprocess.Popen, status: int) -> None:
    """End the process once its standard error has been forwarded."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.close(2)
    forwarder.wait()
    os._exit(status)
