"""Atomic writes, and reads whose errors are one line that names the file."""

import contextlib
import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mnistsum.errors import InputError, first_line

# suffix of files that are being written or were left by a killed process
PARTIAL = ".partial"


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file atomically, so that an old one stays on failure.

    Other processes may write or read it meanwhile.

    Raises:
        OSError: if writing fails; the message names path and cause.
    """
    partial = path.with_name(f".{path.name}-{uuid.uuid4().hex}{PARTIAL}")
    with writing(path):
        try:
            with partial.open("wb") as file:
                file.write(content.encode() if isinstance(content, str) else content)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        if os.name == "posix":  # put the folder's entry on disk, too
            descriptor = os.open(path.parent, os.O_RDONLY)
            os.fsync(descriptor)
            os.close(descriptor)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn any OSError from writing into one that names the path and the cause."""
    try:
        yield
    except OSError as error:
        raise OSError(
            f"{path}: could not be written: {error.strerror or error}"
        ) from error


def make_folder(folder: Path) -> None:
    """Create a folder and its parents, or raise an OSError that names the folder."""
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON, atomically."""
    write_whole(path, json.dumps(value, indent=2) + "\n")


def read_bytes(path: Path) -> bytes:
    """Return the content of a file; raise InputError if it cannot be read."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None


def read_text(path: Path) -> str:
    """Return the text of a file; raise InputError if it cannot be read."""
    try:
        return read_bytes(path).decode()
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: cannot be read: {first_line(error)}") from None


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file; raise InputError if there is none."""
    return _parse(read_text(path), str(path))


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """Return the objects of a file with one in each line."""
    return [
        _parse(line, f"{path}, line {i}")
        for i, line in enumerate(read_text(path).splitlines(), 1)
    ]


def _parse(text: str, source: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise InputError(f"{source}: not JSON: {first_line(error)}") from None
    if not isinstance(value, dict):
        raise InputError(
            f"{source}: expected a JSON object, found {type(value).__name__}"
        )
    return value
