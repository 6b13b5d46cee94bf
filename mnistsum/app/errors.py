"""How every program ends: with an exit status and, for an error, one line on standard error."""

import contextlib
import gc
import os
import re
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mnistsum.app.command_line import fitted_help
from mnistsum.errors import InputError

EXPECTED = (InputError, OSError, FloatingPointError)  # errors reported without a traceback
CLOSED_PIPE = 141  # as a shell reports a program ended by SIGPIPE
TILDE = re.compile(r"(--[\w-]+=|[a-z_.]+=)~(?=/|$)")  # a ~ that the shell does not expand


def run(command: Callable[[list[str]], int], arguments: list[str]) -> None:
    """Run a program and end the process with its exit status.

    The status is 2 for an InputError, 130 for Ctrl-C, 141 for a closed pipe, and 1 for any other error, such as a full
    disk or a loss that is not finite.
    """
    # The objects of JAX, Flax and Matplotlib stay alive: scanning them for garbage repeatedly, and again at exit, would
    # take a second of each command.
    gc.set_threshold(100_000, 10, 10)
    os.environ["MPLBACKEND"] = "agg"  # figures go to files only, and a notebook's backend may not be installed
    for stream in (sys.stdout, sys.stderr):  # they may only take ASCII, but a file may have any name
        if stream is not None:
            stream.reconfigure(errors="backslashreplace")  # pyright: ignore[reportAttributeAccessIssue] - a TextIOWrapper
    warnings.formatwarning = lambda message, *_, **__: f"warning: {printable(str(message))}\n"
    warnings.filterwarnings("ignore", module="PIL")  # about damaged pictures, which are read, or refused in one line
    asks_help = not {"-h", "--help"}.isdisjoint(arguments)
    try:
        with fitted_help() if asks_help else contextlib.nullcontext():
            try:
                sys.exit(command([TILDE.sub(lambda match: f"{match[1]}{Path.home()}", word) for word in arguments]))
            finally:
                _flush_output()  # here, as an error at interpreter exit would not be reported in one line
    except BrokenPipeError:
        discard_output()
        sys.exit(CLOSED_PIPE)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        sys.exit(report_error(error))
    finally:
        gc.freeze()


def report_error(error: Exception) -> int:
    """Print an error in one line on standard error; return the exit status.

    The traceback of an unexpected error is written to a file, which the line names.
    """
    if isinstance(error, EXPECTED):
        message = str(error)
    elif _is_missing_platform(error):
        error = InputError(f"JAX_PLATFORMS={os.environ['JAX_PLATFORMS']}: JAX finds none of these here; unset it")
        message = str(error)
    else:
        frames = traceback.extract_tb(error.__traceback__)
        ours = [frame for frame in frames if "site-packages" not in frame.filename]
        last = (ours or frames)[-1]  # if mnistsum is installed there, no frame is ours
        first_line = next(iter(str(error).strip().splitlines()), "")
        message = (
            f"{type(error).__name__} at {Path(last.filename).name}:{last.lineno}: {first_line} "
            f"({_keep_traceback(error)})"
        )
    print(f"error: {printable(message)}", file=sys.stderr)
    return 2 if isinstance(error, InputError) else 1


def _keep_traceback(error: Exception) -> str:
    """Write an error's traceback to a file; return a phrase that says where it is."""
    options: dict[str, Any] = {"prefix": "mnistsum-", "suffix": ".txt", "delete": False}
    try:
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", errors="backslashreplace", **options) as file:
            traceback.print_exception(error, file=file)
    except OSError as failure:
        return f"the traceback could not be written: {failure.strerror or failure}"
    return f"the traceback is in {file.name}"


def _flush_output() -> None:
    """Flush standard output; any error but a closed pipe is raised as an OSError that names standard output."""
    if sys.stdout is None:
        return
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        discard_output()
        raise OSError(f"standard output: {error.strerror or error}") from None


def discard_output() -> None:
    """Redirect standard output, which nobody reads, to the null device, so that Python can flush it at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def printable(text: str) -> str:
    """Return a text with its control characters escaped, so that no file name can control the terminal."""
    return "".join(
        letter if letter.isprintable() or letter == "\t" else letter.encode("unicode_escape").decode("ascii")
        for letter in text
    )


def _is_missing_platform(error: Exception) -> bool:
    """Return whether JAX has found none of the platforms that the user's environment asks for."""
    frames = traceback.extract_tb(error.__traceback__)
    is_from_jax = any(frame.filename.endswith("xla_bridge.py") for frame in frames)
    return "JAX_PLATFORMS" in os.environ and is_from_jax and isinstance(error, RuntimeError | AssertionError)
