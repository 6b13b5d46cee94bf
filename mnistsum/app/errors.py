"""How every program ends: an expected error is one line on standard error, and an exit status."""

import gc
import sys
from collections.abc import Callable

from mnistsum.errors import InputError

EXPECTED = (InputError, OSError, FloatingPointError)  # errors that are told in one line


def run(command: Callable[[list[str]], int], arguments: list[str]) -> None:
    """Run a program and end the process with its exit status.

    The status is 2 for an InputError, 130 for Ctrl-C, and 1 for what the machine or the numbers do, such as a full disk
    or a loss that is not finite.
    """
    # What JAX, Flax and Matplotlib make stays: to look through it for garbage all the time, and again at the end, would
    # take a second of each command.
    gc.set_threshold(100_000, 10, 10)
    try:
        sys.exit(command(arguments))
    except EXPECTED as error:
        sys.exit(tell(error))
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        gc.freeze()


def tell(error: BaseException) -> int:
    """Print an expected error in one line on standard error; return the exit status."""
    print(f"error: {error}", file=sys.stderr)
    return 2 if isinstance(error, InputError) else 1
