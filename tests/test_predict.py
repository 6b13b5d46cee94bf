"""Predictions by the shipped networks, in Python and on the command line, and judged on drawings."""

import contextlib
import csv
import dataclasses
import errno
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pages
import pytest
from PIL import Image, ImageDraw
from programs import ROOT, write_set
from safetensors import safe_open
from sklearn.datasets import load_digits

import mnistsum
from experiments import tabulate
from experiments.studies import drawings
from mnistsum import predict, weights
from mnistsum.app.main import command
from mnistsum.app.predict import _print_csv, describe
from mnistsum.calibration import Temperatures, fit_temperature, reliability
from mnistsum.errors import InputError
from mnistsum.evaluation import evaluate, labeled_logits, score
from mnistsum.picture import read_picture, to_mnist
from mnistsum.predict import load_pretrained
from mnistsum.types import Split


@pytest.fixture(scope="module")
def base() -> predict.Predictor:
    return mnistsum.load_pretrained("base")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["base", "best"])
def test_a_network_that_ships_is_small_and_reads_the_test_set_as_its_published_run(name, mnist):
    file = predict.PRETRAINED / name / "weights.safetensors"
    assert file.stat().st_size < 1_000_000
    with safe_open(file, "numpy") as opened:
        made_by = opened.metadata()["made_by"]
    seed = re.search(r"seed=(\d)", made_by)
    assert seed
    published = json.loads(
        (ROOT / "experiments" / "results" / "runs" / f"{name}-{seed[1]}" / "summary.json").read_text()
    )
    accuracy = published["test"]["digit_accuracy"]
    assert f"digit {accuracy:.2%}" in made_by
    network = mnistsum.load_pretrained(name)
    evaluation = evaluate(network.config.data, network.model, mnist.test)
    # Another CPU's rounding may change a few.
    assert abs((evaluation.digit == mnist.test.labels).mean() - accuracy) < 5e-4


def test_the_model_card_gives_the_figures_of_the_published_runs():
    card = (predict.PRETRAINED / "README.md").read_text()
    runs = tuple(sorted((ROOT / "experiments" / "results" / "runs").glob("b*")))  # of base and best
    header, _, *rows = tabulate.table(tabulate.group(runs)).splitlines()
    for figures in zip(*(line.split("|")[1:-1] for line in (header, *rows)), strict=True):  # a config is a column there
        assert "|".join(("", *figures, "")) in card


@pytest.mark.parametrize(
    ("shift", "doubt"),
    [(0, 1), pytest.param(1, 1, marks=pytest.mark.slow), pytest.param(1, 0.9, marks=pytest.mark.slow)],
)
def test_predictions_in_batches_equal_those_one_by_one_and_evaluation(base, mnist, shift, doubt):
    data = dataclasses.replace(base.config.data, test_shift=shift, test_doubt=float(doubt))
    base = base._replace(config=dataclasses.replace(base.config, data=data))
    traced = predict._probabilities._cache_size()
    images, numbers = mnist.test.images[:37], np.arange(37) % 10
    together = base.predict(images, numbers)
    for i in (0, 15, 16, 36):
        alone = base.predict(images[i : i + 1], numbers[i : i + 1])
        for a, b in zip(together, alone, strict=True):
            np.testing.assert_allclose(a[i], b[0], rtol=1e-4, atol=1e-6)
    # None is added if the page's tests have already run in this process.
    assert predict._probabilities._cache_size() <= traced + 1
    for probabilities in together:
        np.testing.assert_allclose(probabilities.sum(-1), 1, rtol=1e-5)
    evaluation = evaluate(base.config.data, base.model, jax.tree.map(lambda array: array[:37], mnist.test))
    assert (together.digit.argmax(-1) == evaluation.digit).all()
    given = base._replace(temperatures=None).predict(images, numbers).digit[np.arange(37), mnist.test.labels[:37]]
    np.testing.assert_allclose(-np.log(given), evaluation.digit_loss, rtol=1e-2, atol=1e-6)
    assert (together.sum.argmax(-1) == np.asarray(evaluation.sum)[np.arange(37), numbers]).all()


def test_no_images_give_no_predictions(base):
    digit, total = base.predict(np.zeros((0, 28, 28, 1), np.uint8), np.zeros(0, int))
    assert (digit.shape, total.shape) == ((0, 10), (0, 19))


def test_one_number_serves_all_images(base, mnist):
    images = mnist.test.images[:3]
    np.testing.assert_array_equal(base.predict(images, 4).sum, base.predict(images, np.array([4, 4, 4])).sum)


@pytest.mark.parametrize("numbers", [[10], [-1], [1, 2]])
def test_numbers_are_one_per_image_and_0_to_9(base, numbers):
    with pytest.raises(InputError, match=r"numbers: expected 1 of 0-9, one per image, found \["):
        base.predict(np.zeros((1, 28, 28, 1), np.uint8), np.array(numbers))


def test_lines_of_csv_follow_standard_output_where_a_bar_replaces_it(capsys):
    shown = io.StringIO()

    def rows():
        with contextlib.redirect_stdout(shown):
            yield {"file": "a.png", "error": "none"}

    _print_csv(rows())
    assert shown.getvalue() == "a.png,,,,,,,,none\n"


def test_several_pictures_and_standard_input_as_json_on_the_command_line(base, mnist, tmp_path):
    paths = [tmp_path / name for name in ("a.png", "b.jpg")]
    for path, image in zip(paths, mnist.test.images, strict=False):
        Image.fromarray(255 - image[..., 0]).resize((280, 280)).save(path)
    line = [sys.executable, "-m", "mnistsum", "predict", *map(str, paths), "-", "--number", "7", "--json"]
    run = subprocess.run(line, cwd=ROOT, capture_output=True, input=paths[1].read_bytes(), check=True)
    rows = json.loads(run.stdout)
    assert [row["file"] for row in rows] == [*map(str, paths), "-"]
    assert [row["digit"] for row in rows] == [7, 2, 2]
    assert [row["sum"] for row in rows] == [14, 9, 9]
    assert all(row["agree"] and row["number"] == 7 for row in rows)
    images = np.stack([to_mnist(np.asarray(Image.open(path).convert("RGB"), np.float32)).image for path in paths])
    expected = base.predict(images, np.array([7, 7]))
    for row, digit in zip(rows, expected.digit, strict=False):
        top = [entry["value"] for entry in row["digit_top3"]]
        assert top[0] == digit.argmax()
        np.testing.assert_allclose(
            [entry["probability"] for entry in row["digit_top3"]], digit[top], rtol=1e-2, atol=1e-6
        )


@pytest.fixture
def album(mnist, tmp_path) -> Path:
    """A folder of six digits, a .png file that is no image, and a file not named like a picture."""
    for i, image in enumerate(mnist.test.images[:6]):
        Image.fromarray(image[..., 0]).save(tmp_path / f"{i}.PNG")
    (tmp_path / "bad.png").write_text("no picture")
    (tmp_path / "notes.txt").write_text("no picture either")
    return tmp_path


def test_a_folder_and_a_pattern_give_a_row_for_each_picture_and_bad_ones_their_reason(
    album, capsys, run_program, monkeypatch
):
    monkeypatch.setattr("mnistsum.app.predict.CHUNK", 4)  # so that there are two chunks
    (album / "a folder, not a.png").mkdir()
    reason = "expected a PNG, JPEG, GIF or BMP image, found another kind of file"
    files = [*(str(album / f"{i}.PNG") for i in range(6)), str(album / "bad.png")]
    for given in (album, album / "*[Pp][Nn][Gg]"):
        with pytest.raises(InputError, match=f"1 of 7 pictures could not be read: {album / 'bad.png'}: {reason}$"):
            command(["predict", str(given), "--number", "1", "--json"])
        rows = json.loads(capsys.readouterr().out)
        assert [row["file"] for row in rows] == files
        assert [row["digit"] for row in rows[:-1]] == [7, 2, 1, 0, 4, 1]
        assert rows[-1] == {"file": files[-1], "error": reason}
    shutil.copy(album / "0.PNG", album / "._0.PNG")  # as macOS writes beside pictures
    with pytest.raises(InputError, match=r"1 of 7 pictures"):
        command(["predict", str(album), "--number", "1", "--csv"])
    lines = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert [(line["file"], line["sum"]) for line in lines] == list(
        zip(files, ["8", "3", "2", "1", "5", "2", ""], strict=True)
    )
    assert float(lines[0]["digit_probability"]) == pytest.approx(rows[0]["digit_top3"][0]["probability"], abs=1e-5)
    assert lines[-1]["error"] == reason
    monkeypatch.setenv("COLUMNS", "300")
    status, stderr = run_program(command, "predict", album, "--number", "1")
    assert (status, stderr.count("\n")) == (2, 1)


def test_few_pictures_are_held_at_the_same_time(base, album, monkeypatch):
    from mnistsum.app import predict as program

    read = []
    monkeypatch.setattr(program, "CHUNK", 2)
    monkeypatch.setattr(program, "_read", lambda file, real=program._read: (read.append(file), real(file))[1])
    rows = program._answer(base, [str(album / f"{i}.PNG") for i in range(6)], [0], [])
    next(rows)
    assert len(read) == 2
    assert len(list(rows)) == 5


def test_temperatures_scale_the_logits_and_change_no_answer(base, mnist):
    images, numbers = mnist.test.images[:20], np.arange(20) % 10
    plain = base._replace(temperatures=None).predict(images, numbers)
    warm = base._replace(temperatures=Temperatures(2.0, 3.0)).predict(images, numbers)
    for before, after, temperature in zip(plain, warm, (2.0, 3.0), strict=True):
        expected = before.astype(np.float64) ** (1 / temperature)
        np.testing.assert_allclose(after, expected / expected.sum(-1, keepdims=True), rtol=1e-3, atol=1e-6)
        assert (before.argmax(-1) == after.argmax(-1)).all()


@pytest.mark.slow
def test_the_temperatures_that_ship_are_those_of_the_validation_images(base, mnist):
    held_out, test = (
        labeled_logits(evaluate(base.config.data, base.model, split), split.labels)
        for split in (mnist.validation, mnist.test)
    )
    for output, shipped in base.temperatures._asdict().items():
        assert fit_temperature(*held_out[output]) == pytest.approx(shipped, rel=0.02)  # another CPU rounds differently
        assert reliability(*test[output], shipped).error < reliability(*test[output]).error


def test_without_a_number_all_ten_are_added(mnist, tmp_path, capsys):
    path = tmp_path / "seven.png"
    Image.fromarray(mnist.test.images[0, ..., 0]).save(path)
    assert command(["predict", str(path), "--json"]) == 0
    assert [row["sum"] for row in json.loads(capsys.readouterr().out)] == list(range(7, 17))


@pytest.mark.slow
@pytest.mark.parametrize("split", ["test", "validation"])
def test_evaluate_says_what_scores_say(base, mnist, split, capsys):
    assert command(["evaluate", "base", "--split", split, "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)
    images, labels = getattr(mnist, split)
    expected = score(evaluate(base.config.data, base.model, Split(images, labels)), labels)
    assert scores["images"] == len(labels)
    assert scores["digit_accuracy"] == pytest.approx(expected.digit_accuracy, abs=5e-4)  # compiled differently


def test_labels_without_images_are_null_in_json(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = write_set(tmp_path, train=64, test=64)
    labels = data / "t10k-labels-idx1-ubyte"
    labels.write_bytes(labels.read_bytes()[:8] + bytes([3]) * 64)
    config, model, _ = load_pretrained("base")
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, name="custom", dir=".", validation=0))
    weights.save(tmp_path / "w.safetensors", config, model, "a test")
    assert command(["evaluate", "w.safetensors", "--json"]) == 0

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    scores = json.loads(capsys.readouterr().out, parse_constant=refuse)
    assert [accuracy is None for accuracy in scores["digit_accuracy_by_label"]] == [True] * 3 + [False] + [True] * 6
    assert scores["sum_accuracy_by_cell"][0] == [None] * 10


def test_doubts_are_in_the_table_and_in_json(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "200")
    page = Image.new("L", (300, 150), 255)
    for x in (60, 200):
        ImageDraw.Draw(page).line((x, 30, x, 120), fill=0, width=10)
    page.save(tmp_path / "eleven.png")
    arguments = ["predict", str(tmp_path / "eleven.png"), "--number", "1"]
    assert command([*arguments, "--json"]) == 0
    assert "more than one shape" in json.loads(capsys.readouterr().out)[0]["warnings"]
    assert command(arguments) == 0
    assert "more than one shape" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("digit", "number", "warnings"),
    [(0.9, 4, []), (0.7, 4, ["low confidence"]), (0.9, 5, ["digit and sum disagree"])],
)
def test_low_confidence_and_disagreement_are_doubts(digit, number, warnings):
    digits, sums = np.full(10, (1 - digit) / 9), np.eye(19)[7]
    digits[3] = digit
    assert describe(digits, sums, number, ())["warnings"] == warnings


@pytest.mark.parametrize(("name", "printed"), [("[red]x[!bold].png", "[red]x[!bold].png"), ("\x1b[2J", r"\x1b[2J")])
def test_a_name_is_printed_literally_without_control_characters(mnist, tmp_path, monkeypatch, capsys, name, printed):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(mnist.test.images[0, ..., 0]).save(name, "PNG")
    assert command(["predict", name, "--number", "1"]) == 0
    output = capsys.readouterr().out
    assert printed in output
    assert "\x1b" not in output


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        ([], "expected one picture or more, found none"),
        (["nowhere.png"], "nowhere.png: no such file"),
        (["docs/seven.png/7.png"], "docs/seven.png/7.png: cannot be read: Not a directory"),
        (["experiments"], "experiments: expected an image, found a folder"),
        (["nowhere*.png"], "nowhere\\*.png: no such file"),
        (["README.md", "nowhere.png"], "2 of 2 pictures could not be read: README.md: expected a PNG"),
        (["README.md", "--json", "--csv"], "--csv: expected one form of output, found --json, too"),
        (["README.md"], "README.md: expected a PNG, JPEG, GIF or BMP image, found another"),
        (["README.md", "--number", "10"], "--number: expected 0 to 9, found 10"),
        (["docs/examples.png", "--config", "nowhere.py"], "nowhere.py: no such file"),
        (["docs/examples.png", "--model", "./base"], "base: no such model; expected base, best, a run's folder"),
        (["docs/examples.png", "--model", "bass"], "bass: no such model; expected base, best, a run's folder"),
    ],
)
def test_bad_input_is_answered_in_one_line(arguments, answer, monkeypatch):
    monkeypatch.chdir(ROOT)
    with pytest.raises(InputError, match=answer):
        command(["predict", *arguments])


def test_a_picture_that_may_not_be_read_is_not_called_damaged(monkeypatch):
    def denied(self, *_):
        raise PermissionError(errno.EACCES, "Permission denied")  # root, as in CI, never gets it

    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(InputError, match=r"docs/examples.png: cannot be read: Permission denied"):
        read_picture(Path("docs/examples.png"), "docs/examples.png")


def test_a_pipe_without_a_writer_and_a_device_are_refused_unopened(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(InputError, match=f"{path}: expected an image, found a pipe or a device"):
            command(["predict", str(path)])


@pytest.mark.parametrize("as_input", [True, False], ids=["standard input", "file"])
def test_what_is_longer_than_any_picture_is_not_read_to_its_end(as_input, tmp_path, monkeypatch):
    path = tmp_path / "long.png"
    with path.open("wb") as file:
        file.truncate(2**40)  # a hole, larger than any memory
    with path.open() as file:
        monkeypatch.setattr("sys.stdin", file)
        with pytest.raises(InputError, match="expected at most 50,000,000 bytes, found more"):
            command(["predict", "-" if as_input else str(path)])


@pytest.mark.slow
@pytest.mark.parametrize(("name", "published"), [("first", 0.9725), ("last", 0.955)])
def test_drawings_in_fonts_set_aside_are_read_as_published(name, published):
    if not all((drawings.FOLDER / font).exists() for font in drawings.SETS[name][0]):
        pytest.skip("the handwriting fonts of Debian that experiments/studies/drawings.py names are not installed")
    drawn = drawings.draw(name)
    _, read = drawings.judge(drawn)
    assert np.mean(read == [drawing.label for drawing in drawn]) == pytest.approx(published, abs=0.01)


def read(base, pictures) -> np.ndarray:
    images = [to_mnist(picture.astype(np.float32)).image for picture in pictures]
    return base.predict(np.stack(images), np.zeros(len(images), int)).digit.argmax(-1)


@pytest.mark.slow
@pytest.mark.parametrize("kind", pages.KINDS)
def test_pages_in_fonts_set_aside_are_read(base, mnist, kind):
    if not all(font.exists() for font in pages.JUDGING):
        pytest.skip("the fonts of Debian that tests/pages.py names are not installed")
    drawn = pages.draw(kind, 60 if kind == "corner" else 200, pages.JUDGING, *mnist.test)
    right = read(base, [page.pixels for page in drawn]) == [page.label for page in drawn]
    assert right.mean() >= {"turned": 0.985, "shadow": 0.92}.get(kind, 0.96)


@pytest.mark.slow
@pytest.mark.parametrize("dark", [False, True], ids=["light ink", "dark ink"])
@pytest.mark.parametrize("margin", [0, 2, 4, 10])
def test_digits_cut_to_their_ink_are_read_as_whole_images_are(base, mnist, margin, dark):
    images, labels = mnist.test.images[:1500], mnist.test.labels[:1500]
    cut = read(base, [pages.cut(image, margin, dark) for image in images]) == labels
    whole = base.predict(images, np.zeros(len(images), int)).digit.argmax(-1) == labels
    assert cut.mean() >= whole.mean() - 0.003


@pytest.mark.slow
def test_digits_of_another_set_are_read_without_a_margin(base):
    digits, labels = load_digits(return_X_y=True)
    assert (read(base, [drawings.enlarge(digit.reshape(8, 8)) for digit in digits]) == labels).mean() >= 0.96
