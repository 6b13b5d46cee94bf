"""The four IDX files of a data set: found or downloaded, read, and verified by content.

Format: http://yann.lecun.com/exdb/mnist: a big-endian magic number and sizes, then one byte per value.
"""

import gzip
import hashlib
import http.client
import math
import urllib.request
import zlib
from pathlib import Path

import numpy as np
import platformdirs
from jaxtyping import Int, UInt8

from mnistsum.errors import InputError, first_line
from mnistsum.file_io import make_folder, read_bytes, write_whole

PACKAGED = Path(__file__).parent / "mnist"
FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
URLS = {
    "fashion_mnist": "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    "kmnist": "http://codh.rois.ac.jp/kmnist/dataset/kmnist/",
}
# Digests of the decompressed files, in the order of FILES. MNIST: ours, of the files that have the SHA-256 digests of
# tensorflow-datasets. Fashion-MNIST: as published by EntroMorphic/sstt (Makefile) and SomeB1oody/dataset-core. KMNIST:
# the MD5 keys of datasets-mila/datasets--kmnist, because nobody published SHA-256 of its decompressed files.
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


def read_idx(
    name: str, folder: str | None
) -> tuple[
    UInt8[np.ndarray, "n 28 28 1"], Int[np.ndarray, " n"], UInt8[np.ndarray, "m 28 28 1"], Int[np.ndarray, " m"]
]:
    """Return training images and labels, then test images and labels.

    Raises:
        InputError: if a file cannot be used. The message says which, what was expected and what was found.
    """
    if name == "custom" and folder is None:
        raise InputError("data.dir: expected the folder of the data set, as data.name is custom, found none")
    is_download = folder is None and name != "mnist"
    source = _download(name) if is_download else Path(folder or PACKAGED).expanduser()
    try:
        return *_read_pair(source, name, 0), *_read_pair(source, name, 2)
    except InputError as error:
        remedy = f"; delete {source} to download it again" if is_download else ""
        raise InputError(f"{error}{remedy}") from None


def _read_pair(folder: Path, name: str, first: int) -> tuple[np.ndarray, np.ndarray]:
    """Return images and their labels, from two of the four files."""
    images, labels = (_read_file(folder, name, index) for index in (first, first + 1))
    path = folder / FILES[first + 1]
    if len(images) != len(labels):
        raise InputError(f"{path}: expected a label for each of {len(images)} images, found {len(labels)}")
    if labels.max() > 9:
        raise InputError(f"{path}: expected labels 0-9, found {labels.max()} at position {labels.argmax()}")
    return images[..., None], labels.astype(np.int32)


def _read_file(folder: Path, name: str, index: int) -> UInt8[np.ndarray, "..."]:
    """Return the array in the file at `index` of FILES: [n, 28, 28] or [n]."""
    plain = folder / FILES[index]
    path = next(filter(Path.is_file, (plain, folder / f"{plain.name}.gz")), None)
    if path is None:
        raise InputError(f"{plain}: no such file, nor {plain.name}.gz; data.dir needs {', '.join(FILES)}")
    content = read_bytes(path)
    try:
        if content.startswith(b"\x1f\x8b"):
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: cannot be read: {error}") from None
    magic, *sides = (2049,) if index % 2 else (2051, 28, 28)
    start = 4 * (2 + len(sides))  # bytes of the header: the magic number, the count, and the sides
    header = np.frombuffer(content[:start].ljust(start, b"\0"), ">u4").tolist()
    count = header[1]
    size = start + count * math.prod(sides)
    if header != [magic, count, *sides] or count == 0 or len(content) != size:
        raise InputError(
            f"{path}: expected the IDX header {[magic, 'n', *sides]} with n above 0, and {size:,} bytes for its n, "
            f"found {header} and {len(content):,} bytes"
        )
    if name in CONTENT:
        expected = CONTENT[name][index]
        algorithm = "sha256" if len(expected) == 64 else "md5"
        found = hashlib.new(algorithm, content).hexdigest()
        if found != expected:
            raise InputError(f"{path}: expected the content of {name}, {algorithm} {expected}, found {found}")
    return np.frombuffer(content, np.uint8, offset=start).reshape(count, *sides)


def _download(name: str) -> Path:
    """Return the data set's folder in the user's cache, after downloading what it lacks."""
    folder = platformdirs.user_cache_path("mnistsum") / name
    make_folder(folder)
    for path in (folder / f"{file}.gz" for file in FILES):
        if path.is_file():
            continue
        try:
            with urllib.request.urlopen(f"{URLS[name]}{path.name}", timeout=10) as response:
                content = response.read()
        except (OSError, http.client.HTTPException) as error:  # URLError is an OSError
            raise InputError(
                f"{URLS[name]}{path.name}: cannot be downloaded ({first_line(error)}); put {', '.join(FILES)} (.gz) "
                "into a folder and give it as data.dir"
            ) from None
        write_whole(path, content)
    return folder
