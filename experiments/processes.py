"""One run in many processes, which JAX's own runtime brings together: how they meet, and how they part."""

import contextlib
import os
import sys
import traceback
from collections.abc import Iterator

import jax

from experiments import cli
from mnistsum.config import InputError

HEARTBEAT = 30  # seconds without a sign of life after which a process counts as lost, where no connection breaks


@contextlib.contextmanager
def together(coordinator: str | None, processes: int | None, process: int | None) -> Iterator[None]:
    """Waits for the run's other processes; of all of them, only the first prints to standard output.

    What is None is found from SLURM, Open MPI or the TPU's pod; InputError where there is none of them. An error ends
    the process at once: one that waited for the others' goodbye would leave them waiting for its share of a sum. A
    process whose peer is lost says so in one line; where it is the first that is lost, JAX itself aborts the others.
    """
    # JAX would catch SIGTERM itself, and let the run go on.
    jax.config.update("jax_enable_preemption_service", False)
    if process == 0:
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
    except cli.EXPECTED as error:
        _leave(cli.tell(error))
    except jax.errors.JaxRuntimeError as error:
        said = str(error).splitlines()[0]
        _leave(cli.tell(OSError(f"parted from another process of this run ({said}); start all again with --resume")))
    except BaseException:
        traceback.print_exc()
        _leave(1)


def _leave(status: int) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
