"""JSON from outside: whatever is wrong with it raises an InputError of one line. JAX is not imported here."""

import json
import math
from pathlib import Path
from typing import Any

from mnistsum.errors import InputError, first_line

MAX_BYTES = 2**26  # of a file


def parse_json(text: str | bytes, source: str) -> Any:
    """Return the value of a JSON text.

    Raises:
        InputError: if it is not JSON, has invalid bytes, is nested too deeply, or holds a number with thousands of
            digits.
    """
    try:
        return json.loads(text.decode() if isinstance(text, bytes) else text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{source}: not JSON: {first_line(error)}") from None


def finite(value: Any) -> Any:
    """Return a value for JSON, with None for numbers that are not finite, which JSON does not have.

    Examples:
        >>> from mnistsum.json_files import finite
        >>> finite({"losses": [0.5, float("nan")]})
        {'losses': [0.5, None]}
    """
    if isinstance(value, dict):
        return {name: finite(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_json(path: Path) -> Any:
    """Return the value of a JSON file; raise InputError if the file is missing, too large or not JSON."""
    return parse_json(_read(path), str(path))


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """Return the objects of a file with one per line; InputError if a line is not an object."""
    lines = [parse_json(line, f"{path}, line {i}") for i, line in enumerate(_read(path).splitlines(), 1)]
    for i, line in enumerate(lines, 1):
        if not isinstance(line, dict):
            raise InputError(f"{path}, line {i}: expected a JSON object, found {type(line).__name__}")
    return lines


def _read(path: Path) -> bytes:
    try:
        if not path.is_file():  # refuses a folder or a pipe, too, which may have no writer
            raise InputError(f"{path}: no such file")
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"{path}: expected at most {MAX_BYTES:,} bytes of JSON, found {path.stat().st_size:,}")
        return path.read_bytes()
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from None
