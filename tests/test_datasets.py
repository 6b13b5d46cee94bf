"""Data sets of every kind are read as they are, or refused with the place."""

import gzip
import json
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from programs import as_set, finish, first, start, write_set

from mnistsum.config import DataConfig
from mnistsum.data import digest, load, make_data
from mnistsum.datasets import IDX_FILES, decode, read_arrays, to_gray
from mnistsum.errors import InputError
from mnistsum.types import Split

IMAGES, LABELS, _, TEST_LABELS = IDX_FILES
# holds `digits`, as TensorFlow Datasets prepared it
PREPARED = Path(__file__).parent / "datasets"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache of the user."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "mnistsum"


@pytest.fixture
def copied(tmp_path, cache):
    """A copy of the prepared data set that may be harmed."""
    shutil.copytree(PREPARED / "digits", tmp_path / "digits")
    return tmp_path / "digits" / "1.0.0"


def prepared(folder, name="digits"):
    return DataConfig(name=f"tfds:{name}", dir=str(folder), validation=40)


def own(path):
    return DataConfig(dir=str(path), validation=10)


def write_pictures(folder, arrays):
    """Write arrays as a folder of pictures, one folder for each class."""
    for split in ("train", "test"):
        images, labels = (getattr(arrays, f"{kind}_{split}") for kind in "xy")
        for i, (image, label) in enumerate(zip(images, labels, strict=True)):
            of_class = folder / split / str(label)
            of_class.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(of_class / f"{i:03}.png")


@pytest.fixture
def sets(tmp_path):
    """A folder with a small data set in each form, and its arrays."""
    arrays = read_arrays(own(write_set(tmp_path / "idx", 40, 20)))
    (tmp_path / "gz").mkdir()
    for name in IDX_FILES:
        content = (tmp_path / "idx" / name).read_bytes()
        (tmp_path / "gz" / f"{name}.gz").write_bytes(gzip.compress(content))
    np.savez(tmp_path / "mine.npz", **arrays._asdict())
    write_pictures(tmp_path / "pictures", arrays)
    return tmp_path, arrays


def equal(one, other):
    return all(digest(a) == digest(b) for a, b in zip(one, other, strict=True))


def test_idx_npz_and_arrays_give_the_same_data(sets):
    folder, arrays = sets
    data = make_data(*arrays, validation=10)
    for name in ("idx", "gz", "mine.npz"):
        assert equal(load(own(folder / name)), data)
    with_channel = arrays._replace(x_train=arrays.x_train[..., None])
    assert equal(make_data(*with_channel, validation=10), data)
    assert [len(split.labels) for split in data] == [30, 10, 20]


def test_pictures_of_28x28_enter_unchanged(sets):
    folder, arrays = sets
    test = load(own(folder / "pictures")).test
    assert as_set(test) == as_set(Split(arrays.x_test, arrays.y_test))


def test_other_pictures_become_gray_and_28x28(tmp_path):
    left_half = np.zeros((56, 84, 3), np.uint8)
    left_half[:, :42] = 255
    for kind, mode in (("png", "RGB"), ("bmp", "L"), ("gif", "P")):
        path = tmp_path / f"half.{kind}"
        Image.fromarray(left_half).convert(mode).save(path)
        pixels = decode(path.read_bytes())
        assert (pixels[:, :12] == 255).all()
        assert (pixels[:, 16:] == 0).all()
    deep = tmp_path / "deep.png"
    Image.fromarray(np.full((28, 28), 200 * 257, np.uint16)).save(deep)
    assert (decode(deep.read_bytes()) == 200).all()


@pytest.mark.parametrize("ink, paper", [(255, 0), (0, 255)])
def test_ink_on_transparent_paper_is_visible(ink, paper):
    image = np.full((28, 28, 4), ink, np.uint8)
    image[..., 3] = 0
    image[8:20, 8:20, 3] = 255
    gray = np.asarray(to_gray(Image.fromarray(image)))
    assert (gray[8:20, 8:20] == ink).all() and gray[0, 0] == paper


def edit(name, change):
    """Return what changes the content of a file in a folder."""

    def harm(folder):
        (folder / name).write_bytes(change((folder / name).read_bytes()))

    return harm


def save(**arrays):
    return lambda folder: np.savez(folder / "mine.npz", **arrays)


IMAGES_ALONE = {"x_train": np.zeros((40, 28, 28), np.uint8)}
HARMS = [
    (
        edit(f"idx/{LABELS}", lambda b: struct.pack(">I", 7) + b[4:]),
        rf"{LABELS}: .*\[2049, 'n'\] .*, found \[7, 40\]",
    ),
    (
        edit(f"idx/{IMAGES}", lambda b: b[:8] + struct.pack(">II", 32, 32) + b[16:]),
        rf"{IMAGES}: .*found \[2051, 40, 32, 32\]",
    ),
    (edit(f"idx/{IMAGES}", lambda b: b[:7]), r"found \[2051, 0, 0, 0\]"),
    (
        edit(f"idx/{IMAGES}", lambda b: b[:-1]),
        "and 31,376 bytes for its n, found .* and 31,375 bytes",
    ),
    (edit(f"gz/{IMAGES}.gz", lambda b: b[:-200]), f"{IMAGES}.gz: cannot be read: "),
    (
        lambda folder: (folder / "idx" / f"{TEST_LABELS}.gz").touch(),
        f"{TEST_LABELS}: expected one file, found {TEST_LABELS}.gz, too",
    ),
    (
        lambda folder: (folder / "idx" / TEST_LABELS).unlink(),
        f"{TEST_LABELS}: no such file",
    ),
    (
        lambda folder: shutil.rmtree(folder / "idx"),
        "idx: no such file or folder; data.dir is an .npz file, ",
    ),
    (
        lambda folder: (folder / "pictures/train/0/notes.txt").touch(),
        "train/0/notes.txt: not a readable picture: ",
    ),
    (
        lambda folder: (folder / "pictures/test/10").mkdir(),
        "test/10: expected only folders named 0 to 9$",
    ),
    (
        lambda folder: shutil.rmtree(folder / "pictures/test"),
        "test: no such folder",
    ),
    (save(**IMAGES_ALONE), "mine.npz: expected arrays x_train, .*, found x_train$"),
    (
        edit("mine.npz", lambda b: b[:5000] + b"harm" + b[5004:]),
        "mine.npz: cannot be read: ",
    ),
    (
        edit("mine.npz", lambda b: b[b.index(b"\x93NUMPY") :]),  # one array alone
        "mine.npz: expected arrays x_train, .*, found none$",
    ),
]


@pytest.mark.parametrize("harm, answer", HARMS)
def test_a_harmed_data_set_is_refused_by_name(sets, harm, answer):
    harm(sets[0])
    with pytest.raises(InputError, match=rf"\A/.*{answer}.*\Z"):
        for name in ("idx", "gz", "mine.npz", "pictures"):
            load(own(sets[0] / name))


@pytest.mark.parametrize(
    "name, array, answer",
    [
        (
            "x_train",
            np.zeros((40, 28, 28)),
            r"uint8 \[n, 28, 28, 1\], 0-255, found float64 \[40, ",
        ),
        (
            "x_test",
            np.zeros((20, 32, 32), np.uint8),
            r".*found uint8 \[20, 32, 32, 1\]",
        ),
        ("x_test", np.zeros((0, 28, 28), np.uint8), "images, found none"),
        ("y_train", np.eye(10)[np.arange(40) % 10], r"40 .*, found float64 \[40, 10\]"),
        ("y_test", np.arange(20), "20 .*, found 10 at position 10"),
    ],
)
def test_arrays_of_another_form_are_refused_by_name(sets, name, array, answer):
    """In memory and in a file; test_checks.py has more forms of labels."""
    folder, arrays = sets
    arrays = arrays._replace(**{name: array})
    with pytest.raises(InputError, match=rf"\A{name}: expected {answer}.*\Z"):
        make_data(*arrays, validation=10)
    save(**arrays._asdict())(folder)
    with pytest.raises(InputError, match=rf"\A/.*/mine.npz: {name}: .*{answer}.*\Z"):
        load(own(folder / "mine.npz"))


def test_a_prepared_data_set_holds_the_images_it_was_made_of(cache, mnist):
    data = load(prepared(PREPARED))
    train = as_set(data.train, data.validation)
    assert train == as_set(first(mnist.train, 200))
    assert as_set(data.test) == as_set(first(mnist.test, 40))
    assert [len(split.labels) for split in data] == [160, 40, 40]


def test_a_data_set_is_converted_anew_only_if_its_files_change(tmp_path, copied, cache):
    config = prepared(tmp_path)
    first = load(config)
    (kept,) = cache.iterdir()
    assert equal(load(config), first)
    assert [*cache.iterdir()] == [kept]
    kept.write_bytes(kept.read_bytes()[:-9])
    answer = rf"{kept}: cannot be read: .*; delete it, and it is made anew"
    with pytest.raises(InputError, match=answer):
        load(config)
    (copied / "features.json").touch()
    assert equal(load(config), first)
    assert len([*cache.iterdir()]) == 2


@pytest.mark.parametrize(
    "old, new, answer",
    [
        ("array_record", "tfrecord", "the file format array_record, found tfrecord; "),
        ("train", "learn", "train and test, found {'learn': 200, 'test': 40}"),
        ("40", "0", "in splits train and test, found {'train': 200, 'test': 0}"),
        ("label", "class", "features image and label, found class, image"),
        ("200", "300", "split train cannot be read: "),
    ],
)
def test_a_prepared_data_set_of_another_form_is_refused(
    tmp_path, copied, old, new, answer
):
    for name in ("dataset_info.json", "features.json"):
        text = (copied / name).read_text()
        (copied / name).write_text(text.replace(f'"{old}"', f'"{new}"'))
    with pytest.raises(InputError, match=rf"\A.*digits/1.0.0: .*{answer}.*\Z"):
        load(prepared(tmp_path))


@pytest.mark.slow
def test_a_flipped_bit_of_a_record_changes_nothing_or_is_refused(
    tmp_path, copied, cache
):
    right = load(prepared(tmp_path))
    (file,) = copied.glob("digits-train*")
    content, refused = file.read_bytes(), 0
    for at in np.random.default_rng(0).integers(0, 80_000, 40):
        flipped = bytearray(content)
        flipped[at] ^= 1 << at % 8
        file.write_bytes(flipped)
        try:
            assert equal(load(prepared(tmp_path)), right)
        except InputError as error:
            refused += 1
            assert "split train cannot be read: " in str(error)
            assert "\n" not in str(error)
        shutil.rmtree(cache, ignore_errors=True)
    assert refused > 20


@pytest.mark.parametrize(
    "name, answer",
    [
        ("kmnst", "tfds:kmnst: Dataset kmnst not found; did you mean kmnist[?]"),
        ("emnist/digit", "digit not found .*; did you mean emnist/digits[?]"),
        ("mnist:9.9.9", "cannot be loaded at version 9.9.9, only: 3.0.1"),
        ("cifar100", "expected labels of at most 10 classes, found 100 classes"),
    ],
)
def test_what_the_catalog_lacks_is_said_in_one_line(tmp_path, cache, name, answer):
    with pytest.raises(InputError, match=rf"\A.*{answer}\Z"):
        load(prepared(tmp_path, name))


def test_emnist_which_is_stored_transposed_is_turned(tmp_path, copied):
    upright = load(prepared(tmp_path)).test.images
    version = tmp_path / "emnist" / "digits" / "3.1.0"
    shutil.copytree(copied, version)
    for file in version.glob("digits-*"):
        file.rename(file.with_name(file.name.replace("digits", "emnist")))
    info = json.loads((version / "dataset_info.json").read_text())
    info |= {"name": "emnist", "configName": "digits", "version": "3.1.0"}
    (version / "dataset_info.json").write_text(json.dumps(info))
    turned = load(prepared(tmp_path, "emnist/digits")).test.images
    np.testing.assert_array_equal(turned, upright.swapaxes(1, 2))


def test_a_cache_that_cannot_be_written_is_named(cache):
    cache.parent.mkdir()
    cache.write_text("in the way")
    with pytest.raises(OSError, match=rf"^{cache}: could not be written: "):
        load(prepared(PREPARED))


@pytest.mark.slow
def test_programs_that_convert_a_data_set_at_once_all_train_on_it(tmp_path, cache):
    data = ("data.name=tfds:digits", f"data.dir={PREPARED}", "data.validation=40")
    fields = ("smoke", *data, "training.batch_size=32", "--output")
    folders = [tmp_path / str(i) for i in range(3)]
    programs = [
        start(*fields, folder, XDG_CACHE_HOME=tmp_path / "cache") for folder in folders
    ]
    for program in programs:
        assert "tfds:digits: 160 train, 40" in finish(program)[0]
    assert len([*cache.glob("digits-*")]) == 1
    runs = [json.loads((folder / "run.json").read_text()) for folder in folders]
    assert runs[0]["data"] == runs[1]["data"] == runs[2]["data"]


def test_a_folder_called_mnist_is_not_the_packaged_data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_set(tmp_path / "mnist", 40, 20)
    shutil.copy("mnist/train-images-idx3-ubyte", "mnist/t10k-images-idx3-ubyte")
    shutil.copy("mnist/train-labels-idx1-ubyte", "mnist/t10k-labels-idx1-ubyte")
    with pytest.warns(UserWarning, match="test images are also in the training"):
        load(own("mnist"))


def test_test_images_that_are_also_trained_on_are_warned_of(mnist):
    images = mnist.test.images[:200]
    labels = mnist.test.labels[:200]
    with pytest.warns(UserWarning, match="^30 of 50 test images are also in the train"):
        make_data(images[:180], labels[:180], images[150:], labels[150:], validation=50)
    make_data(images[:150], labels[:150], images[150:], labels[150:], validation=50)
