"""JSON that comes from outside: one error, of one line, for whatever is wrong with it. JAX is not imported here."""

import json
import math
from pathlib import Path
from typing import Any

from mnistsum.errors import InputError

MAX_BYTES = 2**26  # bytes of a file


def parse_json(text: str | bytes, source: str) -> Any:
    """Return the value of a JSON text.

    Raises:
        InputError: where it is none: wrong syntax or bytes, nested too deeply, or with a number of thousands of digits.
    """
    try:
        return json.loads(text.decode() if isinstance(text, bytes) else text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{source}: not JSON: {str(error).splitlines()[0]}") from None


def finite(value: Any) -> Any:
    """Return a value for JSON, which knows no number that is not finite: None stands for such.

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
    """Return the value of a JSON file; InputError where there is none."""
    return parse_json(_read(path), str(path))


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """Return the objects of a file that holds one a line; InputError where a line is none."""
    lines = [parse_json(line, f"{path}, line {i}") for i, line in enumerate(_read(path).splitlines(), 1)]
    for i, line in enumerate(lines, 1):
        if not isinstance(line, dict):
            raise InputError(f"{path}, line {i}: expected a JSON object, found {type(line).__name__}")
    return lines


def _read(path: Path) -> bytes:
    try:
        if not path.is_file():  # nor a folder, nor a pipe that nobody writes to
            raise InputError(f"{path}: no such file")
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"{path}: expected at most {MAX_BYTES:,} bytes of JSON, found {path.stat().st_size:,}")
        return path.read_bytes()
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from None
