"""Data sets of every kind are read as they are, or refused in one line that names the place."""

import gzip
import json
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from programs import finish, start, write_set

from mnistsum.config import DataConfig
from mnistsum.data import digest, load, make_data
from mnistsum.datasets import IDX_FILES, Arrays, read_arrays, to_gray
from mnistsum.errors import InputError

IMAGES, LABELS, _, TEST_LABELS = IDX_FILES
# holds `digits`, as TensorFlow Datasets prepared it
PREPARED = Path(__file__).parent / "datasets"
DIGITS = DataConfig(name="tfds:digits", dir=str(PREPARED), validation=40)
EDITS = ("dataset_info.json", "features.json")  # of a prepared data set


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


def own(path, **fields):
    return DataConfig(dir=str(path), validation=10, **fields)


def write_pictures(folder, arrays):
    """Write arrays as a folder of pictures, one folder for each class."""
    for split, images, labels in (("train", *arrays[:2]), ("test", *arrays[2:])):
        for i, (image, label) in enumerate(zip(images, labels, strict=True)):
            of_class = folder / split / str(label)
            of_class.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(of_class / f"{i:03}.png")
    return folder


def as_set(split):
    """Return a split's images with their labels, without their order."""
    return sorted(
        (image.tobytes(), int(label))
        for image, label in zip(split.images, split.labels, strict=True)
    )


def equal(one, other):
    return all(digest(a) == digest(b) for a, b in zip(one, other, strict=True))


def test_idx_npz_and_arrays_give_the_same_data(tmp_path):
    arrays = read_arrays(own(write_set(tmp_path / "idx")))
    np.savez(tmp_path / "mine.npz", **arrays._asdict())
    for name in IDX_FILES[::2]:
        file = tmp_path / "idx" / name
        file.with_name(f"{name}.gz").write_bytes(gzip.compress(file.read_bytes()))
        file.unlink()
    in_memory = make_data(*arrays, validation=10)
    for_channel = make_data(
        arrays.x_train[..., None], arrays.y_train, *arrays[2:], validation=10
    )
    for path in ("idx", "mine.npz"):
        assert equal(load(own(tmp_path / path)), in_memory)
    assert equal(for_channel, in_memory)
    assert [len(split.labels) for split in in_memory] == [30, 10, 20]


def test_pictures_of_28x28_enter_unchanged(tmp_path):
    arrays = read_arrays(own(write_set(tmp_path / "idx")))
    data = load(own(write_pictures(tmp_path / "pictures", arrays)))
    by_class = np.argsort(arrays.y_test, kind="stable")
    np.testing.assert_array_equal(data.test.images[..., 0], arrays.x_test[by_class])
    np.testing.assert_array_equal(data.test.labels, arrays.y_test[by_class])


def test_other_pictures_become_gray_and_28x28(tmp_path):
    left_half = np.zeros((56, 84, 3), np.uint8)
    left_half[:, :42] = 255
    for kind, mode in (("png", "RGB"), ("bmp", "L"), ("gif", "P")):
        path = tmp_path / f"half.{kind}"
        Image.fromarray(left_half).convert(mode).save(path)
        pixels = to_gray(path.read_bytes())
        assert (pixels[:, :12] == 255).all() and (pixels[:, 16:] == 0).all()
    deep = tmp_path / "deep.png"
    Image.fromarray(np.full((28, 28), 200 * 257, np.uint16)).save(deep)
    assert (to_gray(deep.read_bytes()) == 200).all()


@pytest.mark.parametrize(
    ("file", "change", "answer"),
    [
        (
            LABELS,
            lambda b: struct.pack(">I", 7) + b[4:],
            r"\[2049, 'n'\] .*, found \[7, 40\]",
        ),
        (
            IMAGES,
            lambda b: b[:8] + struct.pack(">II", 32, 32) + b[16:],
            r"found \[2051, 40, 32, 32\]",
        ),
        (IMAGES, lambda b: b[:7], r"found \[2051, 0, 0, 0\]"),
        (
            IMAGES,
            lambda b: b[:-1],
            "and 31,376 bytes for its n, found .* and 31,375 bytes",
        ),
        (IMAGES, lambda b: gzip.compress(b)[:-200], "cannot be read: "),
    ],
)
def test_a_damaged_idx_file_is_refused_by_name(tmp_path, file, change, answer):
    path = write_set(tmp_path) / file
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(InputError, match=rf"\A.*{file}: .*{answer}.*\Z"):
        load(own(tmp_path))


def test_missing_and_ambiguous_files_are_refused_by_name(tmp_path):
    path = write_set(tmp_path) / TEST_LABELS
    path.with_name(f"{TEST_LABELS}.gz").write_bytes(gzip.compress(b""))
    with pytest.raises(
        InputError,
        match=rf"{TEST_LABELS}: expected one file, found {TEST_LABELS}.gz, too",
    ):
        load(own(tmp_path))
    path.with_name(f"{TEST_LABELS}.gz").unlink()
    path.unlink()
    with pytest.raises(InputError, match=f"{TEST_LABELS}: no such file"):
        load(own(tmp_path))
    with pytest.raises(
        InputError, match=r"nowhere: no such file or folder; data.dir is an .npz file, "
    ):
        load(own(tmp_path / "nowhere"))


ONE = {"x_train": np.zeros((40, 28, 28), np.uint8), "y_train": np.arange(40) % 10}
GOOD = ONE | {"x_test": ONE["x_train"], "y_test": ONE["y_train"]}


@pytest.mark.parametrize(
    ("change", "answer"),
    [
        (
            {"x_train": np.zeros((40, 28, 28))},
            r"x_train: expected uint8 \[n, 28, 28, 1\], 0-255, found float64 \[40, ",
        ),
        (
            {"x_test": np.zeros((40, 32, 32), np.uint8)},
            r"x_test: expected uint8 .*, found uint8 \[40, 32, 32, 1\]",
        ),
        (
            {"x_test": np.zeros((0, 28, 28), np.uint8)},
            "x_test: expected images, found none",
        ),
        (
            {"y_train": np.eye(10)[np.arange(40) % 10]},
            r"y_train: expected 40 whole numbers from 0 to 9, one for each image, found float64 \[40, 10\]",
        ),
        ({"y_train": np.zeros((40, 1), int)}, r"y_train: .*, found int64 \[40, 1\]"),
        (
            {"y_train": np.arange(40) % 10 - 1},
            "y_train: expected .*, found -1 at position 0",
        ),
        ({"y_test": np.arange(40)}, "y_test: expected .*, found 10 at position 10"),
        ({"y_test": np.zeros(39, int)}, r"y_test: expected 40 .*, found int64 \[39\]"),
    ],
)
def test_arrays_of_another_form_are_refused_by_name_in_memory_and_in_a_file(
    tmp_path, change, answer
):
    arrays = GOOD | change
    with pytest.raises(InputError, match=rf"\A{answer}.*\Z"):
        make_data(**arrays, validation=10)
    np.savez(tmp_path / "mine.npz", **arrays)
    with pytest.raises(InputError, match=rf"\A.*mine.npz: {answer}.*\Z"):
        load(own(tmp_path / "mine.npz"))


def test_a_file_of_other_arrays_and_a_damaged_one_are_refused(tmp_path):
    path = tmp_path / "mine.npz"
    np.savez(path, **ONE)
    with pytest.raises(
        InputError,
        match=r"mine.npz: expected arrays x_train, .*, found x_train, y_train$",
    ):
        load(own(path))
    np.savez(path, **GOOD)
    path.write_bytes(
        path.read_bytes().replace(b"\x05\x00\x00\x00", b"\x06\x00\x00\x00")
    )
    with pytest.raises(InputError, match=r"mine.npz: cannot be read: "):
        load(own(path))
    np.save(tmp_path / "one.npy", ONE["x_train"])
    with pytest.raises(
        InputError, match=r"one.npy: expected arrays x_train, .*, found none$"
    ):
        load(own(tmp_path / "one.npy"))


def test_folders_of_pictures_with_other_content_are_refused_by_name(tmp_path):
    write_pictures(tmp_path, read_arrays(own(write_set(tmp_path / "idx"))))
    (tmp_path / "train" / "0" / "notes.txt").write_text("not a picture")
    with pytest.raises(
        InputError, match=r"train/0/notes.txt: not a readable picture: "
    ):
        load(own(tmp_path))
    (tmp_path / "train" / "0" / "notes.txt").unlink()
    (tmp_path / "test" / "10").mkdir()
    with pytest.raises(
        InputError, match=r"test/10: expected only folders named 0 to 9$"
    ):
        load(own(tmp_path))
    shutil.rmtree(tmp_path / "test")
    with pytest.raises(InputError, match=r"test: no such folder"):
        load(own(tmp_path))


def test_a_prepared_data_set_holds_the_images_it_was_made_of(cache, mnist):
    data = load(DIGITS)
    assert sorted(as_set(data.train) + as_set(data.validation)) == as_set(
        type(data.train)(*(f[:200] for f in mnist.train))
    )
    assert as_set(data.test) == as_set(type(data.test)(*(f[:40] for f in mnist.test)))
    assert [len(split.labels) for split in data] == [160, 40, 40]


def test_a_data_set_is_converted_once_and_anew_if_its_files_change(copied, cache):
    config = DataConfig(name="tfds:digits", dir=str(copied.parents[1]), validation=40)
    first = load(config)
    (kept,) = cache.iterdir()
    assert equal(load(config), first)
    assert [*cache.iterdir()] == [kept]
    kept.write_bytes(kept.read_bytes()[:-9])
    with pytest.raises(
        InputError, match=rf"{kept}: cannot be read: .*; delete it, and it is made anew"
    ):
        load(config)
    (copied / "features.json").touch()
    assert equal(load(config), first)
    assert len([*cache.iterdir()]) == 2


@pytest.mark.parametrize(
    ("old", "new", "answer"),
    [
        (
            '"array_record"',
            '"tfrecord"',
            "1.0.0: expected the file format array_record, found tfrecord; prepare it",
        ),
        (
            '"train"',
            '"learn"',
            "1.0.0: expected images in splits train and test, found {'learn': 200, 'test': 40}",
        ),
        (
            '"10"',
            '"11"',
            "digits/1.0.0: expected labels of at most 10 classes, found 11 classes",
        ),
        (
            '"label"',
            '"class"',
            "digits/1.0.0: expected features image and label, found class, image",
        ),
        (
            '"40"',
            '"0"',
            "expected images in splits train and test, found {'train': 200, 'test': 0}",
        ),
        ('"200"', '"300"', "1.0.0: split train cannot be read: "),
    ],
)
def test_a_prepared_data_set_of_another_form_is_refused_in_one_line(
    copied, old, new, answer
):
    for name in EDITS:
        text = (copied / name).read_text()
        (copied / name).write_text(text.replace(old, new))
    with pytest.raises(InputError, match=rf"\A.*{answer}.*\Z"):
        load(DataConfig(name="tfds:digits", dir=str(copied.parents[1]), validation=40))


def test_a_flipped_bit_of_a_record_gives_one_line_or_the_right_arrays(copied, cache):
    config = DataConfig(name="tfds:digits", dir=str(copied.parents[1]), validation=40)
    right = load(config)
    (file,) = copied.glob("digits-train*")
    content, refused = file.read_bytes(), 0
    for at in np.random.default_rng(0).integers(0, 80_000, 40):
        flipped = bytearray(content)
        flipped[at] ^= 1 << at % 8
        file.write_bytes(flipped)
        try:
            assert equal(load(config), right)
        except InputError as error:
            refused += 1
            assert "split train cannot be read: " in str(error) and "\n" not in str(
                error
            )
        shutil.rmtree(cache, ignore_errors=True)
    assert refused > 20


def test_what_the_catalog_lacks_is_said_in_one_line(tmp_path, cache):
    for name, answer in (
        (
            "kmnst",
            "data.name=tfds:kmnst: Dataset kmnst not found; did you mean kmnist?",
        ),
        (
            "emnist/digit",
            "BuilderConfig digit not found .*; did you mean emnist/digits?",
        ),
        ("mnist:9.9.9", "cannot be loaded at version 9.9.9, only: 3.0.1"),
        (
            "cifar100",
            "cifar100/3.0.2: expected labels of at most 10 classes, found 100 classes",
        ),
    ):
        with pytest.raises(InputError, match=rf"\A.*{answer.replace('?', '[?]')}\Z"):
            load(DataConfig(name=f"tfds:{name}", dir=str(tmp_path)))


def test_emnist_which_is_stored_transposed_is_turned(copied, cache):
    upright = load(
        DataConfig(name="tfds:digits", dir=str(copied.parents[1]), validation=40)
    )
    version = copied.parents[1] / "emnist" / "digits" / "3.1.0"
    shutil.copytree(copied, version)
    for file in version.glob("digits-*"):
        file.rename(file.with_name(file.name.replace("digits", "emnist")))
    info = json.loads((version / "dataset_info.json").read_text())
    info |= {"name": "emnist", "configName": "digits", "version": "3.1.0"}
    (version / "dataset_info.json").write_text(json.dumps(info))
    turned = load(
        DataConfig(name="tfds:emnist/digits", dir=str(copied.parents[1]), validation=40)
    )
    np.testing.assert_array_equal(
        turned.test.images, upright.test.images.swapaxes(1, 2)
    )


def test_a_cache_that_cannot_be_written_is_named(tmp_path, cache):
    cache.parent.mkdir()
    cache.write_text("in the way")
    with pytest.raises(OSError, match=rf"^{cache}: could not be written: "):
        load(DIGITS)


@pytest.mark.slow
def test_a_prepared_data_set_trains_also_by_programs_that_convert_it_at_the_same_time(
    tmp_path, cache
):
    fields = [
        "smoke",
        "data.name=tfds:digits",
        f"data.dir={PREPARED}",
        "data.validation=40",
        "training.batch_size=32",
    ]
    programs = [
        start(*fields, "--output", tmp_path / str(i), XDG_CACHE_HOME=tmp_path / "cache")
        for i in range(3)
    ]
    for program in programs:
        assert "tfds:digits: 160 train, 40" in finish(program)[0]
    assert len([*cache.glob("digits-*")]) == 1
    runs = [
        json.loads((tmp_path / str(i) / "run.json").read_text())["data"]
        for i in range(3)
    ]
    assert runs[0] == runs[1] == runs[2]


def test_warnings_name_what_cannot_be_right(mnist):
    images, labels = mnist.test.images[:200], mnist.test.labels[:200]
    good = Arrays(images[:150], labels[:150], images[150:], labels[150:])
    make_data(*good, validation=50)
    for change, answer in (
        (
            lambda pixels: (pixels > 127).astype(np.uint8),
            "expected pixels from 0 to 255, found at most 1; multiply them",
        ),
        (
            lambda pixels: 255 - pixels,
            "light strokes on a dark background, found a light border; invert them",
        ),
    ):
        with pytest.warns(UserWarning, match=answer):
            make_data(
                change(good.x_train),
                good.y_train,
                change(good.x_test),
                good.y_test,
                validation=50,
            )
    with pytest.warns(
        UserWarning, match="^30 of 50 test images are also in the training file"
    ):
        make_data(images[:180], labels[:180], *good[2:], validation=50)


@pytest.mark.slow
def test_a_program_shows_each_warning_once(tmp_path, mnist):
    images, labels = 255 - mnist.test.images, mnist.test.labels
    np.savez(
        tmp_path / "light.npz",
        **Arrays(
            images[:400], labels[:400], images[300:500], labels[300:500]
        )._asdict(),
    )
    program = start(
        "smoke",
        f"data.dir={tmp_path / 'light.npz'}",
        "data.validation=100",
        "--output",
        tmp_path / "run",
    )
    warned = [
        line for line in finish(program)[1].splitlines() if line.startswith("warning: ")
    ]
    assert len(warned) == 2
    assert (
        "light border" in warned[0]
        and "100 of 200 test images are also in the training file" in warned[1]
    )
