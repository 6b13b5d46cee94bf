"""The four IDX files of a data set: found or downloaded, read, and verified by content.

Format: http://yann.lecun.com/exdb/mnist: a big-endian magic number and sizes, then one byte per value.
"""

import gzip
import hashlib
import http.client
import struct
import tempfile
import urllib.request
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
from jaxtyping import Int, UInt8

from mnistsum.errors import InputError, first_line
from mnistsum.files import write_whole

FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
URLS = {
    "fashion_mnist": "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    "kmnist": "http://codh.rois.ac.jp/kmnist/dataset/kmnist/",
}
# Digests of the decompressed files, in the order of FILES. MNIST: our own, of the files with the SHA-256 digests of
# tensorflow-datasets. Fashion-MNIST: as published by EntroMorphic/sstt (Makefile) and SomeB1oody/dataset-core. KMNIST:
# the MD5 keys of datasets-mila/datasets--kmnist, since no SHA-256 of its decompressed files is published.
CONTENT = {
    "mnist": (
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
    "fashion_mnist": (
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
    "kmnist": (
        "92be26ec9822e900ac425d0a0aa84ced",
        "949e75301f8813e0dc5800dcc320fc52",
        "bf305b8cd328700fbc17f5acbc2856d2",
        "9f55f451c0988b028eccdf7d5cc265ab",
    ),
}
MAX_IMAGES = 300_000  # EMNIST has 240,000 digits; a hostile file cannot fill the memory


def read(
    name: str, folder: str | None
) -> tuple[
    UInt8[np.ndarray, "n 28 28 1"], Int[np.ndarray, " n"], UInt8[np.ndarray, "m 28 28 1"], Int[np.ndarray, " m"]
]:
    """Return training images and labels, then test images and labels.

    Raises:
        InputError: if a file cannot be used; the message names it, what was expected and what was found.
    """
    paths = _locate(name, folder)
    try:
        return _read_files(paths, name)
    except InputError as error:
        if folder is not None or name == "mnist":
            raise
        raise InputError(f"{error}; delete {paths[0].parent} to download it again") from None


def _read_files(paths: list[Path], name: str) -> Any:
    """Return the arrays of `read` from the four files."""
    arrays = []
    for i in (0, 2):
        images = _read_file(paths[i], 2051, name, i).reshape(-1, 28, 28, 1)
        labels = _read_file(paths[i + 1], 2049, name, i + 1)
        if len(images) != len(labels):
            raise InputError(
                f"{paths[i + 1]}: expected {len(images)} labels as {paths[i].name} holds images, found {len(labels)}"
            )
        if labels.max() > 9:
            raise InputError(f"{paths[i + 1]}: expected labels 0-9, found {labels.max()} at position {labels.argmax()}")
        arrays += [images, labels.astype(np.int32)]
    return tuple(arrays)


def _locate(name: str, folder: str | None) -> list[Path]:
    if folder is None and name != "mnist":
        return _download(name)
    try:
        root = Path(__file__).parent / "mnist" if folder is None else Path(folder).expanduser()
    except RuntimeError:
        raise InputError(f"data.dir: expected a folder, found the home of an unknown user: {folder}") from None
    if not root.is_dir():
        raise InputError(f"data.dir: expected a folder of four IDX files, found no folder {root}")
    paths = []
    for file in FILES:
        existing = [root / variant for variant in (file, f"{file}.gz") if (root / variant).is_file()]
        if not existing:
            raise InputError(f"{root / file}: no such file, nor {file}.gz; data.dir needs {', '.join(FILES)}")
        paths.append(existing[0])
    return paths


def _read_file(path: Path, magic: int, name: str, index: int) -> UInt8[np.ndarray, " bytes"]:
    zipped = False
    try:
        with path.open("rb") as raw:
            zipped = raw.read(2) == b"\x1f\x8b"
        with gzip.open(path) if zipped else path.open("rb") as file:
            header = file.read(8)
            if len(header) < 8:
                raise InputError(f"{path}: expected an IDX header, found {len(header)} bytes")
            found, count = struct.unpack(">II", header)
            if found != magic:
                raise InputError(f"{path}: expected the magic number {magic}, found {found}")
            size = 1
            if magic == 2051:
                shape = file.read(8)
                header += shape
                if len(shape) < 8:
                    raise InputError(f"{path}: expected an IDX header, found {len(header)} bytes")
                height, width = struct.unpack(">II", shape)
                if (height, width) != (28, 28):
                    raise InputError(f"{path}: expected images of 28x28, found {height}x{width}; resize them")
                size = 28 * 28
            if not 0 < count <= MAX_IMAGES:
                raise InputError(f"{path}: expected a count of 1 to {MAX_IMAGES}, found {count}")
            content = file.read(count * size + 1)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(f"{path}: expected a whole {'gzip ' if zipped else ''}file, found: {error}") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    if len(content) != count * size:
        more = "more" if len(content) > count * size else len(content)
        raise InputError(f"{path}: expected the {count * size} bytes that its count {count} implies, found {more}")
    if name in CONTENT:
        expected = CONTENT[name][index]
        algorithm = "sha256" if len(expected) == 64 else "md5"
        digest = hashlib.new(algorithm, header + content).hexdigest()
        if digest != expected:
            raise InputError(f"{path}: expected the content of {name}, {algorithm} {expected}, found {digest}")
    return np.frombuffer(content, np.uint8)


def _download(name: str) -> list[Path]:
    """Return the four files in the user's cache, downloaded by tensorflow-datasets if they are not there."""
    cache = platformdirs.user_cache_path("mnistsum") / name
    paths = [cache / f"{file}.gz" for file in FILES]
    if all(path.is_file() for path in paths):
        return paths
    advice = f"put {', '.join(FILES)} (.gz) into a folder and give it as data.dir"
    try:  # tensorflow-datasets retries silently for minutes, so check first that the address can be reached
        urllib.request.urlopen(urllib.request.Request(f"{URLS[name]}{FILES[1]}.gz", method="HEAD"), timeout=10).close()
    except (OSError, http.client.HTTPException, ValueError) as error:  # URLError is an OSError
        raise InputError(f"{URLS[name]}: cannot be reached ({error}), and {cache} holds no copy; {advice}") from None

    # Here, not above: it takes 0.6 s, and only downloads need it.
    from tensorflow_datasets.core.download import DownloadError, DownloadManager
    from tensorflow_datasets.core.download.download_manager import NonMatchingChecksumError

    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as scratch:
        manager = DownloadManager(download_dir=scratch, dataset_name=name)
        try:
            fetched = [Path(manager.download(f"{URLS[name]}{path.name}")) for path in paths]
        except (OSError, DownloadError, NonMatchingChecksumError) as error:
            reason = first_line(error)
            raise InputError(f"{URLS[name]}: download failed ({reason}); {advice}") from None
        for source, path in zip(fetched, paths, strict=True):
            write_whole(path, source.read_bytes())
    return paths
