"""IDX files are found, read and verified, or refused in one line that names the file."""

import gzip
import struct

import pytest
from programs import write_set

from mnistsum import idx
from mnistsum.config import DataConfig
from mnistsum.data import load
from mnistsum.errors import InputError

IMAGES, LABELS, _, TEST_LABELS = idx.FILES
CONTENT = {file: gzip.decompress((idx.PACKAGED / f"{file}.gz").read_bytes()) for file in idx.FILES}


def load_custom(folder):
    return load(DataConfig(name="custom", dir=str(folder), validation=10))


@pytest.mark.slow
def test_recompressed_and_plain_copies_of_mnist_pass(tmp_path, mnist):
    for file, content in CONTENT.items():
        if "images" in file:
            (tmp_path / file).write_bytes(content)
        else:
            (tmp_path / f"{file}.gz").write_bytes(gzip.compress(content, 1))
    copied = load(DataConfig(dir=str(tmp_path)))
    assert all((a == b).all() for a, b in zip(copied.test, mnist.test, strict=True))


def test_altered_content_is_refused(tmp_path):
    for file, content in CONTENT.items():
        (tmp_path / file).write_bytes(content)
    (tmp_path / TEST_LABELS).write_bytes(CONTENT[TEST_LABELS][:-1] + b"\0")
    with pytest.raises(InputError, match=f"{TEST_LABELS}: expected the content of mnist, sha256 ff7b.*, found "):
        load(DataConfig(dir=str(tmp_path)))


@pytest.mark.parametrize(
    ("file", "change", "answer"),
    [
        (LABELS, lambda b: struct.pack(">I", 7) + b[4:], r"\[2049, 'n'\] .*, found \[7, 40\]"),
        (IMAGES, lambda b: b[:8] + struct.pack(">II", 32, 32) + b[16:], r"found \[2051, 40, 32, 32\]"),
        (IMAGES, lambda b: struct.pack(">II", 2051, 0) + b[8:16], r"with n above 0, .* found \[2051, 0, 28, 28\]"),
        (IMAGES, lambda b: b[:7], r"found \[2051, 0, 0, 0\]"),
        (IMAGES, lambda b: b[:-1], "and 31,376 bytes for its n, found .* and 31,375 bytes"),
        (IMAGES, lambda b: gzip.compress(b)[:-200], "cannot be read: "),
        (LABELS, lambda b: struct.pack(">II", 2049, 39) + b[8:-1], "expected a label for each of 40 images, found 39"),
        (LABELS, lambda b: b[:-1] + b"\x0b", "expected labels 0-9, found 11 at position 39"),
    ],
)
def test_a_damaged_file_is_refused_by_name(tmp_path, file, change, answer):
    path = write_set(tmp_path) / file
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(InputError, match=rf"\A.*{file}: .*{answer}.*\Z"):
        load_custom(tmp_path)


def test_a_missing_file_and_a_missing_folder_are_refused_by_name(tmp_path):
    (write_set(tmp_path) / TEST_LABELS).unlink()
    with pytest.raises(InputError, match=f"{TEST_LABELS}: no such file"):
        load_custom(tmp_path)
    with pytest.raises(InputError, match=r"nowhere/.*: no such file.*; data.dir needs"):
        load_custom(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"^data.dir: expected the folder of the data set.*, found none$"):
        load(DataConfig(name="custom"))


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The folder of KMNIST in an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "mnistsum" / "kmnist"


def test_a_data_set_is_downloaded_once_and_a_server_out_of_reach_is_named(cache, tmp_path, monkeypatch):
    for path in write_set(tmp_path / "served").iterdir():
        path.rename(path.with_name(f"{path.name}.gz"))
    monkeypatch.setattr(idx, "CONTENT", {})
    config = DataConfig(name="kmnist", validation=10)
    monkeypatch.setitem(idx.URLS, "kmnist", f"{(tmp_path / 'served').as_uri()}/")
    downloaded = load(config)
    (tmp_path / "served").rename(tmp_path / "elsewhere")
    assert all((a == b).all() for a, b in zip(load(config).test, downloaded.test, strict=True))
    (cache / f"{IMAGES}.gz").unlink()
    with pytest.raises(InputError, match=rf"/served/{IMAGES}.gz: cannot be downloaded \(.*\); put .* as data.dir"):
        load(config)


def test_a_damaged_copy_of_a_download_is_refused_with_its_remedy(cache):
    cache.mkdir(parents=True)
    for name in idx.FILES:
        (cache / f"{name}.gz").write_bytes(gzip.compress(b""))
    with pytest.raises(InputError, match=f"{IMAGES}.gz: expected .*; delete {cache} to download it again"):
        load(DataConfig(name="kmnist"))
