"""What every program shares: parsing its command line, and ending with a status."""

import argparse
import gc
import os
import re
import sys
import textwrap
import warnings
from collections.abc import Callable
from typing import Any, NoReturn

from mnistsum.errors import InputError, did_you_mean

CLOSED_PIPE = 141  # as a shell reports a program ended by SIGPIPE


class Parser(argparse.ArgumentParser):
    """A parser whose help shows defaults and which raises its errors."""

    def __init__(self, **options: Any):
        super().__init__(allow_abbrev=False, formatter_class=HelpFormatter, **options)

    def parse_known_args(self, *arguments: Any, **options: Any) -> Any:
        """Parse arguments as argparse does; raise InputError if any is unknown."""
        known, others = super().parse_known_args(*arguments, **options)
        if others:
            self.error(f"unrecognized arguments: {' '.join(others)}")
        return known, others

    def error(self, message: str) -> NoReturn:
        """Raise an InputError that suggests the nearest option or choice."""
        unknown = message.removeprefix("unrecognized arguments: ").split()[0]
        hint = ""
        if unknown.startswith("-"):
            hint = did_you_mean(unknown, self._option_string_actions)
        if choice := re.search(
            r"invalid choice: '(\D.*)' \(choose from (.*)\)", message
        ):
            hint = did_you_mean(choice[1], re.findall(r"[^', ]+", choice[2]))
        raise InputError(f"{message}{hint}; {self.prog} --help lists what there is")


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Shows defaults except None and False, and wraps each paragraph on its own."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        is_off = action.default is None or action.default is False
        return action.help if is_off else super()._get_help_string(action)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        lines = re.sub(r"(?<=\S)\n(?=\S)", " ", text).splitlines()
        return "\n".join(
            textwrap.fill(line, width, subsequent_indent=" " * 6 * line.startswith(" "))
            for line in lines
        )


def _show_once() -> Callable[..., None]:
    """Return what shows a warning in one line, each text once."""
    shown: set[str] = set()

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        if str(message) not in shown:
            shown.add(str(message))
            print(f"warning: {message}", file=sys.stderr)

    return show


def run(command: Callable[[list[str]], int], arguments: list[str]) -> None:
    """Run a program and end the process with its exit status.

    The status is 2 after an InputError, and 1 after a full disk or a number that is not
    finite. Each is reported in one line. It is 130 after Ctrl-C. Any other exception
    shows Python's traceback. If it passed through a user's file, the traceback begins
    there, unless the environment variable MNISTSUM_FULL_TRACEBACK is set.
    """
    # The objects of JAX, Flax and Matplotlib stay alive. Scanning them for garbage
    # again and again, also at exit, would take a second of each command.
    gc.set_threshold(100_000, 10, 10)
    warnings.showwarning = _show_once()
    try:
        status = command(arguments)
        sys.stdout.flush()
    except BrokenPipeError:  # as after `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = CLOSED_PIPE
    except KeyboardInterrupt:
        status = 130
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        status = 2
    except Exception as error:
        # not imported here, because it imports JAX
        registry = sys.modules.get("mnistsum.registry")
        text = registry and registry.users_traceback(error)
        if not text and isinstance(error, OSError | FloatingPointError):
            text = f"error: {error}\n"
        if not text or "MNISTSUM_FULL_TRACEBACK" in os.environ:
            raise
        print(text, end="", file=sys.stderr)
        status = 1
    finally:
        gc.freeze()
    sys.exit(status)
