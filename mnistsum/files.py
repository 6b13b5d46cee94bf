"""Files that are written whole or not at all, and named arrays that are checked byte for byte when read."""

import contextlib
import hashlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import safetensors
import safetensors.flax

from mnistsum.errors import InputError, first_line

PARTIAL = ".partial"  # suffix of files that are being written or were left by a killed process
DIGEST = "sha256"  # metadata key for the digest of arrays and metadata
FORMAT = "2"  # format version of array files, in their metadata; any other is refused


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file atomically: on failure, the old one stays. Other processes may write and read it at the same time.

    Raises:
        OSError: if writing fails; it names path and cause.
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
        sync(path.parent)


def sync(folder: Path) -> None:
    """Wait until a folder's entries are on disk, except on Windows, which has no such call."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn any OSError from writing into one that names the path and the cause."""
    try:
        yield
    except OSError as error:
        raise OSError(f"{path}: could not be written: {error.strerror or error}") from error


def save_arrays(path: Path, arrays: dict[str, Any], metadata: dict[str, str]) -> None:
    """Write named arrays and their metadata as one safetensors file, with a digest of both."""
    arrays = {name: jax.numpy.asarray(array) for name, array in arrays.items()}
    metadata = metadata | {"format": FORMAT}
    content = safetensors.flax.save(arrays, metadata | {DIGEST: _digest(arrays, metadata)})
    write_whole(path, content)


def load_arrays(path: Path) -> tuple[dict[str, jax.Array], dict[str, str]]:
    """Return the arrays and the metadata of a file that `save_arrays` wrote.

    Raises:
        InputError: if it is missing, or not byte for byte what was saved.
    """
    if path.is_symlink():
        raise InputError(f"{path}: expected a file, found a symbolic link; give what it points to")
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        with safetensors.safe_open(path, "flax") as file:
            metadata = dict(file.metadata() or {})
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except (OSError, ValueError, TypeError, KeyError, safetensors.SafetensorError) as error:
        raise InputError(f"{path}: cannot be read as safetensors: {first_line(error)}") from None
    if metadata.get("format") != FORMAT:
        found = metadata.get("format", "none")
        raise InputError(f"{path}: expected format {FORMAT} of mnistsum, found {found}; use the version that wrote it")
    if metadata.pop(DIGEST, None) != _digest(arrays, metadata):
        raise InputError(f"{path}: altered: not the bytes that were saved")
    return arrays, metadata


def _digest(arrays: dict[str, Any], metadata: dict[str, str]) -> str:
    """Return the SHA-256 of the metadata and of the arrays' names, types, shapes and bytes."""
    digest = hashlib.sha256()
    for name, text in sorted(metadata.items()):
        digest.update(f"{name}={text}\n".encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode() + np.asarray(array).tobytes())
    return digest.hexdigest()


def first_difference(expected: dict[str, Any], found: dict[str, Any]) -> str | None:
    """Describe the first array, in the order of names, whose type or shape differs; return None if none does."""
    for name in sorted(expected.keys() | found.keys()):
        expected_array, found_array = (_describe(side.get(name)) for side in (expected, found))
        if expected_array != found_array:
            return f"expected {name} to be {expected_array}, found {found_array}"
    return None


def _describe(array: Any) -> str:
    return "absent" if array is None else f"{np.dtype(array.dtype).name}{list(array.shape)}"
