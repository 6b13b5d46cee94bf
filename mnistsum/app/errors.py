"""How every program ends: an error is one line on standard error, and an exit status."""

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

from mnistsum.app.command_line import fitted_help
from mnistsum.errors import InputError

EXPECTED = (InputError, OSError, FloatingPointError)  # errors that are told in one line
CLOSED_PIPE = 141  # as a shell reports a program that SIGPIPE has ended
OF_HOME = re.compile(r"(--[\w-]+=|[a-z_.]+=)~(?=/|$)")  # where the shell does not put the home folder's name


def run(command: Callable[[list[str]], int], arguments: list[str]) -> None:
    """Run a program and end the process with its exit status.

    The status is 2 for an InputError, 130 for Ctrl-C, and 1 for what the machine or the numbers do, such as a full disk
    or a loss that is not finite.
    """
    # What JAX, Flax and Matplotlib make stays: to look through it for garbage all the time, and again at the end, would
    # take a second of each command.
    gc.set_threshold(100_000, 10, 10)
    os.environ["MPLBACKEND"] = "agg"  # files alone are drawn, and what a notebook asks for may not be installed
    for stream in (sys.stdout, sys.stderr):  # which may know ASCII alone, while a file may have any name
        if stream is not None:
            stream.reconfigure(errors="backslashreplace")  # pyright: ignore[reportAttributeAccessIssue] - a TextIOWrapper
    warnings.formatwarning = lambda message, *_, **__: f"warning: {printable(str(message))}\n"
    asks_help = not {"-h", "--help"}.isdisjoint(arguments)
    try:
        with fitted_help() if asks_help else contextlib.nullcontext():
            try:
                sys.exit(command([OF_HOME.sub(lambda found: f"{found[1]}{Path.home()}", each) for each in arguments]))
            finally:
                _flush_output()  # here, as an error at Python's own end would not be told in a line
    except BrokenPipeError:
        discard_output()
        sys.exit(CLOSED_PIPE)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        sys.exit(tell(error))
    finally:
        gc.freeze()


def tell(error: Exception) -> int:
    """Print an error in one line on standard error; return the exit status.

    The traceback of an error that nobody expected goes to a file, which the line names.
    """
    if isinstance(error, EXPECTED):
        said = str(error)
    elif _is_missing_platform(error):
        error = InputError(f"JAX_PLATFORMS={os.environ['JAX_PLATFORMS']}: JAX finds none of these here; unset it")
        said = str(error)
    else:
        frames = traceback.extract_tb(error.__traceback__)
        ours = [frame for frame in frames if "site-packages" not in frame.filename]
        last = (ours or frames)[-1]  # of an installed package, all frames lie there
        message = next(iter(str(error).strip().splitlines()), "")
        said = (
            f"{type(error).__name__} at {Path(last.filename).name}:{last.lineno}: {message} ({_keep_traceback(error)})"
        )
    print(f"error: {printable(said)}", file=sys.stderr)
    return 2 if isinstance(error, InputError) else 1


def _keep_traceback(error: Exception) -> str:
    """Write an error's traceback into a file; where it lies, in words."""
    try:
        with tempfile.NamedTemporaryFile("w", prefix="mnistsum-", suffix=".txt", delete=False) as file:
            traceback.print_exception(error, file=file)
    except OSError as failure:
        return f"no file could take the traceback: {failure.strerror or failure}"
    return f"the traceback is in {file.name}"


def _flush_output() -> None:
    """Write what Python holds back of standard output; an error names it."""
    if sys.stdout is None:
        return
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        discard_output()
        raise OSError(f"standard output: {error.strerror or error}") from None


def silence_pillow() -> None:
    """Drop Pillow's warnings of damaged files, for the whole process, as pictures are read in threads."""
    warnings.filterwarnings("ignore", module="PIL")


def discard_output() -> None:
    """Send to nowhere what Python holds back for a standard output that nobody reads, and writes as it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def printable(text: str) -> str:
    """Return a text whose control characters are escaped, so that no file's name commands the terminal."""
    return "".join(
        letter if letter.isprintable() or letter == "\t" else letter.encode("unicode_escape").decode("ascii")
        for letter in text
    )


def _is_missing_platform(error: Exception) -> bool:
    """Return whether JAX has found none of the platforms that the user's environment asks for."""
    frames = traceback.extract_tb(error.__traceback__)
    of_jax = any(frame.filename.endswith("xla_bridge.py") for frame in frames)
    return "JAX_PLATFORMS" in os.environ and of_jax and isinstance(error, RuntimeError | AssertionError)
