"""Data sets as four arrays: packaged MNIST, your own files, and TensorFlow Datasets."""

import gzip
import hashlib
import importlib.util
import io
import json
import logging
import math
import re
import struct
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import platformdirs
from jaxtyping import UInt8
from PIL import Image

from mnistsum.config import DataConfig
from mnistsum.errors import InputError, did_you_mean, first_line
from mnistsum.file_io import make_folder, read_bytes, write_whole

MNIST = Path(__file__).parent / "mnist"
IDX_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
DIGITS = tuple("0123456789")
CONVERSION = 2  # version of `decode`; increment when converted images change
# What Pillow raises on damaged files.
DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    AssertionError,
    struct.error,
    Image.DecompressionBombError,
)


class Arrays(NamedTuple):
    """A data set, named as Keras names it; `mnistsum.make_data` checks it."""

    x_train: np.ndarray  # uint8 images, [n, 28, 28] or [n, 28, 28, 1]
    y_train: np.ndarray  # integer labels 0-9, [n]
    x_test: np.ndarray
    y_test: np.ndarray


def read_arrays(config: DataConfig) -> Arrays:
    """Return the arrays of a data set.

    Raises:
        InputError: if they cannot be read. The message names the file.
    """
    if config.name != "mnist":
        return _read_tfds(config.name.removeprefix("tfds:"), config.dir)
    if config.dir is None:
        return _read_idx(MNIST)
    path = Path(config.dir).expanduser()
    if path.is_file():
        return _read_npz(path)
    if (path / "train").is_dir():
        return _read_pictures(path)
    if path.is_dir():
        return _read_idx(path)
    raise InputError(
        f"{path}: no such file or folder; data.dir is an .npz file, a folder of IDX "
        "files, or a folder of pictures (train/0/*.png ... test/9/*.png)"
    )


def to_gray(image: Image.Image) -> Image.Image:
    """Return a picture in gray levels, 0-255.

    Transparent parts become white or black, whichever contrasts with the rest.

    Examples:
        >>> from PIL import Image
        >>> from mnistsum.datasets import to_gray
        >>> to_gray(Image.new("RGBA", (28, 28), (0, 0, 0, 0))).getpixel((0, 0))
        0
    """
    if image.mode.startswith("I"):  # 16 bits per pixel, which Pillow would clip at 255
        image = Image.fromarray((np.asarray(image) // 257).astype(np.uint8))
    if not image.has_transparency_data:
        return image.convert("L")
    gray, alpha = image.convert("RGBA").convert("LA").split()
    opacity, light = np.asarray(alpha), np.asarray(gray)
    # a sum of products that are not stored, as pictures may be large
    total = np.einsum("hw,hw", opacity, light, dtype=int)
    is_dark = total < 127.5 * opacity.sum()
    page = Image.new("L", image.size, 255 if is_dark else 0)
    page.paste(gray, mask=alpha)
    return page


def decode(content: bytes) -> UInt8[np.ndarray, "28 28"]:
    """Return a picture file's pixels. A picture of another size is stretched."""
    image = to_gray(Image.open(io.BytesIO(content)))
    return np.asarray(image if image.size == (28, 28) else image.resize((28, 28)))


def _read_npz(path: Path) -> Arrays:
    try:
        with path.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            arrays = dict(loaded) if isinstance(loaded, np.lib.npyio.NpzFile) else {}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{path}: cannot be read: {first_line(error)}") from None
    missing = [name for name in Arrays._fields if name not in arrays]
    if missing:
        expected, found = ", ".join(Arrays._fields), ", ".join(arrays) or "none"
        raise InputError(f"{path}: expected arrays {expected}, found {found}")
    return Arrays(*(arrays[name] for name in Arrays._fields))


def _read_idx(folder: Path) -> Arrays:
    return Arrays(*(_read_idx_file(folder / name) for name in IDX_FILES))


def _read_idx_file(plain: Path) -> np.ndarray:
    """Return the images [n, 28, 28] or labels [n] of an IDX file, gzipped or not.

    The format is a big-endian magic number and sizes, then one byte for each value
    (http://yann.lecun.com/exdb/mnist).
    """
    candidates = (plain, plain.with_name(f"{plain.name}.gz"))
    found = [path for path in candidates if path.is_file()]
    if not found:
        names = ", ".join(IDX_FILES)
        raise InputError(
            f"{plain}: no such file, nor {plain.name}.gz; expected {names}"
        )
    if len(found) > 1:
        raise InputError(f"{plain}: expected one file, found {plain.name}.gz, too")
    path = found[0]
    content = read_bytes(path)
    try:
        if content.startswith(b"\x1f\x8b"):
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: cannot be read: {error}") from None
    magic, *sides = (2051, 28, 28) if "images" in path.name else (2049,)
    start = 4 * (2 + len(sides))
    header = np.frombuffer(content[:start].ljust(start, b"\0"), ">u4").tolist()
    count = header[1]
    size = start + count * math.prod(sides)
    if header != [magic, count, *sides] or len(content) != size:
        raise InputError(
            f"{path}: expected the IDX header {[magic, 'n', *sides]} and {size:,} "
            f"bytes for its n, found {header} and {len(content):,} bytes"
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(count, *sides)


def _read_pictures(folder: Path) -> Arrays:
    train, test = (_read_class_folders(folder / split) for split in ("train", "test"))
    return Arrays(*train, *test)


def _read_class_folders(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the images and labels of a folder that holds a folder for each class."""
    if not folder.is_dir():
        raise InputError(
            f"{folder}: no such folder; expected pictures in {folder}/0 ..."
        )
    images, labels = [], []
    for of_class in _visible(folder):
        if of_class.name not in DIGITS or not of_class.is_dir():
            raise InputError(f"{of_class}: expected only folders named 0 to 9")
        for path in _visible(of_class):
            try:
                images.append(decode(read_bytes(path)))
            except DAMAGE as error:
                reason = first_line(error)
                raise InputError(f"{path}: not a readable picture: {reason}") from None
            labels.append(int(of_class.name))
    return _stack(images), np.array(labels, np.int64)


def _visible(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _stack(images: Sequence[np.ndarray]) -> np.ndarray:
    return np.stack(images) if images else np.zeros((0, 28, 28), np.uint8)


def _read_tfds(name: str, folder: str | None) -> Arrays:
    """Return a data set of TensorFlow Datasets, which is prepared if it is not there.

    Converted arrays are kept in the user's cache, under a digest of the prepared files'
    names, sizes and times.
    """
    builder = _find_builder(name, folder)
    _check_features(builder)
    _prepare(builder)
    files = sorted(Path(builder.data_path).iterdir())
    stats = [
        (str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files
    ]
    digest = hashlib.sha256(json.dumps([CONVERSION, stats]).encode()).hexdigest()[:16]
    title = builder.info.full_name.replace("/", "-")
    cached = platformdirs.user_cache_path("mnistsum") / f"{title}-{digest}.npz"
    if cached.exists():
        try:
            return _read_npz(cached)
        except InputError as error:
            raise InputError(f"{error}; delete it, and it is made anew") from None
    arrays = Arrays(*_convert(builder, "train"), *_convert(builder, "test"))
    buffer = io.BytesIO()
    np.savez(buffer, **arrays._asdict())
    make_folder(cached.parent)
    write_whole(cached, buffer.getvalue())
    return arrays


def _find_builder(name: str, folder: str | None) -> Any:
    try:
        import tensorflow_datasets as tfds  # an extra, which takes half a second
    except ImportError as error:
        raise InputError(
            f"data.name=tfds:{name}: needs the extra `tfds` ({first_line(error)}): "
            "pip install tensorflow-datasets array_record importlib_resources"
        ) from None
    logging.getLogger("absl").setLevel(logging.ERROR)  # its warnings are errors below
    try:
        return tfds.builder(name, data_dir=folder)
    except Exception as error:  # of many kinds
        reason = first_line(error).rpartition('": ')[2].rstrip(".:")
        known = tfds.list_builders(with_community_datasets=False)
        base = re.split("[/:]", name)[0]
        if base in known:
            configs = tfds.builder_cls(base).builder_configs
            known = [f"{base}/{config}" for config in configs]
        hint = did_you_mean(name, known)
        raise InputError(f"data.name=tfds:{name}: {reason}{hint}") from None


def _check_features(builder: Any) -> None:
    name, features = builder.info.full_name, dict(builder.info.features)
    if not {"image", "label"} <= features.keys():
        found = ", ".join(sorted(features))
        raise InputError(f"{name}: expected features image and label, found {found}")
    classes = getattr(features["label"], "num_classes", None)
    if classes is None or classes > 10:
        found = type(features["label"]).__name__
        found = found if classes is None else f"{classes} classes"
        raise InputError(
            f"{name}: expected labels of at most 10 classes, found {found}"
        )


def _prepare(builder: Any) -> None:
    """Download and prepare a data set if it is not there."""
    name, place = builder.info.full_name, builder.data_path
    command = f"tfds build {name.rpartition('/')[0]} --file_format=array_record"
    if not builder.is_prepared():
        if importlib.util.find_spec("tensorflow") is None:
            raise InputError(
                f"{place}: no such data set; pip install tensorflow-cpu to prepare it "
                f"here, or prepare it elsewhere ({command}) and give its data_dir as "
                "data.dir"
            )
        try:
            builder.download_and_prepare(file_format="array_record")
        except Exception as error:  # of TensorFlow, a download or the disk
            if not (place / "dataset_info.json").exists():  # made by another program
                reason = first_line(error)
                raise InputError(f"{name}: cannot be prepared: {reason}") from None
        builder.info.read_from_directory(place)
    found = builder.info.file_format.value
    if found != "array_record":
        raise InputError(
            f"{place}: expected the file format array_record, found {found}; prepare "
            f"it in another data.dir: {command} --data_dir=DIR"
        )


def _convert(builder: Any, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the images and labels of a split."""
    import tensorflow_datasets as tfds  # an extra, which takes half a second
    from tqdm import tqdm  # the progress bar of TensorFlow Datasets

    place = builder.data_path
    sizes = {name: each.num_examples for name, each in builder.info.splits.items()}
    if not sizes.get(split):
        raise InputError(
            f"{place}: expected images in splits train and test, found {sizes}"
        )
    images, labels = [], []
    try:
        encoded = {"image": tfds.decode.SkipDecoding()}
        source = builder.as_data_source(split=split, decoders=encoded)
        # All at once, because records one by one take four times as long.
        for record in tqdm(
            source.__getitems__(range(len(source))), f"Converting {split}"
        ):
            images.append(decode(record["image"]))
            labels.append(record["label"])
    except (RuntimeError, *DAMAGE) as error:
        reason = first_line(error)
        raise InputError(f"{place}: split {split} cannot be read: {reason}") from None
    stacked = _stack(images)
    if builder.name == "emnist":  # stores its images transposed
        stacked = stacked.swapaxes(1, 2)
    return stacked, np.array(labels, np.int64)
